"""The whole loop, on an EMT world."""

from __future__ import annotations

import os
import uuid

import pytest
from sqlalchemy import create_engine, make_url, text

from flows.campaign import Campaign
from flows.turning import run
from loop.campaign_file import read_campaign
from loop.ledger.ledger import Ledger
from loop.ledger.tables import Cost, Decision, HullRow, ModelVersion, Verdict
from loop.outcomes import counts
from loop.state import CampaignState
from tests.flows.ledgers import content, run_again
from tests.flows.worlds import EMT, TWENTY, emt_spec


def opened(folder):
    return Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}")


def test_every_iteration_ends_and_says_why_the_campaign_did(turned):
    with opened(turned) as ledger:
        (row,) = ledger.campaigns()
        state = CampaignState.rebuild(ledger, row.id)
        now = counts(state, ledger.latest_spec(row.id))
    assert now["iterations"] == 4
    assert now["candidates"] == 48
    assert "stopping.iterations" in now["stopped"]
    assert now["verified"] > 0
    assert now["cost"]["verifications"] == 12
    assert now["cost"]["cpu_seconds"] > 0
    assert (turned / "report.html").stat().st_size > 10_000


def test_learning_uses_what_the_ledger_holds(turned):
    with opened(turned) as ledger:
        generators = {m.name for m in ledger.rows(ModelVersion) if m.kind == "generator"}
        evolved = [c for c in ledger.frame("candidate").to_dict("records") if c["generator"] == "evolution"]
    assert {"prototypes", "evolution"} <= generators or "prototypes" in generators
    assert evolved, "evolution proposed nothing in four iterations"
    assert all(c["iteration"] > 1 and c["parents"] for c in evolved)


def test_decisions_carry_reasons_and_audits_are_random_rejects(turned):
    with opened(turned) as ledger:
        decisions = ledger.rows(Decision)
    assert {d.role for d in decisions} >= {"chosen", "audit"}
    assert all(d.reasons for d in decisions)
    assert sum(d.role == "audit" for d in decisions) == 3  # a quarter of twelve verifications


def test_verdicts_are_superseded_not_edited(turned):
    with opened(turned) as ledger:
        verdicts, hulls = ledger.rows(Verdict), ledger.rows(HullRow)
    later = [v for v in verdicts if v.number > 1]
    assert later, "the hull never moved; the campaign is too tame for this test"
    moved = {(h.fidelity, h.version) for h in hulls if h.number > 1}
    assert all((v.fidelity, v.hull_version) in moved for v in later)
    first = {(v.candidate_id, v.fidelity) for v in verdicts if v.number == 1}
    assert all((v.candidate_id, v.fidelity) in first for v in later)


def test_the_live_state_equals_a_rebuild(tmp_path):
    with Campaign.open(emt_spec(stopping={"iterations": 1}), folder=tmp_path, base=EMT.parent) as campaign:
        run(campaign)
        assert campaign.state == CampaignState.rebuild(campaign.ledger, campaign.id)


def test_the_same_file_and_seed_turn_the_same_campaign(turned, tmp_path):
    with Campaign.open(read_campaign(EMT), folder=tmp_path, base=EMT.parent) as campaign:
        run(campaign)
    assert content(tmp_path) == content(turned)


def test_another_seed_turns_another(turned, tmp_path):
    with Campaign.open(
        emt_spec(seed=4, stopping={"iterations": 1}), folder=tmp_path, base=EMT.parent
    ) as campaign:
        run(campaign)
    ours, theirs = content(tmp_path)["candidate"], content(turned)["candidate"]
    assert [c["crystal_key"] for c in ours] != [c["crystal_key"] for c in theirs if c["iteration"] == 1]


def test_going_on_with_a_larger_budget(tmp_path):
    small = emt_spec(stopping={"iterations": 1})
    with Campaign.open(small, folder=tmp_path, base=EMT.parent) as campaign:
        run(campaign)
    with Campaign.open(emt_spec(stopping={"iterations": 2}), folder=tmp_path, base=EMT.parent) as campaign:
        reason = run(campaign)
        assert campaign.state.campaign.revision == 2
        assert campaign.counts()["iterations"] == 2
    assert "2 iterations" in reason
    assert run_again(tmp_path) == []


def test_reference_phases_are_paid_for_once(tmp_path):
    execution = {"workers": 2, "cache": str(tmp_path / "cache")}
    seconds = []
    for name in ("first", "second"):
        spec = emt_spec(name=name, stopping={"iterations": 1}, execution=execution)
        with Campaign.open(spec, folder=tmp_path / name, base=EMT.parent) as campaign:
            run(campaign)
            costs = [
                c
                for c in campaign.ledger.rows(Cost, campaign.id)
                if c.purpose == "reference" and c.kind == "settled"
            ]
            seconds.append(sum(c.amount for c in costs if c.currency == "cpu_seconds"))
    assert seconds[0] > 0
    assert seconds[1] == 0


def test_what_a_killed_driver_had_begun_is_not_counted_against_the_budget_twice(tmp_path, monkeypatch):
    """Everything that the budget pays for is in flight as the driver dies: it is promised, and can still be paid."""
    spec = emt_spec(
        budget={"verifications": 100, "relaxations": 12},
        stopping={"iterations": 1},
        execution={"workers": 2, "cache": None},
    )

    def die():
        raise KeyboardInterrupt

    with Campaign.open(spec, folder=tmp_path, base=EMT.parent) as campaign:
        run(campaign, iterations=0)
        monkeypatch.setattr(campaign.resources.relaxer, "collect", die)
        with pytest.raises(KeyboardInterrupt):
            run(campaign)
        assert campaign.state.outstanding["relaxations"] == 12
    with Campaign.open(spec, folder=tmp_path, base=EMT.parent) as campaign:
        run(campaign)
        assert campaign.state.stages[1, "relax"].summary["unaffordable"] == 0
        assert campaign.state.spent["relaxations"] <= 12


def test_the_budget_is_never_overspent(tmp_path):
    with Campaign.open(
        emt_spec(budget={"verifications": 5, "relaxations": 24}), folder=tmp_path, base=EMT.parent
    ) as campaign:
        reason = run(campaign)
        spent = campaign.state.spent
    assert "budget" in reason
    assert spent["verifications"] <= 5
    assert spent["relaxations"] <= 24


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_campaign_on_postgresql(turned, tmp_path):
    """The same campaign in a server's database: the same candidates, and the password kept out of the ledger."""
    server = os.environ.get("MOTHERLODE_TEST_POSTGRESQL")
    if not server:
        pytest.skip("MOTHERLODE_TEST_POSTGRESQL is not set: infra/test starts a server and sets it")
    name = f"campaign_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name}"))
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    try:
        spec = emt_spec(stopping={"iterations": 1}, ledger=url)
        with Campaign.open(spec, folder=tmp_path, base=EMT.parent) as campaign:
            run(campaign)
            keys = [c.crystal_key for c in campaign.state.candidates.values()]
            assert make_url(url).password not in str(campaign.state.campaign.spec)
        theirs = [c["crystal_key"] for c in content(turned)["candidate"] if c["iteration"] == 1]
        assert keys == theirs
        assert not (tmp_path / "ledger.sqlite").exists()
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"drop database {name} with (force)"))
        engine.dispose()


@pytest.mark.slow
def test_twenty_iterations_of_a_small_world(tmp_path):
    """Under a minute on two free cores; `benchmarks/small_world.py` measures it, for a test must not time."""
    spec = emt_spec(**TWENTY)
    with Campaign.open(spec, folder=tmp_path, base=EMT.parent) as campaign:
        run(campaign)
        now = campaign.counts()
    assert now["iterations"] == 20
    assert now["candidates"] > 50
    assert now["verified"] == 20
