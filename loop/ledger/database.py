"""Connections to the ledger's database, and what its errors mean to the person who meets them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from loop.errors import LedgerError

BUSY_TIMEOUT: Final = 60.0
"""Seconds that a SQLite writer waits for another one: chunks of rows are written in milliseconds, so this is
patience for a slow disk, not for a queue."""
CONNECT_TIMEOUT: Final = 10
"""Seconds after which a PostgreSQL server that does not answer counts as dead."""
NEARLY_FULL: Final = 1 << 20
"""Bytes free below which an input/output error of SQLite is put down to a full disk."""
WRITING: Final = "motherlode_writing"
"""Execution option that marks a connection as a writer's."""


def parse_url(url: str) -> URL:
    """Read a database URL; `postgresql://` and `postgres://` mean the psycopg driver.

    Raises:
        LedgerError: malformed, of another database system, or of a database in memory.
    """
    forms = "give sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The text may hold a password where it cannot be told apart, so it is not repeated.
        raise LedgerError(f"ledger: the database URL cannot be read; {forms}") from error
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite+pysqlite":
        parsed = parsed.set(drivername="sqlite")
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise LedgerError(f"{shown(parsed)}: the ledger cannot be kept in {parsed.drivername!r}; {forms}")
    if parsed.drivername == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise LedgerError(
            f"{shown(parsed)}: a ledger in memory dies with its process; name a file, sqlite:///FILE"
        )
    return parsed


def shown(url: URL) -> str:
    """The URL as it may be shown: every password in it is hidden."""
    secret = {key: "***" for key in url.query if "password" in key.lower()}
    return url.update_query_dict(secret).render_as_string(hide_password=True)


def connect(url: URL) -> Engine:
    """An engine for a URL from `parse_url`; nothing is connected yet.

    Raises:
        LedgerError: the PostgreSQL driver is not installed.
    """
    try:
        if url.drivername == "sqlite":
            engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT})
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        # A pooled connection is tried before use, so that a restarted server is met again without an error.
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_TIMEOUT})
    except ImportError as error:
        mend = "pip install 'motherlode[postgresql]'"
        raise LedgerError(
            f"{shown(url)}: the PostgreSQL driver psycopg is not installed ({error}); {mend}"
        ) from error
    except (NoSuchModuleError, ArgumentError) as error:
        raise LedgerError(f"{shown(url)}: {error}") from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    """Make a fresh SQLite connection fit for a ledger."""
    # The driver would otherwise begin transactions by itself, after the first read, when it is too late to be
    # safe.
    connection.isolation_level = None
    cursor = connection.cursor()
    # A read-only connection cannot change the mode and need not.
    if cursor.execute("PRAGMA query_only").fetchone() == (0,) and cursor.execute(
        "PRAGMA journal_mode"
    ).fetchone() != ("wal",):
        cursor.execute("PRAGMA journal_mode = WAL")
    # In WAL mode a killed process loses no commit at NORMAL either, but a power cut may take the latest ones
    # with it. What a campaign pays for is hours of DFT and jobs already handed to a cluster: every commit
    # reaches the disk (FULL).
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    # Makes INSERT OR REPLACE fire the triggers that refuse DELETE.
    cursor.execute("PRAGMA recursive_triggers = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once where there will be writing: a reader that becomes a writer cannot wait."""
    writing = connection.get_execution_options().get(WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction that sees one moment of the database, whatever others write meanwhile."""
    options = (
        {}
        if engine.dialect.name == "sqlite"
        else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    )
    with (
        explained(engine.url),
        engine.execution_options(**options).connect() as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction: all of it is kept, or nothing."""
    with explained(engine.url), engine.execution_options(**{WRITING: True}).begin() as connection:
        yield connection


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Turn the database's errors into a `LedgerError` that names the database, the finding and the mend."""
    try:
        yield
    except DBAPIError as error:
        raise LedgerError(f"{shown(url)}: {_explain(url, error)}") from error
    except PoolTimeoutError as error:
        raise LedgerError(
            f"{shown(url)}: no connection became free; close the ledger in other threads"
        ) from error


def _explain(url: URL, error: DBAPIError) -> str:
    if isinstance(error.orig, sqlite3.Error):
        return _explain_sqlite(Path(str(url.database).removeprefix("file:")), error.orig)
    return _explain_postgresql(url, error)


def _explain_sqlite(file: Path, error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    folder = file.absolute().parent
    if name.startswith("SQLITE_IOERR") and _nearly_full(folder):
        name = "SQLITE_FULL"
    if name.startswith("SQLITE_CANTOPEN") and file.is_dir():
        return f"{file} is a folder; name a file in it"
    if name.startswith("SQLITE_CANTOPEN") and not folder.is_dir():
        return f"the folder {folder} does not exist; create it"
    # Names have a first part that classifies, and often a second: SQLITE_READONLY_DIRECTORY.
    words = _SQLITE_ERRORS.get("_".join(name.split("_")[:2]), "the database refused ({error})")
    return words.format(file=file, folder=folder, error=f"{name}: {error}" if name else error)


_SQLITE_ERRORS: Final = {
    "SQLITE_FULL": "the disk is full ({error}); free space under {folder} and resume, nothing was lost",
    "SQLITE_READONLY": "the file or its folder is read-only ({error}); make {folder} writable, or copy it",
    "SQLITE_CANTOPEN": "the file cannot be opened or created ({error}); make {folder} readable and writable",
    "SQLITE_CORRUPT": "the file is damaged ({error}); restore it from a backup, or save what can be read: "
    "sqlite3 {file} .recover | sqlite3 recovered.sqlite",
    "SQLITE_NOTADB": "the file is no SQLite database ({error}); name another, or restore it from a backup",
    "SQLITE_BUSY": f"another process has held the database for {BUSY_TIMEOUT:g} s ({{error}}); end it, "
    "or use PostgreSQL",
    "SQLITE_LOCKED": "another connection holds the database ({error}); close it",
    "SQLITE_IOERR": "the disk gave an error ({error}); the ledger needs a sound, local file system",
}
"""What SQLite's errors mean, by the first part of their name."""


def _nearly_full(folder: Path) -> bool:
    return folder.is_dir() and shutil.disk_usage(folder).free < NEARLY_FULL


_POSTGRESQL_STATES: Final = {
    "28P01": "the password is wrong; correct it in the URL or in ~/.pgpass",
    "28000": "the server does not let this user in; see the server's pg_hba.conf",
    "3D000": "the database does not exist; create it (createdb)",
    "42501": "this user may not write here; grant it the database (GRANT ALL ON DATABASE … / SCHEMA public)",
    "53100": "the server's disk is full; free space there and resume, nothing was lost",
    "53300": "the server has no connection left; raise max_connections or end other clients",
    "25006": "the server is read-only (a standby?); give the URL of the primary",
}


def _explain_postgresql(url: URL, error: DBAPIError) -> str:
    text = " ".join(str(error.orig).split())
    state = getattr(error.orig, "sqlstate", None)
    if state in _POSTGRESQL_STATES:
        return f"{_POSTGRESQL_STATES[state]} ({text})"
    # The driver gives no state for what fails while connecting; the server's own words are all there is.
    for words, mend in (
        ("password authentication failed", _POSTGRESQL_STATES["28P01"]),
        ("no password supplied", "the server asks for a password; give it in the URL or in ~/.pgpass"),
        ("does not exist", "the server knows no such database or user; create it (createdb, createuser)"),
        ("too many clients", _POSTGRESQL_STATES["53300"]),
        ("starting up", "the server is still starting; try again in a moment"),
    ):
        if words in text:
            return f"{mend} ({text})"
    if error.connection_invalidated or type(error.orig).__name__ in {"OperationalError", "ConnectionTimeout"}:
        where = f"{url.host or 'localhost'}:{url.port or 5432}"
        return (
            f"the server at {where} does not answer ({text}); start it, or correct host and port, then resume"
        )
    return f"the database refused ({type(error.orig).__name__}: {text})"
