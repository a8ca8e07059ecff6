"""Motherlode's rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from loop.crystal import Crystal
from loop.errors import CorrectionError
from loop.records import Failure
from loop.spec import PotentialSpec, RelaxationSpec
from screens.outcomes import SET_ASIDE, STEPS, Outcome, Relaxer
from screens.references import References
from surrogates.corrections import correction_of
from surrogates.potential import Batch, Potential
from surrogates.registry import load_potential
from surrogates.relaxation import Relaxation, relax

WINDOW: Final = 0.1
"""eV/atom above CHGNet's hull up to which a staged screen goes on."""
MATGL_MODEL: Final = "weights/matgl4_converted/TensorNet-MatPES-PBE-v2025.1-PES"


def matgl_folder() -> Path:
    """Where the weights of matgl's TensorNet lie."""
    return Path(os.environ["MOTHERLODE_DATA"]).resolve() / MATGL_MODEL


def chgnet(**arguments: Any) -> Potential:
    """CHGNet by Motherlode's evaluator."""
    return load_potential(PotentialSpec(name="chgnet", arguments=arguments), base=Path())


def sevennet() -> Potential:
    """SevenNet-0; its relaxations are corrected afterwards where they are judged."""
    return load_potential(PotentialSpec(name="sevennet", model="7net-0"), base=Path())


def matgl() -> Potential:
    """TensorNet-MatPES-PBE."""
    return load_potential(PotentialSpec(name="matgl", model=str(matgl_folder())), base=Path())


def settings(*, max_force: float, symmetry: str = "free") -> RelaxationSpec:
    """When a relaxation ends: the other rows' largest force, and 10 GPa per eV/Å of it."""
    return RelaxationSpec.model_validate(
        {"max_force": max_force, "max_stress": 10 * max_force, "max_steps": STEPS, "symmetry": symmetry}
    )


def outcome_of(found: Relaxation | Failure) -> Outcome:
    """A relaxation as any row's outcome."""
    if isinstance(found, Failure):
        return Outcome(note=f"{found.reason}: {found.detail}")
    return Outcome(
        energy=found.energy_per_atom,
        evaluations=found.steps,
        converged=True,
        structure=found.crystal.to_structure(),
    )


def by_motherlode(
    load: Callable[[], Potential], *, max_force: float, symmetry: str = "free", warm: Sequence[Crystal] = ()
) -> Callable[[], Relaxer]:
    """Relax in batches. The other rows break no symmetry on purpose, and neither does `free`.

    Args:
        load: the potential.
        max_force: eV/Å.
        symmetry: as in a campaign file.
        warm: crystals evaluated in batches of 8 and 16 before, for whatever is compiled on the way.
    """

    def prepare() -> Relaxer:
        potential, ends = load(), settings(max_force=max_force, symmetry=symmetry)
        for size in (8, 16) if warm else ():
            potential.evaluate(Batch.from_atoms([c.to_atoms() for c in warm[:size]]))

        def run(crystals: Sequence[Crystal]) -> list[Outcome]:
            return [outcome_of(found) for found in relax(crystals, potential, ends)]

        return run

    return prepare


def staged(
    load: Callable[[], Potential], *, references: Callable[[], References], max_force: float
) -> Callable[[], Relaxer]:
    """CHGNet for all, then SevenNet-0 from where CHGNet ended for what lies within `WINDOW` of CHGNet's hull.

    What is left is corrected (MP2020), as its judgement would need; the energy of the outcome is without, so that it
    compares with the other rows of SevenNet-0. A crystal whose correction cannot be decided keeps a note.
    """

    def prepare() -> Relaxer:
        first, second = load(), sevennet()
        ends, known = settings(max_force=max_force), references()

        def run(crystals: Sequence[Crystal]) -> list[Outcome]:
            screened = relax(crystals, first, ends)
            outcomes = [outcome_of(found) for found in screened]
            survivors: dict[int, Crystal] = {}
            for i, found in enumerate(screened):
                if not isinstance(found, Relaxation):
                    continue
                above = known.hulls.energy_above_hull(
                    found.crystal.composition, found.energy_per_atom, fidelity=first.fidelity
                )
                if above <= WINDOW:
                    survivors[i] = found.crystal
                else:
                    outcomes[i] = Outcome(note=SET_ASIDE)
            finished = relax(list(survivors.values()), second, ends)
            for i, found in zip(survivors, finished, strict=True):
                outcomes[i] = _corrected(found)
            return outcomes

        return run

    return prepare


def _corrected(found: Relaxation | Failure) -> Outcome:
    outcome = outcome_of(found)
    if isinstance(found, Failure):
        return outcome
    try:
        correction_of(found.crystal, "mp2020")
    except CorrectionError as error:
        return Outcome(
            energy=outcome.energy,
            evaluations=outcome.evaluations,
            converged=True,
            structure=outcome.structure,
            note=str(error),
        )
    return outcome
