"""What the processes of the concurrency tests do, in a module that spawned processes can import."""

import json
import os
import sys
from pathlib import Path

from loop.errors import LedgerError
from loop.ledger.ledger import Ledger, Settlement
from tests.loop import ledger_rows as make

SHARED_CALCULATIONS = 60
ROWS = 240
CHUNK = 12


def write(url: str, campaign_id: str, number: int, token: int | None) -> dict[str, float]:
    """Append candidates in chunks, and in between intend and settle calculations that all writers share.

    Returns:
        By calculation, the energy that the ledger said it has.
    """
    said = {}
    with Ledger.open(url) as ledger:
        token = ledger.acquire(campaign_id) if token is None else token
        for start in range(0, ROWS, CHUNK):
            rows = [
                make.candidate(campaign_id, number * ROWS + i, crystal_key=make.crystal(i).key)
                for i in range(start, start + CHUNK)
            ]
            # Writers meet the shared crystals from two sides: a deadlock without a common order.
            crystals = [make.stored_crystal(i) for i in range(start, start + CHUNK)]
            ledger.append(*rows, *(crystals if number % 2 else reversed(crystals)), token=token)
        for start in range(0, SHARED_CALCULATIONS, CHUNK):
            keys = [f"shared-{i}" for i in range(start, start + CHUNK)][:: 1 if number % 2 else -1]
            why = {"token": token, "purpose": "screening", "iteration": 1}
            attempts = ledger.intend_many(campaign_id, {key: {"cpu_seconds": 1.0} for key in keys}, **why)
            settlements = [
                Settlement(
                    calculation=make.calculation(key, start=0, energy=-float(number)),
                    costs={"cpu_seconds": 2.0},
                )
                for key, attempt in attempts.items()
                if attempt is not None
            ]
            kept = ledger.settled_many(keys) | ledger.settle_many(campaign_id, settlements, **why)
            said |= {key: row.energy_per_atom for key, row in kept.items()}
    return said


def race(url: str) -> int | str:
    """Try to become the driver of one campaign."""
    with Ledger.open(url) as ledger:
        try:
            token = ledger.acquire("c")
        except LedgerError as error:
            return str(error)
        # Stay alive until the others have tried.
        sys.stdin.readline()
        return token


def write_until_killed(url: str, diary: str) -> None:
    """Append transactions without end, noting in `diary` each one that the ledger said is kept."""
    with Ledger.open(url) as ledger, Path(diary).open("w", encoding="utf-8") as notes:
        token = ledger.acquire("c")
        first = len(ledger.rows(make.Candidate, "c"))
        while True:
            rows = [make.candidate("c", first + i) for i in range(7)]
            why = {"token": token, "purpose": "screening", "iteration": 1}
            ledger.append(*rows, token=token)
            key = f"k{first}"
            ledger.intend("c", key, declared={"cpu_seconds": 1.0}, **why)
            settlement = Settlement(
                calculation=make.calculation(key, start=first, end=first + 1),
                crystals=[make.stored_crystal(first), make.stored_crystal(first + 1)],
                costs={"cpu_seconds": 2.0},
            )
            ledger.settle_many("c", [settlement], **why)
            notes.write(json.dumps({"first": first, "key": key}) + "\n")
            notes.flush()
            os.fsync(notes.fileno())
            first += 7


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    answer = {"race": race, "write_until_killed": write_until_killed}[task](*arguments)
    sys.stdout.write(json.dumps(answer))
