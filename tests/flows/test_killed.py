"""Killed at any point, nothing is lost: the real process, the real signal, moments drawn over all stages."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.flows.ledgers import content, drivers, run_again, settled_costs

CAMPAIGN = Path(__file__).parents[1] / "campaigns" / "emt.yaml"
KILLS = int(os.environ.get("MOTHERLODE_TEST_KILLS", "14"))
SHORTEST_PROGRESS = 0.15


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "flows.command_line",
        "run",
        str(CAMPAIGN),
        "--folder",
        str(folder),
        "--no-prefect",
    ]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def stage_at(folder: Path) -> str:
    """The stage that was running when the process was killed, by what is finished."""
    if not (folder / "ledger.sqlite").exists():
        return "before the ledger"
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        try:
            rows = connection.execute("select name from stage order by finished_at").fetchall()
        except sqlite3.OperationalError:
            return "before the tables"
    return f"after {rows[-1][0]}" if rows else "before the references"


@pytest.mark.slow
def test_a_campaign_killed_many_times_ends_like_one_that_never_was(tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    began = time.monotonic()
    finish(start(unbroken))
    whole = time.monotonic() - began

    draw = random.Random(20261123)
    stages = Counter()
    for _ in range(KILLS):
        process = start(broken)
        try:
            process.wait(timeout=draw.uniform(SHORTEST_PROGRESS, 0.7) * whole)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            stages[stage_at(broken)] += 1
        else:
            break
    finish(start(broken))

    assert sum(stages.values()) >= KILLS // 2, f"too few kills landed: {stages}"
    assert drivers(broken) > drivers(unbroken) == 1
    assert run_again(broken) == []
    ours, theirs = content(broken), content(unbroken)
    for table in theirs:
        assert ours[table] == theirs[table], table
    counted = {
        currency: amount for currency, amount in settled_costs(unbroken).items() if currency != "cpu_seconds"
    }
    assert {currency: settled_costs(broken)[currency] for currency in counted} == counted
