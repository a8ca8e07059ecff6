"""What the report's structure viewer draws: atoms, bonds and cell of a crystal in its conventional cell."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Final

import moyopy
import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import primitive_neighbor_list
from moyopy.interface import MoyoAdapter
from numpy.typing import NDArray

from loop.crystal import SYMMETRY_TOLERANCE, Crystal

LARGEST: Final = 64
"""Atoms beyond which the primitive cell is shown in place of the conventional one."""
BOND: Final = 1.15
"""Atoms closer than this multiple of the sum of their covalent radii (Cordero 2008, as in ASE) are joined."""
BORDER: Final = 0.02
"""Atoms this close to a face of the cell (fractional) are shown on the opposite face too."""

Floats = NDArray[np.float64]


def scene(crystal: Crystal) -> dict[str, Any]:
    """The drawing of a crystal as JSON values.

    Returns:
        `cell`: three lattice vectors, Å. `atoms`: [element index, x, y, z], Å, about the centre.
        `bonds`: pairs of atom indices. `elements`: symbols, in the order of the indices. `volume` (Å3),
        `lengths` (Å) and `angles` (degrees) of the cell shown.
    """
    lattice, coordinates, numbers = _conventional(crystal)
    elements = sorted(set(numbers))
    coordinates, numbers = _with_border(coordinates, numbers)
    centre = 0.5 * lattice.sum(axis=0)
    positions = coordinates @ lattice - centre
    lengths, angles = _parameters(lattice)
    return {
        "elements": [chemical_symbols[z] for z in elements],
        "cell": np.round(lattice, 3).tolist(),
        "atoms": [
            [elements.index(z), *np.round(x, 3).tolist()] for z, x in zip(numbers, positions, strict=True)
        ],
        "bonds": _bonds(positions, numbers),
        "lengths": [round(x, 3) for x in lengths],
        "angles": [round(x, 1) for x in angles],
        "volume": round(float(abs(np.linalg.det(lattice))), 2),
    }


def palette(symbols: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Jmol's colour (`#rrggbb`) and the covalent radius (Å) of each element."""
    found = {}
    for symbol in sorted(set(symbols)):
        z = chemical_symbols.index(symbol)
        rgb = [round(255 * float(c)) for c in jmol_colors[z]]
        found[symbol] = {
            "colour": "#{:02x}{:02x}{:02x}".format(*rgb),
            "radius": round(float(covalent_radii[z]), 2),
        }
    return found


def _conventional(crystal: Crystal) -> tuple[Floats, Floats, list[int]]:
    """Lattice (`3 x 3`, Å), fractional coordinates (`n_atoms x 3`) and numbers of the conventional cell."""
    dataset = moyopy.MoyoDataset(
        MoyoAdapter.from_structure(crystal.to_structure()), symprec=SYMMETRY_TOLERANCE
    )
    cell = dataset.std_cell
    if len(cell.numbers) > LARGEST:
        return (
            np.array(crystal.lattice),
            np.array(crystal.fractional_coordinates),
            list(crystal.atomic_numbers),
        )
    return np.array(cell.basis), np.mod(np.array(cell.positions), 1.0), [int(z) for z in cell.numbers]


def _with_border(coordinates: Floats, numbers: list[int]) -> tuple[Floats, list[int]]:
    """Atoms on faces, edges and corners repeated on the opposite ones, as crystals are drawn."""
    found: list[Floats] = []
    kinds: list[int] = []
    inside = np.where(coordinates > 1 - BORDER, coordinates - 1, coordinates)
    for position, z in zip(inside, numbers, strict=True):
        choices = [(0.0, 1.0) if x < BORDER else (0.0,) for x in position]
        for shift in itertools.product(*choices):
            found.append(position + np.array(shift))
            kinds.append(z)
    return np.array(found), kinds


def _bonds(positions: Floats, numbers: list[int]) -> list[list[int]]:
    """Pairs of shown atoms that are joined."""
    radii = covalent_radii[numbers]
    first, second = primitive_neighbor_list(
        "ij", [False, False, False], np.eye(3), positions, [BOND * r for r in radii], self_interaction=False
    )
    return [[int(i), int(j)] for i, j in zip(first, second, strict=True) if i < j]


def _parameters(lattice: Floats) -> tuple[list[float], list[float]]:
    """Lengths (Å) and angles (degrees) of a cell."""
    lengths = [float(x) for x in np.linalg.norm(lattice, axis=1)]
    angles = []
    for i, j in ((1, 2), (0, 2), (0, 1)):
        cosine = float(lattice[i] @ lattice[j]) / (lengths[i] * lengths[j])
        angles.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
    return lengths, angles
