"""Fresh ledgers, on SQLite and on a real PostgreSQL server."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from loop.ledger.ledger import Ledger
from loop.ledger.tables import Row

SERVER = "MOTHERLODE_TEST_POSTGRESQL"
BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """URL of a new database that is dropped afterwards."""
    name = f"motherlode_{uuid.uuid4().hex}"
    maintenance = create_engine(server, isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    maintenance.dispose()


@pytest.fixture(scope="session")
def postgresql_server() -> str:
    """URL of a server's maintenance database."""
    url = os.environ.get(SERVER)
    if not url:
        pytest.skip(f"{SERVER} is not set; infra/postgresql/test-server start prints a URL for it")
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory) -> Path:
    """A migrated, empty SQLite ledger to copy."""
    path = tmp_path_factory.mktemp("template") / "ledger.sqlite"
    Ledger.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def postgresql_shared(postgresql_server: str) -> Iterator[str]:
    """A migrated PostgreSQL ledger that tests use one after another."""
    with fresh_database(postgresql_server) as url:
        Ledger.open(url).close()
        yield url


@pytest.fixture
def postgresql_ledger(postgresql_shared: str) -> Iterator[str]:
    """URL of an empty ledger on PostgreSQL."""
    yield postgresql_shared
    engine = create_engine(postgresql_shared)
    with engine.begin() as connection:
        # A superuser's way around the triggers that refuse TRUNCATE; a database per test would take a second.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(Row.metadata.tables)}"))
    engine.dispose()


@pytest.fixture(params=BOTH)
def ledger_url(request, tmp_path) -> str:
    """URL of an empty ledger of either kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_ledger")
    path = tmp_path / "ledger.sqlite"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def ledger(ledger_url) -> Iterator[Ledger]:
    """An open, empty ledger."""
    with Ledger.open(ledger_url) as ledger:
        yield ledger


@pytest.fixture(params=BOTH)
def empty_url(request, tmp_path) -> Iterator[str]:
    """URL of a database of either kind without any table."""
    if request.param == "postgresql":
        with fresh_database(request.getfixturevalue("postgresql_server")) as url:
            yield url
    else:
        yield f"sqlite:///{tmp_path / 'ledger.sqlite'}"
