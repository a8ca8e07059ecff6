"""The ledger: the append-only record of campaigns, and the only thing in Motherlode that has state."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from loop.errors import LedgerError
from loop.ledger import calculations
from loop.ledger import lease as leases
from loop.ledger import rows as stored
from loop.ledger.calculations import Settlement
from loop.ledger.database import connect, parse_url, reading, shown, writing
from loop.ledger.migrate import upgrade
from loop.ledger.rows import ROW_CLASSES, SHARED, ConflictError, R, of_campaign
from loop.ledger.tables import Attempt, Calculation, Campaign, CrystalRow, Lease, Row
from loop.spec import CampaignSpec

if TYPE_CHECKING:
    import pandas as pd

Observer = Callable[..., object]
"""Called with rows as positional arguments, e.g. `CampaignState.apply`."""


class Ledger:
    """A database of campaigns. Rows are appended in transactions and never changed.

    Use it as a context manager, or call `close`. It may be shared by threads, not by processes: each opens
    its own.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._observers: list[Observer] = []

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a ledger, creating or migrating its tables where needed.

        Args:
            url: `sqlite:///FILE` or `postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE`.

        Raises:
            LedgerError: malformed URL, missing driver, dead server, wrong password, read-only or missing
                folder, full disk, damaged file, another program's database, or one of a newer version of
                Motherlode.
        """
        engine = connect(parse_url(url))
        try:
            upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        """The ledger itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def url(self) -> str:
        """The database's URL with its password hidden."""
        return shown(self._engine.url)

    def observe(self, observer: Observer) -> None:
        """Call `observer` with the rows of every transaction of this ledger object once it is committed.

        It is given rows as they stand in the ledger (a calculation that another campaign settled first comes
        as that one wrote it), and with them the crystals that they refer to.
        """
        self._observers.append(observer)

    def append(self, *rows: Row, token: int | None) -> tuple[Row, ...]:
        """Write rows in one transaction, given in any order, and return them as they now stand.

        Crystals and calculations whose key is there already are kept as they are: their identity is their
        content.

        Args:
            rows: rows of one campaign, and crystals and calculations, which belong to none. What JSON and
                numpy values look like when read back is written into the rows themselves.
            token: the driver's fencing token; None only before a campaign is driven (its first row, imports).

        Raises:
            LeaseLostError: another driver has the campaign; nothing was written.
            LedgerError: a key that the ledger holds already, a reference to nothing, a value that cannot be
                kept, or the database's own trouble; nothing was written.
        """
        for row in rows:
            stored.check_mapped(row)
            if isinstance(row, Lease):
                raise LedgerError("append: leases are written by acquire and release alone")
        campaigns = {row.campaign_id for row in rows if hasattr(row, "campaign_id")}
        campaigns |= {row.id for row in rows if isinstance(row, Campaign)}
        if token is not None and len(campaigns) > 1:
            raise LedgerError(
                f"append: rows of several campaigns ({', '.join(sorted(campaigns))}) under one token"
            )
        with self._transaction(next(iter(campaigns), None), token) as connection:
            standing = stored.insert(connection, rows)
            crystals = stored.crystals_of(connection, standing)
        self._notify(*standing, *crystals)
        return standing

    def acquire(self, campaign_id: str, *, take_over: bool = False) -> int:
        """Become the campaign's driver: a fencing token that shuts out every earlier one.

        Raises:
            LedgerError: another driver holds the campaign and may be alive, and `take_over` is false.
        """
        with self._transaction(None, None) as connection:
            return leases.acquire(connection, campaign_id, take_over=take_over).token

    def release(self, campaign_id: str, token: int) -> None:
        """Let go of the campaign, so that another driver can have it at once.

        Raises:
            LeaseLostError: another driver has it already.
        """
        with self._transaction(None, None) as connection:
            leases.release(connection, campaign_id, token)

    def lease(self, campaign_id: str) -> Lease | None:
        """The lease in force, released or not; None where the campaign was never driven."""
        with reading(self._engine) as connection:
            return leases.in_force(connection, campaign_id)

    def intend(
        self,
        campaign_id: str,
        calculation_key: str,
        *,
        token: int,
        declared: Mapping[str, float],
        purpose: str,
        iteration: int,
    ) -> Attempt | None:
        """Write that a calculation is about to run; see `intend_many`."""
        intended = self.intend_many(
            campaign_id, {calculation_key: declared}, token=token, purpose=purpose, iteration=iteration
        )
        return intended[calculation_key]

    def intend_many(
        self,
        campaign_id: str,
        declared: Mapping[str, Mapping[str, float]],
        *,
        token: int,
        purpose: str,
        iteration: int,
    ) -> dict[str, Attempt | None]:
        """Write, in one transaction, that calculations are about to run, with what they are declared to cost.

        Args:
            campaign_id: who pays.
            declared: amounts by currency, by the calculation's key. Written with the first attempt only.
            token: the driver's fencing token.
            purpose: `reference`, `screening` or the name of a verification level.
            iteration: the iteration that asks.

        Returns:
            For each key the attempt to run, or None where the calculation is settled and must not run again.

        Raises:
            LeaseLostError: another driver has the campaign; nothing was written.
            LedgerError: see `append`.
        """
        with self._transaction(campaign_id, token) as connection:
            intended, standing = calculations.intend(
                connection, campaign_id, declared, token=token, purpose=purpose, iteration=iteration
            )
            crystals = stored.crystals_of(connection, standing)
        self._notify(*standing, *crystals)
        return intended

    def settle(
        self,
        calculation: Calculation,
        *,
        crystals: Sequence[CrystalRow] = (),
        costs: Mapping[str, float],
        token: int,
        campaign_id: str,
        purpose: str,
        iteration: int,
    ) -> Calculation:
        """Write one calculation that has ended; see `settle_many`."""
        settlement = Settlement(calculation=calculation, crystals=crystals, costs=costs)
        kept = self.settle_many(campaign_id, [settlement], token=token, purpose=purpose, iteration=iteration)
        return kept[calculation.key]

    def settle_many(
        self, campaign_id: str, settlements: Iterable[Settlement], *, token: int, purpose: str, iteration: int
    ) -> dict[str, Calculation]:
        """Write calculations that have ended, their crystals and what this campaign paid, in one transaction.

        A calculation that is settled already is kept as it was first written; what this campaign paid for it
        is still recorded, once.

        Returns:
            By key, the calculations as they stand in the ledger.

        Raises:
            LeaseLostError: another driver has the campaign; nothing was written.
            LedgerError: see `append`.
        """
        with self._transaction(campaign_id, token) as connection:
            kept, standing = calculations.settle(
                connection, campaign_id, settlements, purpose=purpose, iteration=iteration
            )
            crystals = stored.crystals_of(connection, standing)
        self._notify(*standing, *crystals)
        return kept

    def settled(self, key: str) -> Calculation | None:
        """The calculation with this key, done or failed; None where it was never settled."""
        return self.settled_many([key]).get(key)

    def settled_many(self, keys: Iterable[str]) -> dict[str, Calculation]:
        """The settled ones among the calculations with these keys."""
        with reading(self._engine) as connection:
            return stored.by_key(connection, Calculation, keys)

    def crystals(self, keys: Iterable[str]) -> dict[str, CrystalRow]:
        """Crystals by key; keys that the ledger does not hold are left out."""
        with reading(self._engine) as connection:
            return stored.by_key(connection, CrystalRow, keys)

    def attempts(self, campaign_id: str) -> list[Attempt]:
        """Every attempt of a campaign, by calculation and number."""
        return self.rows(Attempt, campaign_id)

    def rows(self, row_class: type[R], campaign_id: str | None = None) -> list[R]:
        """Every row of one kind in order of its key, of one campaign where it is named.

        Crystals and calculations belong to no campaign; for one campaign, those that its other rows refer to
        are given.
        """
        with reading(self._engine) as connection:
            return of_campaign(connection, row_class, campaign_id)

    def snapshot(self, campaign_id: str) -> list[Row]:
        """All that the ledger holds of a campaign at one moment, leases aside."""
        with reading(self._engine) as connection:
            kinds = [kind for kind in ROW_CLASSES if kind is not Lease]
            return [row for kind in kinds for row in of_campaign(connection, kind, campaign_id)]

    def frame(self, table_name: str) -> pd.DataFrame:
        """A whole table as a data frame, in order of its key; JSON columns hold dicts and lists.

        Raises:
            LedgerError: no such table.
        """
        from loop.ledger.frames import frame

        if table_name not in Row.metadata.tables:
            near = difflib.get_close_matches(table_name, Row.metadata.tables, n=1, cutoff=0)
            raise LedgerError(f"{table_name!r} is no table of the ledger; did you mean {near[0]!r}?")
        with reading(self._engine) as connection:
            return frame(connection, Row.metadata.tables[table_name])

    def campaigns(self) -> list[Campaign]:
        """The latest revision of every campaign, in order of first creation."""
        revisions: dict[str, list[Campaign]] = {}
        for row in self.rows(Campaign):
            revisions.setdefault(row.id, []).append(row)
        return [
            rows[-1] for rows in sorted(revisions.values(), key=lambda rows: (rows[0].created_at, rows[0].id))
        ]

    def latest_spec(self, campaign_id: str) -> CampaignSpec:
        """The campaign file in force: the one of the highest revision.

        Raises:
            LedgerError: no such campaign, or its file cannot be read by this version.
        """
        revisions = self.rows(Campaign, campaign_id)
        if not revisions:
            known = ", ".join(f"{row.name} ({row.id})" for row in self.campaigns()) or "none"
            raise LedgerError(f"{self.url}: holds no campaign {campaign_id!r}; it holds {known}")
        try:
            return CampaignSpec.model_validate(revisions[-1].spec)
        except ValidationError as error:
            raise LedgerError(
                f"{self.url}: the file of campaign {campaign_id}, revision {revisions[-1].revision}, cannot "
                f"be read by this version of Motherlode ({error}); use the version that wrote it"
            ) from error

    @contextmanager
    def _transaction(self, campaign_id: str | None, token: int | None) -> Iterator[Connection]:
        try:
            with writing(self._engine) as connection:
                if campaign_id is not None and token is not None:
                    leases.check(connection, campaign_id, token)
                yield connection
        except ConflictError as conflict:
            raise LedgerError(self._describe(conflict)) from conflict.error

    def _describe(self, conflict: ConflictError) -> str:
        kind = type(conflict.rows[0])
        with reading(self._engine) as connection:
            key = None if kind in SHARED else stored.existing_key(connection, conflict.rows)
        if key is not None:
            return f"{kind.__tablename__}: {stored.described(kind, key)} is there already; rows never change"
        return (
            f"{kind.__tablename__}: a row refers to a crystal or calculation that is not in the ledger, or "
            f"repeats a number ({conflict}); append what it refers to before it or with it"
        )

    def _notify(self, *rows: Row) -> None:
        for observer in self._observers:
            observer(*rows)
