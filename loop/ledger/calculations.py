"""Calculations in the ledger: intended before they run, settled once, paid for by whoever ran them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from loop.errors import LedgerError
from loop.ledger.rows import by_key, chunks, insert
from loop.ledger.tables import Attempt, Calculation, Cost, CrystalRow, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A calculation that has ended, with what it made and what it cost."""

    calculation: Calculation
    crystals: Sequence[CrystalRow] = ()
    """Crystals that the calculation refers to and the ledger may not hold yet."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """Settled amounts by currency."""


def intend(
    connection: Connection,
    campaign_id: str,
    declared: Mapping[str, Mapping[str, float]],
    *,
    token: int,
    purpose: str,
    iteration: int,
) -> tuple[dict[str, Attempt | None], tuple[Row, ...]]:
    """Write the next attempt at each calculation that is not settled, with its declared costs the first time.

    Returns:
        The attempt by calculation key, None where it is settled; and all rows written, with the settled
        calculations.
    """
    settled = by_key(connection, Calculation, declared)
    numbers = _attempts_so_far(connection, campaign_id, declared)
    declared_before = _keys_with_cost(connection, campaign_id, declared, kind="declared")
    attempts = {
        key: Attempt(
            campaign_id=campaign_id, calculation_key=key, number=numbers.get(key, 0) + 1, lease_token=token
        )
        for key in declared
        if key not in settled
    }
    costs = [
        cost
        for key in attempts
        if key not in declared_before
        for cost in _costs(
            campaign_id, key, declared[key], kind="declared", purpose=purpose, iteration=iteration
        )
    ]
    written = insert(connection, [*attempts.values(), *costs])
    return {key: attempts.get(key) for key in declared}, (*written, *settled.values())


def settle(
    connection: Connection,
    campaign_id: str,
    settlements: Iterable[Settlement],
    *,
    purpose: str,
    iteration: int,
) -> tuple[dict[str, Calculation], tuple[Row, ...]]:
    """Write calculations that have ended, their crystals, and what this campaign paid for each, once.

    Returns:
        The calculations by key and all rows, as they stand in the ledger.
    """
    first: dict[str, Settlement] = {}
    for settlement in settlements:
        first.setdefault(settlement.calculation.key, settlement)
    paid = _keys_with_cost(connection, campaign_id, first, kind="settled")
    costs = [
        cost
        for key, settlement in first.items()
        if key not in paid
        for cost in _costs(
            campaign_id, key, settlement.costs, kind="settled", purpose=purpose, iteration=iteration
        )
    ]
    crystals = [crystal for settlement in first.values() for crystal in settlement.crystals]
    written = insert(
        connection, [*crystals, *(settlement.calculation for settlement in first.values()), *costs]
    )
    kept = {row.key: row for row in written if isinstance(row, Calculation)}
    return kept, written


def _costs(
    campaign_id: str, key: str, amounts: Mapping[str, float], *, kind: str, purpose: str, iteration: int
) -> Iterator[Cost]:
    for currency, amount in amounts.items():
        if not (math.isfinite(amount) and amount >= 0):
            raise LedgerError(
                f"cost: {kind} {currency} of calculation {key} is {amount}; give a finite amount >= 0"
            )
        yield Cost(
            campaign_id=campaign_id,
            calculation_key=key,
            currency=currency,
            kind=kind,
            purpose=purpose,
            iteration=iteration,
            amount=float(amount),
        )


def _attempts_so_far(connection: Connection, campaign_id: str, keys: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in chunks(keys):
        statement = (
            select(Attempt.calculation_key, func.max(Attempt.number))
            .where(Attempt.campaign_id == campaign_id, Attempt.calculation_key.in_(chunk))
            .group_by(Attempt.calculation_key)
        )
        found.update({row[0]: row[1] for row in connection.execute(statement)})
    return found


def _keys_with_cost(
    connection: Connection, campaign_id: str, keys: Collection[str], *, kind: str
) -> set[str]:
    found: set[str] = set()
    for chunk in chunks(keys):
        statement = select(Cost.calculation_key).where(
            Cost.campaign_id == campaign_id, Cost.calculation_key.in_(chunk), Cost.kind == kind
        )
        found.update(connection.scalars(statement))
    return found
