"""Early rejection: the stated rate against relaxations of known law, and what a rule does to real ones."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from loop.crystal import Crystal
from loop.records import Failure
from loop.spec import PotentialSpec, RelaxationSpec, as_json
from surrogates.early_rejection import CHECKPOINTS, REASON, SMALLEST_SCALE, Checkpoint, Rule, Scale
from surrogates.early_rejection_learning import Trial, fit_rule, idle_rule, try_rule
from surrogates.registry import load_potential
from surrogates.relaxation import Relaxation, relax
from surrogates.tasks import outcome_from_dict, relax_task
from tests.surrogates.early_rejection_runs import synthetic_runs

EMT = PotentialSpec(name="emt")
TIGHT = RelaxationSpec(max_force=0.005, max_stress=0.05, symmetry="free")
ANYTHING = {"lowest": (-20.0,) * 5, "highest": (20.0,) * 5}


def fitted(runs, rate=0.05):
    return fit_rule(runs, beside=(), false_negative_rate=rate)


def known_rule(quantile=2.0):
    """A rule whose margin at the first checkpoint is `quantile` times the decrement (and a little)."""
    scale = Scale(released=False, since=4, intercept=0.0, slopes=(1.0, 0.0, 0.0, 0.0, 0.0), **ANYTHING)
    return Rule(false_negative_rate=0.01, quantile=quantile, scales=(scale,), calibrated_on=99)


def at(energy=0.0, **changes):
    values = {
        "evaluations": 4,
        "released": False,
        "since": 4,
        "energy_per_atom": energy,
        "decrement": 0.05,
        "max_force": 0.3,
        "max_stress": 2.0,
        "drop": 0.1,
    }
    return Checkpoint(**{**values, **changes})


def rattled(symbols, *, seed, a=3.9):
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=a, cubic=True)
    atoms.symbols[:] = symbols
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))), scale_atoms=True)
    atoms.positions += rng.uniform(-0.15, 0.15, (4, 3))
    return Crystal.from_atoms(atoms)


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_the_stated_rate_holds_for_relaxations_never_seen(rate):
    """Over many calibrations no more than the stated share is lost, and the margins are not much wider than that."""
    rng = np.random.default_rng(1)
    lost = matter = 0
    for _ in range(30):
        rule = fitted(synthetic_runs(200, rng=rng), rate)
        new = [run for run in synthetic_runs(400, rng=rng) if run.matters]
        matter += len(new)
        lost += sum(rule.first_abandoned(run.trace, ceiling=run.ceiling) is not None for run in new)
    # Relaxations judged by one rule share its luck: of calibrations with about 100, the rates scatter by rate/sqrt(5).
    bound = rate * matter + 3 * math.sqrt(matter * rate + 30 * (matter / 30) ** 2 * rate / 100)
    assert lost <= bound
    assert lost >= 0.3 * rate * matter, "margins are much wider than they need to be"


def test_it_abandons_most_of_what_does_not_matter():
    rng = np.random.default_rng(2)
    rule = fitted(synthetic_runs(400, rng=rng))
    high = [run for run in synthetic_runs(400, rng=rng) if run.energy_per_atom > run.ceiling + 0.5]
    ends = [rule.first_abandoned(run.trace, ceiling=run.ceiling) for run in high if run.trace]
    assert np.mean([end is not None for end in ends]) > 0.8


def test_margins_narrow_as_a_relaxation_converges():
    rng = np.random.default_rng(3)
    rule = fitted(synthetic_runs(400, rng=rng))
    margins = {k: [] for k in CHECKPOINTS}
    for run in synthetic_runs(200, rng=rng):
        for point in run.trace:
            if (margin := rule.margin(point)) is not None:
                margins[point.evaluations].append(margin)
    medians = [float(np.median(margins[k])) for k in (4, 20)]
    assert medians[1] < 0.4 * medians[0]


@given(rate=st.sampled_from([0.01, 0.02, 0.05, 0.1]), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_without_enough_that_matter_there_is_no_rule(rate, seed):
    """No finite conformal quantile exists below 1 / rate - 1 of them (and one exists there)."""
    rng = np.random.default_rng(seed)
    needed = round(1 / rate) - 1
    others = [run for run in synthetic_runs(150, rng=rng, matter=0.0) if not run.matters]
    low = [run for run in synthetic_runs(needed, rng=rng, matter=1.0) if run.matters]
    assert len(low) == needed
    assert fitted([*others, *low[1:]], rate) is None
    rule = fitted([*others, *low], rate)
    assert rule is not None
    assert rule.calibrated_on == needed


def test_without_enough_to_predict_from_there_is_no_rule():
    rng = np.random.default_rng(4)
    low = [run for run in synthetic_runs(200, rng=rng, matter=1.0) if run.matters]
    assert fitted(low) is None
    assert fitted([]) is None


def test_nothing_is_abandoned_where_the_rule_was_not_calibrated():
    rule = known_rule()
    assert rule.abandons(at(10.0), ceiling=0.0)
    assert not rule.abandons(at(10.0, since=8), ceiling=0.0)
    assert not rule.abandons(at(10.0, released=True), ceiling=0.0)
    narrow = replace(rule, scales=(replace(rule.scales[0], highest=(0.0,) * 5),))
    assert not narrow.abandons(at(10.0, max_force=1.5), ceiling=0.0)
    assert not idle_rule(0.01).abandons(at(10.0), ceiling=0.0)


def test_a_margin_is_quantile_times_prediction():
    rule = known_rule(2.0)
    assert rule.margin(at(decrement=0.05)) == pytest.approx(2 * (0.05 + SMALLEST_SCALE))
    assert rule.abandons(at(0.141, decrement=0.05), ceiling=0.0)
    assert not rule.abandons(at(0.139, decrement=0.05), ceiling=0.0)


@given(
    seed=st.integers(0, 5),
    feature=st.sampled_from(["decrement", "max_force", "max_stress", "drop"]),
    factor=st.floats(1.0, 10.0),
)
@settings(deadline=None)
def test_margins_never_narrow_when_a_feature_grows(seed, feature, factor):
    rng = np.random.default_rng(seed)
    rule = fitted(synthetic_runs(120, rng=rng))
    for scale in rule.scales:
        point = at(since=scale.since)
        larger = replace(point, **{feature: factor * getattr(point, feature)})
        assert scale.predict(larger) >= scale.predict(point)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_a_rule_survives_json_unchanged(seed):
    rule = fitted(synthetic_runs(150, rng=np.random.default_rng(seed)))
    again = Rule.from_dict(json.loads(json.dumps(rule.to_dict())))
    assert again == rule
    assert again.version == rule.version
    assert replace(rule, quantile=rule.quantile + 0.1).version != rule.version


def test_the_trial_finds_what_the_rule_does_and_refuses_one_that_breaks_its_word():
    rng = np.random.default_rng(5)
    runs = synthetic_runs(300, rng=rng)
    trial = try_rule(runs, beside=(), false_negative_rate=0.05)
    assert trial.passes(0.05)
    assert trial.calibrating == sum(run.matters for run in runs)
    assert 0 < trial.saved < 1
    assert trial.lost <= trial.violations < 0.12 * trial.calibrating
    assert json.loads(json.dumps(trial.to_json())) == trial.to_json()
    assert try_rule(runs[:10], beside=(), false_negative_rate=0.05) is None


@pytest.mark.parametrize("violations", [3, 10, 11, 30])
def test_too_many_violations_are_told_by_a_binomial_test(violations):
    trial = Trial(calibrating=100, violations=violations, lost=0, abandoned=50, runs=200, saved=0.2)
    assert trial.passes(0.05) == (binom.sf(violations - 1, 100, 0.05) >= 0.05)
    assert not replace(trial, saved=0.0).passes(0.05)


@pytest.fixture(scope="module")
def crystals():
    return [
        rattled(symbols, seed=i)
        for i, symbols in enumerate([["Cu"] * 4, ["Ni", "Cu", "Ni", "Pt"], ["Pt"] * 4])
    ]


@pytest.fixture(scope="module")
def symmetric_crystals():
    """Layers along a stretched axis, displaced along it: tetragonal, with something left to relax."""
    found = []
    for symbols in (["Cu", "Cu", "Ni", "Pt"], ["Pt", "Ni", "Cu", "Ni"]):
        atoms = bulk("Cu", "bcc", a=2.9, cubic=True).repeat((1, 1, 2))
        atoms.symbols[:] = symbols
        atoms.set_cell(atoms.cell.array * [[1.0], [1.0], [1.1]], scale_atoms=True)
        atoms.positions[:, 2] += [0.0, 0.15, 0.05, -0.1]
        found.append(Crystal.from_atoms(atoms))
    return found


@pytest.mark.parametrize("symmetry", ["free", "released"])
def test_a_relaxation_keeps_where_it_stood(crystals, symmetric_crystals, symmetry):
    emt = load_potential(EMT, base=Path.cwd())
    chosen = symmetric_crystals if symmetry == "released" else crystals
    for relaxed in relax(chosen, emt, TIGHT.model_copy(update={"symmetry": symmetry})):
        assert {p.operations for p in relaxed.trace} == {8 if symmetry == "released" else 1}
        first = [p for p in relaxed.trace if not p.released]
        later = relaxed.trace[len(first) :]
        assert (
            [p.since for p in first]
            == [p.evaluations for p in first]
            == [k for k in CHECKPOINTS if k < (later[0].evaluations if later else relaxed.steps)]
        )
        if symmetry == "released":
            let_go = later[0].evaluations
            assert later[0].max_force <= TIGHT.max_force
            assert [p.since for p in later] == [k for k in (0, *CHECKPOINTS) if let_go + k < relaxed.steps]
            assert all(p.evaluations == let_go + p.since for p in later)
        else:
            assert not later
        energies = [relaxed.starting_energy_per_atom, *(p.energy_per_atom for p in relaxed.trace)]
        assert [p.drop for p in relaxed.trace] == pytest.approx(-np.diff(energies))
        assert min(energies) >= relaxed.energy_per_atom - 1e-3  # a gain below that is noise of where it stops
        assert all(p.decrement > 0 for p in relaxed.trace)
        assert Relaxation.from_dict(json.loads(json.dumps(relaxed.to_dict()))) == relaxed


def test_what_is_hopeless_is_abandoned_and_the_rest_is_as_without_a_rule(crystals):
    emt = load_potential(EMT, base=Path.cwd())
    whole = relax(crystals, emt, TIGHT)
    ceilings = [whole[0].energy_per_atom + 0.05, whole[1].energy_per_atom - 5.0, None]
    evaluated = []
    outcomes = relax(
        crystals, emt, TIGHT, rule=known_rule(20.0), ceilings=ceilings, evaluated=evaluated.append
    )
    assert outcomes[0].energy_per_atom == pytest.approx(whole[0].energy_per_atom, abs=1e-6)
    assert outcomes[2].energy_per_atom == pytest.approx(whole[2].energy_per_atom, abs=1e-6)
    abandoned = outcomes[1]
    assert isinstance(abandoned, Failure)
    assert abandoned.reason == REASON
    assert known_rule(20.0).version in abandoned.detail
    assert "after 4 evaluations" in abandoned.detail
    assert f"the ceiling is {ceilings[1]:.3f}" in abandoned.detail
    assert evaluated.count(1) == 4 < whole[1].steps


def test_a_release_out_of_reach_is_spared(symmetric_crystals):
    """Where the space group is about to be let go the rule looks once more, before anything is spent on that."""
    emt = load_potential(EMT, base=Path.cwd())
    scale = replace(known_rule().scales[0], released=True, since=0, slopes=(0.0,) * 5)
    rule = replace(known_rule(0.3), scales=(scale,))
    held, whole = (
        relax(symmetric_crystals, emt, TIGHT.model_copy(update={"symmetry": symmetry}))
        for symmetry in ("kept", "released")
    )
    margin = rule.quantile * (1.0 + SMALLEST_SCALE)
    near, far = (
        [found.energy_per_atom - height for found in held] for height in (margin - 0.001, margin + 0.001)
    )
    settings = TIGHT.model_copy(update={"symmetry": "released"})
    assert relax(symmetric_crystals, emt, settings, rule=rule, ceilings=near) == whole
    evaluated = []
    spared = relax(symmetric_crystals, emt, settings, rule=rule, ceilings=far, evaluated=evaluated.append)
    assert [outcome.reason for outcome in spared] == [REASON] * 2
    assert [evaluated.count(i) for i in range(2)] == [found.steps for found in held]
    assert all(found.steps > before.steps + 3 for found, before in zip(whole, held, strict=True))


def test_without_ceilings_a_rule_changes_nothing(crystals):
    emt = load_potential(EMT, base=Path.cwd())
    assert relax(crystals, emt, TIGHT, rule=known_rule(0.0)) == relax(crystals, emt, TIGHT)


def test_a_worker_is_told_of_rule_and_ceilings(crystals):
    given_crystals = [crystal.to_dict() for crystal in crystals[:2]]
    asked = (as_json(EMT), as_json(TIGHT), given_crystals, str(Path.cwd()))
    early = {"rule": known_rule(20.0).to_dict(), "ceilings": [-100.0, None]}
    first, second = (
        outcome_from_dict(values) for values in relax_task(*asked, json.loads(json.dumps(early)))
    )
    assert first.reason == REASON
    assert isinstance(second, Relaxation)
