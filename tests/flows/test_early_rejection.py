"""A screen that stops paying early, in a whole campaign: what is abandoned and audited, and what no kill may change."""

from __future__ import annotations

import pytest

from flows.calculations import calculation_key
from flows.campaign import Campaign
from flows.early_rejection import KIND, NAME, learn, learned_under, plan, reference_runs_of, rule_of, runs_of
from flows.observer import Silence
from flows.relaxer import EARLY_REJECTION
from flows.stages.judging import phases_of
from flows.turning import run
from loop.early_rejection import audit_of
from loop.hull import HullSet
from loop.ledger.tables import Cost
from surrogates.early_rejection import REASON, Rule
from surrogates.early_rejection_learning import fit_rule
from tests.flows.ledgers import content, run_again
from tests.flows.worlds import EMT, emt_spec

# A rate so coarse that one iteration teaches it, and a window so narrow that much of a small world lies outside.
WORLD = {
    "relaxation": {"max_force": 0.02, "max_stress": 0.2, "max_steps": 100},
    "generators": [{"name": "prototypes", "weight": 1}, {"name": "random_symmetric", "weight": 1}],
    "acquisition": {"policy": "greedy", "audit_fraction": 0.0, "window": 0.05},
    "screening": {"early_rejection": {"false_negative_rate": 0.2, "audit_fraction": 0.3}},
    "verification": [
        {
            "name": "emt-tight",
            "verifier": "potential",
            "potential": {"name": "emt"},
            "options": {"max_force": 0.01, "max_stress": 0.05},
            "reference_window": 0.0,
        }
    ],
    "batch": {"proposals": 40, "verifications": 1},
    "stopping": {"iterations": 2},
}


class KilledError(Exception):
    """The driver's end."""


class Killer(Silence):
    """Ends the driver in the middle of the second iteration's relaxations: after two chunks of five."""

    def __init__(self):
        self.iteration = 0

    def stage_started(self, iteration, stage):
        self.iteration = iteration

    def progress(self, label, *, done, total, share):
        if self.iteration == 2 and label.startswith("relaxing with") and 16 <= done < total:
            raise KilledError


def opened(folder, **options):
    return Campaign.open(emt_spec(**WORLD), folder=folder, base=EMT.parent, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a finished campaign whose second iteration was screened under a rule. Read only."""
    folder = tmp_path_factory.mktemp("early")
    with opened(folder) as campaign:
        run(campaign)
    return folder


@pytest.fixture
def campaign(folder):
    with opened(folder) as campaign:
        yield campaign


@pytest.mark.slow
def test_a_killed_campaign_abandons_and_audits_the_same_candidates(folder, tmp_path):
    with pytest.raises(KilledError), opened(tmp_path, observer=Killer()) as campaign:
        run(campaign)
    with opened(tmp_path) as campaign:
        assert not campaign.state.finished(2, "relax")
        assert any(EARLY_REJECTION in c.settings for c in campaign.state.calculations.values())
        run(campaign)
    assert content(tmp_path) == content(folder)
    assert run_again(tmp_path) == []


@pytest.mark.slow
def test_what_was_abandoned_is_set_aside_and_did_not_fail(campaign):
    state = campaign.state
    abandoned = {id_: r for id_, r in state.rejections.items() if r.reason == REASON}
    rule = Rule.from_dict(state.model_versions[KIND, NAME][1].state)
    assert abandoned, "the rule ended nothing; the world is too tame for this test"
    assert all(
        r.stage == "relax" and r.iteration == 2 and rule.version in r.detail for r in abandoned.values()
    )
    assert not {f.subject for f in state.failures.values()} & set(abandoned)
    for id_ in abandoned:
        calculation = campaign.relaxation_of(state.candidates[id_])
        assert calculation.settings[EARLY_REJECTION]["rule"] == rule.version
        assert calculation.failure_reason == REASON
        assert state.verdict(id_, campaign.screening_fidelity) is None
    summary = state.stages[2, "relax"].summary
    assert summary["abandoned"] == len(abandoned)
    assert summary["relaxed"] + summary["failed"] + summary["abandoned"] == 40 - sum(
        r.stage == "propose" and r.iteration == 2 for r in state.rejections.values()
    )


@pytest.mark.slow
def test_every_candidate_s_relaxation_is_found_whatever_its_ceiling(campaign):
    state, relaxer = campaign.state, campaign.resources.relaxer
    under = whole = 0
    for candidate in state.candidates.values():
        if (rejection := state.rejections.get(candidate.id)) and rejection.stage == "propose":
            continue
        calculation = campaign.relaxation_of(candidate)
        assert calculation.crystal_key == candidate.crystal_key
        assert calculation.kind == "relaxation"
        identity = dict(relaxer.identity(state.crystals[candidate.crystal_key]))
        if EARLY_REJECTION in calculation.settings:
            identity[EARLY_REJECTION] = calculation.settings[EARLY_REJECTION]
            under += 1
        else:
            whole += 1
        assert calculation.key == calculation_key(state.crystals[candidate.crystal_key], identity)
    assert under > 10
    assert whole > 40


@pytest.mark.slow
def test_ceilings_are_those_of_the_hull_that_the_stage_began_with(campaign):
    """Rebuilt from the first iteration's verdicts alone."""
    state, fidelity = campaign.state, campaign.screening_fidelity
    of_the_first = {
        id_: c for id_, c in state.judged(fidelity).items() if state.candidates[id_].iteration == 1
    }
    known = state.reference_calculations(fidelity) | of_the_first
    hulls = HullSet(phases_of(campaign, known, fidelity=fidelity))
    for calculation in state.calculations.values():
        if EARLY_REJECTION in calculation.settings:
            composition = state.crystals[calculation.crystal_key].composition
            ceiling = calculation.settings[EARLY_REJECTION]["ceiling"]
            above = hulls.energy_above_hull(composition, ceiling, fidelity=fidelity)
            assert above == pytest.approx(WORLD["acquisition"]["window"], abs=1e-6)


@pytest.mark.slow
def test_audits_are_counted_and_only_they_teach(campaign):
    state = campaign.state
    summary = state.stages[2, "relax"].summary["early_rejection"]
    second = [c for c in state.candidates.values() if c.iteration == 2]
    plain = [
        c
        for c in second
        if (found := campaign.relaxation_of(c))
        and EARLY_REJECTION not in found.settings
        and found.outcome == "done"
    ]
    assert summary["audited"] == len(plain)
    audit = audit_of(state)
    assert (audit.audited, audit.abandoned) == (summary["audited"], summary["abandoned"])
    assert audit.rate.trials == summary["matter"]
    assert audit.rate.successes == len(summary["would_be_lost"])
    assert "relaxations were abandoned early" in (campaign.folder / "report.html").read_text()

    runs = runs_of(campaign)
    judged = {v.candidate_id for v in state.verdicts_at(campaign.screening_fidelity)}
    first = [id_ for id_ in judged if state.candidates[id_].iteration == 1]
    assert len(runs) == len(first) + sum(c.id in judged for c in plain)
    rule = fit_rule(
        runs,
        beside=reference_runs_of(campaign),
        false_negative_rate=0.2,
        learned_under=learned_under(campaign),
    )
    assert rule.to_dict() == state.model_versions[KIND, NAME][2].state


@pytest.mark.slow
def test_abandoned_relaxations_are_paid_for(campaign):
    costs = {
        (c.calculation_key, c.currency): c.amount for c in campaign.ledger.rows(Cost) if c.kind == "settled"
    }
    abandoned = [c for c in campaign.state.calculations.values() if c.failure_reason == REASON]
    assert abandoned
    for calculation in abandoned:
        assert costs[calculation.key, "relaxations"] == 1.0
        assert costs[calculation.key, "cpu_seconds"] == calculation.cpu_seconds > 0


@pytest.mark.slow
def test_a_rule_of_another_version_or_other_settings_is_not_used(folder, campaign):
    """The same ledger, read by a later version of the code, or with relaxations that end elsewhere."""
    assert rule_of(campaign) is not None
    candidates = [c for c in campaign.state.candidates.values() if c.iteration == 2]
    assert plan(campaign, candidates, iteration=3) is not None
    campaign.resources.relaxer._identity["code_version"] += 1
    assert rule_of(campaign) is None
    assert plan(campaign, candidates, iteration=3) is None
    assert runs_of(campaign) == reference_runs_of(campaign) == []
    assert learn(campaign) is None


def test_null_switches_it_off(tmp_path):
    spec = emt_spec(**{**WORLD, "screening": {"early_rejection": None}})
    with Campaign.open(spec, folder=tmp_path, base=EMT.parent) as campaign:
        assert learn(campaign) is None
        assert plan(campaign, [], iteration=1) is None
