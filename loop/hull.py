"""The convex hull of formation energies over composition, at one fidelity.

Over compositions x (atomic fractions) the hull is the largest convex function below all phases, so it is the
maximum of the planes through its lower facets: E_hull(x) = max_f x·μ_f, where μ_f are the chemical potentials
that the facet's phases fix. Queries are one matrix product. How the facets are found: loop.facets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from loop.envelope import highest_planes
from loop.errors import HullError
from loop.facets import PLANE_TOLERANCE, lower_facets
from loop.phases import (
    CompositionLike,
    HullPhase,
    atomic_fractions,
    check_names,
    lowest_phases,
    same_fidelity,
    version_of,
)

__all__ = ["ON_HULL", "CompositionLike", "Hull", "HullPhase", "HullSet", "atomic_fractions", "version_of"]

Floats = NDArray[np.float64]

ON_HULL: Final = 1e-8
"""Energy above hull up to which a phase counts as lying on it, eV/atom: rounding, no physics."""
_SUM: Final = 1e-5
"""By which atomic fractions may miss a sum of 1."""
_FEW: Final = 200
"""Compositions among which looking for equal ones does not pay."""
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: what it multiplies is scattered (Knuth, The Art of Computer Programming 6.4)."""
_SMALLEST_SHARE: Final = 1e-7
"""Fraction by atoms below which a phase is no part of a decomposition."""


@dataclass(frozen=True, eq=False)
class Hull:
    """The convex hull of one chemical system at one fidelity. Make it with `Hull.build`."""

    elements: tuple[str, ...]
    """`n_elements`, alphabetical: the columns of every array of fractions."""
    fidelity: str
    stable: tuple[str, ...]
    """Names of the phases on the hull, sorted."""
    version: str
    """Hash of the fidelity and of the stable phases' names, compositions and energies."""
    elemental_energies: Floats
    """`n_elements`, energy of each element's lowest phase, eV/atom."""
    _names: tuple[str, ...]
    """`n_phases` that facets refer to."""
    _fractions: Floats
    """`n_phases x n_elements`."""
    _facets: NDArray[np.int64]
    """`n_facets x n_elements`, indices of phases."""
    _potentials: Floats
    """`n_facets x n_elements`, chemical potentials relative to the elemental phases, eV/atom."""

    @classmethod
    def build(cls, phases: Sequence[HullPhase], *, chemical_system: str | Iterable[str]) -> Self:
        """The hull of a chemical system.

        Args:
            phases: all of one fidelity; phases with elements outside the system are left out.
            chemical_system: `Li-Fe-O` or the element symbols.

        Raises:
            HullError: two fidelities, an element without a phase, a name that occurs twice.
        """
        symbols = chemical_system.split("-") if isinstance(chemical_system, str) else list(chemical_system)
        elements = tuple(atomic_fractions(dict.fromkeys(symbols, 1.0), of="chemical system"))
        if not elements:
            raise HullError("the chemical system is empty; name at least one element")
        fidelity = same_fidelity(phases)
        within = [phase for phase in phases if set(phase.fractions) <= set(elements)]
        check_names(phase.name for phase in within)
        lowest = lowest_phases(within)
        elemental = {phase.elements[0]: phase for phase in lowest if len(phase.elements) == 1}
        missing = [symbol for symbol in elements if symbol not in elemental]
        if missing:
            raise HullError(
                f"{'-'.join(elements)}: no phase of the element {', '.join(missing)}; "
                "a hull needs a reference phase of each of its elements"
            )
        elemental_energies = np.array([elemental[symbol].energy_per_atom for symbol in elements])
        fractions = np.array([[phase.fractions.get(symbol, 0.0) for symbol in elements] for phase in lowest])
        formation = np.array([phase.energy_per_atom for phase in lowest]) - fractions @ elemental_energies
        # A phase above the tie-line of the elements can never lie on the hull.
        kept = [
            i for i, phase in enumerate(lowest) if len(phase.elements) == 1 or formation[i] <= PLANE_TOLERANCE
        ]
        facets, potentials = lower_facets(fractions[kept], formation[kept], system="-".join(elements))
        height = formation[kept] - highest_planes(fractions[kept], potentials)[1]
        stable = [lowest[i] for i, h in zip(kept, height, strict=True) if h <= ON_HULL]
        return cls(
            elements=elements,
            fidelity=fidelity,
            stable=tuple(sorted(phase.name for phase in stable)),
            version=version_of(fidelity, stable),
            elemental_energies=elemental_energies,
            _names=tuple(lowest[i].name for i in kept),
            _fractions=fractions[kept],
            _facets=facets,
            _potentials=potentials,
        )

    @property
    def number_of_facets(self) -> int:
        """Lower facets; what a query could cost."""
        return len(self._facets)

    def fractions_of(self, composition: CompositionLike) -> Floats:
        """Atomic fractions in the order of `elements`, `n_elements`.

        Raises:
            HullError: names the element that the hull does not have.
        """
        fractions = atomic_fractions(composition)
        if not fractions:
            raise HullError("the composition is empty; give the amounts of its elements")
        foreign = sorted(set(fractions) - set(self.elements))
        if foreign:
            raise HullError(f"the hull of {'-'.join(self.elements)} does not have {', '.join(foreign)}")
        return np.array([fractions.get(symbol, 0.0) for symbol in self.elements])

    def formation_energy(self, composition: CompositionLike, energy_per_atom: float) -> float:
        """Formation energy from the elements' lowest phases, eV/atom (survey eq. 36, per atom).

        Args:
            composition: amounts of the elements.
            energy_per_atom: eV/atom at the hull's fidelity.
        """
        return float(energy_per_atom - self.fractions_of(composition) @ self.elemental_energies)

    def energy_above_hull(
        self, composition: CompositionLike, energy_per_atom: float, *, fidelity: str
    ) -> float:
        """Energy above the hull (survey section 7.2), eV/atom; negative for a phase below it.

        Args:
            composition: amounts of the elements.
            energy_per_atom: eV/atom.
            fidelity: of that energy.

        Raises:
            HullError: another fidelity, an element the hull does not have, an energy that is not finite.
        """
        fractions = self.fractions_of(composition)[None]
        return float(self.energies_above_hull(fractions, np.array([energy_per_atom]), fidelity=fidelity)[0])

    def energies_above_hull(
        self, fractions: Floats, energies: Floats, *, fidelity: str | None = None
    ) -> Floats:
        """Energies above the hull of many phases, `n`, eV/atom; negative below it.

        Args:
            fractions: `n x n_elements`, atomic fractions in the order of `elements`.
            energies: `n`, eV/atom.
            fidelity: of those energies; None where the caller has made sure of it.

        Raises:
            HullError: another fidelity, or fractions or energies that are none.
        """
        if fidelity is not None and fidelity != self.fidelity:
            raise HullError(
                f"an energy of fidelity {fidelity} cannot be judged on a hull of {self.fidelity}; "
                "compute it again at the hull's fidelity"
            )
        fractions, energies = np.asarray(fractions, dtype=np.float64), np.asarray(energies, dtype=np.float64)
        if fractions.ndim != 2 or fractions.shape != (len(energies), len(self.elements)):
            raise HullError(
                f"fractions have shape {fractions.shape} for {len(energies)} energies and "
                f"{len(self.elements)} elements; give n x {len(self.elements)}"
            )
        if not np.isfinite(energies).all():
            row = int(np.flatnonzero(~np.isfinite(energies))[0])
            raise HullError(
                f"energy {row} is {energies[row]} eV/atom; a failed calculation has no place on a hull"
            )
        elemental, hull = self.heights(fractions)
        result: Floats = energies - elemental - hull
        return result

    def heights(self, fractions: Floats) -> tuple[Floats, Floats]:
        """What energies at many compositions are measured from, each `n`, eV/atom.

        Args:
            fractions: `n x n_elements`, atomic fractions in the order of `elements`.

        Returns:
            The mixture of the elements' lowest phases, and the hull relative to it (never above 0).

        Raises:
            HullError: fractions that are none.
        """
        fractions = np.asarray(fractions, dtype=np.float64)
        if fractions.ndim != 2 or fractions.shape[1] != len(self.elements):
            raise HullError(f"fractions have shape {fractions.shape}; give n x {len(self.elements)}")
        if (fractions < 0).any() or not (np.abs(fractions.sum(axis=1) - 1) <= _SUM).all():
            raise HullError("atomic fractions must not be negative and must add up to 1")
        distinct, places = _distinct_rows(fractions)
        elemental: Floats = fractions @ self.elemental_energies
        return elemental, highest_planes(distinct, self._potentials)[1][places]

    def decomposition(self, composition: CompositionLike) -> dict[str, float]:
        """The stable phases that a composition decomposes into, with their fractions by atoms."""
        return self.decompositions(self.fractions_of(composition)[None])[0]

    def decompositions(self, fractions: Floats) -> list[dict[str, float]]:
        """As `decomposition`, of many compositions.

        Args:
            fractions: `n x n_elements`, atomic fractions in the order of `elements`.
        """
        highest, _ = highest_planes(fractions, self._potentials)
        corners = self._fractions[self._facets]
        shares = np.linalg.solve(corners[highest].transpose(0, 2, 1), fractions[..., None])[..., 0]
        # Where facets lie on one plane, the highest to within rounding need not be the one around the point.
        for row in np.flatnonzero(shares.min(axis=1) < -_SMALLEST_SHARE):
            planes = self._potentials @ fractions[row]
            level = np.flatnonzero(planes >= planes.max() - ON_HULL)
            candidates = np.linalg.solve(corners[level].transpose(0, 2, 1), fractions[row][:, None])[..., 0]
            best = int(candidates.min(axis=1).argmax())
            highest[row], shares[row] = level[best], candidates[best]
        parts = []
        for facet, row in zip(self._facets[highest].tolist(), shares.tolist(), strict=True):
            kept = [
                (s, self._names[phase]) for phase, s in zip(facet, row, strict=True) if s > _SMALLEST_SHARE
            ]
            total = sum(share for share, _ in kept)
            parts.append(
                {n: share / total for share, n in sorted(kept, key=lambda item: (-item[0], item[1]))}
            )
        return parts


def _distinct_rows(rows: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The distinct rows of an array, and each row's place among them; all of them where few repeat.

    Candidates of a system share few compositions, and equal ones agree in every bit, so rows are told apart by a
    64-bit hash of their bits and then compared.
    """
    if len(rows) <= _FEW:
        return rows, np.arange(len(rows))
    code = np.zeros(len(rows), dtype=np.uint64)
    for column in np.ascontiguousarray(rows.T).view(np.uint64):
        # A fraction such as 1/4 differs from others in its highest bits alone; products carry bits upwards only.
        code = (code ^ column ^ (column >> np.uint64(32))) * _ODD
        code ^= code >> np.uint64(29)
    _, first, places = np.unique(code, return_index=True, return_inverse=True)
    distinct = rows[first]
    if (distinct[places] != rows).any():
        return rows, np.arange(len(rows))
    return distinct, places


class HullSet:
    """The hulls of every chemical system inside a set of phases, each built when first asked for.

    A phase's energy above hull depends only on phases of its own elements, so each composition is judged on
    the hull of its own chemical system, which keeps hulls small however many elements the campaign has.
    """

    def __init__(self, phases: Iterable[HullPhase]) -> None:
        self.phases: Final = tuple(phases)
        self.fidelity: Final = same_fidelity(self.phases)
        check_names(phase.name for phase in self.phases)
        self._by_elements: dict[frozenset[str], list[HullPhase]] = {}
        for phase in self.phases:
            self._by_elements.setdefault(frozenset(phase.fractions), []).append(phase)
        self._hulls: dict[frozenset[str], Hull] = {}
        self._on_hull: dict[frozenset[str], frozenset[str]] = {}

    @cached_property
    def stable(self) -> tuple[HullPhase, ...]:
        """The phases that lie on the hull of their chemical system, in the order given."""
        return tuple(phase for phase in self.phases if self.is_stable(phase))

    @cached_property
    def version(self) -> str:
        """Hash of the fidelity and of all stable phases: it names every hull of the set."""
        return version_of(self.fidelity, self.stable)

    @property
    def chemical_systems(self) -> tuple[tuple[str, ...], ...]:
        """The chemical systems that have a phase of their own, alphabetical."""
        return tuple(sorted(tuple(sorted(elements)) for elements in self._by_elements))

    def hull(self, elements: Iterable[str]) -> Hull:
        """The hull of a chemical system.

        Raises:
            HullError: an element has no phase.
        """
        system = frozenset(elements)
        if system not in self._hulls:
            inside = [p for own, phases in self._by_elements.items() if own <= system for p in phases]
            self._hulls[system] = Hull.build(inside, chemical_system=system)
        return self._hulls[system]

    def hull_of(self, composition: CompositionLike) -> Hull:
        """The hull of a composition's own chemical system."""
        return self.hull(atomic_fractions(composition))

    def formation_energy(self, composition: CompositionLike, energy_per_atom: float) -> float:
        """See `Hull.formation_energy`."""
        return self.hull_of(composition).formation_energy(composition, energy_per_atom)

    def energy_above_hull(
        self, composition: CompositionLike, energy_per_atom: float, *, fidelity: str
    ) -> float:
        """See `Hull.energy_above_hull`."""
        return self.hull_of(composition).energy_above_hull(composition, energy_per_atom, fidelity=fidelity)

    def by_system(
        self, compositions: Sequence[Mapping[str, float]]
    ) -> Iterator[tuple[Hull, NDArray[np.int64], Floats]]:
        """Many compositions, sorted by the hull that judges them.

        Args:
            compositions: atomic fractions by element, as `atomic_fractions` gives them.

        Yields:
            A hull, the places of the compositions of its chemical system, and their fractions in its order.
        """
        places: dict[tuple[str, ...], list[int]] = {}
        for place, fractions in enumerate(compositions):
            places.setdefault(tuple(fractions), []).append(place)
        for elements, own in places.items():
            rows = np.array([list(compositions[place].values()) for place in own])
            yield self.hull(elements), np.array(own), rows

    def decomposition(self, composition: CompositionLike) -> dict[str, float]:
        """See `Hull.decomposition`."""
        return self.hull_of(composition).decomposition(composition)

    def is_stable(self, phase: HullPhase) -> bool:
        """Whether a phase of the set lies on the hull of its chemical system."""
        system = frozenset(phase.fractions)
        if system not in self._on_hull:
            self._on_hull[system] = frozenset(self.hull(system).stable)
        return phase.name in self._on_hull[system]
