"""The crystal: a periodic structure in standardised form, the value that flows through the code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import moyopy
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from moyopy.interface import MoyoAdapter
from pymatgen.core import Composition, Lattice, Structure

from loop.errors import CrystalError

DECIMALS: Final = 8
"""Decimals kept of lattice vectors (Å) and fractional coordinates: below any physics, above floating-point noise."""
SYMMETRY_TOLERANCE: Final = 0.01
"""Distance within which atoms count as symmetric images, Å (pymatgen's and spglib's usual choice)."""

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Crystal:
    """A crystal in its standardised primitive cell (survey eq. 3), with the space group that the cell came from.

    Values are rounded once, on entry, so that a crystal written to the ledger and read back is the same value.
    """

    lattice: tuple[Vector, Vector, Vector]
    """Rows are lattice vectors, Å."""
    fractional_coordinates: tuple[Vector, ...]
    """`n_atoms x 3`, each in [0, 1)."""
    atomic_numbers: tuple[int, ...]
    """`n_atoms`, ascending."""
    space_group_number: int
    """1 to 230."""

    @classmethod
    def from_structure(cls, structure: Structure, *, symmetry_tolerance: float = SYMMETRY_TOLERANCE) -> Self:
        """Standardise a structure: ordered and finite, primitive cell, standard setting, atoms sorted by element.

        Args:
            structure: any periodic pymatgen structure.
            symmetry_tolerance: distance within which atoms count as symmetric images, Å.

        Raises:
            CrystalError: partial occupancy, non-finite numbers, a flat cell, no atoms, or atoms on top of one another.
        """
        _check(structure)
        cell = MoyoAdapter.from_structure(structure)
        try:
            dataset = moyopy.MoyoDataset(cell, symprec=symmetry_tolerance)
        except (ValueError, RuntimeError) as error:
            raise CrystalError(f"{structure.composition.reduced_formula}: no symmetry could be found ({error}); are atoms on top of one another?") from error
        standard = dataset.prim_std_cell
        return cls._build(np.array(standard.basis), np.array(standard.positions), list(standard.numbers), dataset.number)

    @classmethod
    def from_atoms(cls, atoms: Atoms) -> Self:
        """Standardise an ASE structure (see `from_structure` for what is refused)."""
        if not atoms.pbc.all() or atoms.cell.rank < 3:
            raise CrystalError(f"{atoms.get_chemical_formula()}: not periodic in three directions; give it a cell and pbc=True")
        return cls.from_structure(Structure(Lattice(atoms.cell.array), atoms.numbers.tolist(), atoms.get_scaled_positions()))

    @classmethod
    def _build(cls, lattice: np.ndarray[Any, Any], coordinates: np.ndarray[Any, Any], numbers: list[int], space_group: int) -> Self:
        coordinates = np.round(np.mod(coordinates, 1.0), DECIMALS) % 1.0
        order = sorted(range(len(numbers)), key=lambda i: (numbers[i], *coordinates[i]))
        return cls(
            lattice=tuple(tuple(float(x) for x in np.round(row, DECIMALS) + 0.0) for row in lattice),  # type: ignore[arg-type]
            fractional_coordinates=tuple(tuple(float(x) for x in coordinates[i] + 0.0) for i in order),  # type: ignore[misc]
            atomic_numbers=tuple(int(numbers[i]) for i in order),
            space_group_number=int(space_group),
        )

    @cached_property
    def key(self) -> str:
        """Hash of the content: the same crystal value has the same key on every machine."""
        text = json.dumps([self.lattice, self.fractional_coordinates, self.atomic_numbers], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @cached_property
    def composition(self) -> Composition:
        """Atoms of each element in the cell."""
        return Composition.from_dict(dict(zip(*np.unique(self.symbols, return_counts=True), strict=True)))

    @property
    def symbols(self) -> list[str]:
        """Element symbol of each atom."""
        return [chemical_symbols[z] for z in self.atomic_numbers]

    @property
    def elements(self) -> frozenset[str]:
        """The elements it contains."""
        return frozenset(self.symbols)

    @property
    def chemical_system(self) -> str:
        """Its elements, alphabetical, joined by hyphens."""
        return "-".join(sorted(self.elements))

    @property
    def reduced_formula(self) -> str:
        """Formula in smallest whole numbers, e.g. `TiNi2Sn`."""
        return str(self.composition.reduced_formula)

    @property
    def number_of_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return len(self.atomic_numbers)

    @property
    def volume_per_atom(self) -> float:
        """Å3."""
        return float(abs(np.linalg.det(np.array(self.lattice))) / self.number_of_atoms)

    def to_structure(self) -> Structure:
        """As a pymatgen structure."""
        return Structure(Lattice(self.lattice), self.symbols, self.fractional_coordinates)

    def to_atoms(self) -> Atoms:
        """As an ASE structure, periodic."""
        return Atoms(numbers=self.atomic_numbers, cell=self.lattice, scaled_positions=self.fractional_coordinates, pbc=True)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` gives the same crystal back."""
        return {
            "lattice": [list(row) for row in self.lattice],
            "fractional_coordinates": [list(x) for x in self.fractional_coordinates],
            "atomic_numbers": list(self.atomic_numbers),
            "space_group_number": self.space_group_number,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(
            lattice=tuple(tuple(row) for row in data["lattice"]),  # type: ignore[arg-type]
            fractional_coordinates=tuple(tuple(x) for x in data["fractional_coordinates"]),
            atomic_numbers=tuple(data["atomic_numbers"]),
            space_group_number=data["space_group_number"],
        )


def _check(structure: Structure) -> None:
    """Refuse what cannot be a crystal."""
    name = structure.composition.reduced_formula if len(structure) else "(empty)"
    if len(structure) == 0:
        raise CrystalError("the structure has no atoms")
    if not structure.is_ordered:
        raise CrystalError(f"{name}: partial occupancy; order the sites first (pymatgen's OrderDisorderedStructureTransformation)")
    if not np.isfinite(structure.lattice.matrix).all() or not np.isfinite(structure.frac_coords).all():
        raise CrystalError(f"{name}: lattice or coordinates are not finite numbers")
    if abs(structure.lattice.volume) < 1.0 * len(structure):
        raise CrystalError(f"{name}: {structure.lattice.volume:.2f} Å3 for {len(structure)} atoms; the cell is flat or collapsed")
