"""Bringing a database to the schema of this version, or refusing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import Connection

from loop.errors import LedgerError
from loop.ledger.database import reading, shown, writing

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

MIGRATION_LOCK: Final = 0x6D6C6F6465
"""Advisory lock of PostgreSQL under which one process migrates while others wait ("mlode")."""


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration for the migrations in this package; `env.py` uses the given connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "loop.ledger:migrations")
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Run the migrations that the database lacks, in one transaction; none on a database that is up to date.

    Raises:
        LedgerError: the database is of a newer version of Motherlode, or belongs to another program.
    """
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(configuration())
    with reading(engine) as connection:
        if _revision(connection) == scripts.get_current_head():
            return
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        # Read again under the lock: another process may have migrated since.
        _run(connection, scripts)


def _run(connection: Connection, scripts: ScriptDirectory) -> None:
    from alembic import command

    revision = _revision(connection)
    where = shown(connection.engine.url)
    if revision is None:
        strangers = sorted(set(inspect(connection).get_table_names()) - {"alembic_version"})
        if strangers:
            found = ", ".join(strangers[:5]) + (", …" if len(strangers) > 5 else "")
            raise LedgerError(
                f"{where}: the database belongs to another program (tables {found}); give an empty one"
            )
    elif revision not in {script.revision for script in scripts.walk_revisions()}:
        raise LedgerError(
            f"{where}: the ledger is of revision {revision!r}, this version of Motherlode knows revisions up "
            f"to {scripts.get_current_head()!r}; it was written by a newer version (pip install --upgrade "
            "motherlode) or the database belongs to another program (give an empty one)"
        )
    command.upgrade(configuration(connection), "head")


def _revision(connection: Connection) -> str | None:
    """The revision that the database says it has; None where it has never been migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revisions = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return ", ".join(sorted(revisions)) or None
