"""jobflow flows of a verification: relax, static, then an answer that is checked before it is believed.

Importing this module imports atomate2; the rest of Motherlode imports it inside functions.

Every verification flow, whatever code computes it, ends in one job whose output is an *answer*: a dictionary
of JSON values with `crystal` (`Crystal.to_dict()`), `energy_per_atom` (eV/atom or None) and `properties`.
That job raises `CalculationFailedError` where the calculations ran but cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase.calculators.calculator import Calculator
from ase.optimize.cellawarebfgs import CellAwareBFGS
from ase.units import GPa
from atomate2.ase.jobs import AseRelaxMaker
from atomate2.ase.schemas import AseResult
from atomate2.ase.utils import AseRelaxer
from jobflow import Flow, Maker, job
from pymatgen.core.structure import Structure

from flows.verification.calculator import calculator_for
from flows.verification.failures import CalculationFailedError
from loop.crystal import Crystal
from loop.errors import CorrectionError, CrystalError
from loop.spec import CorrectionScheme
from surrogates.corrections import FAILURE_REASON, correction_of

KILOBAR_PER_GPA: Final = 10.0
"""atomate2's documents give stress in kbar."""
VOLUME_CHANGES: Final = (0.4, 2.5)
"""Ratios of relaxed to given volume outside which a crystal has collapsed or come apart."""


class ForceAndStressBFGS(CellAwareBFGS):  # type: ignore[misc]
    """ASE's BFGS for atoms and cell, ended by the largest force and the largest stress component together.

    It needs 3 to 6 times fewer evaluations than FIRE, which atomate2 takes by default.
    """

    def __init__(self, *arguments: Any, max_stress: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._max_stress = max_stress

    def run(self, fmax: float, steps: int) -> bool:
        """Relax until no force exceeds `fmax` (eV/Å) and no stress component `max_stress` (GPa)."""
        return bool(super().run(fmax=fmax, smax=self._max_stress * GPa, steps=steps))


@dataclass
class PotentialRelaxMaker(AseRelaxMaker):  # type: ignore[misc]
    """atomate2's ASE relaxation with a potential of Motherlode's registry."""

    name: str = "relaxation"
    potential: dict[str, Any] = field(default_factory=dict)
    """A `PotentialSpec` as JSON values."""
    base: str = "."
    """Folder that relative paths in `potential` start from."""
    max_force: float = 0.05
    """eV/Å."""
    max_stress: float = 0.5
    """GPa."""
    ionic_step_data: tuple[str, ...] | None = None

    def _get_calculator(self) -> Calculator:
        return calculator_for(self.potential, base=self.base)

    def run_ase(self, mol_or_struct: Structure, prev_dir: str | Path | None = None) -> AseResult:  # noqa: ARG002 - atomate2's signature
        """Relax, or evaluate once where `steps` is 1."""
        relaxer = AseRelaxer(
            self.calculator,
            optimizer=ForceAndStressBFGS,
            relax_cell=self.relax_cell,
            fix_symmetry=self.fix_symmetry,
            symprec=self.symprec,
        )
        return relaxer.relax(
            mol_or_struct,
            fmax=self.max_force,
            steps=self.steps,
            max_stress=self.max_stress,
            filter_kwargs={"exp_cell_factor": 1.0},  # what CellAwareBFGS asks for
            final_atoms_object_file=None,
        )


@dataclass
class PotentialStaticMaker(PotentialRelaxMaker):
    """One evaluation: energy, forces and stress of a structure as it is."""

    name: str = "static"
    relax_cell: bool = False
    steps: int = 1


@dataclass
class RelaxStaticMaker(Maker):  # type: ignore[misc]
    """Relax → static → answer, for atomate2 makers that give structure, energy, forces and stress."""

    name: str = "relax and static"
    relax_maker: Maker = field(default_factory=PotentialRelaxMaker)
    static_maker: Maker = field(default_factory=PotentialStaticMaker)
    max_force: float = 0.05
    """eV/Å, checked on the static calculation."""
    max_stress: float = 0.5
    """GPa, checked on the static calculation."""
    corrections: CorrectionScheme = "none"
    """Scheme of the corrections added to the static energy."""

    def make(self, structure: Structure) -> Flow:
        """The flow for one structure."""
        relaxation = self.relax_maker.make(structure)
        static = self.static_maker.make(relaxation.output.structure)
        answer = judge_energy(
            initial=structure,
            relaxed=static.output.structure,
            energy=static.output.output.energy,
            forces=static.output.output.forces,
            stress=static.output.output.stress,
            relaxation=relaxation.output.output,
            max_force=self.max_force,
            max_stress=self.max_stress,
            corrections=self.corrections,
        )
        return Flow([relaxation, static, answer], output=answer.output, name=self.name)


@job(name="energy")  # type: ignore[untyped-decorator]
def judge_energy(
    *,
    initial: Structure,
    relaxed: Structure,
    energy: float,
    forces: list[list[float]],
    stress: list[list[float]],
    relaxation: Any,
    max_force: float,
    max_stress: float,
    corrections: CorrectionScheme = "none",
) -> dict[str, Any]:
    """Check a relaxed crystal and its energy, and answer with them.

    Args:
        initial: as submitted.
        relaxed: as the static calculation saw it.
        energy: eV per cell.
        forces: `n_atoms x 3`, eV/Å.
        stress: `3 x 3`, kbar, atomate2's sign.
        relaxation: output document of the relaxation.
        max_force: eV/Å.
        max_stress: GPa.
        corrections: scheme of the corrections to add; the raw energy and their parts become properties.

    Raises:
        CalculationFailedError: not finite, not converged, collapsed, come apart, no crystal any more, or its correction
            cannot be decided.
    """
    steps = steps_of(relaxation)
    largest = check_converged(
        forces=forces, stress=stress, max_force=max_force, max_stress=max_stress, steps=steps
    )
    crystal = crystal_of(relaxed, initial=initial)
    if not np.isfinite(energy):
        raise CalculationFailedError("not-finite", f"the energy is {energy}")
    energy_per_atom = energy / len(relaxed)
    properties: dict[str, Any] = {
        "steps": steps,
        **largest,
        "volume_change": relaxed.volume / initial.volume - 1.0,
        "space_group_number": crystal.space_group_number,
    }
    if corrections != "none":
        try:
            correction = correction_of(crystal, corrections)
        except CorrectionError as error:
            raise CalculationFailedError(FAILURE_REASON, str(error)) from error
        properties |= {
            "uncorrected_energy_per_atom": energy_per_atom,
            "corrections": dict(correction.parts),
        }
        energy_per_atom += correction.energy_per_atom
    return {"crystal": crystal.to_dict(), "energy_per_atom": energy_per_atom, "properties": properties}


def steps_of(relaxation: Any) -> int | None:
    """Steps that an atomate2 output document counts; None where its code does not."""
    found = (
        relaxation.get("n_steps") if isinstance(relaxation, Mapping) else getattr(relaxation, "n_steps", None)
    )
    return None if found is None else int(found)


def check_converged(
    *,
    forces: list[list[float]],
    stress: list[list[float]],
    max_force: float,
    max_stress: float,
    steps: int | None,
) -> dict[str, float]:
    """Largest force (eV/Å) and largest stress component (GPa) of a relaxed structure.

    Raises:
        CalculationFailedError: a limit is exceeded, or a number is not finite.
    """
    largest_force = float(np.linalg.norm(np.asarray(forces, dtype=float), axis=1).max())
    largest_stress = float(np.abs(np.asarray(stress, dtype=float)).max()) / KILOBAR_PER_GPA
    if not np.isfinite([largest_force, largest_stress]).all():
        raise CalculationFailedError("not-finite", "forces or stress are not finite numbers")
    if largest_force > max_force or largest_stress > max_stress:
        raise CalculationFailedError(
            "not-converged",
            f"largest force {largest_force:.3g} eV/Å (limit {max_force:g}), largest stress "
            f"{largest_stress:.3g} GPa (limit {max_stress:g}), steps taken: {steps}",
        )
    return {"largest_force": largest_force, "largest_stress": largest_stress}


def crystal_of(relaxed: Structure, *, initial: Structure) -> Crystal:
    """The relaxed structure in standardised form.

    Raises:
        CalculationFailedError: it has collapsed, come apart, or cannot be standardised.
    """
    ratio = relaxed.volume / initial.volume
    smallest, largest = VOLUME_CHANGES
    if not smallest <= ratio <= largest:
        reason = "collapsed" if ratio < smallest else "came-apart"
        raise CalculationFailedError(reason, f"the volume became {ratio:.2f} times what it was")
    try:
        return Crystal.from_structure(relaxed)
    except CrystalError as error:
        raise CalculationFailedError("not-a-crystal", str(error)) from error
