"""The shipped migrations make exactly the tables of tables.py, append-only, and refuse foreign databases."""

import itertools
import sqlite3
import threading

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import UniqueConstraint, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from loop.errors import LedgerError
from loop.ledger.ledger import Ledger
from loop.ledger.migrate import configuration
from loop.ledger.migrations.versions import r0001_first_schema as first
from loop.ledger.tables import Lease, Row
from tests.loop import ledger_rows as make

TABLES = sorted(Row.metadata.tables)


def test_migrating_an_empty_database_gives_the_tables_as_they_are_declared(empty_url):
    Ledger.open(empty_url).close()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "target_metadata": Row.metadata}
        )
        assert compare_metadata(context, Row.metadata) == []
        assert context.get_current_heads() == ("0001",)
        found = inspect(connection)
        for table in TABLES:
            names = {
                found.get_pk_constraint(table)["name"],
                *(key["name"] for key in found.get_foreign_keys(table)),
            }
            assert {
                str(c.name)
                for c in Row.metadata.tables[table].constraints
                if not isinstance(c, UniqueConstraint)
            } <= names
    engine.dispose()


def test_there_is_one_line_of_revisions():
    scripts = ScriptDirectory.from_config(configuration())
    assert scripts.get_heads() == ["0001"]
    assert scripts.get_bases() == ["0001"]


def test_the_triggers_know_every_key():
    for name in TABLES:
        table = Row.metadata.tables[name]
        unique = {tuple(c.columns.keys()) for c in table.constraints if isinstance(c, UniqueConstraint)}
        assert set(first.KEYS[name]) == {tuple(table.primary_key.columns.keys())} | unique
    assert set(first.KEYS) == set(TABLES)


def test_opening_again_changes_nothing(ledger_url):
    with Ledger.open(ledger_url) as ledger:
        ledger.append(*make.one_of_each(), token=None)
        before = ledger.snapshot("c")
    with Ledger.open(ledger_url) as ledger:
        assert ledger.snapshot("c") == before


def test_processes_that_open_an_empty_database_at_once_migrate_it_once(empty_url):
    errors: list[BaseException] = []

    def open_it():
        try:
            Ledger.open(empty_url).close()
        except LedgerError as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.fixture
def full_url(ledger_url) -> str:
    """A ledger with a row in every table."""
    with Ledger.open(ledger_url) as ledger:
        ledger.append(*make.one_of_each(), token=None)
        token = ledger.acquire("c")
        ledger.intend(
            "c", "next", token=token, declared={"cpu_seconds": 1.0}, purpose="screening", iteration=1
        )
    return ledger_url


@pytest.mark.parametrize("change", ["UPDATE {t} SET {c} = {c}", "DELETE FROM {t}"])
def test_the_database_refuses_changes(full_url, change):
    """By plain SQL, in a client that knows nothing of Motherlode."""
    engine = create_engine(full_url)
    for table in TABLES:
        column = first.KEYS[table][0][0]
        with (
            pytest.raises(DBAPIError, match=f"the ledger is append-only: {table} refuses"),
            engine.begin() as connection,
        ):
            connection.execute(text(change.format(t=table, c=column)))
    engine.dispose()


@pytest.mark.postgresql
def test_postgresql_refuses_to_empty_tables(postgresql_ledger):
    engine = create_engine(postgresql_ledger)
    for table in TABLES:
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {table} CASCADE"))
    engine.dispose()


def test_sqlite_refuses_to_replace_rows(sqlite_template, tmp_path):
    """INSERT OR REPLACE deletes without firing DELETE triggers in a client with SQLite's defaults."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with Ledger.open(url) as ledger:
        ledger.append(*make.one_of_each(), token=None)
        token = ledger.acquire("c")
        ledger.intend("c", "next", token=token, declared={}, purpose="screening", iteration=1)
        (lease,) = ledger.rows(Lease)
    connection = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    for table in TABLES:
        before = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
        free = [
            c.name
            for c in Row.metadata.tables[table].columns
            if not any(c.name in key for key in first.KEYS[table])
        ]
        columns = ", ".join(c.name for c in Row.metadata.tables[table].columns)
        changed = columns.replace(free[-1], f"'changed' AS {free[-1]}") if free else columns
        replace = f"INSERT OR REPLACE INTO {table} ({columns}) SELECT {changed} FROM {table}"
        if table in first.FIRST_WRITER_WINS:
            connection.execute(replace)
        else:
            with pytest.raises(sqlite3.IntegrityError, match=f"{table} already holds a row of this key"):
                connection.execute(replace)
        assert connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() == before
    connection.close()
    with Ledger.open(url) as ledger:
        assert ledger.rows(Lease) == [lease]


def test_a_hull_cannot_be_replaced_by_its_number_either(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        ledger.append(make.hull("c", 1), token=None)
    connection = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    columns = [column.name for column in Row.metadata.tables["hull"].columns]
    changed = ", ".join("'another' AS version" if name == "version" else name for name in columns)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"INSERT OR REPLACE INTO hull ({', '.join(columns)}) SELECT {changed} FROM hull")
    connection.close()


def test_a_newer_ledger_is_refused(ledger_url):
    Ledger.open(ledger_url).close()
    engine = create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(
            LedgerError, match=r"of revision '9999', this version of Motherlode knows .*'0001'.*upgrade"
        ):
            Ledger.open(ledger_url)
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        engine.dispose()


def test_another_programs_database_is_refused_and_left_alone(empty_url):
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE systems (id INTEGER)"))
    with pytest.raises(LedgerError, match=r"belongs to another program \(tables systems\)"):
        Ledger.open(empty_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["systems"]
    engine.dispose()


def test_prefects_database_is_refused(empty_url):
    """It too has an alembic_version."""
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('3c841a1800a1')"))
        connection.execute(text("CREATE TABLE flow_run (id INTEGER)"))
    with pytest.raises(LedgerError, match=r"'3c841a1800a1'.* belongs to another program"):
        Ledger.open(empty_url)
    engine.dispose()


def test_a_migration_that_breaks_leaves_nothing_behind(empty_url, monkeypatch):
    """Schema changes are part of the transaction on both databases, so a half-made ledger cannot exist."""
    execute, calls = op.execute, itertools.count()

    def until_the_power_goes(statement):
        if next(calls) == 20:
            raise RuntimeError("the power went")
        execute(statement)

    monkeypatch.setattr(op, "execute", until_the_power_goes)
    with pytest.raises(RuntimeError, match="the power went"):
        Ledger.open(empty_url)
    monkeypatch.undo()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    engine.dispose()
    Ledger.open(empty_url).close()
