"""Who may write: one driver per campaign, told apart by fencing tokens.

Every driver acquires a token higher than all before it, and every write checks, inside its own transaction,
that no higher one exists. A driver that was taken for dead and comes back (a laptop that slept, a network
that parted) cannot write a single row any more.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Final, Self

import psutil
from sqlalchemy import select, text
from sqlalchemy.engine import Connection

from loop.errors import LeaseLostError, LedgerError
from loop.ledger.rows import fetch, insert
from loop.ledger.tables import Lease

START_TOLERANCE: Final = 5.0
"""Seconds by which two readings of a process's start may differ. The kernel gives it relative to a boot time
that moves when the clock is set; process ids are not reused so soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process on a host."""

    host: str
    process_id: int
    process_started: float
    """Seconds since the epoch."""

    @classmethod
    def this_process(cls) -> Self:
        """The process that asks."""
        started = float(psutil.Process().create_time())
        return cls(host=socket.gethostname(), process_id=os.getpid(), process_started=started)

    @classmethod
    def of(cls, lease: Lease) -> Self:
        """The process that a lease was given to."""
        return cls(host=lease.host, process_id=lease.process_id, process_started=lease.process_started)

    def may_be_alive(self) -> bool:
        """False only where the process has certainly ended: on this host, with its id free or reused."""
        if self.host != socket.gethostname():
            return True
        try:
            process = psutil.Process(self.process_id)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return bool(abs(process.create_time() - self.process_started) <= START_TOLERANCE)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def __str__(self) -> str:
        """The process in words."""
        return f"process {self.process_id} on {self.host}"


def in_force(connection: Connection, campaign_id: str) -> Lease | None:
    """The lease with the highest token; None where the campaign was never driven."""
    statement = select(Lease).where(Lease.campaign_id == campaign_id).order_by(Lease.token.desc()).limit(1)
    return next(iter(fetch(connection, statement)), None)


def lock(connection: Connection, campaign_id: str) -> None:
    """Let the campaign's other writers wait until this transaction ends.

    On PostgreSQL, a takeover could otherwise slip between a writer's look at the leases and its commit. On
    SQLite every write transaction holds the whole database anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:id, 0))"), {"id": campaign_id}
        )


def check(connection: Connection, campaign_id: str, token: int) -> Lease:
    """Lock the campaign and return its lease, which `token` must be the token of.

    Raises:
        LeaseLostError: another driver has acquired the campaign since, or this one released it.
        LedgerError: the token was never given.
    """
    lock(connection, campaign_id)
    lease = in_force(connection, campaign_id)
    if lease is None or lease.token < token:
        raise LedgerError(
            f"campaign {campaign_id}: token {token} was never given; acquire the campaign first"
        )
    if lease.token > token or lease.released:
        ending = "was released by" if lease.released else "is now driven by"
        raise LeaseLostError(
            f"campaign {campaign_id}: {ending} {Owner.of(lease)} since {_when(lease)} (token {lease.token}, "
            f"this driver had {token}); nothing was written, this driver must stop"
        )
    return lease


def acquire(connection: Connection, campaign_id: str, *, take_over: bool) -> Lease:
    """Write a lease of this process with the next token.

    Raises:
        LedgerError: another driver holds the campaign and may be alive, and `take_over` is false.
    """
    lock(connection, campaign_id)
    held = in_force(connection, campaign_id)
    if held is not None and not held.released and not take_over and Owner.of(held).may_be_alive():
        here = held.host == socket.gethostname()
        life = "is alive" if here else "may be alive, which cannot be seen from here"
        raise LedgerError(
            f"campaign {campaign_id}: driven by {Owner.of(held)} since {_when(held)}, which {life}; wait "
            "until it is done, end it, or take the campaign from it with `motherlode resume --take-over`"
        )
    lease = _next(held, campaign_id, released=False)
    insert(connection, [lease])
    return lease


def release(connection: Connection, campaign_id: str, token: int) -> Lease:
    """Write that the driver with `token` has let go.

    Raises:
        LeaseLostError: it has lost the campaign before.
    """
    lease = _next(check(connection, campaign_id, token), campaign_id, released=True)
    insert(connection, [lease])
    return lease


def _next(lease: Lease | None, campaign_id: str, *, released: bool) -> Lease:
    owner = Owner.this_process()
    return Lease(
        campaign_id=campaign_id,
        token=1 if lease is None else lease.token + 1,
        host=owner.host,
        process_id=owner.process_id,
        process_started=owner.process_started,
        released=released,
    )


def _when(lease: Lease) -> str:
    return f"{lease.acquired_at:%Y-%m-%d %H:%M:%S} UTC"
