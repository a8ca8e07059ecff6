"""Many cells of the same atoms as arrays, so that they are compared at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from loop.matching.cells import Cell

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class CellStack:
    """Cells of one composition and number of atoms, scaled to a volume of one per atom, atoms sorted by element."""

    numbers: Indices
    """`n_atoms`, atomic numbers, ascending."""
    lattices: Floats
    """`n_cells x 3 x 3`, rows are lattice vectors."""
    coordinates: Floats
    """`n_cells x n_atoms x 3`, fractional."""
    anchors: Indices
    """`n_cells`, the atom that the matcher lays on others: the first of the rarest element in the cell's own order."""
    lengths: Floats
    """`n_cells x 3`."""
    angles: Floats
    """`n_cells x 3`, alpha, beta, gamma, radians."""
    inverse_heights: Floats
    """`n_cells x 3`, one over the distances between lattice planes."""

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> Self:
        """Stack cells with the same atoms in any order."""
        lattices = np.array([cell.lattice for cell in cells])
        inverse = np.linalg.inv(lattices)
        scale = np.cbrt(np.abs(np.linalg.det(lattices)) / len(cells[0].atomic_numbers))[:, None]
        lengths = np.sqrt((lattices**2).sum(axis=2))
        units = lattices / lengths[:, :, None]
        cosines = (units[:, (1, 0, 0)] * units[:, (2, 2, 1)]).sum(axis=2)
        orders = [cell.atomic_numbers.argsort(kind="stable") for cell in cells]
        return cls(
            numbers=cells[0].atomic_numbers[orders[0]],
            lattices=lattices / scale[:, None],
            coordinates=np.array(
                [cell.coordinates[order] for cell, order in zip(cells, orders, strict=True)]
            ),
            anchors=np.array([_anchor(cell.atomic_numbers.tolist()) for cell in cells]),
            lengths=lengths / scale,
            angles=np.arccos(np.clip(cosines, -1, 1)),
            inverse_heights=np.sqrt((inverse**2).sum(axis=1)) * scale,
        )

    def __len__(self) -> int:
        """Cells held."""
        return len(self.lattices)

    def part(self, chosen: slice | Indices) -> CellStack:
        """Some of the cells."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in _BY_CELL})

    def room(self, number: int) -> CellStack:
        """The same cells followed by whatever, so that a number of cells have a place."""
        return replace(self, **{name: grown(getattr(self, name), number) for name in _BY_CELL})

    def put(self, place: int, other: CellStack) -> None:
        """Write other cells over those from a place on."""
        for name in _BY_CELL:
            getattr(self, name)[place : place + len(other)] = getattr(other, name)

    @cached_property
    def elements(self) -> tuple[slice, ...]:
        """Atoms of each element, by atomic number."""
        numbers = self.numbers.tolist()
        starts = [place for place, z in enumerate(numbers) if not place or numbers[place - 1] != z]
        return tuple(slice(*ends) for ends in zip(starts, [*starts[1:], len(numbers)], strict=True))


_BY_CELL = tuple(field.name for field in fields(CellStack) if field.name != "numbers")


def grown(array: NDArray[Number], number: int) -> NDArray[Number]:
    """The array followed by whatever, so that its first axis has a length."""
    larger = np.empty((number, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


def _anchor(numbers: list[int]) -> int:
    """Place among the atoms sorted by element of the first atom of the rarest element; of equals the one met first."""
    counts = Counter(numbers)
    rarest = min(numbers, key=counts.__getitem__)
    return sum(z < rarest for z in numbers)
