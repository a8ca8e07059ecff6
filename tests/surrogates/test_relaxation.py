"""Relaxations against ASE's optimisers, and what must not come out of one."""

import contextlib
import io
import json
import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.crystal import Crystal
from loop.errors import PotentialError
from loop.records import Failure
from loop.spec import PotentialSpec, RelaxationSpec
from surrogates.potential import Batch, Evaluation
from surrogates.registry import load_potential
from surrogates.relaxation import Relaxation, relax

TIGHT = RelaxationSpec(max_force=0.005, max_stress=0.05)


def loaded(name, **fields):
    return load_potential(PotentialSpec(name=name, **fields), base=Path.cwd())


@pytest.fixture(scope="module")
def emt():
    return loaded("emt")


@pytest.fixture(scope="module")
def lennard_jones():
    return loaded("lennard_jones")


def rattled(symbols, *, seed, a=4.0, rattle=0.12, strain=0.05):
    """A four-atom cell of four symbols without symmetry."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=a, cubic=True)
    atoms.symbols[:] = symbols
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3))), scale_atoms=True)
    atoms.positions += rng.uniform(-rattle, rattle, (4, 3))
    return Crystal.from_atoms(atoms)


CRYSTALS = [
    rattled(symbols, seed=i)
    for i, symbols in enumerate(
        [
            ["Cu"] * 4,
            ["Al", "Ni", "Ni", "Ni"],
            ["Cu", "Au", "Cu", "Au"],
            ["Pd", "Pt", "Pt", "Pd"],
            ["Ag", "Al", "Al", "Al"],
        ]
    )
]


def ase_relaxation(crystal, calculator, *, fmax):
    atoms = crystal.to_atoms()
    atoms.calc = calculator
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=fmax, steps=500)
    return atoms


@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda c: c.reduced_formula)
def test_emt_crystals_end_where_ase_ends_or_lower(crystal, emt):
    (relaxed,) = relax([crystal], emt, TIGHT)
    reference = ase_relaxation(crystal, EMT(), fmax=0.005)
    assert relaxed.energy_per_atom <= reference.get_potential_energy() / 4 + 1e-4
    volume = reference.get_volume() / 4
    assert relaxed.crystal.volume_per_atom == pytest.approx(volume, rel=0.01)
    if relaxed.energy_per_atom > reference.get_potential_energy() / 4 - 1e-4:
        lengths = sorted(Crystal.from_atoms(reference).to_structure().lattice.abc)
        assert sorted(relaxed.crystal.to_structure().lattice.abc) == pytest.approx(lengths, rel=0.02)


def test_what_it_reports_is_what_the_potential_says(emt):
    (relaxed,) = relax([CRYSTALS[1]], emt, TIGHT)
    evaluation = emt.evaluate(Batch.from_atoms([relaxed.crystal.to_atoms()]))
    per_atom = evaluation.energy[0] / relaxed.crystal.number_of_atoms
    assert relaxed.energy_per_atom == pytest.approx(per_atom, abs=1e-5)
    # Standardising may restore symmetry, and so take away what little force was left.
    assert np.linalg.norm(evaluation.forces, axis=1).max() < TIGHT.max_force + 1e-3
    assert np.abs(evaluation.stress).max() / GPa < 0.1
    assert relaxed.max_force <= TIGHT.max_force
    assert relaxed.max_stress <= TIGHT.max_stress
    assert relaxed.starting_energy_per_atom > relaxed.energy_per_atom
    growth = relaxed.crystal.volume_per_atom / CRYSTALS[1].volume_per_atom
    assert relaxed.volume_change == pytest.approx(growth - 1, abs=1e-6)
    assert relaxed.space_group_before == 1
    assert relaxed.space_group_after == relaxed.crystal.space_group_number


def test_force_alone_does_not_make_it_converged(emt):
    """A perfect crystal at the wrong volume has no forces, only stress."""
    (relaxed,) = relax([Crystal.from_atoms(bulk("Cu", "fcc", a=4.0))], emt, TIGHT)
    assert relaxed.steps > 1
    assert relaxed.crystal.volume_per_atom ** (1 / 3) == pytest.approx((3.59**3 / 4) ** (1 / 3), rel=0.01)
    assert relaxed.space_group_after == 225


def test_a_crystal_at_its_minimum_is_left_as_it_is(emt):
    (relaxed,) = relax([CRYSTALS[0]], emt, TIGHT)
    (again,) = relax([relaxed.crystal], emt, RelaxationSpec(max_force=0.01, max_stress=0.1, symmetry="free"))
    assert again.steps == 1
    assert again.crystal == relaxed.crystal
    assert again.energy_per_atom == again.starting_energy_per_atom


def test_alone_is_reproducible_and_together_is_the_same_within_noise(lennard_jones):
    alone = [relax([crystal], lennard_jones, TIGHT)[0] for crystal in CRYSTALS]
    assert [relax([crystal], lennard_jones, TIGHT)[0] for crystal in CRYSTALS] == alone
    for atoms_in_flight in (1, 8, 1000):
        together = relax(CRYSTALS, lennard_jones, TIGHT, atoms_in_flight=atoms_in_flight)
        assert [r.steps for r in together] == [r.steps for r in alone]
        for one, other in zip(together, alone, strict=True):
            assert one.energy_per_atom == pytest.approx(other.energy_per_atom, abs=1e-9)


@dataclass
class Recording:
    """A potential that remembers how large its batches were, and can be told to spoil some numbers."""

    inner: object
    sizes: list = field(default_factory=list)
    spoil: object = None
    fidelity: str = "recording"
    version: str = "1"
    elements: frozenset | None = None
    seconds_per_atom: float = 1.0

    def evaluate(self, batch):
        self.sizes.append(len(batch.atomic_numbers))
        evaluation = self.inner.evaluate(batch)
        return self.spoil(batch, evaluation) if self.spoil else evaluation


def test_batches_stay_full_and_bounded_while_crystals_come_and_go(lennard_jones):
    potential = Recording(lennard_jones)
    outcomes = relax(CRYSTALS * 3, potential, TIGHT, atoms_in_flight=16)
    assert max(potential.sizes) <= 16
    assert len(outcomes) == 15
    assert all(isinstance(outcome, Relaxation) for outcome in outcomes)
    assert sum(potential.sizes) == sum(o.steps * 4 for o in outcomes)
    # Until the last crystal has started, four crystals of four atoms are always in flight.
    assert potential.sizes.count(16) > 0.7 * len(potential.sizes)


def test_a_crystal_larger_than_the_bound_still_flies(lennard_jones):
    (outcome,) = relax(CRYSTALS[:1], lennard_jones, TIGHT, atoms_in_flight=1)
    assert isinstance(outcome, Relaxation)


def test_no_crystals_is_no_work(lennard_jones):
    assert relax([], lennard_jones, TIGHT) == []


def test_overlapping_atoms_are_refused_before_anything_is_evaluated(lennard_jones):
    atoms = bulk("Cu", "fcc", a=4.0, cubic=True)
    atoms.positions[1] = atoms.positions[0] + [0.9, 0, 0]
    potential = Recording(lennard_jones)
    overlapping, sound = relax([Crystal.from_atoms(atoms), CRYSTALS[0]], potential, TIGHT)
    assert overlapping == Failure(stage="relaxation", reason="overlap", detail=overlapping.detail)
    assert "Cu-Cu 0.90 Å" in overlapping.detail
    assert isinstance(sound, Relaxation)
    assert set(potential.sizes) == {4}


def test_an_atom_too_close_to_its_own_image_overlaps(lennard_jones):
    thin = Crystal.from_atoms(bulk("Cu", "sc", a=1.2))
    assert relax([thin], lennard_jones, TIGHT)[0].reason == "overlap"


def test_unknown_elements_fail_by_name_and_alone(emt):
    salt = Crystal.from_atoms(bulk("NaCl", "rocksalt", a=5.6))
    unknown, sound = relax([salt, CRYSTALS[0]], emt, TIGHT)
    assert unknown.reason == "unknown-element"
    assert "Cl, Na" in unknown.detail
    assert isinstance(sound, Relaxation)


def test_too_few_steps_is_not_converged_and_says_what_is_left(lennard_jones):
    three_steps = RelaxationSpec(max_force=0.001, max_stress=0.01, max_steps=3)
    (outcome,) = relax([CRYSTALS[1]], lennard_jones, three_steps)
    assert outcome.reason == "not-converged"
    assert "3 evaluations" in outcome.detail
    assert "GPa" in outcome.detail


def constant_pressure(sign):
    """A world without minimum: the energy falls for ever as the volume grows (or shrinks)."""

    def spoil(batch, evaluation):
        volumes = np.abs(np.linalg.det(batch.cells))
        stress = -sign * np.broadcast_to(np.eye(3) * 0.2, evaluation.stress.shape)
        no_forces = np.zeros_like(evaluation.forces)
        return Evaluation(energy=-sign * 0.2 * volumes, forces=no_forces, stress=stress)

    return spoil


@pytest.mark.parametrize(("sign", "reason"), [(1, "exploded"), (-1, "collapsed")])
def test_a_cell_that_runs_away_is_stopped(sign, reason, lennard_jones):
    potential = Recording(lennard_jones, spoil=constant_pressure(sign))
    roomy = Crystal.from_atoms(bulk("Cu", "fcc", a=6.0))
    (outcome,) = relax([roomy], potential, RelaxationSpec(max_steps=500))
    assert outcome.reason == reason
    assert len(potential.sizes) < 100


def attraction(batch, evaluation):
    """A hole such as models have at short distance: two atoms fall into one another."""
    first, second = batch.positions[0], batch.positions[1]
    away = second - first
    distance = np.linalg.norm(away)
    forces = np.zeros_like(evaluation.forces)
    forces[0], forces[1] = 3 * away / distance, -3 * away / distance
    return Evaluation(energy=np.array([3 * distance]), forces=forces, stress=np.zeros((1, 3, 3)))


def test_atoms_that_fall_into_one_another_are_caught_on_the_way(lennard_jones):
    (outcome,) = relax([CRYSTALS[0]], Recording(lennard_jones, spoil=attraction), RelaxationSpec())
    assert outcome.reason == "overlap"
    assert re.search(r"Cu-Cu [01]\.\d\d Å is 0\.[34]", outcome.detail)


def test_energies_that_are_not_numbers_fail_their_own_crystal_only(lennard_jones):
    def spoil(batch, evaluation):
        for i, (numbers, _, _) in enumerate(batch.split()):
            if 79 in numbers:
                evaluation.energy[i] = np.nan
        return evaluation

    outcomes = relax(CRYSTALS, Recording(lennard_jones, spoil=spoil), TIGHT)
    assert [o.reason if isinstance(o, Failure) else "" for o in outcomes] == ["", "", "not-finite", "", ""]


def test_the_reason_of_a_refusal_is_kept(lennard_jones):
    def spoil(batch, evaluation):
        nothing = np.full_like(evaluation.energy, np.nan)
        return replace(evaluation, energy=nothing, refused={0: "no neighbours"})

    (outcome,) = relax(CRYSTALS[:1], Recording(lennard_jones, spoil=spoil), TIGHT)
    assert (outcome.reason, outcome.detail) == ("not-finite", "no neighbours")


def test_missing_weights_are_not_a_failure_of_the_crystal(lennard_jones):
    def spoil(batch, evaluation):
        raise PotentialError("no weights")

    with pytest.raises(PotentialError, match="no weights"):
        relax(CRYSTALS[:1], Recording(lennard_jones, spoil=spoil), TIGHT)


def test_a_relaxation_survives_json(lennard_jones):
    (relaxed,) = relax(CRYSTALS[:1], lennard_jones, TIGHT)
    assert Relaxation.from_dict(json.loads(json.dumps(relaxed.to_dict()))) == relaxed


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    symbols=st.lists(st.sampled_from(["Cu", "Au", "Al", "Na"]), min_size=4, max_size=4),
)
def test_no_relaxation_ends_above_its_start(seed, symbols):
    potential = loaded("lennard_jones")
    (outcome,) = relax([rattled(symbols, seed=seed, a=4.6, rattle=0.3)], potential, RelaxationSpec())
    if isinstance(outcome, Relaxation):
        assert outcome.energy_per_atom <= outcome.starting_energy_per_atom + 1e-5
        assert outcome.max_force <= 0.05
        assert outcome.max_stress <= 0.5
    else:
        assert outcome.reason in {"overlap", "exploded", "collapsed", "not-converged"}


def binary(prototype, first, second, a):
    return Crystal.from_atoms(bulk(first + second, prototype, a=a))


@pytest.mark.slow
def test_chgnet_crystals_end_where_ase_ends_or_lower():
    starts = [
        binary("rocksalt", "Mg", "O", 4.0),
        binary("cesiumchloride", "Ti", "Ni", 3.2),
        binary("zincblende", "Ga", "As", 5.9),
        rattled(["Al", "Ni", "Ni", "Ni"], seed=11, a=3.7),
    ]
    relaxed = relax(starts, loaded("chgnet"), RelaxationSpec(max_force=0.02, max_stress=0.2))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet

        calculator = CHGNetCalculator(CHGNet.load(use_device="cpu", verbose=False), use_device="cpu")
        references = [ase_relaxation(start, calculator, fmax=0.02) for start in starts]
    for ours, reference in zip(relaxed, references, strict=True):
        theirs = float(np.squeeze(reference.get_potential_energy())) / len(reference)
        assert ours.energy_per_atom <= theirs + 1e-3, ours.crystal.reduced_formula
    for ours, reference in zip(relaxed[:3], references[:3], strict=True):
        lattice = Crystal.from_atoms(reference).to_structure().lattice
        assert ours.crystal.to_structure().lattice.abc == pytest.approx(lattice.abc, rel=2e-3)
