"""The primitive cell that pymatgen finds for a structure, its very numbers, without building structures.

`Structure.get_primitive_structure` looks for translations that map every atom near one of its element, takes the first
sublattice all of whose vectors are among them, merges the atoms that it makes one, and does so again with the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from math import gcd
from typing import Final

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.matching.cells import Cell, niggli_cell

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SITE: Final = 0.25
"""Distance along each axis within which pymatgen takes two sites for one, Å."""
_DOUBT: Final = 1e-6
"""Relative difference from a tolerance below which pymatgen is asked."""


def matched_cell(matter: Crystal | Structure) -> Cell:
    """The cell that the matcher reduces a crystal to for every pair it compares: Niggli's, then primitive."""
    return primitive_cell(niggli_cell(Cell.of(matter)))


def primitive_cell(cell: Cell) -> Cell:
    """What `Structure.get_primitive_structure` makes of a cell, number for number."""
    groups = _groups(cell)
    units = gcd(*(len(atoms) for atoms in groups))
    if units == 1:
        return cell
    translations = _translations(cell, groups, units)
    if translations is None:
        return Cell.of(cell.to_structure().get_primitive_structure())
    if not len(translations):
        return cell
    smaller = next(_smaller(cell, groups, translations, units), None)
    return cell if smaller is None else niggli_cell(primitive_cell(smaller))


def _groups(cell: Cell) -> list[list[int]]:
    """Atoms of each element, alphabetically."""
    groups: dict[str, list[int]] = {}
    for atom, number in enumerate(cell.atomic_numbers.tolist()):
        groups.setdefault(chemical_symbols[number], []).append(atom)
    return [groups[symbol] for symbol in sorted(groups)]


def _translations(cell: Cell, groups: list[list[int]], units: int) -> Floats | None:
    """Steps from an atom of the rarest element to others that take every atom near one of its element.

    Returns:
        `n x 3`, fractional, without zero; None where a tolerance is in doubt.
    """
    near = (2 * SITE / cell.lengths).tolist()
    if min(cell.lengths) < (1 + _DOUBT) * SITE * units:
        # So fine a lattice that none of its vectors would be told from zero.
        return None
    ordered = sorted(groups, key=len)
    positions = [cell.coordinates[atoms].tolist() for atoms in ordered]
    origin = positions[0][0]
    found = []
    # In plain numbers, since most translations fail at the first atom.
    for other in positions[0][1:]:
        step = [b - a for a, b in zip(origin, other, strict=True)]
        verdict = _takes_all(step, positions, near)
        if verdict is None:
            return None
        if verdict:
            found.append(step)
    return np.array(found).reshape(-1, 3)


def _takes_all(step: list[float], positions: list[list[list[float]]], near: list[float]) -> bool | None:
    """Whether a step takes every atom near another or its image, None where that is in doubt."""
    for group in positions:
        for start in group:
            a, b, c = (x + y for x, y in zip(start, step, strict=True))
            best = np.inf
            for x, y, z in group:
                u, v, w = a - x, b - y, c - z
                furthest = max(
                    abs(u - round(u)) / near[0], abs(v - round(v)) / near[1], abs(w - round(w)) / near[2]
                )
                best = min(best, furthest)
            if abs(best - 1) < _DOUBT:
                return None
            if best > 1:
                return False
    return True


def _smaller(cell: Cell, groups: list[list[int]], translations: Floats, units: int) -> Iterator[Cell]:
    """Smaller cells in pymatgen's order."""
    steps = np.concatenate([np.zeros((1, 3)), translations])
    tolerance = SITE / cell.lengths
    coordinates = [cell.coordinates[atoms] for atoms in groups]
    apart = [_apart(own, 2 * tolerance) for own in coordinates]
    for size in range(2, units + 1):
        if units % size:
            continue
        for matrices in _sublattices(size):
            inverses = np.linalg.inv(matrices)
            distances = inverses[:, :, None, :] - steps
            distances -= np.round(distances)
            known = (np.abs(distances) < tolerance).all(axis=-1).any(axis=-1).all(axis=-1)
            for place in np.flatnonzero(known).tolist():
                lattice = np.dot(inverses[place], cell.lattice)
                reach = SITE / np.sqrt((lattice**2).sum(axis=1))
                merged = [
                    _merged(np.dot(own, matrices[place]), nobody, reach, size)
                    for own, nobody in zip(coordinates, apart, strict=True)
                ]
                if any(positions is None for positions in merged):
                    continue
                numbers = [cell.atomic_numbers[atoms[0]] for atoms in groups]
                kept = [positions for positions in merged if positions is not None]
                yield Cell(
                    lattice=np.dot(np.linalg.inv(matrices[place]), cell.lattice),
                    coordinates=np.concatenate(kept),
                    atomic_numbers=np.repeat(numbers, [len(positions) for positions in kept]),
                )


def _apart(positions: Floats, reach: Floats) -> Flags:
    """Atoms (`n x n`) that are no neighbours in the large cell, each with itself among them."""
    distances = positions[None] - positions[:, None]
    distances -= np.round(distances)
    apart: Flags = np.array((np.abs(distances) > reach).any(axis=-1))
    np.fill_diagonal(apart, val=True)
    return apart


def _merged(positions: Floats, apart: Flags, reach: Floats, size: int) -> Floats | None:
    """Positions in a smaller cell, averaged over atoms that are one there, or None where they are not so many."""
    distances = positions[None] - positions[:, None]
    together = (np.abs(distances - np.round(distances)) < reach).all(axis=-1) & apart
    if not (together.sum(axis=0) == size).all():
        return None
    if not all(together[own][:, own].all() for own in together):
        return None
    inside = positions % 1
    seen = np.zeros(len(positions), dtype=bool)
    averages = []
    for atom, own in enumerate(together):
        if seen[atom]:
            continue
        seen |= own
        members = np.flatnonzero(own)
        average = inside[members[0]].copy()
        for number, member in enumerate(members[1:], start=2):
            offset = inside[member] - average
            average += (offset - np.round(offset)) / number
        averages.append(average)
    return np.array(averages)


@cache
def _sublattices(size: int) -> tuple[Floats, ...]:
    """Hermite normal forms with a determinant (`n x 3 x 3`), by their diagonals, ascending."""
    forms = []
    for a, e in itertools.product(range(1, size + 1), repeat=2):
        if size % a or (size // a) % e:
            continue
        rest = itertools.product(range(a), range(a), range(e))
        forms.append(
            np.array([[[a, b, c], [0, e, f], [0, 0, size // a // e]] for b, c, f in rest], dtype=float)
        )
    return tuple(forms)
