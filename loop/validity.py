"""Whether a structure could be a material at all, judged before anything is spent on it (survey section 7.1).

The bounds are set so that they hardly ever reject a real material. Of the 14,240 Materials Project structures
of the MP-20 and MPTS-52 benchmark sets they reject: `overlap` none, `too-close` 1 (a plutonium phase; with
the covalent fraction at 0.7 it would be 49, nearly all with actinides, whose bonds are short for their
covalent radii), `too-dense` none, `too-sparse` 3 (cells that are mostly vacuum), `thin-cell` none; 0.03 % in
all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.distances import Floats, nearest_image_distances, reduced_cell


@dataclass(frozen=True, slots=True, kw_only=True)
class ValiditySettings:
    """What is asked of a structure."""

    minimum_distance: float = 0.5
    """Floor under every interatomic distance, Å (survey section 7.1)."""
    covalent_fraction: float = 0.65
    """Smallest distance of two atoms as a fraction of the sum of their covalent radii (Cordero et al., Dalton
    Trans. 2832, 2008). For two hydrogen atoms it is 0.40 Å, so the floor decides (H2 is 0.74 Å long)."""
    smallest_packing: float = 0.5
    """Smallest volume per atom, as a fraction of the mean volume of the atoms' covalent spheres (measured: at
    least 0.68)."""
    largest_packing: float = 25.0
    """Largest volume per atom, as a multiple of the mean volume of the covalent spheres plus 1 Å3 (measured:
    at most 22, three cells of vacuum aside). The addition leaves room around hydrogen and helium, whose
    covalent spheres are tiny."""
    smallest_height: float = 1.2
    """Smallest distance between opposite faces of the reduced cell, Å (measured: at least 1.45)."""
    largest_elongation: float = 20.0
    """Largest ratio of two edges of the reduced cell (measured: at most 12.5)."""
    charge_neutral: bool = False
    """Whether the composition must be charge neutral by SMACT (survey section 7.1)."""
    exempt_alloys: bool = True
    """Whether compositions of metals alone pass as charge neutral. With the exemption SMACT passes 91 % of
    the Materials Project formulas named above, without it 70 %; mixed valence such as Fe3O4's it never
    passes."""


DEFAULT_SETTINGS: Final = ValiditySettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidity:
    """A reason why a structure cannot be a material."""

    reason: str
    """A short word that can be counted: one of `REASONS`."""
    detail: str
    """One sentence for the person who looks."""


@dataclass(frozen=True)
class _Subject:
    """A structure with what several of the checks need."""

    lattice: Floats
    coordinates: Floats
    numbers: tuple[int, ...]
    formula: str

    @cached_property
    def distances(self) -> Floats:
        return nearest_image_distances(self.lattice, self.coordinates)

    @cached_property
    def radii(self) -> Floats:
        return np.asarray(covalent_radii[list(self.numbers)], dtype=np.float64)

    def pair(self, index: int) -> str:
        first, second = divmod(index, len(self.numbers))
        return "-".join(sorted(chemical_symbols[self.numbers[i]] for i in (first, second)))


def reasons_against(
    structure: Crystal | Structure, *, settings: ValiditySettings = DEFAULT_SETTINGS
) -> tuple[Invalidity, ...]:
    """Every reason against a structure, in the order of `REASONS`; empty for a valid one."""
    return tuple(_reasons(_subject(structure), settings))


def first_reason_against(
    structure: Crystal | Structure,
    *,
    charge_neutral: bool = False,
    settings: ValiditySettings = DEFAULT_SETTINGS,
) -> Invalidity | None:
    """The first reason against a structure, or None for a valid one.

    Args:
        structure: ordered.
        charge_neutral: ask for charge neutrality whatever the settings say.
        settings: what is asked of it.
    """
    subject = _subject(structure)
    found = next(_reasons(subject, settings), None)
    if found is None and charge_neutral and not settings.charge_neutral:
        found = _not_neutral(subject, settings)
    return found


def minimum_distance(structure: Crystal | Structure) -> float:
    """Smallest distance between two atoms or an atom and its own image, Å."""
    return float(_subject(structure).distances.min())


@lru_cache(maxsize=65_536)
def is_charge_neutral(formula: str, *, exempt_alloys: bool = True) -> bool:
    """Whether oxidation states that SMACT finds common can make a composition neutral (survey section 7.1).

    Args:
        formula: reduced formula, in whole numbers. Elements pass.
        exempt_alloys: pass compositions of metals alone.
    """
    from smact.screening import smact_validity

    with warnings.catch_warnings():
        # Elements without an electronegativity are reported one by one; SMACT then judges by charge alone.
        warnings.simplefilter("ignore")
        return bool(smact_validity(formula, use_pauling_test=True, include_alloys=exempt_alloys))


def _subject(structure: Crystal | Structure) -> _Subject:
    if isinstance(structure, Crystal):
        return _Subject(
            np.array(structure.lattice),
            np.array(structure.fractional_coordinates),
            structure.atomic_numbers,
            structure.reduced_formula,
        )
    return _Subject(
        structure.lattice.matrix,
        structure.frac_coords,
        tuple(structure.atomic_numbers),
        structure.composition.element_composition.reduced_formula,
    )


def _reasons(subject: _Subject, settings: ValiditySettings) -> Iterator[Invalidity]:
    for check in _CHECKS.values():
        invalidity = check(subject, settings)
        if invalidity is not None:
            yield invalidity


def _overlap(subject: _Subject, settings: ValiditySettings) -> Invalidity | None:
    nearest = int(subject.distances.argmin())
    distance = subject.distances.flat[nearest]
    if distance >= settings.minimum_distance:
        return None
    detail = f"{subject.pair(nearest)} {distance:.2f} Å apart, less than {settings.minimum_distance:g} Å"
    return Invalidity(reason="overlap", detail=detail)


def _too_close(subject: _Subject, settings: ValiditySettings) -> Invalidity | None:
    sums = subject.radii[:, None] + subject.radii
    nearest = int((subject.distances / sums).argmin())
    distance, wanted = subject.distances.flat[nearest], settings.covalent_fraction * sums.flat[nearest]
    if distance >= wanted:
        return None
    detail = (
        f"{subject.pair(nearest)} {distance:.2f} Å apart, less than {settings.covalent_fraction:g} of the "
        f"sum of their covalent radii ({wanted:.2f} Å)"
    )
    return Invalidity(reason="too-close", detail=detail)


def _spheres(subject: _Subject) -> float:
    """Mean volume of the atoms' covalent spheres, Å3."""
    return float(4 / 3 * np.pi * (subject.radii**3).mean())


def _volume_per_atom(subject: _Subject) -> float:
    return float(abs(np.linalg.det(subject.lattice)) / len(subject.numbers))


def _too_dense(subject: _Subject, settings: ValiditySettings) -> Invalidity | None:
    volume, wanted = _volume_per_atom(subject), settings.smallest_packing * _spheres(subject)
    if volume >= wanted:
        return None
    return Invalidity(reason="too-dense", detail=f"{volume:.1f} Å3 per atom, less than {wanted:.1f} Å3")


def _too_sparse(subject: _Subject, settings: ValiditySettings) -> Invalidity | None:
    volume, wanted = _volume_per_atom(subject), settings.largest_packing * (_spheres(subject) + 1)
    if volume <= wanted:
        return None
    return Invalidity(reason="too-sparse", detail=f"{volume:.1f} Å3 per atom, more than {wanted:.1f} Å3")


def _thin_cell(subject: _Subject, settings: ValiditySettings) -> Invalidity | None:
    basis, _ = reduced_cell(subject.lattice, subject.coordinates)
    height = float((1 / np.linalg.norm(np.linalg.inv(basis), axis=0)).min())
    lengths = np.linalg.norm(basis, axis=1)
    elongation = float(lengths.max() / lengths.min())
    if height < settings.smallest_height:
        detail = f"the cell is {height:.2f} Å thin, less than {settings.smallest_height:g} Å"
        return Invalidity(reason="thin-cell", detail=detail)
    if elongation > settings.largest_elongation:
        detail = (
            f"the cell is {elongation:.0f} times as long as wide, more than {settings.largest_elongation:g}"
        )
        return Invalidity(reason="thin-cell", detail=detail)
    return None


def _not_neutral(subject: _Subject, settings: ValiditySettings) -> Invalidity | None:
    if is_charge_neutral(subject.formula, exempt_alloys=settings.exempt_alloys):
        return None
    detail = f"no common oxidation states make {subject.formula} charge neutral (SMACT)"
    return Invalidity(reason="not-neutral", detail=detail)


def _not_neutral_if_asked(subject: _Subject, settings: ValiditySettings) -> Invalidity | None:
    return _not_neutral(subject, settings) if settings.charge_neutral else None


_CHECKS: Final[dict[str, Callable[[_Subject, ValiditySettings], Invalidity | None]]] = {
    "overlap": _overlap,
    "too-close": _too_close,
    "too-dense": _too_dense,
    "too-sparse": _too_sparse,
    "thin-cell": _thin_cell,
    "not-neutral": _not_neutral_if_asked,
}
"""By reason, the cheap and telling ones first."""
REASONS: Final = tuple(_CHECKS)
