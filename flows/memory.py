"""The crystals a campaign has met, so that nothing is relaxed or verified twice under another name."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from loop.crystal import Crystal
from loop.identity import IdentityIndex

if TYPE_CHECKING:
    from flows.campaign import Campaign


class Memory:
    """Two indices, filled from the ledger in the order in which crystals were met, so a resume finds the same twins.

    `relaxed` holds reference phases and candidates as the screening potential relaxed them; `proposed` holds candidates
    as they were proposed. A new proposal is compared with both, a new relaxation with `relaxed` alone: what another
    candidate looked like before it was relaxed says nothing about where this one has come to rest.
    """

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign

    @cached_property
    def proposed(self) -> IdentityIndex:
        """Candidates as proposed, by id."""
        state, index = self._campaign.state, IdentityIndex()
        for candidate in state.candidates.values():
            rejection = state.rejections.get(candidate.id)
            if candidate.crystal_key and (rejection is None or rejection.stage != "propose"):
                index.add(candidate.id, state.crystals[candidate.crystal_key])
        return index

    @cached_property
    def relaxed(self) -> IdentityIndex:
        """Reference phases by name, then distinct candidates by id, as relaxed."""
        index = IdentityIndex()
        for name, crystal in self.references.items():
            index.add(name, crystal)
        state = self._campaign.state
        for candidate_id, calculation in state.judged(self._campaign.screening_fidelity).items():
            index.add(candidate_id, state.crystals[calculation.result_crystal_key or ""])
        return index

    @cached_property
    def references(self) -> dict[str, Crystal]:
        """Reference phases as relaxed, by name."""
        state = self._campaign.state
        phases = state.reference_calculations(self._campaign.screening_fidelity)
        return {name: state.crystals[c.result_crystal_key or ""] for name, c in phases.items()}

    def energy(self, name: str) -> float:
        """Screening energy of a reference phase or candidate of the relaxed index, eV/atom."""
        campaign = self._campaign
        phases = campaign.state.reference_calculations(campaign.screening_fidelity)
        calculation = phases.get(name) or campaign.relaxation_of(campaign.state.candidates[name])
        if calculation is None or calculation.energy_per_atom is None:
            raise KeyError(name)
        return calculation.energy_per_atom

    def twin(self, crystal: Crystal) -> str | None:
        """Name of a crystal met before that a proposal only repeats."""
        return self.relaxed.find(crystal) or self.proposed.find(crystal)
