"""The stages of an iteration, each a function of the campaign and the iteration's number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.stages import learn, propose, relax, report, rescreen, screen, select, verify

if TYPE_CHECKING:
    from flows.campaign import Campaign, StageFunction


def stages(campaign: Campaign) -> dict[str, StageFunction]:
    """A campaign's stages by name, in the order of the loop."""
    return {
        "propose": propose.propose,
        "relax": relax.relax,
        "screen": screen.screen,
        **rescreen.further_stages(campaign),
        "select": select.select,
        "verify": verify.verify,
        "learn": learn.learn,
        "report": report.report,
    }
