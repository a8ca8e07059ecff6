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
from tests.flows.worlds import EMT, STAGED

KILLS = int(os.environ.get("MOTHERLODE_TEST_KILLS", "14"))
LARGEST_STEP = {EMT: 24, STAGED: 60}
"""Ledger entries after which a driver is killed at the latest: small enough for a dozen kills in one campaign."""


def start(campaign: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "flows.command_line",
        "run",
        str(campaign),
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


def progress(folder: Path) -> tuple[int, str]:
    """How many attempts, settled calculations and finished stages the ledger holds, and the last stage to finish."""
    if not (folder / "ledger.sqlite").exists():
        return 0, "no ledger"
    with closing(sqlite3.connect(folder / "ledger.sqlite", timeout=30)) as connection:
        try:
            counts = [
                connection.execute(f"select count(*) from {table}").fetchone()[0]
                for table in ("attempt", "calculation", "stage")
            ]
            last = connection.execute("select name from stage order by finished_at desc limit 1").fetchone()
        except sqlite3.OperationalError:
            return 0, "no tables"
    return sum(counts), f"after {last[0]}" if last else "before the first stage's end"


def killed(campaign: Path, folder: Path, *, entries: int, delay: float) -> str | None:
    """Run until the ledger has grown by `entries`, wait, kill the whole process group; None where it finished first."""
    began, _ = progress(folder)
    process = start(campaign, folder)
    while process.poll() is None:
        if progress(folder)[0] - began >= entries:
            time.sleep(delay)
            break
        time.sleep(0.02)
    if process.poll() is not None:
        finish(process)
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return progress(folder)[1]


@pytest.mark.slow
@pytest.mark.parametrize("campaign", [EMT, STAGED], ids=["one stage", "two stages"])
def test_a_campaign_killed_many_times_ends_like_one_that_never_was(campaign, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    finish(start(campaign, unbroken))

    draw = random.Random(20261123)
    moments = Counter()
    for _ in range(KILLS):
        moment = killed(
            campaign, broken, entries=draw.randint(0, LARGEST_STEP[campaign]), delay=draw.uniform(0.0, 0.5)
        )
        if moment is None:
            break
        moments[moment] += 1
    finish(start(campaign, broken))

    assert sum(moments.values()) >= 5, f"too few kills landed: {moments}"
    assert len(moments) >= 3, f"the kills landed in too few stages: {moments}"
    assert drivers(broken) > drivers(unbroken) == 1
    assert run_again(broken) == []
    ours, theirs = content(broken), content(unbroken)
    for table in theirs:
        assert ours[table] == theirs[table], table
    counted = {
        currency: amount for currency, amount in settled_costs(unbroken).items() if currency != "cpu_seconds"
    }
    assert {currency: settled_costs(broken)[currency] for currency in counted} == counted
