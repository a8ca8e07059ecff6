"""What a verification level can and cannot judge: reference phases and choices that the budget does not pay for."""

from __future__ import annotations

from collections import Counter

from flows.campaign import Campaign
from flows.turning import run
from loop.outcomes import verified_candidates
from tests.flows.ledgers import run_again
from tests.flows.worlds import EMT, emt_spec

LEVEL = {
    "name": "emt-tight",
    "verifier": "potential",
    "potential": {"name": "emt"},
    "options": {"max_force": 0.01, "max_stress": 0.05},
    "reference_window": 0.0,  # the three elements alone
}
QUICK = {
    "generators": [{"name": "prototypes", "weight": 1}],
    "batch": {"proposals": 5, "verifications": 3},
    "acquisition": {"policy": "greedy", "window": 0.5},
}


def opened(folder, **changes):
    return Campaign.open(emt_spec(**{**QUICK, **changes}), folder=folder, base=EMT.parent)


def test_a_choice_that_was_not_paid_for_waits_and_counts_where_it_was_verified(tmp_path):
    beam = {"verification": [{**LEVEL, "cost": {"beam_hours": 1}}]}
    short = {"verifications": 100, "beam_hours": 4}  # three elements' references, then one candidate
    with opened(tmp_path, **beam, budget=short, stopping={"iterations": 4}) as campaign:
        run(campaign)
        first = verified_candidates(campaign.state, campaign.spec)
        chosen = Counter(d.candidate_id for d in campaign.state.decisions.values() if d.role != "passed over")
        assert campaign.state.stages[1, "verify"].summary["emt-tight"]["unaffordable"] == 2
        assert campaign.state.spent["beam_hours"] == 4
        assert len(first) == 1 < len(chosen)

    enough = {"verifications": 100, "beam_hours": 11}
    with opened(tmp_path, **beam, budget=enough, stopping={"iterations": 4}) as campaign:
        run(campaign)
        verified = verified_candidates(campaign.state, campaign.spec)
        again = Counter(d.candidate_id for d in campaign.state.decisions.values() if d.role != "passed over")
        waited = {id_ for id_, times in again.items() if times > 1}
        assert waited & {v.candidate_id for v in verified}, "nothing that had waited was verified"
        assert max(Counter(v.candidate_id for v in verified).values()) == 1
        assert campaign.state.spent == {
            **campaign.state.spent,
            "verifications": len(verified),
            "beam_hours": 3 + len(verified),
        }
        for v in verified:
            assert campaign.state.verifications[v.candidate_id, "emt-tight"].iteration == v.iteration
    assert run_again(tmp_path) == []


def test_a_campaign_that_cannot_pay_the_next_step_ends_and_says_so(tmp_path):
    costly = {"verification": [{**LEVEL, "cost": {"beam_hours": 2}}]}
    budget = {"verifications": 100, "beam_hours": 9}
    with opened(tmp_path, **costly, budget=budget, stopping={"iterations": 50}) as campaign:
        reason = run(campaign)
        assert campaign.state.spent["beam_hours"] == 8
        assert campaign.counts()["iterations"] <= 2
    assert reason == "the budget is exhausted: 1 beam_hours are left, the next step costs 2"


def test_no_candidate_is_verified_whose_reference_phases_cannot_be_paid(tmp_path):
    costly = {"verification": [{**LEVEL, "cost": {"beam_hours": 1}}]}
    with opened(
        tmp_path, **costly, budget={"verifications": 100, "beam_hours": 1}, stopping={"iterations": 2}
    ) as campaign:
        run(campaign)
        assert campaign.state.verifications == {}
        assert campaign.state.verdicts_at("emt-tight") == []


def test_a_candidate_is_not_judged_on_a_hull_that_lacks_its_phases(tmp_path):
    calculator = "tests.flows.verification.troubled_calculators:WithoutPlatinum"
    potential = {"name": "ase", "calculator": calculator}
    level = {**LEVEL, "name": "lame", "potential": potential}
    with opened(tmp_path, verification=[level], stopping={"iterations": 2}) as campaign:
        run(campaign)
        state = campaign.state
        elements = {
            v.candidate_id: state.crystals[state.candidates[v.candidate_id].crystal_key].elements
            for v in state.verifications.values()
        }
        judged = {v.candidate_id for v in state.verdicts_at(campaign.energy_levels[0])}
        unjudged = {f.subject for f in state.failures.values() if f.reason == "no hull"}
        failed = [f for f in state.failures.values() if f.subject.endswith(" Pt")]
    assert {id_ for id_, symbols in elements.items() if "Pt" in symbols} == unjudged != set()
    assert judged == set(elements) - unjudged
    assert len(failed) == len({f.subject for f in failed}) > 0
    assert run_again(tmp_path) == []
