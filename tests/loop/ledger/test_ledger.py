"""Appending, reading, intending and settling, on both databases."""

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from loop.crystal import Crystal
from loop.errors import LeaseLostError, LedgerError
from loop.ledger.ledger import Ledger, Settlement
from loop.ledger.rows import ROW_CLASSES, key_of
from loop.ledger.tables import (
    Attempt,
    Calculation,
    Campaign,
    Candidate,
    Cost,
    CrystalRow,
    FailureRow,
    Lease,
    Row,
)
from loop.spec import CampaignSpec, Space, as_json
from tests.loop import ledger_rows as make


def test_every_kind_of_row_comes_back_as_it_was_written(ledger: Ledger):
    given = make.one_of_each()
    ledger.append(*given, token=None)
    for row in given:
        assert row in ledger.rows(type(row))
    assert {type(row) for row in given} == set(ROW_CLASSES) - {Lease, Attempt}


def test_rows_outlive_the_ledger(ledger_url):
    with Ledger.open(ledger_url) as ledger:
        ledger.append(*make.one_of_each(), token=None)
        (found,) = ledger.rows(Candidate, "c")
    assert found.details == {"space_group": 221}
    with Ledger.open(ledger_url) as again:
        assert again.rows(Candidate, "c") == [found]


def test_a_crystal_comes_back_as_the_same_value(ledger: Ledger):
    crystal = make.crystal(7)
    ledger.append(make.stored_crystal(7), token=None)
    assert Crystal.from_dict(ledger.crystals([crystal.key, "nothing"])[crystal.key].data) == crystal


def test_an_append_is_kept_whole_or_not_at_all(ledger: Ledger):
    ledger.append(make.candidate("c", 1), token=None)
    with pytest.raises(LedgerError, match="candidate: campaign_id='c', id='0001-0001' is there already"):
        ledger.append(make.stored_crystal(0), make.candidate("c", 2), make.candidate("c", 1), token=None)
    assert [row.ordinal for row in ledger.rows(Candidate)] == [1]
    assert ledger.rows(CrystalRow) == []


def test_a_key_given_twice_at_once_is_refused(ledger: Ledger):
    with pytest.raises(LedgerError, match="id='0001-0001' is given twice"):
        ledger.append(make.candidate("c", 1), make.candidate("c", 1), token=None)
    assert ledger.rows(Candidate) == []


def test_a_reference_to_nothing_is_refused(ledger: Ledger):
    with pytest.raises(LedgerError, match="candidate: a row refers to a crystal or calculation"):
        ledger.append(make.candidate("c", 1, crystal_key="nowhere"), token=None)
    with pytest.raises(LedgerError, match="verdict: a row refers to"):
        ledger.append(make.verdict("c", "0001-0001", "nowhere"), token=None)


def test_two_hulls_cannot_have_one_number(ledger: Ledger):
    ledger.append(make.hull("c", 1), token=None)
    other = make.hull("c", 1)
    other.version = "another"
    with pytest.raises(LedgerError, match=r"hull: .*repeats a number"):
        ledger.append(other, token=None)


def test_the_first_writer_of_a_calculation_wins(ledger: Ledger):
    first, second = (make.calculation("k", start=0, energy=energy) for energy in (-1.0, -2.0))
    ledger.append(make.stored_crystal(0), first, token=None)
    standing = ledger.append(make.stored_crystal(0), second, make.calculation("l", start=0), token=None)
    assert {row.key: row.energy_per_atom for row in standing if isinstance(row, Calculation)} == {
        "k": -1.0,
        "l": -1.0,
    }
    assert ledger.settled("k") == first
    assert len(ledger.rows(CrystalRow)) == 1


def test_large_appends_take_one_statement_per_kind(ledger: Ledger):
    """Far more rows than a statement takes parameters."""
    numbers = range(1500)
    crystals = [make.stored_crystal(i) for i in numbers]
    candidates = [make.candidate("c", i, crystal_key=crystals[i].key) for i in numbers]
    ledger.append(*candidates, *crystals, token=None)
    assert ledger.rows(Candidate, "c") == candidates
    assert len(ledger.crystals(row.key for row in crystals)) == len(crystals)


class TestValues:
    def row(self, **changes) -> FailureRow:
        row = make.failure("c", "0001-0001")
        for name, value in changes.items():
            setattr(row, name, value)
        return row

    def test_what_a_crashed_program_printed_is_kept(self, ledger: Ledger):
        row = self.row(detail="forrtl: severe\0 \udcff Ångström")
        ledger.append(row, token=None)
        assert row.detail == "forrtl: severe\N{REPLACEMENT CHARACTER} ? Ångström"
        assert ledger.rows(FailureRow) == [row]

    def test_json_is_set_to_what_will_be_read_back(self, ledger: Ledger):
        row = make.candidate("c", 1)
        row.details = {"ratio": np.float32(0.5), "cells": (np.int64(2), 3), "flag": np.bool_(True), 7: None}
        row.parents = ("0001-0000",)
        ledger.append(row, token=None)
        assert row.details == {"ratio": 0.5, "cells": [2, 3], "flag": True, "7": None}
        assert row.parents == ["0001-0000"]
        assert ledger.rows(Candidate) == [row]

    def test_numpy_numbers_and_time_zones_are_made_plain(self, ledger: Ledger):
        row = make.calculation("k", start=0)
        row.energy_per_atom = np.float64(-1.25)
        row.cpu_seconds = np.int64(3)
        row.settled_at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
        ledger.append(make.stored_crystal(0), row, token=None)
        assert (type(row.energy_per_atom), type(row.cpu_seconds)) == (float, float)
        assert row.settled_at == datetime(2026, 1, 1, 10)  # noqa: DTZ001 - the ledger's own form
        assert ledger.settled("k") == row

    @pytest.mark.parametrize("energy", [5e-324, -1.7976931348623157e308, 0.1 + 0.2, math.pi])
    def test_floats_are_kept_to_the_last_bit(self, ledger: Ledger, energy):
        ledger.append(make.stored_crystal(0), make.calculation("k", start=0, energy=energy), token=None)
        assert ledger.settled("k").energy_per_atom == energy

    @pytest.mark.parametrize(
        ("column", "value", "found"),
        [
            ("reason", "x" * 300, "300 characters"),
            ("reason", 3, "give text"),
            ("reason", None, "is None"),
            ("iteration", 1.5, "whole number"),
            ("iteration", 2**31, "32 bits"),
            ("iteration", True, "whole number"),
            ("subject", "a\0b", "printable"),
        ],
    )
    def test_what_one_database_would_refuse_both_refuse(self, ledger: Ledger, column, value, found):
        with pytest.raises(LedgerError, match=rf"failure\.{column}: .*{found}"):
            ledger.append(self.row(**{column: value}), token=None)

    @pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, b"x", object()])
    def test_json_refuses_what_it_cannot_say(self, ledger: Ledger, value):
        row = make.candidate("c", 1)
        row.details = {"value": value}
        with pytest.raises(LedgerError, match=r"candidate\.details: found what JSON cannot keep"):
            ledger.append(row, token=None)

    def test_nan_is_no_energy(self, ledger: Ledger):
        with pytest.raises(LedgerError, match=r"calculation\.energy_per_atom: found NaN; .* is a failure"):
            ledger.append(make.stored_crystal(0), make.calculation("k", start=0, energy=math.nan), token=None)
        assert ledger.rows(CrystalRow) == []

    def test_an_infinite_score_is_kept(self, ledger: Ledger):
        row = make.decision("c", "0001-0001")
        row.score = -math.inf
        ledger.append(row, token=None)
        assert ledger.rows(type(row)) == [row]

    def test_only_rows_can_be_appended(self, ledger: Ledger):
        with pytest.raises(LedgerError, match="found a dict; give rows"):
            ledger.append({"id": 1}, token=None)


class TestCalculations:
    @pytest.fixture
    def token(self, ledger: Ledger) -> int:
        ledger.append(*(make.stored_crystal(i) for i in range(3)), token=None)
        return ledger.acquire("c")

    def test_intents_are_counted_and_declared_once(self, ledger: Ledger, token):
        def intend():
            return ledger.intend(
                "c",
                "k",
                token=token,
                declared={"cpu_seconds": 2.0, "verifications": 1},
                purpose="emt",
                iteration=4,
            )

        assert [intend().number, intend().number] == [1, 2]
        assert [row.number for row in ledger.attempts("c")] == [1, 2]
        assert {
            (row.currency, row.kind, row.amount, row.purpose, row.iteration) for row in ledger.rows(Cost, "c")
        } == {
            ("cpu_seconds", "declared", 2.0, "emt", 4),
            ("verifications", "declared", 1.0, "emt", 4),
        }

    def test_a_settled_calculation_is_not_intended_again(self, ledger: Ledger, token):
        why = {"token": token, "purpose": "screening", "iteration": 1}
        ledger.settle(make.calculation("k", start=0), costs={"cpu_seconds": 3.0}, campaign_id="c", **why)
        assert ledger.intend("c", "k", declared={"cpu_seconds": 2.0}, **why) is None
        attempts = ledger.intend_many("c", {"k": {"cpu_seconds": 2.0}, "l": {"cpu_seconds": 1.0}}, **why)
        assert attempts["k"] is None
        assert attempts["l"].number == 1
        assert [row.calculation_key for row in ledger.attempts("c")] == ["l"]

    def test_a_failed_calculation_is_settled_and_charged(self, ledger: Ledger, token):
        why = {"token": token, "purpose": "screening", "iteration": 1}
        kept = ledger.settle(
            make.calculation("k", start=0, failed=True), costs={"cpu_seconds": 9.0}, campaign_id="c", **why
        )
        assert (kept.outcome, kept.failure_reason, kept.energy_per_atom) == ("failed", "not-converged", None)
        assert ledger.intend("c", "k", declared={}, **why) is None
        assert [row.amount for row in ledger.rows(Cost, "c")] == [9.0]

    def test_settling_again_keeps_the_first_and_charges_each_campaign_once(self, ledger: Ledger, token):
        other = ledger.acquire("d")
        for campaign, lease, energy, amount in (
            ("c", token, -1.0, 3.0),
            ("c", token, -2.0, 4.0),
            ("d", other, -3.0, 5.0),
        ):
            kept = ledger.settle(
                make.calculation("k", start=0, energy=energy),
                costs={"cpu_seconds": amount},
                campaign_id=campaign,
                token=lease,
                purpose="screening",
                iteration=1,
            )
            assert kept.energy_per_atom == -1.0
        assert {(row.campaign_id, row.amount) for row in ledger.rows(Cost)} == {("c", 3.0), ("d", 5.0)}
        assert len(ledger.rows(Calculation)) == 1

    def test_settling_writes_the_result_crystal_with_it(self, ledger: Ledger, token):
        settlements = [
            Settlement(
                calculation=make.calculation(f"k{i}", start=0, end=i),
                crystals=[make.stored_crystal(i)],
                costs={"cpu_seconds": i},
            )
            for i in (5, 6)
        ]
        kept = ledger.settle_many("c", settlements, token=token, purpose="screening", iteration=1)
        assert {key: row.result_crystal_key for key, row in kept.items()} == {
            "k5": make.crystal(5).key,
            "k6": make.crystal(6).key,
        }
        assert ledger.settled_many(["k5", "k6", "k7"]) == kept

    @pytest.mark.parametrize("amount", [-1.0, math.nan, math.inf])
    def test_impossible_costs_are_refused(self, ledger: Ledger, token, amount):
        with pytest.raises(
            LedgerError, match=r"declared cpu_seconds of calculation k is .*give a finite amount"
        ):
            ledger.intend("c", "k", token=token, declared={"cpu_seconds": amount}, purpose="emt", iteration=1)
        assert ledger.attempts("c") == []

    def test_nothing_is_written_without_the_lease(self, ledger: Ledger, token):
        ledger.acquire("c", take_over=True)
        why = {"token": token, "purpose": "screening", "iteration": 1}
        with pytest.raises(LeaseLostError):
            ledger.intend("c", "k", declared={"cpu_seconds": 1.0}, **why)
        with pytest.raises(LeaseLostError):
            ledger.settle(make.calculation("k", start=0), costs={"cpu_seconds": 1.0}, campaign_id="c", **why)
        assert (ledger.attempts("c"), ledger.rows(Cost), ledger.settled("k")) == ([], [], None)


class TestReading:
    def test_one_campaign_is_told_from_another(self, ledger: Ledger):
        ledger.append(*make.one_of_each("c"), token=None)
        ledger.append(*make.one_of_each("d"), token=None)
        for kind in set(ROW_CLASSES) - {Lease, Attempt, CrystalRow}:
            assert len(ledger.rows(kind)) == 2, kind
            assert len(ledger.rows(kind, "c")) == 1, kind
            assert ledger.rows(kind, "nobody") == [], kind

    def test_shared_rows_of_a_campaign_are_those_it_refers_to(self, ledger: Ledger):
        ledger.append(
            *make.one_of_each("c"), make.stored_crystal(5), make.calculation("else", start=5), token=None
        )
        assert [row.key for row in ledger.rows(Calculation, "c")] == ["c-calculation"]
        assert {row.key for row in ledger.rows(CrystalRow, "c")} == {make.crystal(0).key, make.crystal(1).key}
        assert ledger.rows(CrystalRow, "nobody") == []

    def test_a_snapshot_holds_all_of_a_campaign(self, ledger: Ledger):
        given = make.one_of_each("c")
        ledger.append(*given, token=None)
        ledger.append(*make.one_of_each("d"), token=None)
        found = ledger.snapshot("c")

        def named(rows):
            return sorted((type(row).__name__, key_of(row)) for row in rows)

        assert named(found) == named(given)

    def test_campaigns_are_listed_by_their_latest_revision(self, ledger: Ledger):
        early = datetime(2026, 1, 1, tzinfo=UTC)
        for identifier, revision, days in (("z", 1, 0), ("a", 1, 1), ("z", 2, 2)):
            row = make.campaign(identifier, revision=revision)
            row.created_at = early + timedelta(days=days)
            ledger.append(row, token=None)
        assert [(row.id, row.revision) for row in ledger.campaigns()] == [("z", 2), ("a", 1)]

    def test_the_latest_spec_is_the_one_in_force(self, ledger: Ledger):
        first = CampaignSpec(name="tin", space=Space(chemical_systems=("Ni-Sn-Ti",)))
        second = first.model_copy(update={"budget": {"verifications": 7.0}})
        for revision, spec in ((1, first), (2, second)):
            ledger.append(make.campaign("c", revision=revision, spec=dict(as_json(spec))), token=None)
        assert ledger.latest_spec("c") == second

    def test_an_unknown_campaign_is_named_with_those_there_are(self, ledger: Ledger):
        ledger.append(make.campaign("tin"), token=None)
        with pytest.raises(LedgerError, match=r"holds no campaign 'copper'; it holds tin \(tin\)"):
            ledger.latest_spec("copper")

    def test_a_spec_of_another_version_is_refused_in_words(self, ledger: Ledger):
        ledger.append(make.campaign("c", spec={"name": "c", "warp": 9}), token=None)
        with pytest.raises(LedgerError, match=r"(?s)revision 1, cannot be read by this version .*warp"):
            ledger.latest_spec("c")

    def test_every_table_is_a_frame(self, ledger: Ledger):
        ledger.append(*make.one_of_each(), token=None)
        ledger.acquire("c")
        for name, table in Row.metadata.tables.items():
            frame = ledger.frame(name)
            assert list(frame.columns) == [column.name for column in table.columns]
            assert len(frame) == (0 if name == "attempt" else 2 if name == "crystal" else 1), name

    def test_frames_have_the_columns_types_even_when_empty(self, ledger: Ledger):
        def kinds(frame):
            return {name: frame[name].dtype.kind for name in ("cpu_seconds", "energy_per_atom", "settled_at")}

        empty = kinds(ledger.frame("calculation"))
        ledger.append(make.stored_crystal(0), make.calculation("k", start=0, failed=True), token=None)
        assert (
            kinds(ledger.frame("calculation"))
            == empty
            == {"cpu_seconds": "f", "energy_per_atom": "f", "settled_at": "M"}
        )
        assert ledger.frame("calculation")["settings"][0] == {"max_force": 0.05}

    def test_a_wrong_table_name_is_answered_with_the_nearest(self, ledger: Ledger):
        with pytest.raises(
            LedgerError, match="'candidates' is no table of the ledger; did you mean 'candidate'"
        ):
            ledger.frame("candidates")


class TestObservers:
    def test_they_hear_what_stands_after_the_commit(self, ledger: Ledger):
        heard: list[Row] = []
        ledger.append(make.stored_crystal(0), make.calculation("k", start=0, energy=-1.0), token=None)
        ledger.observe(lambda *rows: heard.extend(rows))
        ledger.append(make.calculation("k", start=0, energy=-2.0), token=None)
        assert [row.energy_per_atom for row in heard if isinstance(row, Calculation)] == [-1.0]
        assert [row.key for row in heard if isinstance(row, CrystalRow)] == [make.crystal(0).key]

    def test_they_do_not_hear_what_was_refused(self, ledger: Ledger):
        heard: list[Row] = []
        ledger.append(make.candidate("c", 1), token=None)
        ledger.observe(lambda *rows: heard.extend(rows))
        with pytest.raises(LedgerError):
            ledger.append(make.candidate("c", 2), make.candidate("c", 1), token=None)
        assert heard == []

    def test_they_hear_of_calculations_that_others_settled(self, ledger: Ledger):
        ledger.append(
            make.stored_crystal(0), make.stored_crystal(1), make.calculation("k", start=0, end=1), token=None
        )
        heard: list[Row] = []
        ledger.observe(lambda *rows: heard.extend(rows))
        ledger.intend("c", "k", token=ledger.acquire("c"), declared={}, purpose="screening", iteration=1)
        assert [row.key for row in heard if isinstance(row, Calculation)] == ["k"]
        assert {row.key for row in heard if isinstance(row, CrystalRow)} == {
            make.crystal(0).key,
            make.crystal(1).key,
        }


def test_one_append_serves_one_campaign(ledger: Ledger):
    token = ledger.acquire("c")
    with pytest.raises(LedgerError, match=r"several campaigns \(c, d\) under one token"):
        ledger.append(make.candidate("c", 1), make.campaign("d"), token=token)
    with pytest.raises(LedgerError, match="token 1 was never given"):
        ledger.append(Campaign(id="d", revision=1, name="d", spec={}, versions={}), token=token)
