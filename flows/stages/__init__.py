"""The stages of an iteration, each a function of the campaign and the iteration's number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flows.stages import learn, propose, relax, report, screen, select, verify

if TYPE_CHECKING:
    from flows.campaign import StageFunction

STAGES: Final[dict[str, StageFunction]] = {
    "propose": propose.propose,
    "relax": relax.relax,
    "screen": screen.screen,
    "select": select.select,
    "verify": verify.verify,
    "learn": learn.learn,
    "report": report.report,
}
"""In the order of the loop."""
