"""Which crystals a campaign looks for: elements, chemical systems and sizes."""

from __future__ import annotations

import itertools
from typing import Any, Self

from pydantic import field_validator, model_validator

from loop.elements import ELEMENT_SYMBOLS, closest
from loop.model import Model, PositiveInt


def _check_elements(symbols: tuple[str, ...], field: str) -> tuple[str, ...]:
    for symbol in symbols:
        if symbol not in ELEMENT_SYMBOLS:
            raise ValueError(
                f"{field}: {symbol!r} is not an element symbol; did you mean {closest(symbol, ELEMENT_SYMBOLS)!r}?"
            )
    if len(set(symbols)) != len(symbols):
        raise ValueError(f"{field}: an element is listed twice in {list(symbols)}; list each once")
    return tuple(sorted(symbols))


class Space(Model):
    """Which crystals the campaign looks for.

    Give either `chemical_systems` (searched with all their subsystems) or `elements` (every combination of them up
    to `number_of_elements`).
    """

    chemical_systems: tuple[str, ...] = ()
    """Chemical systems such as `Ni-Sn-Ti`. Each is searched together with the systems inside it."""
    elements: tuple[str, ...] = ()
    """An element set to combine freely, instead of `chemical_systems`."""
    required_elements: tuple[str, ...] = ()
    """Elements that every proposed crystal must contain."""
    excluded_elements: tuple[str, ...] = ()
    """Elements that no crystal may contain (useful to carve out of a long element set)."""
    number_of_elements: tuple[PositiveInt, PositiveInt] = (2, 3)
    """Smallest and largest number of elements in a proposed crystal."""
    atoms: tuple[PositiveInt, PositiveInt] = (2, 12)
    """Smallest and largest number of atoms in the primitive cell of a proposed crystal."""
    charge_neutral: bool = False
    """Keep only compositions that can be charge neutral by common oxidation states (SMACT). Leave off for alloys."""

    @field_validator("elements", "required_elements", "excluded_elements")
    @classmethod
    def _elements_exist(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        return _check_elements(value, info.field_name)

    @field_validator("chemical_systems")
    @classmethod
    def _systems_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            "-".join(_check_elements(tuple(system.split("-")), "chemical_systems")) for system in value
        )

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if bool(self.chemical_systems) == bool(self.elements):
            raise ValueError(
                "give either chemical_systems (e.g. [Ni-Sn-Ti]) or elements (e.g. [Ni, Sn, Ti]); one of them, not both"
            )
        for field in ("number_of_elements", "atoms"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field}: the smallest ({low}) is larger than the largest ({high})")
        forbidden = sorted(set(self.required_elements) & set(self.excluded_elements))
        if forbidden:
            raise ValueError(f"required_elements and excluded_elements both name {forbidden}")
        if not self.systems():
            fewest, most = self.number_of_elements
            raise ValueError(
                f"no chemical system is left: {self.all_elements()} cannot make crystals of {fewest} to {most} "
                f"elements that contain {list(self.required_elements) or 'anything'}"
            )
        return self

    def all_elements(self) -> tuple[str, ...]:
        """Every element that may occur, alphabetical."""
        listed = set(self.elements) or {
            symbol for system in self.chemical_systems for symbol in system.split("-")
        }
        return tuple(sorted(listed - set(self.excluded_elements)))

    def systems(self) -> tuple[tuple[str, ...], ...]:
        """The largest chemical systems to search, each a tuple of element symbols, alphabetical."""
        low, high = self.number_of_elements
        if self.chemical_systems:
            maximal = {
                tuple(s for s in system.split("-") if s not in self.excluded_elements)
                for system in self.chemical_systems
            }
        else:
            elements = self.all_elements()
            maximal = set(itertools.combinations(elements, min(high, len(elements))))
        return tuple(sorted(s for s in maximal if len(s) >= low and set(self.required_elements) <= set(s)))

    def reason_against(self, symbols: frozenset[str] | set[str], number_of_atoms: int) -> str | None:
        """Why a crystal of these elements and size lies outside the space, or None where it lies inside."""
        low, high = self.number_of_elements
        if not low <= len(symbols) <= high:
            return f"{len(symbols)} elements, the space asks for {low} to {high}"
        missing = sorted(set(self.required_elements) - symbols)
        if missing:
            return f"lacks required {', '.join(missing)}"
        if not any(symbols <= set(system) for system in self.systems()):
            return f"{'-'.join(sorted(symbols))} lies in none of the chemical systems"
        smallest, largest = self.atoms
        if not smallest <= number_of_atoms <= largest:
            return f"{number_of_atoms} atoms, the space asks for {smallest} to {largest}"
        return None
