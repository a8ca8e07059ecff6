"""The live state against rows written by hand."""

import random

import pytest

from loop.ledger.ledger import Ledger
from loop.ledger.tables import Attempt, Lease, Row
from loop.state import CampaignState
from tests.loop import ledger_rows as make


def folded(*rows: Row) -> CampaignState:
    state = CampaignState("c")
    state.apply(*rows)
    return state


def test_an_empty_state_has_nothing_in_it():
    state = CampaignState("c")
    assert (state.candidates, state.crystals, state.spent, state.hull(make.SCREENING)) == ({}, {}, {}, None)
    assert (state.campaign, state.last_finished_iteration) == (None, 0)
    assert state.records(screening_fidelities=[make.SCREENING], verification_levels=[make.LEVEL]) == ()
    assert repr(state) == "CampaignState('c': empty)"


def test_rows_of_other_campaigns_and_leases_are_passed_over():
    lease = Lease(campaign_id="c", token=1, host="h", process_id=1, process_started=0.0)
    assert folded(lease, *make.one_of_each("d")) == CampaignState("c")


def test_order_and_repetition_do_not_matter():
    rows = make.one_of_each()
    state = folded(*rows)
    shuffled = random.Random(1)
    for _ in range(20):
        shuffled.shuffle(rows)
        other = CampaignState("c")
        for row in rows:
            # Looking in between must not freeze what later rows change.
            other.apply(row, row)
            assert other.crystals is not None
            assert other.spent is not None
        assert other == state
        assert (other.crystals, other.spent, other.judged(make.SCREENING)) == (
            state.crystals,
            state.spent,
            state.judged(make.SCREENING),
        )


@pytest.mark.parametrize("missing", range(len(make.one_of_each())))
def test_states_differ_where_a_row_is_missing(missing):
    rows = make.one_of_each()
    assert folded(*(row for i, row in enumerate(rows) if i != missing)) != folded(*rows)


def test_states_are_not_equal_to_other_things():
    assert CampaignState("c") != CampaignState("d")
    assert CampaignState("c") != "c"


def test_candidates_are_in_order_of_proposal():
    rows = [make.candidate("c", n, iteration=i) for i, n in ((2, 0), (1, 11), (1, 2), (10, 0))]
    assert list(folded(*rows).candidates) == ["0001-0002", "0001-0011", "0002-0000", "0010-0000"]


def test_shared_rows_count_once_they_are_referred_to():
    calculation = make.calculation("k", start=0, end=1)
    state = folded(calculation, make.stored_crystal(0), make.stored_crystal(1))
    assert (state.calculations, state.crystals) == ({}, {})
    state.apply(make.cost("c", "k", amount=0.0))
    assert state.calculations == {"k": calculation}
    assert state.crystals == {crystal.key: crystal for crystal in (make.crystal(0), make.crystal(1))}


class TestMoney:
    def test_spent_sums_what_is_settled(self):
        state = folded(
            make.cost("c", "k", amount=2.0),
            make.cost("c", "l", amount=3.0),
            make.cost("c", "l", amount=1.0, currency="verifications"),
            make.cost("c", "m", amount=7.0, kind="declared"),
        )
        assert state.spent == {"cpu_seconds": 5.0, "verifications": 1.0}

    def test_sums_are_exact_whatever_the_order(self):
        amounts = [1e16, 1.0, -0.0, 1e-9, 1.0, 0.1, 0.2, 0.3]
        rows = [make.cost("c", str(i), amount=amount) for i, amount in enumerate(amounts)]
        assert folded(*rows).spent == folded(*reversed(rows)).spent == {"cpu_seconds": 1e16 + 2}

    def test_a_declared_cost_is_outstanding_until_its_calculation_is_settled(self):
        rows = [make.cost("c", key, amount=5.0, kind="declared") for key in ("k", "l", "m")]
        state = folded(*rows)
        assert state.outstanding == {"cpu_seconds": 15.0}
        state.apply(make.cost("c", "k", amount=9.0))
        assert state.outstanding == {"cpu_seconds": 10.0}
        # Settled by another campaign, which paid for it.
        state.apply(make.calculation("l", start=0))
        assert state.outstanding == {"cpu_seconds": 5.0}

    def test_what_remains_is_neither_spent_nor_outstanding(self):
        state = folded(make.cost("c", "k", amount=4.0), make.cost("c", "l", amount=5.0, kind="declared"))
        assert state.remaining({"cpu_seconds": 10.0, "verifications": 3.0}) == {
            "cpu_seconds": 1.0,
            "verifications": 3.0,
        }
        assert state.remaining({"cpu_seconds": 8.0}) == {"cpu_seconds": -1.0}


class TestInForce:
    def test_the_highest_number_is(self):
        state = folded(*(make.verdict("c", "0001-0000", "k", energy=0.1 * n, number=n) for n in (2, 10, 9)))
        assert state.verdict("0001-0000", make.SCREENING).number == 10
        assert list(state.verdicts["0001-0000", make.SCREENING]) == [2, 9, 10]
        assert state.verdict("0001-0000", make.LEVEL) is None

    def test_hulls_are_in_force_by_fidelity(self):
        state = folded(make.hull("c", 2), make.hull("c", 1), make.hull("c", 1, fidelity=make.LEVEL))
        assert (state.hull(make.SCREENING).number, state.hull(make.LEVEL).number) == (2, 1)
        assert list(state.hulls[make.SCREENING]) == [1, 2]

    def test_the_latest_promoted_model_is(self):
        state = folded(
            *(make.model_version("c", i, promoted=p) for i, p in ((1, True), (2, True), (3, False)))
        )
        assert state.promoted("generator", "prototypes").version == "v2"
        assert list(state.model_versions["generator", "prototypes"]) == [1, 2, 3]
        assert state.promoted("generator", "evolution") is None

    def test_a_model_that_was_never_promoted_is_not(self):
        assert folded(make.model_version("c", 1, promoted=False)).promoted("generator", "prototypes") is None

    def test_the_latest_and_largest_reference_set_is(self):
        sets = [
            make.reference_set("c", v, iteration=i, phases=n)
            for v, i, n in (("x", 0, 9), ("z", 1, 3), ("y", 1, 4))
        ]
        phases = [make.reference_phase("c", "y", name, "k") for name in ("CsCl", "Cs")]
        state = folded(*sets, *phases, make.calculation("k", start=0))
        assert state.reference_set(make.SCREENING).version == "y"
        assert list(state.reference_calculations(make.SCREENING)) == ["Cs", "CsCl"]
        assert state.reference_calculations(make.LEVEL) == {}

    def test_the_latest_campaign_file_is(self):
        assert folded(make.campaign("c", revision=2), make.campaign("c")).campaign.revision == 2


def test_stages_tell_where_the_campaign_stands():
    rows = [make.stage("c", 1, name) for name in ("propose", "report")] + [make.stage("c", 2, "propose")]
    state = folded(*rows)
    assert state.finished(1, "report")
    assert not state.finished(2, "report")
    assert state.last_finished_iteration == 1


def test_attempts_are_counted():
    rows = [Attempt(campaign_id="c", calculation_key="k", number=n, lease_token=1) for n in (1, 2, 3)]
    assert folded(*rows).attempts == {"k": 3}


def test_decisions_and_verifications_come_in_order():
    state = folded(
        make.decision("c", "0001-0001", rank=2),
        make.decision("c", "0001-0002", rank=1),
        make.decision("c", "0001-0003", role="audit"),
        make.decision("c", "0001-0004", iteration=2),
        make.verification("c", "0001-0002", "k", iteration=2),
        make.verification("c", "0001-0003", "k"),
        make.verification("c", "0001-0001", "k"),
    )
    assert [row.candidate_id for row in state.decisions_of(1)] == ["0001-0003", "0001-0002", "0001-0001"]
    assert [row.candidate_id for row in state.verifications_in_order()] == [
        "0001-0001",
        "0001-0003",
        "0001-0002",
    ]


class TestRecords:
    def records(self, *rows: Row):
        state = folded(*(make.stored_crystal(i) for i in range(4)), *rows)
        found = state.records(screening_fidelities=[make.SCREENING], verification_levels=["emt", "dft"])
        return {record.candidate_id: record for record in found}

    def candidate(self, number: int = 0, *, crystal: int = 0):
        return make.candidate("c", number, crystal_key=make.crystal(crystal).key)

    def test_a_bare_candidate(self):
        (record,) = self.records(self.candidate(), make.candidate("c", 1)).values()
        assert (record.candidate_id, record.crystal, record.relaxed) == ("0001-0000", make.crystal(0), None)
        assert (record.screened_energy_above_hull, record.verified_energy_above_hull, record.failure) == (
            None,
            None,
            None,
        )
        assert (record.details, record.parents, record.predictions) == ({"space_group": 221}, (), {})

    def test_a_screened_candidate_has_the_verdict_in_force(self):
        rows = [
            self.candidate(),
            make.calculation("k", start=0, end=1),
            make.verdict("c", "0001-0000", "k", energy=0.1),
            make.verdict("c", "0001-0000", "k", energy=0.3, number=2),
        ]
        record = self.records(*rows)["0001-0000"]
        assert (record.relaxed, record.screened_energy_above_hull) == (make.crystal(1), 0.3)
        assert record.verified_energy_above_hull is None

    def test_a_relaxed_candidate_without_verdict_is_still_relaxed(self):
        rows = [
            self.candidate(),
            make.calculation("k", start=0, end=2),
            make.cost("c", "k", amount=1.0),
            make.rejection("c", "0001-0000"),
        ]
        record = self.records(*rows)["0001-0000"]
        assert (record.relaxed, record.failure) == (make.crystal(2), "duplicate")

    def test_the_highest_level_decides(self):
        rows = [
            self.candidate(0),
            self.candidate(1, crystal=1),
            make.calculation("k", start=0),
            make.verdict("c", "0001-0000", "k", energy=0.2, fidelity="emt"),
            make.verdict("c", "0001-0000", "k", energy=0.05, fidelity="dft"),
            make.verdict("c", "0001-0001", "k", energy=0.4, fidelity="emt"),
            make.verification("c", "0001-0000", "k", level="emt", stable=True),
            make.verification("c", "0001-0000", "k", level="dft", stable=False),
            make.verification("c", "0001-0001", "k", level="emt", stable=True),
            make.verification("c", "0001-0001", "k", level="dft", stable=None),
        ]
        found = self.records(*rows)
        assert [found[id_].verified_energy_above_hull for id_ in sorted(found)] == [0.05, 0.4]
        assert [found[id_].dynamically_stable for id_ in sorted(found)] == [False, True]

    def test_a_failure_is_told_by_its_latest_reason(self):
        early, late = make.failure("c", "0001-0000"), make.failure("c", "0001-0000", iteration=3)
        late.reason = "overlap"
        rejection = make.rejection("c", "0001-0000")
        assert self.records(self.candidate(), late, early, rejection)["0001-0000"].failure == "overlap"

    def test_predictions_are_the_last_ones(self):
        rows = [make.decision("c", "0001-0000", iteration=i) for i in (3, 1, 2)]
        assert self.records(self.candidate(), *rows)["0001-0000"].predictions == {
            "predicted_mean": 0.06,
            "predicted_deviation": 0.01,
        }


class TestLive:
    def test_it_follows_the_ledger(self, ledger: Ledger):
        ledger.append(*make.one_of_each(), token=None)
        state = CampaignState.live(ledger, "c")
        token = ledger.acquire("c")
        ledger.append(make.candidate("c", 7), token=token)
        ledger.intend("c", "n", token=token, declared={"cpu_seconds": 2.0}, purpose="screening", iteration=1)
        assert "0001-0007" in state.candidates
        assert state.outstanding == {"cpu_seconds": 2.0}
        assert state == CampaignState.rebuild(ledger, "c")

    def test_it_hears_of_crystals_that_another_campaign_wrote(self, ledger: Ledger):
        ledger.append(
            make.stored_crystal(0), make.stored_crystal(1), make.calculation("k", start=0, end=1), token=None
        )
        state = CampaignState.live(ledger, "c")
        ledger.append(
            make.candidate("c", 0, crystal_key=make.crystal(0).key),
            make.verdict("c", "0001-0000", "k"),
            token=None,
        )
        ledger.append(make.calculation("k", start=0, end=1), token=None)
        assert state.judged(make.SCREENING)["0001-0000"].result_crystal_key in state.crystals
        assert state == CampaignState.rebuild(ledger, "c")
