"""Candidate structures of the pure elements, among which the campaign's potential finds the lowest.

A formation energy is only as good as its element references, so an element is offered more than its textbook
structure: the elemental structure types with a Strukturbericht symbol, omega and A15, and every AFLOW
prototype that is named after the element itself (alpha-Mn, alpha-S, beta-U and so on). Elements of diatomic
molecules are offered the molecular crystals of the library, with the measured bond length, and no others.

Not covered, for want of a prototype of tractable size: white phosphorus, beta-boron (105 atoms; alpha-boron
is there), red selenium, magnetic superstructures, and incommensurate phases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from loop.prototypes import Prototype, decorate, prototype, prototypes
from loop.volumes import atomic_volume

FILLED: Final = {"A15": "A3B_cP8_223_c_a-001", "omega": "AB2_hP3_191_a_d-001"}
"""Elemental structure types that the library has as compounds: every role is played by the one element."""

MOLECULAR: Final = (
    "A_mC4_12_i-001",  # alpha oxygen
    "A_hR2_166_c-001",  # beta oxygen
    "A_oC8_64_f-003",  # iodine
    "A_cP8_205_c-001",  # alpha nitrogen
)
"""Crystals of diatomic molecules."""

LARGEST_EXPANSION: Final = 1.5
"""A structure that must swell beyond this multiple of the element's measured volume to keep its atoms apart
is the molecular crystal of some other element, and is not offered."""


@dataclass(frozen=True, slots=True)
class Diatomic:
    """What is measured of an element of diatomic molecules."""

    bond_length: float
    """Å. Huber and Herzberg, Constants of Diatomic Molecules (1979), by the NIST Chemistry WebBook."""
    volume_per_atom: float
    """Å3, of the solid: measured molar volumes; of oxygen that of alpha oxygen."""


DIATOMICS: Final = {
    "H": Diatomic(0.741, 19.0),
    "N": Diatomic(1.098, 22.5),
    "O": Diatomic(1.208, 17.4),
    "F": Diatomic(1.412, 16.1),
    "Cl": Diatomic(1.988, 28.9),
    "Br": Diatomic(2.281, 32.8),
    "I": Diatomic(2.666, 42.7),
}


@dataclass(frozen=True, slots=True)
class ElementCandidate:
    """One structure that the element might have."""

    label: str
    structure_type: Prototype
    structure: Structure


def element_candidates(symbol: str, *, max_atoms: int, max_atoms_own: int) -> Iterator[ElementCandidate]:
    """Structures that the element might have, in a fixed order.

    Args:
        symbol: the element.
        max_atoms: largest primitive cell of structure types named after other elements.
        max_atoms_own: largest primitive cell of structure types named after this element.
    """
    if symbol in DIATOMICS:
        for name in MOLECULAR:
            structure_type = prototype(name)
            yield ElementCandidate(name, structure_type, molecular_crystal(structure_type, symbol=symbol))
        return
    for structure_type in prototypes():
        if structure_type.elements == (symbol,) and structure_type.number_of_atoms <= max_atoms_own:
            yield ElementCandidate(structure_type.name, structure_type, decorate(structure_type, [symbol]))
    for label, structure_type in _common_types(max_atoms):
        structure = decorate(structure_type, [symbol] * structure_type.number_of_elements)
        if structure_type.elements != (symbol,) and not _is_swollen(structure, symbol):
            yield ElementCandidate(label, structure_type, structure)


def _common_types(max_atoms: int) -> Iterator[tuple[str, Prototype]]:
    for structure_type in prototypes():
        small = structure_type.number_of_atoms <= max_atoms
        if small and structure_type.number_of_elements == 1 and structure_type.strukturbericht:
            yield structure_type.name, structure_type
    for label, name in FILLED.items():
        if prototype(name).number_of_atoms <= max_atoms:
            yield label, prototype(name)


def molecular_crystal(structure_type: Prototype, *, symbol: str) -> Structure:
    """A crystal of diatomic molecules with the element's measured volume and bond length.

    The lattice is scaled to the volume; each molecule keeps its centre and direction.

    Args:
        structure_type: one of `MOLECULAR`.
        symbol: one of `DIATOMICS`.
    """
    molecule = DIATOMICS[symbol]
    original = structure_type.original
    volume = molecule.volume_per_atom * original.number_of_atoms
    lattice = Lattice(original.lattice).scale(volume)
    structure = Structure(lattice, [symbol] * original.number_of_atoms, original.fractional_coordinates)
    coordinates = np.array(structure.cart_coords)
    for index, site in enumerate(structure):
        partner = min(structure.get_neighbors(site, r=_DIMER_SEARCH), key=lambda other: other.nn_distance)
        bond = partner.coords - site.coords
        stretch = molecule.bond_length / float(np.linalg.norm(bond))
        coordinates[index] = site.coords + bond * (1 - stretch) / 2
    return Structure(lattice, [symbol] * len(structure), coordinates, coords_are_cartesian=True)


_DIMER_SEARCH: Final = 4.0


def _is_swollen(structure: Structure, symbol: str) -> bool:
    measured = atomic_volume(symbol)
    return measured is not None and structure.volume > LARGEST_EXPANSION * measured * len(structure)
