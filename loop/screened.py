"""What the screen says of each candidate: the verdict of the last of its stages that judged it.

A campaign screens at one fidelity, or at several, cheap to exact, each on a hull of its own. Which fidelities they are
stands in the ledger: the first is that of the first reference set, the others are named by the stages' rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from loop.ledger.tables import Verdict

if TYPE_CHECKING:
    from loop.state import CampaignState

FURTHER: Final = "screen-"
"""How the rows of stages beyond the first are named: `screen-2`, `screen-3`, …"""
FIDELITY: Final = "fidelity"
"""Key of such a row's summary."""


def screening_fidelity(state: CampaignState) -> str:
    """Name of the first screening potential's energies: the fidelity of the first reference set; empty before it."""
    sets = sorted(state.reference_sets.values(), key=lambda s: s.iteration)
    return sets[0].fidelity if sets else ""


def screening_fidelities(state: CampaignState) -> tuple[str, ...]:
    """Names of the energies of every stage that has run, first to last; none before the first reference set."""
    first = screening_fidelity(state)
    further = {
        int(name.removeprefix(FURTHER)): str(stage.summary[FIDELITY])
        for (_, name), stage in state.stages.items()
        if name.startswith(FURTHER)
    }
    return (first, *(further[number] for number in sorted(further))) if first else ()


def screened(state: CampaignState, fidelities: Sequence[str]) -> dict[str, Verdict]:
    """The verdict in force of the last stage that judged each candidate, in order of candidate.

    What a later stage found to repeat another crystal is set aside and has none, although the first stage judged it.

    Args:
        state: of the campaign.
        fidelities: of the stages, first to last.
    """
    found: dict[str, Verdict] = {}
    for fidelity in fidelities:
        found |= {
            v.candidate_id: v for v in state.verdicts_at(fidelity) if v.candidate_id not in state.rejections
        }
    return found
