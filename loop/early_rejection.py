"""What the audits of early rejection have found so far, read off the stages that wrote it down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from loop.ledger.tables import Stage
from loop.metrics import Proportion, proportion
from loop.state import CampaignState

STAGE: Final = "relax"
SUMMARY: Final = "early_rejection"
"""Key of a relax stage's summary: absent where no rule was in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Candidates that a rule might have abandoned, and the random share of them that was relaxed to the end anyway."""

    abandoned: int
    audited: int
    would_abandon: int
    """Of the audited, those that the rule would have abandoned."""
    rate: Proportion
    """Of the audited that ended at or below their ceiling, those that it would have abandoned: its false-negative
    rate, with its interval."""


def audit_of(state: CampaignState) -> Audit | None:
    """The audits of a whole campaign; None where no rule was ever in force."""
    return summed(stage for (_, name), stage in sorted(state.stages.items()) if name == STAGE)


def summed(stages: Iterable[Stage]) -> Audit | None:
    """The audits of some relax stages together; None where no rule was in force in any."""
    found = [stage.summary[SUMMARY] for stage in stages if SUMMARY in stage.summary]
    if not found:
        return None
    return Audit(
        abandoned=sum(summary["abandoned"] for summary in found),
        audited=sum(summary["audited"] for summary in found),
        would_abandon=sum(summary["would_abandon"] for summary in found),
        rate=proportion(
            sum(len(summary["would_be_lost"]) for summary in found),
            sum(summary["matter"] for summary in found),
        ),
    )
