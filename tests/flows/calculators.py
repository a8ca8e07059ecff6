"""ASE calculators for campaigns of tests."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from loop.spec import PotentialSpec
from surrogates.potential import Batch
from surrogates.registry import load_potential


class Oxides(Calculator):
    """The Lennard-Jones world, passing for a potential whose author says nothing of corrections: it then takes them."""

    implemented_properties: ClassVar = ["energy", "forces", "stress"]

    def __init__(self):
        super().__init__()
        self._potential = load_potential(PotentialSpec(name="lennard_jones"), base=Path.cwd())

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        found = self._potential.evaluate(Batch.from_atoms([atoms]))
        self.results = {
            "energy": float(found.energy[0]),
            "forces": found.forces,
            "stress": full_3x3_to_voigt_6_stress(found.stress[0]),
        }
