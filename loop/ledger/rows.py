"""Rows in and out of one transaction: bulk inserts in foreign-key order, and selections."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Select, Table, inspect, select, tuple_, union
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from loop.errors import LedgerError
from loop.ledger.tables import (
    Attempt,
    Calculation,
    Candidate,
    Cost,
    CrystalRow,
    ReferencePhaseRow,
    Row,
    Verdict,
    Verification,
)
from loop.ledger.values import portable

if TYPE_CHECKING:
    from loop.crystal import Crystal

R = TypeVar("R", bound=Row)

SHARED: Final[frozenset[type[Row]]] = frozenset({CrystalRow, Calculation})
"""Rows whose identity is their content: the first writer wins, and every campaign of the database reads
them."""
CHUNK: Final = 500
"""Keys per query, within what SQLite and PostgreSQL take as parameters."""

_BY_TABLE: Final[dict[str, type[Row]]] = {kind.__tablename__: kind for kind in Row.__subclasses__()}
ROW_CLASSES: Final[tuple[type[Row], ...]] = tuple(
    _BY_TABLE[table.name] for table in Row.metadata.sorted_tables
)
"""Every kind of row, each after those it refers to."""


class ConflictError(Exception):
    """The database's keys refused rows of one kind; `Ledger` says which after the rollback."""

    def __init__(self, rows: Sequence[Row], error: IntegrityError) -> None:
        super().__init__(str(error.orig))
        self.rows = rows
        self.error = error


def crystal_row(crystal: Crystal) -> CrystalRow:
    """A crystal as the ledger keeps it; `Crystal.from_dict(row.data)` gives it back."""
    return CrystalRow(
        key=crystal.key,
        reduced_formula=crystal.reduced_formula,
        chemical_system=crystal.chemical_system,
        number_of_atoms=crystal.number_of_atoms,
        space_group_number=crystal.space_group_number,
        data=crystal.to_dict(),
    )


def key_of(row: Row) -> tuple[Any, ...]:
    """A row's primary key."""
    return tuple(getattr(row, column) for column in key_columns(type(row)))


def key_columns(row_class: type[Row]) -> tuple[str, ...]:
    """Names of the columns of the primary key."""
    return tuple(column.name for column in table_of(row_class).primary_key.columns)


def table_of(row_class: type[Row]) -> Table:
    """The table that holds rows of this kind."""
    table = row_class.__table__
    assert isinstance(table, Table)
    return table


def insert(connection: Connection, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Insert rows, each kind after those it refers to, and return them as they now stand in the ledger.

    A crystal or calculation whose key was there before is returned as it was first written.

    Raises:
        LedgerError: a value that cannot be kept, or one key twice among the rows.
        ConflictError: a key that the ledger holds already, or a reference to nothing.
    """
    by_class: dict[type[Row], list[Row]] = {}
    for row in rows:
        by_class.setdefault(type(row), []).append(row)
    standing: list[Row] = []
    for row_class in ROW_CLASSES:
        if row_class in by_class:
            write = _insert_shared if row_class in SHARED else _insert_new
            standing += write(connection, row_class, by_class[row_class])
    return tuple(standing)


def _insert_new(connection: Connection, row_class: type[Row], rows: Sequence[Row]) -> Sequence[Row]:
    values = [portable(row) for row in rows]
    keys = [key_of(row) for row in rows]
    if len(set(keys)) < len(keys):
        repeated = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise LedgerError(
            f"{row_class.__tablename__}: {described(row_class, repeated)} is given twice; give it once"
        )
    try:
        connection.execute(table_of(row_class).insert(), values)
    except IntegrityError as error:
        raise ConflictError(rows, error) from error
    return rows


def _insert_shared(connection: Connection, row_class: type[Row], rows: Sequence[Row]) -> Sequence[Row]:
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(key_of(row)[0], row)
    table = table_of(row_class)
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).on_conflict_do_nothing().returning(table.c.key)
    # One order for all writers: two that insert the same keys wait for each other instead of deadlocking.
    values = [portable(first[key]) for key in sorted(first)]
    try:
        inserted = set(connection.execute(statement, values).scalars())
    except IntegrityError as error:
        raise ConflictError(rows, error) from error
    kept = by_key(connection, row_class, [key for key in first if key not in inserted])
    return [kept.get(key, row) for key, row in first.items()]


def described(row_class: type[Row], key: Sequence[Any]) -> str:
    """A primary key in words."""
    return ", ".join(f"{column}={value!r}" for column, value in zip(key_columns(row_class), key, strict=True))


def existing_key(connection: Connection, rows: Sequence[Row]) -> tuple[Any, ...] | None:
    """The first key of `rows`, all of one kind, that the ledger holds already; None where it holds none."""
    row_class = type(rows[0])
    columns = tuple(table_of(row_class).primary_key.columns)
    for chunk in chunks([key_of(row) for row in rows]):
        for found in connection.execute(select(*columns).where(tuple_(*columns).in_(chunk)).limit(1)):
            return tuple(found)
    return None


def fetch(connection: Connection, statement: Select[tuple[R]]) -> list[R]:
    """The selected rows, detached: they outlive the transaction."""
    with Session(bind=connection, expire_on_commit=False) as session:
        found = list(session.scalars(statement))
        session.expunge_all()
    return found


def by_key(connection: Connection, row_class: type[R], keys: Iterable[str]) -> dict[str, R]:
    """Shared rows (crystals, calculations) by their keys; keys that are not there are left out."""
    column = table_of(row_class).c.key
    return {
        str(key_of(row)[0]): row
        for chunk in chunks(sorted(set(keys)))
        for row in fetch(connection, select(row_class).where(column.in_(chunk)))
    }


def crystals_of(connection: Connection, rows: Sequence[Row]) -> list[CrystalRow]:
    """Crystals that `rows` refer to and that are not among them."""
    keys: set[str | None] = set()
    for row in rows:
        if isinstance(row, Candidate | Calculation):
            keys.add(row.crystal_key)
        if isinstance(row, Calculation):
            keys.add(row.result_crystal_key)
    keys -= {None, *(row.key for row in rows if isinstance(row, CrystalRow))}
    return list(by_key(connection, CrystalRow, (key for key in keys if key is not None)).values())


def of_campaign(connection: Connection, row_class: type[R], campaign_id: str | None) -> list[R]:
    """Every row of one kind in order of its key; of one campaign where it is named.

    Crystals and calculations belong to no campaign: those that the campaign's other rows refer to are given.
    """
    table = table_of(row_class)
    statement = select(row_class).order_by(*table.primary_key.columns)
    if campaign_id is not None:
        if issubclass(row_class, Calculation):
            statement = statement.where(table.c.key.in_(_calculation_keys(campaign_id)))
        elif issubclass(row_class, CrystalRow):
            statement = statement.where(table.c.key.in_(_crystal_keys(campaign_id)))
        else:
            column = table.c.campaign_id if "campaign_id" in table.c else table.c.id
            statement = statement.where(column == campaign_id)
    return fetch(connection, statement)


def _calculation_keys(campaign_id: str) -> Any:
    kinds = (Attempt, Cost, ReferencePhaseRow, Verdict, Verification)
    return union(*(select(kind.calculation_key).where(kind.campaign_id == campaign_id) for kind in kinds))


def _crystal_keys(campaign_id: str) -> Any:
    referred = Calculation.key.in_(_calculation_keys(campaign_id))
    candidates = select(Candidate.crystal_key).where(Candidate.campaign_id == campaign_id)
    return union(
        candidates.where(Candidate.crystal_key.is_not(None)),
        select(Calculation.crystal_key).where(referred),
        select(Calculation.result_crystal_key).where(referred, Calculation.result_crystal_key.is_not(None)),
    )


def chunks(keys: Collection[Any]) -> Iterator[list[Any]]:
    """The keys in pieces that fit into one query."""
    iterator = iter(keys)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


def check_mapped(row: object) -> None:
    """Refuse what is no row.

    Raises:
        LedgerError: not a row.
    """
    if not isinstance(row, Row) or inspect(type(row), raiseerr=False) is None:
        raise LedgerError(f"append: found a {type(row).__name__}; give rows of loop.ledger.tables")
