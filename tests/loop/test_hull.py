"""Hulls against pymatgen's PhaseDiagram and linear programming, degenerate cases, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition
from scipy.optimize import linprog

from loop.errors import HullError
from loop.facets import lower_facets
from loop.hull import Hull, HullPhase, HullSet, _distinct_rows

ELEMENTS = ("Ba", "Fe", "Li", "Ni", "O", "Ti")
DATA = os.environ.get("MOTHERLODE_DATA")


def phase(name: str, composition: dict[str, float], energy: float, *, fidelity: str = "world") -> HullPhase:
    return HullPhase(name, composition, energy_per_atom=energy, fidelity=fidelity)


def random_phases(
    rng: np.random.Generator, *, dimension: int, number: int, bound: bool = True
) -> list[HullPhase]:
    """Elements, some twice, and compounds around their tie-line (above it unless `bound`)."""
    elements = ELEMENTS[:dimension]
    reference = {symbol: float(rng.normal(-4, 1)) for symbol in elements}
    phases = [phase(f"element {s}", {s: 1}, energy) for s, energy in reference.items()]
    phases += [
        phase(f"higher {s}", {s: 2}, reference[s] + abs(rng.normal())) for s in elements if rng.random() < 0.3
    ]
    for index in range(number):
        inside = rng.choice(elements, rng.integers(1, dimension + 1), replace=False)
        amounts = {str(s): int(rng.integers(1, 7)) for s in inside}
        total = sum(amounts.values())
        excess = rng.normal(0, 0.5) if bound and len(amounts) > 1 else abs(rng.normal())
        tie_line = sum(n * reference[s] for s, n in amounts.items()) / total
        phases.append(phase(f"compound {index}", amounts, float(tie_line + excess)))
    return [phases[i] for i in rng.permutation(len(phases))]


def pymatgen_diagram(phases: list[HullPhase]) -> tuple[PhaseDiagram, dict[str, PDEntry]]:
    entries = {
        p.name: PDEntry(
            Composition(p.composition), p.energy_per_atom * sum(p.composition.values()), name=p.name
        )
        for p in phases
    }
    return PhaseDiagram(list(entries.values())), entries


@pytest.mark.parametrize("dimension", range(1, 7))
@pytest.mark.parametrize("bound", [True, False], ids=["bound", "nothing binds"])
def test_agrees_with_pymatgen(dimension: int, *, bound: bool) -> None:
    rng = np.random.default_rng(dimension)
    for number in [0, 1, 2, 3, 5, *rng.integers(5, 60, 20).tolist()]:
        phases = random_phases(rng, dimension=dimension, number=number, bound=bound)
        hull = Hull.build(phases, chemical_system=ELEMENTS[:dimension])
        diagram, entries = pymatgen_diagram(phases)
        assert set(hull.stable) == {entry.name for entry in diagram.stable_entries}
        energies = {p.name: p.energy_per_atom for p in phases}
        for p in phases[:15]:
            above = hull.energy_above_hull(p.composition, p.energy_per_atom, fidelity="world")
            assert above == pytest.approx(diagram.get_e_above_hull(entries[p.name]), abs=1e-8)
            formation = hull.formation_energy(p.composition, p.energy_per_atom)
            assert formation == pytest.approx(diagram.get_form_energy_per_atom(entries[p.name]), abs=1e-8)
            parts = hull.decomposition(p.composition)
            assert set(parts) <= set(hull.stable)
            assert sum(parts.values()) == pytest.approx(1)
            energy_of_parts = sum(share * energies[name] for name, share in parts.items())
            assert energy_of_parts == pytest.approx(p.energy_per_atom - above, abs=1e-8)
            by_name = {p.name: p.fractions for p in phases}
            for symbol in ELEMENTS[:dimension]:
                share = sum(x * by_name[name].get(symbol, 0) for name, x in parts.items())
                assert share == pytest.approx(p.fractions.get(symbol, 0), abs=1e-6)


def test_agrees_with_pymatgen_below_the_hull() -> None:
    rng = np.random.default_rng(0)
    phases = random_phases(rng, dimension=3, number=30)
    hull = Hull.build(phases, chemical_system=ELEMENTS[:3])
    diagram, _ = pymatgen_diagram(phases)
    for _ in range(50):
        amounts = {s: int(n) for s, n in zip(ELEMENTS, rng.integers(1, 8, 3), strict=False)}
        energy = float(rng.normal(-8, 3))
        entry = PDEntry(Composition(amounts), energy * sum(amounts.values()))
        expected = diagram.get_decomp_and_e_above_hull(entry, allow_negative=True)[1]
        assert hull.energy_above_hull(amounts, energy, fidelity="world") == pytest.approx(expected, abs=1e-8)


@pytest.mark.skipif(DATA is None, reason="MOTHERLODE_DATA is unset: no real phases to read")
@pytest.mark.parametrize(("name", "elements"), [("Li-Fe-O_375", "Li-Fe-O"), ("Ba-Ti-O_241", "Ba-Ti-O")])
def test_agrees_with_pymatgen_on_real_systems(name: str, elements: str) -> None:
    with gzip.open(Path(str(DATA)) / "hull" / f"{name}.json.gz", "rt") as file:
        rows = json.load(file)
    phases = [
        HullPhase(
            f"{row['entry_id']} {index}",
            Composition(row["composition"]),
            energy_per_atom=row["energy"] / sum(row["composition"].values()),
            fidelity="raw",
        )
        for index, row in enumerate(rows)
    ]
    hull = Hull.build(phases, chemical_system=elements)
    diagram, entries = pymatgen_diagram(phases)
    assert set(hull.stable) == {entry.name for entry in diagram.stable_entries}
    assert len(hull.stable) > 5
    fractions = np.array([hull.fractions_of(p.composition) for p in phases])
    above = hull.energies_above_hull(fractions, np.array([p.energy_per_atom for p in phases]))
    expected = [diagram.get_e_above_hull(entries[p.name]) for p in phases]
    assert np.abs(above - expected).max() < 1e-8


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 5),
    st.sampled_from(["random", "folds", "rounding", "flat", "deep"]),
)
@settings(max_examples=60, deadline=None)
def test_facets_agree_with_linear_programming(seed: int, dimension: int, kind: str) -> None:
    """Degenerate energies too: piecewise linear ones put hundreds of phases on common planes."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 6, (80, dimension)) * (rng.random((80, dimension)) < 0.7)
    raw = raw[(raw > 0).sum(axis=1) > 1]
    fractions = np.unique(
        np.vstack([np.eye(dimension), raw / raw.sum(axis=1, keepdims=True)]).round(12), axis=0
    )
    fractions /= fractions.sum(axis=1, keepdims=True)
    noise = rng.normal(size=len(fractions))
    fold = -np.minimum(fractions[:, 0], fractions[:, -1])
    energies = {
        "random": -np.abs(noise),
        "folds": fold,
        "rounding": fold + 1e-12 * noise,
        "flat": -1e-9 * np.abs(noise),
        "deep": -1e4 * np.abs(noise),
    }[kind]
    energies = np.where(fractions.max(axis=1) == 1, 0.0, np.minimum(energies, 0))
    _, potentials = lower_facets(fractions, energies, system="test")
    accuracy = 2e-8 * max(1.0, np.abs(energies).max())
    hull = (fractions @ potentials.T).max(axis=1)
    assert (hull <= energies + accuracy).all()
    for point in rng.dirichlet(np.ones(dimension), 5):
        best = linprog(energies, A_eq=fractions.T, b_eq=point, bounds=(0, None))
        assert (point @ potentials.T).max() == pytest.approx(best.fun, abs=accuracy + 1e-7 * abs(best.fun))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_order_and_amounts_do_not_matter(seed: int, dimension: int) -> None:
    rng = np.random.default_rng(seed)
    phases = random_phases(rng, dimension=dimension, number=20)
    hull = Hull.build(phases, chemical_system=ELEMENTS[:dimension])
    shuffled = [phases[i] for i in rng.permutation(len(phases))]
    scaled = [
        phase(p.name, {s: n * 3 for s, n in p.composition.items()}, p.energy_per_atom) for p in shuffled
    ]
    again = Hull.build(scaled, chemical_system="-".join(reversed(ELEMENTS[:dimension])))
    assert again.stable == hull.stable
    assert again.version == hull.version
    for p in phases:
        assert again.energy_above_hull(p.composition, p.energy_per_atom, fidelity="world") == pytest.approx(
            hull.energy_above_hull(p.composition, p.energy_per_atom, fidelity="world"), abs=1e-9
        )


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_a_phase_below_the_hull_joins_it_and_nothing_rises(seed: int, dimension: int) -> None:
    rng = np.random.default_rng(seed)
    phases = random_phases(rng, dimension=dimension, number=15)
    before = Hull.build(phases, chemical_system=ELEMENTS[:dimension])
    amounts = {s: int(n) for s, n in zip(ELEMENTS[:dimension], rng.integers(1, 5, dimension), strict=True)}
    new = phase("new", amounts, before.formation_energy(amounts, 0.0) * -1 - 10.0)
    assert before.energy_above_hull(new.composition, new.energy_per_atom, fidelity="world") < 0
    after = Hull.build([*phases, new], chemical_system=ELEMENTS[:dimension])
    assert "new" in after.stable
    assert after.version != before.version
    assert after.decomposition(amounts) == {"new": 1.0}
    for p in phases:
        lower = after.energy_above_hull(p.composition, p.energy_per_atom, fidelity="world")
        assert lower >= before.energy_above_hull(p.composition, p.energy_per_atom, fidelity="world") - 1e-9


def test_formation_energy_is_survey_equation_36() -> None:
    """E_form = E_total - sum n_i E_i, here per atom: FeO2 from -5 eV/atom Fe and -4 eV/atom O."""
    phases = [phase("Fe", {"Fe": 4}, -5.0), phase("O2", {"O": 2}, -4.0), phase("high O", {"O": 8}, -3.0)]
    hull = Hull.build(phases, chemical_system="Fe-O")
    assert hull.formation_energy({"Fe": 1, "O": 2}, -6.0) == pytest.approx((3 * -6.0 - -5.0 - 2 * -4.0) / 3)
    assert hull.energy_above_hull({"O": 8}, -3.0, fidelity="world") == pytest.approx(1.0)


def test_one_element() -> None:
    hull = Hull.build([phase("bcc", {"Fe": 1}, -8.0), phase("fcc", {"Fe": 4}, -7.9)], chemical_system="Fe")
    assert hull.stable == ("bcc",)
    assert hull.energy_above_hull({"Fe": 4}, -7.9, fidelity="world") == pytest.approx(0.1)
    assert hull.energy_above_hull({"Fe": 4}, -8.1, fidelity="world") == pytest.approx(-0.1)
    assert hull.decomposition({"Fe": 2}) == {"bcc": 1.0}


def test_of_equals_the_first_keeps_its_place() -> None:
    elements = [phase("Fe", {"Fe": 1}, 0.0), phase("O", {"O": 1}, 0.0)]
    twins = [phase("first", {"Fe": 1, "O": 1}, -1.0), phase("second", {"Fe": 2, "O": 2}, -1.0)]
    assert Hull.build([*elements, *twins], chemical_system="Fe-O").stable == ("Fe", "O", "first")
    lower = phase("lower", {"Fe": 3, "O": 3}, -1.001)
    assert Hull.build([*elements, *twins, lower], chemical_system="Fe-O").stable == ("Fe", "O", "lower")


def test_a_phase_on_a_tie_line_counts_as_stable() -> None:
    phases = [
        phase("Fe", {"Fe": 1}, 0.0),
        phase("O", {"O": 1}, 0.0),
        phase("middle", {"Fe": 1, "O": 1}, -1.0),
        phase("on the line", {"Fe": 3, "O": 1}, -0.5),
        phase("above it", {"Fe": 4, "O": 1}, -0.39),
    ]
    hull = Hull.build(phases, chemical_system="Fe-O")
    assert hull.stable == ("Fe", "O", "middle", "on the line")
    assert hull.energy_above_hull({"Fe": 4, "O": 1}, -0.39, fidelity="world") == pytest.approx(0.01)


def test_many_queries_equal_single_ones() -> None:
    rng = np.random.default_rng(1)
    phases = random_phases(rng, dimension=4, number=50)
    hull = Hull.build(phases, chemical_system=ELEMENTS[:4])
    fractions = rng.dirichlet(np.ones(4), 200)
    energies = rng.normal(-5, 1, 200)
    many = hull.energies_above_hull(fractions, energies, fidelity="world")
    for row, energy, above in zip(fractions, energies, many, strict=True):
        single = hull.energy_above_hull(dict(zip(hull.elements, row, strict=True)), energy, fidelity="world")
        assert above == pytest.approx(single, abs=1e-12)


def test_the_version_knows_stable_phases_and_fidelity_alone() -> None:
    phases = [phase("Fe", {"Fe": 1}, -8.0), phase("O", {"O": 1}, -4.0), phase("FeO", {"Fe": 1, "O": 1}, -7.0)]

    def version(*changed: HullPhase) -> str:
        by_name = {p.name: p for p in [*phases, *changed]}
        return Hull.build(list(by_name.values()), chemical_system="Fe-O").version

    assert version() == version(phase("unstable", {"Fe": 2, "O": 1}, -5.0))
    assert version() != version(phase("FeO", {"Fe": 1, "O": 1}, -7.000001))
    assert version() != version(phase("FeO2", {"Fe": 1, "O": 2}, -8.0))
    other = [phase(p.name, p.composition, p.energy_per_atom, fidelity="other") for p in phases]
    assert version() != Hull.build(other, chemical_system="Fe-O").version


def test_a_set_judges_every_composition_on_its_own_system() -> None:
    rng = np.random.default_rng(2)
    phases = random_phases(rng, dimension=4, number=60)
    hulls, whole = HullSet(phases), Hull.build(phases, chemical_system=ELEMENTS[:4])
    for p in phases:
        arguments = (p.composition, p.energy_per_atom)
        assert hulls.hull_of(p.composition).elements == p.elements
        assert hulls.energy_above_hull(*arguments, fidelity="world") == pytest.approx(
            whole.energy_above_hull(*arguments, fidelity="world"), abs=1e-9
        )
        assert hulls.formation_energy(*arguments) == pytest.approx(
            whole.formation_energy(*arguments), abs=1e-9
        )
        assert hulls.is_stable(p) == (p.name in whole.stable)
    assert {p.name for p in hulls.stable} == set(whole.stable)
    assert hulls.hull(["Ba", "Fe"]) is hulls.hull(("Fe", "Ba"))
    assert hulls.version == HullSet(list(reversed(phases))).version


PAIR = [phase("Fe", {"Fe": 1}, -8.0), phase("O", {"O": 1}, -4.0)]


def test_mixed_fidelities_are_refused_by_name() -> None:
    mixed = [*PAIR, phase("FeO", {"Fe": 1, "O": 1}, -7.0, fidelity="elsewhere")]
    with pytest.raises(HullError, match="Fe is world, FeO is elsewhere"):
        Hull.build(mixed, chemical_system="Fe-O")
    with pytest.raises(HullError, match="Fe is world, FeO is elsewhere"):
        HullSet(mixed)
    with pytest.raises(HullError, match="elsewhere cannot be judged on a hull of world"):
        Hull.build(PAIR, chemical_system="Fe-O").energy_above_hull({"Fe": 1}, -8.0, fidelity="elsewhere")


@pytest.mark.parametrize("energy", [np.nan, np.inf, -np.inf])
def test_energies_that_are_none_are_refused_by_name(energy: float) -> None:
    with pytest.raises(HullError, match="phase mp-1: its energy"):
        phase("mp-1", {"Fe": 1}, energy)
    hull = Hull.build(PAIR, chemical_system="Fe-O")
    with pytest.raises(HullError, match="energy 0 is"):
        hull.energy_above_hull({"Fe": 1}, energy, fidelity="world")


def test_missing_elements_are_refused_by_name() -> None:
    with pytest.raises(HullError, match="Fe-Li-O: no phase of the element Li"):
        Hull.build(PAIR, chemical_system="Li-Fe-O")
    with pytest.raises(HullError, match="no phase of the element O"):
        Hull.build([PAIR[0], phase("FeO", {"Fe": 1, "O": 1}, -7.0)], chemical_system="Fe-O")
    with pytest.raises(HullError, match="hull of Fe-O does not have Li"):
        Hull.build(PAIR, chemical_system="Fe-O").formation_energy({"Li": 1, "O": 1}, 0.0)
    with pytest.raises(HullError, match="no phase of the element Li"):
        HullSet(PAIR).energy_above_hull({"Li": 1, "O": 1}, 0.0, fidelity="world")


def test_other_nonsense_is_refused() -> None:
    with pytest.raises(HullError, match="two phases are named Fe"):
        Hull.build([*PAIR, phase("Fe", {"Fe": 2}, -7.0)], chemical_system="Fe-O")
    with pytest.raises(HullError, match="'Fx' is not an element"):
        phase("x", {"Fx": 1}, 0.0)
    with pytest.raises(HullError, match="amount of Fe is -1"):
        phase("x", {"Fe": -1, "O": 2}, 0.0)
    with pytest.raises(HullError, match="phase x: its composition is empty"):
        phase("x", {}, 0.0)
    with pytest.raises(HullError, match="chemical system is empty"):
        Hull.build(PAIR, chemical_system=())
    hull = Hull.build(PAIR, chemical_system="Fe-O")
    with pytest.raises(HullError, match=r"shape \(1, 3\)"):
        hull.energies_above_hull(np.array([[0.2, 0.3, 0.5]]), np.array([0.0]))
    with pytest.raises(HullError, match="add up to 1"):
        hull.energies_above_hull(np.array([[0.2, 0.3]]), np.array([0.0]))
    with pytest.raises(HullError, match="the composition is empty"):
        hull.formation_energy({}, 0.0)


def test_phases_outside_the_system_are_left_out() -> None:
    foreign = phase("LiO", {"Li": 1, "O": 1}, -9.0)
    assert Hull.build([*PAIR, foreign], chemical_system="Fe-O").stable == ("Fe", "O")


def grid_phases(rng: np.random.Generator, *, dimension: int, number: int, kind: str) -> list[HullPhase]:
    """Systems that strain a hull: folded planes, collinear compositions, repeated ones, phases at their tie-line."""
    amounts = rng.integers(0, 7, (number, dimension))
    amounts[amounts.sum(axis=1) == 0] = 1
    if kind == "collinear":
        # All compounds on the line from one element to the mixture of the rest.
        amounts[:, 1:] = amounts[:, 1:2]
        amounts[amounts.sum(axis=1) == 0] = 1
    fractions = amounts / amounts.sum(axis=1, keepdims=True)
    mixing = {
        "random": -np.abs(rng.normal(0, 0.5, number)),
        "collinear": rng.normal(0, 0.3, number),
        "duplicates": np.round(rng.normal(0, 0.3, number), 1),
        "folded": -np.minimum(fractions[:, 0], fractions[:, -1]),
        "tie-line": np.zeros(number),
    }[kind]
    mixing = np.where(fractions.max(axis=1) == 1, np.abs(mixing), mixing)
    reference = rng.normal(-4, 1, dimension)
    symbols = ELEMENTS[:dimension]
    phases = [phase(f"element {s}", {s: 1}, float(e)) for s, e in zip(symbols, reference, strict=True)]
    for index, (row, energy) in enumerate(zip(amounts, fractions @ reference + mixing, strict=True)):
        composition = {s: int(n) for s, n in zip(symbols, row, strict=True) if n}
        phases.append(phase(f"compound {index}", composition, float(energy)))
    return phases


@pytest.mark.slow
@pytest.mark.parametrize("dimension", range(1, 7))
@pytest.mark.parametrize("kind", ["random", "collinear", "duplicates", "folded", "tie-line"])
def test_agrees_with_pymatgen_on_hundreds_of_degenerate_systems(dimension: int, kind: str) -> None:
    rng = np.random.default_rng([dimension, len(kind)])
    asked = 0
    for _ in range(8):
        number = int(rng.integers(1, 80 if dimension < 5 else 30))
        phases = grid_phases(rng, dimension=dimension, number=number, kind=kind)
        hull = Hull.build(phases, chemical_system=ELEMENTS[:dimension])
        diagram, entries = pymatgen_diagram(phases)
        fractions = np.array([hull.fractions_of(p.composition) for p in phases])
        above = hull.energies_above_hull(fractions, np.array([p.energy_per_atom for p in phases]))
        expected = [diagram.get_e_above_hull(entries[p.name], allow_negative=True) for p in phases]
        assert np.abs(above - expected).max() < 1e-8
        asked += len(phases)
        if kind in ("random", "collinear"):
            # Elsewhere whole planes of phases are degenerate, and pymatgen lists only some of those on the hull.
            assert set(hull.stable) == {entry.name for entry in diagram.stable_entries}
        else:
            assert {entry.composition.reduced_formula for entry in diagram.stable_entries} <= {
                Composition(p.composition).reduced_formula for p in phases if p.name in hull.stable
            }
    assert asked > 20


def test_decompositions_of_many_equal_single_ones_where_facets_share_a_plane() -> None:
    rng = np.random.default_rng(5)
    for kind in ("random", "folded", "tie-line"):
        phases = grid_phases(rng, dimension=4, number=60, kind=kind)
        hull = Hull.build(phases, chemical_system=ELEMENTS[:4])
        by_name = {p.name: p for p in phases}
        fractions = np.vstack(
            [rng.dirichlet(np.ones(4), 100), np.eye(4), *[hull.fractions_of(p.composition) for p in phases]]
        )
        many = hull.decompositions(fractions)
        elemental, height = hull.heights(fractions)
        for row, parts, energy in zip(fractions, many, elemental + height, strict=True):
            assert set(parts) <= set(hull.stable)
            mixed = sum(share * hull.fractions_of(by_name[name].composition) for name, share in parts.items())
            assert np.abs(mixed - row).max() < 1e-6
            assert sum(s * by_name[n].energy_per_atom for n, s in parts.items()) == pytest.approx(
                energy, abs=1e-7
            )


def test_repeated_compositions_are_answered_as_single_ones() -> None:
    """Whole-number compositions repeat; what is answered does not depend on it."""
    rng = np.random.default_rng(3)
    hull = Hull.build(random_phases(rng, dimension=3, number=200), chemical_system=ELEMENTS[:3])
    amounts = rng.integers(1, 12, (50_000, 3))
    fractions, energies = amounts / amounts.sum(axis=1, keepdims=True), rng.normal(-5, 1, 50_000)
    above = hull.energies_above_hull(fractions, energies)
    some = rng.choice(len(above), 100, replace=False)
    single = [float(hull.energies_above_hull(fractions[[i]], energies[[i]])[0]) for i in some]
    assert np.abs(above[some] - single).max() < 1e-12


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_equal_compositions_are_found(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    amounts = rng.integers(1, 33, (20_000, dimension))
    fractions = amounts / amounts.sum(axis=1, keepdims=True)
    distinct, places = _distinct_rows(fractions)
    assert np.array_equal(distinct[places], fractions)
    assert len(distinct) == len(np.unique(fractions, axis=0))
