"""The crystals a campaign has met, so that nothing is relaxed or verified twice under another name."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from loop.crystal import Crystal
from loop.identity import IdentityIndex
from loop.ledger.tables import Calculation

if TYPE_CHECKING:
    from flows.campaign import Campaign

SAME_MINIMUM: Final = 0.005
"""eV/atom. Two relaxations that match as structures but differ by more are different minima (StructureMatcher's site
tolerance of 0.3 does not tell a distortion from its parent), and the lower one is kept."""


class Relaxed:
    """The crystals that one fidelity relaxed, reference phases by name and distinct candidates by id."""

    def __init__(self) -> None:
        self._index = IdentityIndex()
        self._energies: dict[str, float] = {}

    def add(self, name: str, crystal: Crystal, calculation: Calculation) -> None:
        """Remember what a calculation made of a crystal; what is held already stays as it is."""
        if calculation.energy_per_atom is None:
            raise KeyError(name)
        self._index.add(name, crystal)
        self._energies.setdefault(name, calculation.energy_per_atom)

    def find(self, crystal: Crystal) -> str | None:
        """Name of the first that is the same crystal."""
        return self._index.find(crystal)

    def twin_or_add(self, name: str, crystal: Crystal, calculation: Calculation) -> str | None:
        """Name of an earlier crystal that a relaxation only repeats; where there is none, it is remembered itself."""
        twin = self.find(crystal)
        if twin is not None and twin != name:
            energy = calculation.energy_per_atom
            if energy is None or energy > self._energies[twin] - SAME_MINIMUM:
                return twin
        self.add(name, crystal, calculation)
        return None


class Memory:
    """Indices filled from the ledger in the order in which crystals were met, so a resume finds the same twins.

    `relaxed` holds reference phases and candidates as the first screening potential relaxed them, `relaxed_at` as
    another fidelity did; `proposed` holds candidates as they were proposed. A new proposal is compared with the first
    and the last of these, a new relaxation with those of its own fidelity alone: what another candidate looked like
    before it was relaxed says nothing about where this one has come to rest.
    """

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._relaxed: dict[str, Relaxed] = {}

    @cached_property
    def proposed(self) -> IdentityIndex:
        """Candidates as proposed, by id."""
        state, index = self._campaign.state, IdentityIndex()
        for candidate in state.candidates.values():
            rejection = state.rejections.get(candidate.id)
            if candidate.crystal_key and (rejection is None or rejection.stage != "propose"):
                index.add(candidate.id, state.crystals[candidate.crystal_key])
        return index

    @property
    def relaxed(self) -> Relaxed:
        """Reference phases, then distinct candidates, as the first screening potential relaxed them."""
        return self.relaxed_at(self._campaign.screening_fidelity)

    def relaxed_at(self, fidelity: str) -> Relaxed:
        """Reference phases, then distinct candidates, as one fidelity relaxed them."""
        held = self._relaxed.get(fidelity)
        if held is None:
            held = self._relaxed[fidelity] = Relaxed()
            state = self._campaign.state
            # One that had to wait for the budget was met when it was judged, not when it was proposed.
            judged = sorted(
                state.judged(fidelity).items(),
                key=lambda item: (state.verdicts[item[0], fidelity][1].iteration, item[0]),
            )
            for name, calculation in (*state.reference_calculations(fidelity).items(), *judged):
                held.add(name, state.crystals[calculation.result_crystal_key or ""], calculation)
        return held

    @cached_property
    def references(self) -> dict[str, Crystal]:
        """Reference phases as the first screening potential relaxed them, by name."""
        state = self._campaign.state
        phases = state.reference_calculations(self._campaign.screening_fidelity)
        return {name: state.crystals[c.result_crystal_key or ""] for name, c in phases.items()}

    def twin(self, crystal: Crystal) -> str | None:
        """Name of a crystal met before that a proposal only repeats."""
        return self.relaxed.find(crystal) or self.proposed.find(crystal)
