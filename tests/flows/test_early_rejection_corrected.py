"""A screen that stops paying early where the Materials Project's corrections are added to its energies."""

from __future__ import annotations

import pytest

from flows.campaign import Campaign
from flows.early_rejection import rule_of, runs_of
from flows.relaxer import EARLY_REJECTION
from flows.stages.judging import phases_of
from flows.turning import run
from loop.hull import HullSet
from surrogates.corrections import correction_of, lowest_correction
from surrogates.early_rejection import REASON
from tests.flows.test_early_rejection import WORLD
from tests.flows.worlds import EMT, emt_spec

pytestmark = pytest.mark.slow

CORRECTED = {"name": "ase", "calculator": "tests.flows.calculators:Oxides", "corrections": "mp2020"}
WINDOW = 0.1
CHANGES = {
    **WORLD,
    "space": {"chemical_systems": ["Al-Ni-O"], "number_of_elements": [2, 3], "atoms": [2, 8]},
    "potential": CORRECTED,
    "relaxation": {"max_force": 0.05, "max_stress": 0.5, "max_steps": 100},
    "acquisition": {"policy": "greedy", "audit_fraction": 0.0, "window": WINDOW},
    "verification": [{**WORLD["verification"][0], "name": "oxides-tight+mp2020", "potential": CORRECTED}],
}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """A finished campaign whose second iteration was screened under a rule. Read only."""
    folder = tmp_path_factory.mktemp("corrected-early")
    with Campaign.open(emt_spec(**CHANGES), folder=folder, base=EMT.parent) as campaign:
        run(campaign)
        yield campaign


def test_a_rule_is_in_force_and_ends_relaxations(campaign):
    under = [c for c in campaign.state.calculations.values() if EARLY_REJECTION in c.settings]
    assert rule_of(campaign) is not None
    assert len(under) > 10
    assert any(c.failure_reason == REASON for c in under), "the rule ended nothing; the world is too tame"
    assert campaign.state.stages[2, "relax"].summary["abandoned"] > 0


def test_ceilings_allow_for_the_lowest_correction(campaign):
    """Rebuilt from the first iteration's verdicts alone, on the corrected hull."""
    state, fidelity = campaign.state, campaign.screening_fidelity
    first = {id_: c for id_, c in state.judged(fidelity).items() if state.candidates[id_].iteration == 1}
    known = state.reference_calculations(fidelity) | first
    hulls = HullSet(phases_of(campaign, known, fidelity=fidelity))
    corrections = set()
    for calculation in state.calculations.values():
        if EARLY_REJECTION in calculation.settings:
            composition = state.crystals[calculation.crystal_key].composition
            lowest = lowest_correction(composition, "mp2020")
            ceiling = calculation.settings[EARLY_REJECTION]["ceiling"]
            above = hulls.energy_above_hull(composition, ceiling + lowest, fidelity=fidelity)
            assert above == pytest.approx(WINDOW, abs=1e-6)
            corrections.add(round(lowest, 3))
    assert len(corrections) > 3, "one correction for all would be no test"
    assert min(corrections) < -0.5


def test_what_teaches_matters_by_its_corrected_energy(campaign):
    state, fidelity = campaign.state, campaign.screening_fidelity
    runs = runs_of(campaign)
    above = [
        verdict.energy_above_hull
        for verdict in state.verdicts_at(fidelity)
        if EARLY_REJECTION not in state.calculations[verdict.calculation_key].settings
    ]
    assert [run.matters for run in runs] == [energy <= WINDOW for energy in above]
    assert 0 < sum(run.matters for run in runs) < len(runs)
    for calculation in state.calculations.values():
        if calculation.kind == "relaxation" and calculation.outcome == "done":
            relaxed = state.crystals[calculation.result_crystal_key]
            correction = correction_of(relaxed, "mp2020").energy_per_atom
            assert lowest_correction(relaxed.composition, "mp2020") <= correction + 1e-9
            last = calculation.result["trace"][-1] if calculation.result["trace"] else None
            if last is not None:  # a trace is in raw energies
                assert calculation.result["uncorrected_energy_per_atom"] <= last[3] + 1e-3
