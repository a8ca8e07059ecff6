"""Real processes that write at once, race for a campaign, and are killed."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest

from loop.ledger.ledger import Ledger
from loop.ledger.tables import Attempt, Calculation, Candidate, Cost, CrystalRow, Lease
from loop.state import CampaignState
from tests.loop import ledger_rows as make
from tests.loop.ledger import writers

pytestmark = pytest.mark.slow
WRITERS = 4


def run_writers(url: str, campaigns: list[str], token: int | None) -> list[dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(campaigns), mp_context=context) as pool:
        futures = [pool.submit(writers.write, url, name, i, token) for i, name in enumerate(campaigns)]
        return [future.result(timeout=240) for future in futures]


def check_shared(ledger: Ledger, said: list[dict[str, float]]) -> None:
    """Every calculation stands once, and every writer was told of the one that stands."""
    settled = {row.key: row.energy_per_atom for row in ledger.rows(Calculation)}
    assert settled.keys() == {f"shared-{i}" for i in range(writers.SHARED_CALCULATIONS)}
    assert all(answers == settled for answers in said)
    assert len(ledger.rows(CrystalRow)) == writers.ROWS


def test_writers_of_several_campaigns_lose_nothing(ledger_url):
    with Ledger.open(ledger_url) as ledger:
        ledger.append(make.stored_crystal(0), token=None)
        campaigns = [f"c{i}" for i in range(WRITERS)]
        said = run_writers(ledger_url, campaigns, None)
        check_shared(ledger, said)
        for i, name in enumerate(campaigns):
            ordinals = [row.ordinal for row in ledger.rows(Candidate, name)]
            assert ordinals == list(range(i * writers.ROWS, (i + 1) * writers.ROWS))
            attempts = {row.calculation_key for row in ledger.attempts(name)}
            paid = Counter((row.calculation_key, row.kind) for row in ledger.rows(Cost, name))
            # Whoever intended a calculation ran it and was charged for it, once, whoever settled it first.
            assert paid == {(key, kind): 1 for key in attempts for kind in ("declared", "settled")}


def test_writers_of_one_campaign_lose_nothing(ledger_url):
    with Ledger.open(ledger_url) as ledger:
        ledger.append(make.stored_crystal(0), token=None)
        token = ledger.acquire("c")
        said = run_writers(ledger_url, ["c"] * WRITERS, token)
        check_shared(ledger, said)
        assert len(ledger.rows(Candidate, "c")) == WRITERS * writers.ROWS
        numbers: dict[str, list[int]] = {}
        for row in ledger.rows(Attempt, "c"):
            numbers.setdefault(row.calculation_key, []).append(row.number)
        assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
        paid = Counter((row.calculation_key, row.kind) for row in ledger.rows(Cost, "c"))
        assert paid == {(key, kind): 1 for key in numbers for kind in ("declared", "settled")}


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, writers.__file__, *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_of_drivers_that_race_one_wins(ledger_url):
    racers = [start("race", ledger_url) for _ in range(WRITERS)]
    losers = []
    # Losers end by themselves; the winner waits to be told.
    while len(losers) < WRITERS - 1:
        losers += [racer for racer in racers if racer not in losers and racer.poll() is not None]
        assert len(losers) < WRITERS
        time.sleep(0.02)
    answers = [json.loads(racer.communicate("\n", timeout=60)[0]) for racer in racers]
    assert [answer for answer in answers if isinstance(answer, int)] == [1]
    (winner,) = [racer.pid for racer, answer in zip(racers, answers, strict=True) if answer == 1]
    assert all(f"driven by process {winner} " in answer for answer in answers if answer != 1)
    with Ledger.open(ledger_url) as ledger:
        assert len(ledger.rows(Lease)) == 1


def test_what_the_ledger_said_is_kept_survives_sigkill(ledger_url, tmp_path):
    diary = tmp_path / "diary"
    for moment in (0.05, 0.31, 0.17):
        said = kill_a_writer(ledger_url, diary, after=moment)
        with Ledger.open(ledger_url) as ledger:
            ordinals = [row.ordinal for row in ledger.rows(Candidate, "c")]
            # Whole transactions of seven, without a gap, at most one beyond the last that was acknowledged.
            assert ordinals == list(range(len(ordinals)))
            assert len(ordinals) % 7 == 0
            assert 0 <= len(ordinals) - (said[-1]["first"] + 7) <= 7
            settled = ledger.settled_many(note["key"] for note in said)
            assert len(settled) == len(said)
            crystals = ledger.crystals(row.result_crystal_key for row in settled.values())
            assert len(crystals) == len(said)
            state = CampaignState.rebuild(ledger, "c")
            assert all(state.spent["cpu_seconds"] >= 2.0 * len(said) for _ in said)
            assert state.spent["cpu_seconds"] == 2.0 * len(state.calculations)
            # The dead writer's campaign is free, and a calculation cut off in the middle is begun again.
            token = ledger.acquire("c")
            cut = [key for key in state.attempts if key not in state.calculations]
            assert len(cut) <= 1
            for key in cut:
                why = {"token": token, "purpose": "screening", "iteration": 1}
                assert (
                    ledger.intend("c", key, declared={"cpu_seconds": 1.0}, **why).number
                    == state.attempts[key] + 1
                )
                number = int(key.removeprefix("k"))
                ledger.settle(
                    make.calculation(key, start=number),
                    crystals=[make.stored_crystal(number)],
                    costs={"cpu_seconds": 2.0},
                    campaign_id="c",
                    **why,
                )
            ledger.release("c", token)


def kill_a_writer(url: str, diary: Path, *, after: float) -> list[dict]:
    """Start a writer, kill it a moment after its first acknowledged transaction, and return what it noted."""
    diary.unlink(missing_ok=True)
    process = start("write_until_killed", url, str(diary))
    while not (diary.exists() and diary.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(after)
    assert psutil.pid_exists(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return [json.loads(line) for line in diary.read_text().splitlines() if line.endswith("}")]
