"""What report, artifacts and export read: a campaign's state, and what is derived from it once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from loop.ledger.tables import Calculation, Verdict
from loop.metrics import Verified, is_discovery
from loop.outcomes import fidelity_of, verified_candidates
from loop.screened import screened, screening_fidelities
from loop.spec import CampaignSpec
from loop.state import CampaignState


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A campaign's state and file, with what was derived from both once."""

    state: CampaignState
    spec: CampaignSpec
    screenings: tuple[str, ...]
    """The fidelities of the screen's stages, first to last; at least one."""
    screened: Mapping[str, Verdict]
    """The verdict of the last stage of the screen that judged each candidate, in order of candidate."""
    energy_levels: tuple[tuple[str, str], ...]
    """(level, fidelity) of the levels that gave energies, lowest first."""
    phonon_levels: tuple[str, ...]
    verified: tuple[Verified, ...]
    """In order of verification."""

    @classmethod
    def of(cls, state: CampaignState, spec: CampaignSpec) -> View:
        """Read a campaign's state."""
        screenings = screening_fidelities(state) or (spec.potential.name,)
        fidelities = [(level, fidelity_of(state, level)) for level in spec.verification]
        return cls(
            state=state,
            spec=spec,
            screenings=screenings,
            screened=screened(state, screenings),
            energy_levels=tuple((level.name, fidelity) for level, fidelity in fidelities if fidelity),
            phonon_levels=tuple(level.name for level in spec.verification if level.verifier == "phonons"),
            verified=tuple(verified_candidates(state, spec)),
        )

    @property
    def screening(self) -> str:
        """The fidelity of the screen's first stage."""
        return self.screenings[0]

    @property
    def fidelities(self) -> tuple[str, ...]:
        """The verifying fidelities that gave energies, lowest first."""
        return tuple(fidelity for _, fidelity in self.energy_levels)

    @property
    def discoveries(self) -> frozenset[str]:
        """Ids of the discoveries."""
        return frozenset(v.candidate_id for v in self.verified if is_discovery(v, self.spec.thresholds))

    def formula(self, candidate_id: str) -> str:
        """A candidate's reduced formula; its id where it was no crystal."""
        candidate = self.state.candidates.get(candidate_id)
        crystal = self.state.crystals.get(candidate.crystal_key or "") if candidate else None
        return crystal.reduced_formula if crystal else candidate_id


def best_calculations(view: View, ids: Iterable[str]) -> dict[str, Calculation]:
    """For each candidate of `ids` the calculation of highest fidelity that gave a relaxed crystal."""
    state, best = view.state, {}
    for id_ in ids:
        verdict = view.screened.get(id_) or state.verdicts_in_force.get((id_, view.screening))
        keys = [verdict.calculation_key] if verdict else []
        keys += [
            v.calculation_key
            for level, _ in view.energy_levels
            if (v := state.verifications.get((id_, level)))
        ]
        done = [state.calculations[key] for key in keys if state.calculations[key].result_crystal_key]
        if done:
            best[id_] = done[-1]
    return best
