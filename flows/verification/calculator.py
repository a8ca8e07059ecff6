"""A potential as an ASE calculator, so that atomate2's makers can run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from flows.verification.failures import CalculationFailedError
from flows.verification.sealed import canonical
from loop.spec import PotentialSpec
from surrogates.potential import Batch, Potential


class PotentialCalculator(Calculator):  # type: ignore[misc]
    """Evaluates structures with a `Potential`: energy (eV), forces (eV/Å), stress (eV/Å3, Voigt)."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]
    name = "potential"

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate; called by ASE.

        Raises:
            CalculationFailedError: the potential does not know an element, refuses the structure, or gives
                numbers that are not finite.
            PotentialError: the potential cannot be used at all.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        unknown = sorted(set(self.atoms.symbols) - (self.potential.elements or set(self.atoms.symbols)))
        if unknown:
            raise CalculationFailedError(
                "unknown-element", f"{self.potential.fidelity} does not know {', '.join(unknown)}"
            )
        evaluation = self.potential.evaluate(Batch.from_atoms([self.atoms]))
        if evaluation.refused:
            raise CalculationFailedError(
                "refused", f"{self.potential.fidelity} refuses the structure: {evaluation.refused[0]}"
            )
        energy, stress = float(evaluation.energy[0]), evaluation.stress[0]
        if not (np.isfinite(energy) and np.isfinite(evaluation.forces).all() and np.isfinite(stress).all()):
            formula = self.atoms.get_chemical_formula()
            raise CalculationFailedError(
                "not-finite", f"{self.potential.fidelity} gives numbers that are not finite for {formula}"
            )
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": np.array(evaluation.forces),
            "stress": full_3x3_to_voigt_6_stress(stress),
        }


def calculator_for(potential: Mapping[str, Any], *, base: str) -> PotentialCalculator:
    """A calculator of the potential that a `PotentialSpec` names; loaded once in a process.

    Args:
        potential: a `PotentialSpec` as JSON values.
        base: folder that relative paths in it start from.
    """
    return PotentialCalculator(_loaded(canonical(dict(potential)), base))


@lru_cache(maxsize=4)
def _loaded(specification: str, base: str) -> Potential:
    from surrogates.registry import load_potential

    return load_potential(PotentialSpec.model_validate_json(specification), base=Path(base))
