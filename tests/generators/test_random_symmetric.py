"""Random crystals: the symmetry asked for is there, and all of the space is reached."""

import math
from collections import Counter

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.protocol import Condition
from generators.training_free.compositions import covalent_volume, random_composition
from generators.training_free.random_symmetric import RandomSymmetric
from generators.training_free.wyckoff_positions import random_crystal, random_lattice, space_group
from loop.spec import Space

NICKEL_TIN_TITANIUM = Condition(space=Space(chemical_systems=("Ni-Sn-Ti",), atoms=(2, 12)))


@pytest.mark.parametrize("number", [2, 5, 15, 62, 88, 123, 148, 166, 194, 206, 216, 225, 227])
def test_orbits_have_the_symmetry_of_the_group(number):
    """spglib finds every operation of the group in a crystal with atoms on its general position."""
    group = space_group(number)
    rng = np.random.default_rng(number)
    general = group.positions[0]
    lattice = random_lattice(group, volume=40.0 * general.multiplicity, rng=rng)
    orbits = [general.orbit(rng.random(3)) for _ in range(2)]
    cell = (lattice.matrix, np.concatenate(orbits), [1] * general.multiplicity + [2] * general.multiplicity)
    assert spglib.get_symmetry_dataset(cell, symprec=1e-4).number == number


@pytest.mark.parametrize("number", [14, 139, 167, 221])
def test_multiplicities_are_those_of_the_tables(number):
    """Orbits through random points have as many distinct sites as the Wyckoff position says."""
    for position in space_group(number).positions:
        sites = position.orbit(np.random.default_rng(1).random(3))
        assert len({tuple(np.round(site, 6) % 1.0) for site in sites}) == position.multiplicity


def test_cell_holds_the_composition_and_volume_asked_for():
    counts = {"Ti": 2, "O": 4}
    rng = np.random.default_rng(2)
    found = 0
    for number in range(1, 231, 3):
        structure = random_crystal(space_group(number), counts, volume_per_atom=11.0, rng=rng)
        if structure is None:
            continue
        found += 1
        cells = space_group(number).cells
        assert {e.symbol: n for e, n in structure.composition.items()} == {
            s: n * cells for s, n in counts.items()
        }
        assert structure.volume / len(structure) == pytest.approx(11.0, rel=1e-6)
    assert found > 20


def test_many_space_groups_and_formulas_are_reached():
    proposals = RandomSymmetric({}).sample(60, condition=NICKEL_TIN_TITANIUM, rng=np.random.default_rng(0))
    assert len(proposals) == 60
    assert len({p.details["space_group_number"] for p in proposals}) > 25
    assert len({p.structure.reduced_formula for p in proposals}) > 20


def test_options_narrow_the_draw():
    generator = RandomSymmetric({"space_groups": [195, 230], "largest_share": 1.0})
    proposals = generator.sample(10, condition=NICKEL_TIN_TITANIUM, rng=np.random.default_rng(0))
    assert all(p.details["space_group_number"] >= 195 for p in proposals)
    assert all(len(p.structure.composition) == 3 for p in proposals)


def test_gives_up_by_count_where_nothing_fits():
    """Three atoms of three elements have no place in a group whose smallest orbit has two sites per cell."""
    condition = Condition(
        space=Space(chemical_systems=("Ni-Sn-Ti",)), composition={"Ni": 1, "Sn": 1, "Ti": 1}
    )
    generator = RandomSymmetric({"space_groups": [14, 14], "tries": 20})
    assert generator.sample(3, condition=condition, rng=np.random.default_rng(0)) == []


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 20), st.integers(0, 2**32))
def test_random_compositions_fit_the_cell(elements, low, extra, seed):
    high = max(low + extra, elements)
    symbols = ["Al", "Ca", "Fe", "O", "Zr"][:elements]
    counts = random_composition(symbols, atoms=(low, high), rng=np.random.default_rng(seed))
    assert sorted(counts) == symbols
    assert min(counts.values()) >= 1
    assert max(low, elements) <= sum(counts.values()) <= high


def test_small_formulas_lead():
    rng = np.random.default_rng(0)
    drawn = Counter()
    for _ in range(2000):
        counts = random_composition(["Ni", "Ti"], atoms=(2, 12), rng=rng)
        divisor = math.gcd(*counts.values())
        drawn[tuple(sorted(n // divisor for n in counts.values()))] += 1
    assert drawn.most_common(1)[0][0] == (1, 1)
    assert len(drawn) > 12


def test_covalent_volume_is_that_of_spheres():
    assert covalent_volume({"C": 2}) == pytest.approx(2 * 4 / 3 * math.pi * 0.76**3)
