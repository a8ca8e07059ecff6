"""What the alloy campaign searches and proposes: structure types of copper, gold and palladium."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal as spacegroup_crystal

from loop.spec import CampaignSpec

Proposed = tuple[str, Atoms, dict[str, Any], tuple[str, ...]]
"""Generator, structure, details, parents."""

ELEMENTS = ("Au", "Cu", "Pd")
RADII = {"Cu": 1.28, "Au": 1.44, "Pd": 1.37}
SCREEN, VERIFY, PHONONS = "emt", "emt-asap", "emt-asap-phonons"


def spec(**changes: Any) -> CampaignSpec:
    return CampaignSpec.model_validate(
        {
            "name": "copper-gold-palladium",
            "space": {"chemical_systems": ["Au-Cu-Pd"], "atoms": [2, 8]},
            "generators": [{"name": "prototypes", "weight": 3}, {"name": "random_symmetric"}],
            "potential": {"name": "emt"},
            "verification": [
                {
                    "name": VERIFY,
                    "potential": {
                        "name": "ase",
                        "calculator": "ase.calculators.emt:EMT",
                        "arguments": {"asap_cutoff": True},
                    },
                },
                {"name": PHONONS, "verifier": "phonons", "potential": {"name": "emt"}, "admits_within": 0.05},
            ],
            "budget": {"verifications": 12, "cpu_seconds": 600},
            "stopping": {"iterations": 3},
            "batch": {"proposals": 10, "verifications": 4},
            **changes,
        }
    )


def decorated(kind: str, *symbols: str) -> Atoms:
    """A structure type with elements put in, at the volume of its metallic radii."""
    a, b, c = (*symbols, *symbols[:1] * 2)[:3]
    build = {
        "A1": lambda: bulk(a, "fcc", a=4.0, cubic=True),
        "L10": lambda: Atoms(
            [a, b], scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=(2.83, 2.83, 4.0), pbc=True
        ),
        "L12": lambda: Atoms(
            [a, b, b, b],
            scaled_positions=[(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
            cell=(4, 4, 4),
            pbc=True,
        ),
        "B2": lambda: Atoms(
            [a, b], scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=(3.1, 3.1, 3.1), pbc=True
        ),
        "B1": lambda: spacegroup_crystal(
            [a, b],
            [(0, 0, 0), (0.5, 0.5, 0.5)],
            spacegroup=225,
            cellpar=[5.4] * 3 + [90] * 3,
            primitive_cell=True,
        ),
        "L21": lambda: spacegroup_crystal(
            [a, b, c],
            [(0.25, 0.25, 0.25), (0, 0, 0), (0.5, 0.5, 0.5)],
            spacegroup=225,
            cellpar=[6.2] * 3 + [90] * 3,
            primitive_cell=True,
        ),
        "L12-layered": lambda: Atoms(
            [a, b, c, c],
            scaled_positions=[(0, 0, 0), (0.5, 0.5, 0), (0, 0.5, 0.5), (0.5, 0, 0.5)],
            cell=(4, 4, 4),
            pbc=True,
        ),
    }
    atoms = build[kind]()
    volume = sum(4 * np.sqrt(2) * RADII[s] ** 3 for s in atoms.get_chemical_symbols())
    atoms.set_cell(atoms.cell * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return atoms


def proposals() -> list[list[Proposed]]:
    """What the campaign proposes in its three iterations."""
    rng = np.random.default_rng(0)

    def prototype(kind: str, *symbols: str, parents: tuple[str, ...] = ()) -> Proposed:
        return ("prototypes", decorated(kind, *symbols), {"prototype": kind}, parents)

    def shaken(kind: str, *symbols: str, by: float = 0.12) -> Proposed:
        atoms = decorated(kind, *symbols)
        atoms.positions += rng.normal(scale=by, size=atoms.positions.shape)
        return ("random_symmetric", atoms, {"space_group_drawn": 1}, ())

    first = [
        prototype("L10", "Cu", "Au"),
        prototype("B2", "Cu", "Pd"),
        prototype("L12", "Cu", "Au"),
        prototype("L12", "Pd", "Au"),
        prototype("L21", "Cu", "Au", "Pd"),
        prototype("B1", "Au", "Pd"),
        prototype("L12", "Au", "Cu"),
        prototype("A1", "Cu"),
        shaken("B1", "Cu", "Pd"),
        shaken("L12-layered", "Cu", "Au", "Pd", by=0.9),
    ]
    second = [
        prototype("B2", "Cu", "Au"),
        prototype("L10", "Au", "Pd"),
        prototype("L12", "Cu", "Pd"),
        prototype("L12", "Pd", "Cu"),
        prototype("L12-layered", "Cu", "Au", "Pd"),
        prototype("L12-layered", "Au", "Pd", "Cu"),
        prototype("L21", "Pd", "Cu", "Au"),
        shaken("L10", "Cu", "Au"),
        prototype("L10", "Cu", "Pd"),
    ]
    third = [
        prototype("L12-layered", "Pd", "Cu", "Au"),
        prototype("L12", "Au", "Pd", parents=("0001-0004",)),
        prototype("L21", "Au", "Cu", "Pd", parents=("0001-0005", "0002-0007")),
        prototype("B2", "Au", "Pd"),
        prototype("L10", "Cu", "Au"),
        shaken("L12", "Cu", "Pd"),
        shaken("L10", "Pd", "Au"),
    ]
    return [first, second, third]
