"""Crystal prototypes: structure types with the elements taken out, and their decoration with new elements.

The library is the AFLOW Library of Crystallographic Prototypes, part 1 (Mehl et al., Comput. Mater. Sci. 136,
S1 (2017), https://doi.org/10.1016/j.commatsci.2017.01.017), as pymatgen ships it: 288 ordered prototypes, 55
of one element, 176 of two, 48 of three. Four of them have atoms on top of one another there (B19', ullmanite,
C36 and the five-coloured sigma phase) and are left out.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Final

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.errors import ReferencePhaseError
from loop.volumes import scaled_to_predicted_volume, shortest_contact


@dataclass(frozen=True)
class Prototype:
    """A structure type with the elements taken out."""

    name: str
    """Unique: the AFLOW label and a running number among equal labels, e.g. `AB_cP2_221_b_a-001`."""
    aflow_label: str
    """Stoichiometry, Pearson symbol, space group and Wyckoff letters, e.g. `AB_cP2_221_b_a`."""
    pearson_symbol: str
    strukturbericht: str | None
    mineral: str | None
    """Mineral or common name of the compound that the prototype is named after."""
    original: Crystal
    """The compound that the prototype is named after, with its own lattice and elements."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements of the original compound in the order of their roles A, B, C, and so on."""
        return tuple(sorted(self.original.elements))

    @property
    def number_of_elements(self) -> int:
        """How many different elements it takes."""
        return len(self.original.elements)

    @property
    def number_of_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return self.original.number_of_atoms

    @property
    def space_group_number(self) -> int:
        """Space group in the AFLOW label, 1 to 230."""
        return int(self.aflow_label.split("_")[2])

    @property
    def anonymous_formula(self) -> str:
        """Formula with the elements taken out, smallest share first, e.g. `AB2`."""
        return str(self.original.composition.anonymized_formula)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Atoms in the primitive cell that play each role, `number_of_elements`."""
        symbols = self.original.symbols
        return tuple(symbols.count(element) for element in self.elements)

    @cached_property
    def site_roles(self) -> tuple[int, ...]:
        """Index of the role of each atom of `original`, `n_atoms`."""
        order = {element: index for index, element in enumerate(self.elements)}
        return tuple(order[symbol] for symbol in self.original.symbols)

    @cached_property
    def interchanges(self) -> tuple[tuple[int, ...], ...]:
        """Orders of the roles that give the same crystal; the identity is the first.

        Rock salt with its two elements exchanged is rock salt again: `((0, 1), (1, 0))`; fluorite allows only
        `((0, 1),)`.
        """
        roles = range(self.number_of_elements)
        identity = tuple(roles)
        reference = self._reordered(identity)
        found = [identity]
        for order in itertools.permutations(roles):
            if order == identity or any(self.counts[i] != self.counts[j] for i, j in enumerate(order)):
                continue
            if _EXACT_MATCHER.fit(reference, self._reordered(order)):
                found.append(order)
        return tuple(found)

    def formula(self, assignment: Sequence[str]) -> str:
        """Formula with the elements in the order of their roles, so that exchanged elements read differently.

        Args:
            assignment: one symbol for each role.
        """
        divisor = math.gcd(*self.counts)
        shares = [count // divisor for count in self.counts]
        return "".join(s if n == 1 else f"{s}{n}" for s, n in zip(assignment, shares, strict=True))

    def assignments(self, elements: Collection[str]) -> Iterator[tuple[str, ...]]:
        """Every distinct way to give elements to the roles, in alphabetical order.

        Assignments that an interchange of roles turns into one another are given once.
        """
        for chosen in itertools.permutations(sorted(set(elements)), self.number_of_elements):
            if all(chosen <= tuple(chosen[i] for i in order) for order in self.interchanges):
                yield chosen

    def _reordered(self, order: Sequence[int]) -> Structure:
        species = [self.elements[order[role]] for role in self.site_roles]
        return Structure(Lattice(self.original.lattice), species, self.original.fractional_coordinates)


# Only what numerical noise separates counts as the same: an interchange must be a symmetry of the prototype.
_EXACT_MATCHER: Final = StructureMatcher(
    ltol=0.01, stol=0.01, angle_tol=0.5, primitive_cell=False, scale=True
)


SOUND_CONTACT: Final = 0.6
"""Shortest contact over the sum of covalent radii below which an entry of the library is damaged. The damaged
ones have 0.39 to 0.52 (NiTi with a bond of 1.45 Å); the next is 0.61."""


@cache
def prototypes() -> tuple[Prototype, ...]:
    """The library, smallest cells first, then by name.

    Raises:
        ReferencePhaseError: this pymatgen does not ship the library.
    """
    numbered: defaultdict[str, int] = defaultdict(int)
    found = []
    for entry in _library():
        tags = entry["tags"]
        label = str(tags["aflow"])
        numbered[label] += 1
        structure = _structure(entry["snl"])
        if shortest_contact(structure) < SOUND_CONTACT:
            continue
        found.append(
            Prototype(
                name=f"{label}-{numbered[label]:03d}",
                aflow_label=label,
                pearson_symbol=str(tags["pearson"]),
                strukturbericht=_given(tags["strukturbericht"]),
                mineral=_given(tags["mineral"]),
                original=Crystal.from_structure(structure),
            )
        )
    return tuple(sorted(found, key=lambda p: (p.number_of_atoms, p.name)))


def prototype(name: str) -> Prototype:
    """The prototype of that name.

    Raises:
        ReferencePhaseError: no prototype has that name.
    """
    try:
        return _by_name()[name]
    except KeyError as error:
        raise ReferencePhaseError(
            f"{name!r} names no prototype; names look like {prototypes()[0].name!r}"
        ) from error


def decorate(structure_type: Prototype, elements: Sequence[str]) -> Structure:
    """The prototype with elements in its roles, scaled to the volume that these elements suggest.

    Args:
        structure_type: the prototype.
        elements: one symbol for each role A, B, C…; one symbol may play several roles (W in both roles of
            Cr3Si is β-W).

    Raises:
        ValueError: not one element per role.
    """
    if len(elements) != structure_type.number_of_elements:
        raise ValueError(
            f"{structure_type.name} takes {structure_type.number_of_elements} elements, "
            f"got {list(elements)}; give one per role"
        )
    species = [elements[role] for role in structure_type.site_roles]
    original = structure_type.original
    return scaled_to_predicted_volume(
        Structure(Lattice(original.lattice), species, original.fractional_coordinates)
    )


def decorations(
    structure_types: Iterable[Prototype], elements: Collection[str]
) -> Iterator[tuple[Prototype, tuple[str, ...]]]:
    """Every distinct pair of a prototype and an assignment of elements to it, in the prototypes' order."""
    for structure_type in structure_types:
        for assignment in structure_type.assignments(elements):
            yield structure_type, assignment


@cache
def _by_name() -> Mapping[str, Prototype]:
    return {p.name: p for p in prototypes()}


def _library() -> list[dict[str, Any]]:
    # Importing pymatgen.analysis.prototypes imports PyXtal and decodes provenance: 5 s instead of 25 ms.
    file = resources.files("pymatgen.analysis") / "prototypes" / "aflow_prototypes.json.gz"
    try:
        content: list[dict[str, Any]] = json.loads(gzip.decompress(file.read_bytes()))
    except OSError as error:
        raise ReferencePhaseError(
            f"{file}: the AFLOW prototype library cannot be read ({error}); reinstall pymatgen"
        ) from error
    return content


def _structure(data: Mapping[str, Any]) -> Structure:
    symbols = [site["species"][0]["element"] for site in data["sites"]]
    return Structure(Lattice(data["lattice"]["matrix"]), symbols, [site["abc"] for site in data["sites"]])


def _given(text: str) -> str | None:
    stripped = text.strip()
    return None if stripped in ("", "None") else stripped
