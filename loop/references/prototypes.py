"""The source that needs no network: structure types decorated with elements, for the potential to relax."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from loop.crystal import Crystal
from loop.distances import Floats, nearest_image_distances
from loop.prototypes import Prototype, decorate, decorations, prototypes
from loop.references.checks import checked_elements
from loop.references.elements import element_candidates
from loop.references.options import read_options
from loop.references.source import ReferencePhase
from loop.spec import Model, PositiveInt


class PrototypeOptions(Model):
    """Options of `prototypes`."""

    max_elements: PositiveInt = 2
    """Largest number of elements in a reference phase. With 2, ternaries are left to the campaign to find."""
    max_atoms: PositiveInt = 8
    """Largest number of atoms in the primitive cell of a structure type. 12 adds C14, C37 and pyrite,
    16 cementite and their like, each at several times the cost."""
    max_atoms_of_elements: PositiveInt = 32
    """As `max_atoms`, for structure types named after the element itself: 32 admits alpha-Mn (29) and
    alpha-S (32)."""
    max_per_system: PositiveInt | None = None
    """Most compounds in each chemical system, structure types with a Strukturbericht symbol first and small
    cells first among them; null for all."""


class PrototypeReferences:
    """The AFLOW prototypes (part 1), decorated with the elements of a chemical system."""

    def __init__(self, options: Mapping[str, Any], *, base: Path) -> None:  # noqa: ARG002 - the registry's signature
        self._options = read_options(PrototypeOptions, options)

    def entries(self, chemical_system: Sequence[str]) -> list[ReferencePhase]:
        """Elements first, then compounds by number of elements; always in the same order.

        Raises:
            ReferencePhaseError: something in `chemical_system` is no element.
        """
        elements = checked_elements(chemical_system)
        phases = _Distinct()
        for symbol in elements:
            phases.extend(self._elements(symbol))
        for number in range(2, self._options.max_elements + 1):
            for system in itertools.combinations(elements, number):
                phases.extend(self._compounds(system), limit=self._options.max_per_system)
        return phases.kept

    def describe(self) -> Mapping[str, Any]:
        """Library, its version, and the options."""
        return {
            "source": "prototypes",
            "library": "AFLOW Library of Crystallographic Prototypes, part 1",
            "pymatgen": version("pymatgen"),
            "options": self._options.model_dump(mode="json"),
        }

    def _elements(self, symbol: str) -> Iterator[ReferencePhase]:
        for candidate in element_candidates(
            symbol, max_atoms=self._options.max_atoms, max_atoms_own=self._options.max_atoms_of_elements
        ):
            yield ReferencePhase(
                name=f"{candidate.label} {symbol}",
                crystal=Crystal.from_structure(candidate.structure),
                details=_details(
                    candidate.structure_type, [symbol] * candidate.structure_type.number_of_elements
                ),
            )

    def _compounds(self, system: tuple[str, ...]) -> Iterator[ReferencePhase]:
        fitting = [
            p
            for p in prototypes()
            if p.number_of_elements == len(system) and p.number_of_atoms <= self._options.max_atoms
        ]
        fitting.sort(key=lambda p: (p.strukturbericht is None, p.number_of_atoms, p.name))
        for structure_type, assignment in decorations(fitting, system):
            yield ReferencePhase(
                name=f"{structure_type.name} {structure_type.formula(assignment)}",
                crystal=Crystal.from_structure(decorate(structure_type, assignment)),
                details=_details(structure_type, assignment),
            )


class _Distinct:
    """Phases without those that start from the same crystal."""

    def __init__(self) -> None:
        self.kept: list[ReferencePhase] = []
        self._similar: defaultdict[tuple[str, int], list[tuple[Crystal, Floats]]] = defaultdict(list)

    def extend(self, phases: Iterator[ReferencePhase], *, limit: int | None = None) -> None:
        """Add the distinct ones, at most `limit`."""
        added = 0
        for phase in phases:
            if limit is not None and added >= limit:
                return
            crystal, shape = phase.crystal, _shape(phase.crystal)
            kind = crystal.reduced_formula, crystal.number_of_atoms
            if any(_is_same_start(crystal, shape, *other) for other in self._similar[kind]):
                continue
            self._similar[kind].append((crystal, shape))
            self.kept.append(phase)
            added += 1


# Tight on purpose: within pymatgen's usual tolerances bcc and tetragonal Pa are one, and they relax apart.
_MATCHER: Final = StructureMatcher(ltol=0.03, stol=0.05, angle_tol=1.0, primitive_cell=False)


_SAME_SHAPE: Final = 0.05


def _is_same_start(crystal: Crystal, shape: Floats, other: Crystal, other_shape: Floats) -> bool:
    # The shapes settle nearly every pair at a thousandth of the matcher's price.
    if float(np.abs(shape - other_shape).max()) > _SAME_SHAPE:
        return False
    return bool(_MATCHER.fit(crystal.to_structure(), other.to_structure()))


def _shape(crystal: Crystal) -> Floats:
    """All nearest-image distances in ascending order, in units of the cube root of the volume per atom."""
    distances = nearest_image_distances(np.array(crystal.lattice), np.array(crystal.fractional_coordinates))
    shape: Floats = np.sort(distances, axis=None) / crystal.volume_per_atom ** (1 / 3)
    return shape


def _details(structure_type: Prototype, assignment: Sequence[str]) -> Mapping[str, Any]:
    return {
        "prototype": structure_type.name,
        "strukturbericht": structure_type.strukturbericht,
        "mineral": structure_type.mineral,
        "assignment": list(assignment),
    }
