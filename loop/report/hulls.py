"""The hull diagrams of a report: which chemical systems, which phases, which tie-lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from loop.crystal import Crystal
from loop.facets import lower_facets
from loop.hull import ON_HULL, Hull, HullPhase
from loop.ledger.tables import Calculation
from loop.report.contents import HullDiagram, HullPoint
from loop.report.view import View

MOST: Final = 6
"""Chemical systems drawn, each at every fidelity."""


def diagrams(view: View, *, most: int = MOST) -> tuple[tuple[HullDiagram, ...], int]:
    """Hull diagrams of the systems that matter most, at the screening fidelities and the highest verifying one.

    Returns:
        The diagrams, those of one system side by side, and how many systems were left out.
    """
    systems = _systems(view)
    fidelities = [
        *((f, "screening") for f in view.screenings),
        *((f, "verifying") for f in view.fidelities[-1:]),
    ]
    found = [
        drawn
        for elements in systems[:most]
        for fidelity, role in fidelities
        if (drawn := diagram(view, elements, fidelity=fidelity, role=role)) is not None
    ]
    return tuple(found), max(0, len(systems) - most)


def diagram(
    view: View, elements: tuple[str, ...], *, fidelity: str, role: str = "screening"
) -> HullDiagram | None:
    """One chemical system at one fidelity; None where an element has no reference phase at that fidelity."""
    state, wanted = view.state, frozenset(elements)
    references = _within(state.crystals, state.reference_calculations(fidelity).items(), wanted)
    present = {crystal.chemical_system for _, crystal, _ in references}
    if not wanted <= present:
        return None
    candidates = _within(state.crystals, state.judged(fidelity).items(), wanted)
    verdicts = {id_: state.verdicts_in_force[id_, fidelity] for id_, _, _ in candidates}
    finds = [item for item in candidates if verdicts[item[0]].energy_above_hull <= ON_HULL]
    hull = Hull.build(
        [
            HullPhase(name, crystal.composition, energy_per_atom=energy, fidelity=fidelity)
            for name, crystal, energy in (*references, *finds)
        ],
        chemical_system=elements,
    )
    discoveries = view.discoveries if role == "verifying" or not view.fidelities else frozenset()
    points = [
        HullPoint(
            name=name,
            formula=crystal.reduced_formula,
            fractions=_fractions(crystal, elements),
            formation_energy=hull.formation_energy(crystal.composition, energy),
            energy_above_hull=max(
                0.0, hull.energy_above_hull(crystal.composition, energy, fidelity=fidelity)
            ),
            kind="reference",
        )
        for name, crystal, energy in references
    ]
    points += [
        HullPoint(
            name=name,
            formula=crystal.reduced_formula,
            fractions=_fractions(crystal, elements),
            formation_energy=verdicts[name].formation_energy,
            energy_above_hull=verdicts[name].energy_above_hull,
            kind="discovery" if name in discoveries else "candidate",
        )
        for name, crystal, _ in candidates
    ]
    return HullDiagram(
        elements=elements,
        fidelity=fidelity,
        role=role,
        points=tuple(points),
        tie_lines=_tie_lines(points, hull.stable),
        stable=view.spec.thresholds.stable,
    )


def _tie_lines(points: Sequence[HullPoint], stable: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Edges of the lower hull's facets: the stable phases that coexist."""
    place = [index for index, point in enumerate(points) if point.name in stable]
    facets, _ = lower_facets(
        np.array([points[i].fractions for i in place]),
        np.array([points[i].formation_energy for i in place]),
        system="hull diagram",
    )
    pairs = {(place[i], place[j]) for facet in facets.tolist() for i, j in itertools.combinations(facet, 2)}
    return tuple(sorted(pairs))


def _systems(view: View) -> list[tuple[str, ...]]:
    """Systems to draw: those searched, and binaries inside them that hold a discovery; the richest first."""
    state, discoveries = view.state, view.discoveries
    searched = view.spec.space.systems()
    judged = {
        id_: state.crystals[state.candidates[id_].crystal_key or ""].elements
        for id_, at in state.verdicts_in_force
        if at == view.screening
    }

    def richness(system: tuple[str, ...]) -> tuple[int, int, int, tuple[str, ...]]:
        inside = [id_ for id_, elements in judged.items() if elements <= set(system)]
        return -len(discoveries & set(inside)), -len(system), -len(inside), system

    inner = {tuple(sorted(judged[id_])) for id_ in discoveries if id_ in judged and len(judged[id_]) == 2}
    reached = {s for s in searched if any(elements <= set(s) for elements in judged.values())}
    return sorted({*(reached or searched[:1]), *inner}, key=richness)


def _within(
    crystals: dict[str, Crystal], calculations: Iterable[tuple[str, Calculation]], wanted: frozenset[str]
) -> list[tuple[str, Crystal, float]]:
    """Name, relaxed crystal and energy (eV/atom) of the phases whose elements all lie in a system."""
    found = []
    for name, calculation in calculations:
        crystal = crystals.get(calculation.result_crystal_key or "")
        if crystal is not None and calculation.energy_per_atom is not None and crystal.elements <= wanted:
            found.append((name, crystal, calculation.energy_per_atom))
    return found


def _fractions(crystal: Crystal, elements: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(float(crystal.composition.get_atomic_fraction(symbol)) for symbol in elements)
