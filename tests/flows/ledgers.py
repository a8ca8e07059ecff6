"""Comparing ledgers row by row, leaving aside what no two runs can share: clocks, process ids, seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loop.ledger.ledger import Ledger
from loop.ledger.tables import Attempt, Calculation, Cost, Lease, Row

CLOCKS = {
    "created_at", "settled_at", "started_at", "finished_at", "acquired_at", "seconds", "cpu_seconds", "versions",
}  # fmt: skip
OF_A_RUN = {"lease", "attempt"}
"""How often something was begun, and by whom, is the history of a run; all else is the campaign."""


def content(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table's rows without clocks, in order of their keys."""
    with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        tables = {}
        for name, table in Row.metadata.tables.items():
            if name in OF_A_RUN:
                continue
            rows = [
                {column: _plain(value) for column, value in row.items() if column not in CLOCKS}
                for row in ledger.frame(name).to_dict("records")
            ]
            if name == "calculation":
                rows = [{**row, "result": _without_clocks(row["result"])} for row in rows]
            if name == "cost":
                rows = [
                    {**row, "amount": None}
                    if row["currency"] == "cpu_seconds" and row["kind"] == "settled"
                    else row
                    for row in rows
                ]
            keys = [column.name for column in table.primary_key]
            tables[name] = sorted(rows, key=lambda row: [str(row[key]) for key in keys])
        return tables


def run_again(folder: Path) -> list[str]:
    """Keys of calculations that were begun after they had been settled."""
    with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        settled = {c.key: c.settled_at for c in ledger.rows(Calculation)}
        return sorted(
            {
                a.calculation_key
                for a in ledger.rows(Attempt)
                if a.calculation_key in settled and a.started_at > settled[a.calculation_key]
            }
        )


def drivers(folder: Path) -> int:
    """How many drivers held the campaign."""
    with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        return sum(1 for lease in ledger.rows(Lease) if not lease.released)


def settled_costs(folder: Path) -> dict[str, float]:
    """Settled amounts by currency."""
    totals: dict[str, float] = {}
    with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        for cost in ledger.rows(Cost):
            if cost.kind == "settled":
                totals[cost.currency] = totals.get(cost.currency, 0.0) + cost.amount
    return totals


def _without_clocks(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if not key.endswith("seconds")}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
