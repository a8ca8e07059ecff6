"""What the acquisition's model sees of a candidate: statistics of its composition, cell and energies.

Element fractions are left out on purpose: they would say nothing about an element that was never verified,
whereas electronegativity, size, valence and Mendeleev number carry over from one chemistry to its neighbours
(the statistics follow Ward et al., npj Computational Materials 2, 16028, 2016).
"""

from __future__ import annotations

import bisect
import functools
import math
from typing import Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray
from pymatgen.core.periodic_table import Element

from loop.crystal import Crystal
from loop.errors import AcquisitionError

Floats = NDArray[np.float64]

ELEMENT_PROPERTIES: Final = (
    "electronegativity",
    "covalent_radius",
    "valence_electrons",
    "mendeleev_number",
    "period",
)
"""Pauling's scale (0 where undefined), Å (Cordero 2008), electrons outside the noble-gas core, Pettifor's
order, row."""

STATISTICS: Final = ("mean", "deviation", "range")

FEATURE_NAMES: Final[tuple[str, ...]] = (
    *(f"{name}_{statistic}" for name in ELEMENT_PROPERTIES for statistic in STATISTICS),
    "number_of_elements",
    "mixing_entropy",
    "anion_fraction",
    "volume_per_atom",
    "packing_fraction",
    "shortest_bond",
    "number_of_atoms",
    "symmetry_operations",
    "formation_energy",
    "screened_energy_above_hull",
    "energy_per_atom",
)
"""What each entry of `features` is, in order."""

ANIONS: Final = frozenset({"N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I"})
"""Elements whose compounds need energy corrections in PBE data sets, so that potentials differ most about
them."""


FIRST_OF_CLASS: Final = (
    *(1, 2, 3, 6, 10, 16, 25, 47, 75, 81, 83, 89, 99, 111, 123, 143, 147, 149, 156, 162, 168, 174, 175, 177),
    *(183, 187, 191, 195, 200, 207, 215, 221),
)
"""First space-group number of each of the 32 crystal classes (International Tables for Crystallography A)."""
ORDER_OF_CLASS: Final = (
    *(1, 2, 2, 2, 4, 4, 4, 8, 4, 4, 8, 8, 8, 8, 16, 3, 6, 6, 6, 12, 6, 6, 12, 12),
    *(12, 12, 24, 12, 24, 24, 24, 48),
)
"""Operations of each crystal class, in the same order."""


@functools.cache
def _element(symbol: str) -> tuple[float, ...]:
    """Values of `ELEMENT_PROPERTIES` for one element."""
    element = Element(symbol)
    # Noble gases have no Pauling electronegativity; pymatgen answers NaN with a warning, so it is not asked.
    electronegativity = 0.0 if element.is_noble_gas else float(element.X)
    group = int(element.group)
    valence = 3.0 if element.is_rare_earth else float(group if group <= 12 else group - 10)
    return (
        electronegativity,
        float(covalent_radii[atomic_numbers[symbol]]),
        2.0 if symbol == "He" else valence,
        float(element.mendeleev_no),
        float(element.row),
    )


def _symmetry_operations(space_group_number: int) -> int:
    """Operations of the space group per primitive cell, 1 to 48."""
    return ORDER_OF_CLASS[bisect.bisect_right(FIRST_OF_CLASS, space_group_number) - 1]


def features(
    crystal: Crystal, *, formation_energy: float, energy_above_hull: float, energy_per_atom: float
) -> Floats:
    """The features of a screened candidate.

    Args:
        crystal: as relaxed by the screening potential.
        formation_energy: at the screening fidelity, eV/atom (survey eq. 36).
        energy_above_hull: at the screening fidelity, eV/atom.
        energy_per_atom: at the screening fidelity, eV/atom.

    Returns:
        `n_features`, in the order of `FEATURE_NAMES`. They do not depend on the choice of cell or the order
        of atoms.

    Raises:
        AcquisitionError: one of the energies is not a finite number.
    """
    for name, value in (
        ("formation_energy", formation_energy),
        ("energy_above_hull", energy_above_hull),
        ("energy_per_atom", energy_per_atom),
    ):
        if not math.isfinite(value):
            raise AcquisitionError(
                f"{crystal.reduced_formula}: {name} is {value}; only finite energies can be judged"
            )
    amounts = crystal.composition.get_el_amt_dict()
    symbols = sorted(amounts)
    fractions = np.array([amounts[s] for s in symbols]) / crystal.number_of_atoms
    table = np.array([_element(s) for s in symbols])
    mean = fractions @ table
    deviation = np.sqrt(fractions @ (table - mean) ** 2)
    spread = table.max(axis=0) - table.min(axis=0)
    radii = covalent_radii[list(crystal.atomic_numbers)]
    return np.array(
        [
            *np.column_stack([mean, deviation, spread]).ravel(),
            len(symbols),
            -float(fractions @ np.log(fractions)),
            float(sum(f for s, f in zip(symbols, fractions, strict=True) if s in ANIONS)),
            crystal.volume_per_atom,
            float((4 / 3 * np.pi * radii**3).mean() / crystal.volume_per_atom),
            _shortest_bond(crystal, radii),
            crystal.number_of_atoms,
            _symmetry_operations(crystal.space_group_number),
            formation_energy,
            energy_above_hull,
            energy_per_atom,
        ],
        dtype=np.float64,
    )


def _shortest_bond(crystal: Crystal, radii: Floats) -> float:
    """Smallest interatomic distance over the sum of the two covalent radii."""
    structure = crystal.to_structure()
    # The nearest neighbour of any atom lies within the cell's shortest translation, so this radius finds one.
    reach = float(np.linalg.norm(np.array(crystal.lattice), axis=1).min()) + 1e-3
    first, second, _, distances = structure.get_neighbor_list(reach)
    return float((distances / (radii[first] + radii[second])).min())
