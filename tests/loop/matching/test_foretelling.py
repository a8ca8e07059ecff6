"""What is foretold of two cells is what pymatgen's StructureMatcher then says."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from loop.matching.cell_stack import CellStack
from loop.matching.cells import Cell, niggli_cell
from loop.matching.foretelling import Tolerances, foretell, foretell_all
from loop.matching.primitive import matched_cell
from tests.loop.strategies import STRUCTURE_TYPES, disguises, random_cells, structure_type


def judged(
    first: Cell, second: Cell, *, length: float, site: float, angle: float
) -> tuple[bool | None, bool]:
    """What is foretold, and what the matcher says."""
    foretold = foretell(first, second, length_tolerance=length, site_tolerance=site, angle_tolerance=angle)
    matcher = StructureMatcher(ltol=length, stol=site, angle_tol=angle)
    return foretold, matcher.fit(first.to_structure(), second.to_structure(), skip_structure_reduction=True)


def disturbed(structure: Structure, rng: np.random.Generator, *, strain: float, rattle: float) -> Structure:
    lengths = np.array(structure.lattice.abc) * (1 + rng.uniform(-strain, strain, 3))
    angles = np.array(structure.lattice.angles) + 30 * strain * rng.uniform(-1, 1, 3)
    lattice = Lattice.from_parameters(*lengths, *angles)
    moves = rng.normal(size=(len(structure), 3))
    moves *= rattle * rng.random((len(moves), 1)) / np.linalg.norm(moves, axis=1, keepdims=True)
    moves *= (lattice.volume / len(structure)) ** (1 / 3)
    return Structure(
        lattice, structure.species, structure.frac_coords + moves @ np.linalg.inv(lattice.matrix)
    )


def supercell(name: str) -> Structure:
    structure = structure_type(name).copy()
    structure.make_supercell([2, 1, 1])
    return structure


@given(
    st.sampled_from(STRUCTURE_TYPES),
    st.floats(0, 0.2),
    st.floats(0, 0.5),
    st.integers(0, 2**32 - 1),
    st.sampled_from([(0.2, 0.3, 5.0), (0.05, 0.1, 2.0), (0.3, 0.5, 10.0)]),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_disturbed_copies(
    name: str, strain: float, rattle: float, seed: int, tolerances: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(seed)
    plain = supercell(name) if seed % 2 else structure_type(name)
    cells = [matched_cell(disturbed(plain, rng, strain=strain, rattle=rattle)) for _ in range(2)]
    length, site, angle = tolerances
    foretold, said = judged(*cells, length=length, site=site, angle=angle)
    assert foretold is None or foretold == said


@given(random_cells(), random_cells(), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_cells_with_the_same_atoms(first: Structure, other: Structure, data: st.DataObject) -> None:
    if len(first) != len(other):
        other = data.draw(disguises(first))
    second = Structure(
        other.lattice, [first[i % len(first)].specie for i in range(len(other))], other.frac_coords
    )
    cells = [matched_cell(structure) for structure in (first, second)]
    foretold, said = judged(*cells, length=0.2, site=0.3, angle=5.0)
    assert foretold is None or foretold == said


def test_types_against_one_another_are_never_left_open() -> None:
    """Pairs of one formula, in every decoration: the certain cases are all of them but ties."""
    cells = [
        matched_cell(structure_type(name))
        for name in ("rocksalt", "zincblende", "wurtzite", "caesium chloride", "monoclinic")
    ]
    answers = [judged(a, b, length=0.2, site=0.3, angle=5.0) for a, b in permutations(cells, 2)]
    assert all(foretold in (None, said) for foretold, said in answers)
    assert sum(foretold is None for foretold, _ in answers) <= 2


def test_perfect_copies_are_foretold() -> None:
    rng = np.random.default_rng(0)
    for name in STRUCTURE_TYPES:
        copy = disturbed(structure_type(name), rng, strain=0.02, rattle=0.02)
        foretold, said = judged(
            matched_cell(structure_type(name)), matched_cell(copy), length=0.2, site=0.3, angle=5.0
        )
        assert foretold is True
        assert said


@given(random_cells(), st.sampled_from([0.0, 0.02, 0.1, 0.2]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_matched_cell_is_pymatgens_bit_for_bit(structure: Structure, rattle: float, seed: int) -> None:
    """Supercells with their translations more or less broken, where pymatgen finds a smaller cell or does not."""
    rng = np.random.default_rng(seed)
    large = structure.copy()
    large.make_supercell([[1, 1, 0], [-1, 1, 0], [0, 0, 1]] if seed % 2 else [1, 1, 2])
    moves = rng.uniform(-rattle, rattle, (len(large), 3))
    moved = Structure(large.lattice, large.species, large.cart_coords + moves, coords_are_cartesian=True)
    cell = matched_cell(moved)
    expected = Cell.of(moved.get_reduced_structure(reduction_algo="niggli").get_primitive_structure())
    assert np.array_equal(cell.lattice, expected.lattice)
    assert np.array_equal(cell.coordinates, expected.coordinates)
    assert np.array_equal(cell.atomic_numbers, expected.atomic_numbers)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_disturbed_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    certain = matches = 0
    for _ in range(500):
        name = STRUCTURE_TYPES[rng.integers(len(STRUCTURE_TYPES))]
        plain = supercell(name) if rng.random() < 0.5 else structure_type(name)
        cells = [
            matched_cell(disturbed(plain, rng, strain=rng.uniform(0, 0.2), rattle=rng.uniform(0, 0.5)))
            for _ in range(2)
        ]
        foretold, said = judged(*cells, length=0.2, site=0.3, angle=5.0)
        assert foretold is None or foretold == said
        certain += foretold is not None
        matches += said
    assert certain > 400
    assert 50 < matches < 450


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_many_pairs_at_once_are_answered_as_one_by_one(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    name = STRUCTURE_TYPES[rng.integers(len(STRUCTURE_TYPES))]
    first, second = (
        [
            niggli_cell(
                Cell.of(disturbed(structure_type(name), rng, strain=rng.uniform(0, 0.15), rattle=0.3))
            )
            for _ in range(number)
        ]
        for _ in range(2)
    )
    tolerances = Tolerances(length=0.2, site=0.3, angle=5.0)
    alone = [
        foretell(a, b, length_tolerance=0.2, site_tolerance=0.3, angle_tolerance=5.0)
        for a, b in zip(first, second, strict=True)
    ]
    assert foretell_all(CellStack.of(first), CellStack.of(second), tolerances) == alone
    repeated = CellStack.of([first[0]] * number)
    assert foretell_all(CellStack.of(first[:1]), CellStack.of(second), tolerances) == foretell_all(
        repeated, CellStack.of(second), tolerances
    )


def test_cells_of_other_atoms_are_never_equal() -> None:
    salt, fluorite = matched_cell(structure_type("rocksalt")), matched_cell(structure_type("fluorite"))
    assert foretell(salt, fluorite, length_tolerance=0.2, site_tolerance=0.3, angle_tolerance=5.0) is False
