"""Random campaigns: the live state equals a rebuild, and no calculation is settled twice or begun again."""

import itertools
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from loop.errors import LeaseLostError, LedgerError
from loop.ledger.ledger import Ledger, Settlement
from loop.ledger.tables import Lease, Row
from loop.state import CampaignState
from tests.loop import ledger_rows as make

CAMPAIGNS = st.sampled_from(["a", "b"])
CALCULATIONS = st.sampled_from(["k0", "k1", "k2", "k3", "k4"])
AMOUNTS = st.floats(min_value=0, max_value=1e6)
ENERGIES = st.floats(min_value=-10, max_value=10)
NUMBERS = st.integers(min_value=0, max_value=5)
STAGES = st.sampled_from(["propose", "relax", "report"])


class TwoCampaigns(RuleBasedStateMachine):
    """Two campaigns that share calculations in one ledger, with a model of what the ledger should say."""

    ledger: Ledger
    examples = itertools.count()

    @initialize()
    def begin(self):
        example = next(self.examples)
        self.ledger._observers.clear()
        self.prefix = f"{example}-"
        self.ids = {name: f"{self.prefix}{name}" for name in "ab"}
        self.tokens = {name: self.ledger.acquire(self.ids[name]) for name in "ab"}
        self.live = {name: CampaignState.live(self.ledger, self.ids[name]) for name in "ab"}
        self.settled: dict[str, float | None] = {}
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.costs: dict[tuple[str, str, str], dict[str, float]] = {}
        self.candidates: Counter[str] = Counter()
        self.verdicts: dict[tuple[str, str], list[float]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.written: dict[str, list[Row]] = {"a": [], "b": []}
        self.ledger.append(*(make.stored_crystal(i) for i in range(3)), token=None)

    def append(self, name: str, *rows: Row) -> None:
        self.ledger.append(*rows, token=self.tokens[name])
        self.written[name] += rows

    def why(self, name: str) -> dict:
        return {"token": self.tokens[name], "purpose": "screening", "iteration": 1}

    def next(self, name: str, kind: str) -> int:
        self.counts[name, kind] += 1
        return self.counts[name, kind]

    @rule(
        name=CAMPAIGNS,
        crystals=st.lists(st.none() | st.integers(min_value=0, max_value=5), min_size=1, max_size=4),
    )
    def propose(self, name, crystals):
        rows: list[Row] = []
        for number in crystals:
            key = None if number is None else make.crystal(number).key
            rows.append(make.candidate(self.ids[name], self.candidates[name], crystal_key=key))
            # The first three crystals are in the ledger already, written by nobody's campaign.
            rows += [make.stored_crystal(number)] if number is not None and number > 2 else []
            self.candidates[name] += 1
        self.append(name, *rows)

    @rule(name=CAMPAIGNS, keys=st.sets(CALCULATIONS, min_size=1), amount=AMOUNTS)
    def intend(self, name, keys, amount):
        declared = {self.prefix + key: {"cpu_seconds": amount, "verifications": 1.0} for key in sorted(keys)}
        intended = self.ledger.intend_many(self.ids[name], declared, **self.why(name))
        for key in keys:
            attempt = intended[self.prefix + key]
            assert (attempt is None) == (key in self.settled)
            if attempt is not None:
                self.attempts[name, key] += 1
                assert attempt.number == self.attempts[name, key]
                self.costs.setdefault((name, key, "declared"), {"cpu_seconds": amount, "verifications": 1.0})

    @rule(
        name=CAMPAIGNS, key=CALCULATIONS, energy=ENERGIES, end=NUMBERS, failed=st.booleans(), amount=AMOUNTS
    )
    def settle(self, name, key, energy, end, failed, amount):
        calculation = make.calculation(self.prefix + key, start=0, end=end, energy=energy, failed=failed)
        settlement = Settlement(
            calculation=calculation, crystals=[make.stored_crystal(end)], costs={"cpu_seconds": amount}
        )
        (kept,) = self.ledger.settle_many(self.ids[name], [settlement], **self.why(name)).values()
        self.settled.setdefault(key, calculation.energy_per_atom)
        self.costs.setdefault((name, key, "settled"), {"cpu_seconds": amount})
        assert kept.energy_per_atom == self.settled[key]
        assert self.ledger.settled(self.prefix + key) == kept

    @precondition(lambda self: self.settled)
    @rule(name=CAMPAIGNS, candidate=NUMBERS, energy=AMOUNTS, data=st.data())
    def judge(self, name, candidate, energy, data):
        key = data.draw(st.sampled_from(sorted(self.settled)))
        id_ = f"0001-{candidate:04}"
        history = self.verdicts.setdefault((name, id_), [])
        history.append(energy)
        verdict = make.verdict(self.ids[name], id_, self.prefix + key, energy=energy, number=len(history))
        # A hull and its verdicts come in one append, as they do when the hull has moved.
        self.append(name, verdict, make.hull(self.ids[name], self.next(name, "hull")))

    @precondition(lambda self: self.settled)
    @rule(name=CAMPAIGNS, stable=st.none() | st.booleans(), data=st.data())
    def verify_and_refer(self, name, stable, data):
        key = self.prefix + data.draw(st.sampled_from(sorted(self.settled)))
        number = self.next(name, "verification")
        version = f"r{number}"
        self.append(
            name,
            make.reference_phase(self.ids[name], version, "CsCl", key),
            make.verification(self.ids[name], f"0001-{number:04}", key, stable=stable),
            make.reference_set(self.ids[name], version, iteration=number),
        )

    @rule(name=CAMPAIGNS, promoted=st.booleans(), stage=STAGES)
    def finish(self, name, promoted, stage):
        number = self.next(name, "iteration")
        self.append(
            name,
            make.stage(self.ids[name], number, stage),
            make.model_version(self.ids[name], number, promoted=promoted),
            make.failure(self.ids[name], "0001-0000", iteration=number),
            make.rejection(self.ids[name], f"0001-{number:04}"),
            make.decision(self.ids[name], "0001-0000", iteration=number),
            make.campaign(self.ids[name], revision=number),
        )

    @precondition(lambda self: self.written["a"])
    @rule(data=st.data())
    def repeat(self, data):
        """What is there already is refused, or changes nothing."""
        row = data.draw(st.sampled_from(self.written["a"]))
        if isinstance(row, make.CrystalRow):
            self.append("a", row)
        else:
            with pytest.raises(LedgerError, match="is there already"):
                self.append("a", row)

    @rule(name=CAMPAIGNS)
    def lose_and_take_over(self, name):
        old = self.tokens[name]
        self.tokens[name] = self.ledger.acquire(self.ids[name], take_over=True)
        assert self.tokens[name] > old
        with pytest.raises(LeaseLostError):
            self.ledger.append(make.failure(self.ids[name], "nothing"), token=old)

    def teardown(self):
        for name, live in self.live.items() if hasattr(self, "live") else ():
            self.check(name, live)
        if hasattr(self, "live"):
            assert {
                row.key: row.energy_per_atom
                for row in self.ledger.rows(make.Calculation)
                if row.key.startswith(self.prefix)
            } == {self.prefix + key: energy for key, energy in self.settled.items()}

    def check(self, name: str, live: CampaignState) -> None:
        rebuilt = CampaignState.rebuild(self.ledger, self.ids[name])
        assert live == rebuilt
        for state in (live, rebuilt):
            for currency in ("cpu_seconds", "verifications"):
                assert state.spent.get(currency, 0.0) == float(self.total(name, "settled", currency))
                assert state.outstanding.get(currency, 0.0) == float(self.total(name, "declared", currency))
            assert state.attempts == {
                self.prefix + key: n for (who, key), n in sorted(self.attempts.items()) if who == name
            }
            assert {c: v.energy_above_hull for (c, _), v in state.verdicts_in_force.items()} == {
                c: energies[-1] for (who, c), energies in self.verdicts.items() if who == name
            }
            assert list(state.candidates) == [f"0001-{i:04}" for i in range(self.candidates[name])]
        # Any order of arrival gives the same state: here each kind of row after those that refer to it.
        backwards = CampaignState(self.ids[name])
        for row in reversed(self.ledger.snapshot(self.ids[name])):
            backwards.apply(row)
        assert backwards == live
        assert backwards.spent == live.spent

    def total(self, name: str, kind: str, currency: str) -> Fraction:
        """Exact; declared amounts count until the calculation is settled."""
        return sum(
            (
                Fraction(amounts.get(currency, 0.0))
                for (who, key, what), amounts in self.costs.items()
                if (who, what) == (name, kind) and not (kind == "declared" and key in self.settled)
            ),
            Fraction(0),
        )


def run_machine(ledger: Ledger, *, examples: int, steps: int) -> None:
    machine = type("Machine", (TwoCampaigns,), {"ledger": ledger, "examples": itertools.count()})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert len(ledger.rows(Lease)) > examples


def test_random_campaigns(ledger):
    run_machine(ledger, examples=8, steps=20)


@pytest.mark.slow
def test_many_random_campaigns(ledger):
    run_machine(ledger, examples=30, steps=30)
