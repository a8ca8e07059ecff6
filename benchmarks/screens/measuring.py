"""Rows taking turns on the same crystals, and what is kept of them in case the hour is cut short."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loop.crystal import Crystal
from loop.errors import MotherlodeError
from screens.outcomes import Outcome, Relaxer, Row


class Store:
    """Portions measured before, a line of JSON each, by row, version, convergence and crystals."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._held: dict[str, tuple[float, list[Outcome]]] = {}
        if file is None or not file.exists():
            return
        for line in file.read_text().splitlines():
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                print(f"{file}: a line that was cut short is passed over", file=sys.stderr)
                continue
            outcomes = [Outcome.from_json(outcome) for outcome in values["outcomes"]]
            self._held[values["key"]] = values["seconds"], outcomes

    def get(self, key: str) -> tuple[float, list[Outcome]] | None:
        """CPU seconds and outcomes of a portion."""
        return self._held.get(key)

    def put(self, key: str, *, row: str, seconds: float, outcomes: Sequence[Outcome]) -> None:
        """Keep a portion, on disk at once."""
        self._held[key] = seconds, list(outcomes)
        if self._file is not None:
            line = {
                "key": key,
                "row": row,
                "seconds": seconds,
                "outcomes": [outcome.to_json() for outcome in outcomes],
            }
            with self._file.open("a") as file:
                file.write(json.dumps(line) + "\n")


@dataclass(kw_only=True)
class Measured:
    """What a row made of all crystals."""

    title: str
    seconds: float = 0.0
    preparation: float = 0.0
    """CPU seconds for weights and for what is compiled; 0 where everything was resumed."""
    resumed: int = 0
    """Crystals whose result an earlier run had stored."""
    outcomes: list[Outcome] = field(default_factory=list)


def key_of(row: Row, crystals: Sequence[Crystal], *, max_force: float) -> str:
    """What a stored portion is found by."""
    parts: list[Any] = [row.name, row.version, max_force, [crystal.key for crystal in crystals]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def measure(
    rows: Sequence[Row],
    crystals: Sequence[Crystal],
    *,
    store: Store,
    portion: int,
    max_force: float,
    left_out: dict[str, str],
) -> Mapping[str, Measured]:
    """Relax the crystals by every row, in turns, so that a busy machine slows all rows alike.

    Args:
        rows: the first is what others are compared with.
        crystals: all that each relaxes.
        store: where portions are looked for, and kept.
        portion: crystals that one row relaxes before the next has its turn.
        max_force: eV/Å.
        left_out: told of rows that cannot run here, with the reason.
    """
    measured: dict[str, Measured] = {}
    ready: dict[str, Relaxer] = {}
    for row in rows:
        measured[row.name] = Measured(title=row.title)
        parts = (crystals[start : start + portion] for start in range(0, len(crystals), portion))
        if all(store.get(key_of(row, part, max_force=max_force)) for part in parts):
            continue
        began = time.process_time()
        try:
            ready[row.name] = row.prepare()
            # The first call reads weights and warms caches.
            ready[row.name](crystals[:1])
        except (ImportError, MotherlodeError) as error:
            left_out[row.name] = str(error)
            print(f"{row.title}: left out, for {error}", file=sys.stderr)
            del measured[row.name]
            ready.pop(row.name, None)
            continue
        measured[row.name].preparation = time.process_time() - began
    for start in range(0, len(crystals), portion):
        part = crystals[start : start + portion]
        for row in rows:
            if row.name not in measured:
                continue
            result = measured[row.name]
            key = key_of(row, part, max_force=max_force)
            held = store.get(key)
            if held is None:
                began = time.process_time()
                outcomes = ready[row.name](part)
                held = time.process_time() - began, outcomes
                store.put(key, row=row.name, seconds=held[0], outcomes=outcomes)
            else:
                result.resumed += len(part)
            result.seconds += held[0]
            result.outcomes += held[1]
            print(
                f"{row.title}: {start + len(part)} of {len(crystals)}, {result.seconds:.0f} CPU-s",
                file=sys.stderr,
            )
    return measured
