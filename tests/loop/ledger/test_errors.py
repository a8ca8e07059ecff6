"""What can be wrong with a database, and what the person at the terminal then reads."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, text

from loop.errors import LedgerError
from loop.ledger.database import writing
from loop.ledger.ledger import Ledger
from loop.ledger.tables import Candidate
from tests.loop import ledger_rows as make


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """As an ordinary user: root may write into read-only folders."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder(sqlite_template) -> Iterator[Path]:
    """A folder that other users can reach (pytest's own cannot be), holding a ledger with one row."""
    path = Path(tempfile.mkdtemp(prefix="motherlode-"))
    shutil.copy(sqlite_template, path / "ledger.sqlite")
    with Ledger.open(f"sqlite:///{path / 'ledger.sqlite'}") as ledger:
        ledger.append(make.candidate("c", 1), token=None)
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("", "the database URL cannot be read; give sqlite:///FILE or postgresql"),
        ("ledger.sqlite", "the database URL cannot be read"),
        ("postgresql://user@host:port/database", "the database URL cannot be read"),
        (
            "mysql://user:secret@host/database",
            r"mysql://user:\*\*\*@host/database: .* cannot be kept in 'mysql'",
        ),
        ("warp://host/database", "cannot be kept in 'warp'"),
        ("postgresql+asyncpg://host/database", r"cannot be kept in 'postgresql\+asyncpg'"),
        ("sqlite://", "a ledger in memory dies with its process; name a file, sqlite:///FILE"),
        ("sqlite:///:memory:", "a ledger in memory"),
        ("sqlite:////nowhere/at/all/ledger.sqlite", "the folder /nowhere/at/all does not exist; create it"),
        ("sqlite:////tmp", "/tmp is a folder; name a file in it"),
        ("sqlite:////proc/ledger.sqlite", "cannot be opened or created .*make /proc readable and writable"),
    ],
)
def test_urls_that_cannot_be_a_ledger(url, found):
    with pytest.raises(LedgerError, match=found):
        Ledger.open(url)


@pytest.mark.parametrize(
    "url", ["postgresql://u:swordfish@[broken/db", "warp://u:swordfish@h/d", "swordfish"]
)
def test_a_password_is_never_shown(url):
    with pytest.raises(LedgerError) as error:
        Ledger.open(url)
    assert "swordfish" not in str(error.value)


def test_a_missing_driver_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        LedgerError, match=r"psycopg is not installed .*pip install 'motherlode\[postgresql\]'"
    ):
        Ledger.open("postgresql://user@localhost/database")


class TestFiles:
    def test_a_file_that_is_no_database(self, tmp_path):
        path = tmp_path / "ledger.sqlite"
        path.write_text("name: tin\n" * 200, encoding="utf-8")
        with pytest.raises(
            LedgerError, match=r"the file is no SQLite database .*SQLITE_NOTADB.*name another"
        ):
            Ledger.open(f"sqlite:///{path}")
        assert path.read_text(encoding="utf-8").startswith("name: tin")

    def test_a_damaged_file(self, folder):
        path = folder / "ledger.sqlite"
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))
        with (
            pytest.raises(LedgerError, match=r"the file is damaged .*restore it from a backup.*\.recover"),
            Ledger.open(f"sqlite:///{path}") as ledger,
        ):
            ledger.rows(Candidate)

    def test_a_truncated_file(self, folder):
        path = folder / "ledger.sqlite"
        os.truncate(path, 3 * 4096 + 100)
        with (
            pytest.raises(LedgerError, match="the file is damaged"),
            Ledger.open(f"sqlite:///{path}") as ledger,
        ):
            ledger.rows(Candidate)

    def test_a_read_only_file(self, folder):
        path = folder / "ledger.sqlite"
        path.chmod(0o444)
        with Ledger.open(f"sqlite:///file:{path}?mode=ro&uri=true") as ledger:
            assert len(ledger.rows(Candidate)) == 1
            with pytest.raises(LedgerError, match=r"the file or its folder is read-only .*SQLITE_READONLY"):
                ledger.append(make.candidate("c", 2), token=None)

    def test_a_read_only_folder(self, folder):
        folder.chmod(0o555)
        with (
            without_privileges(),
            pytest.raises(LedgerError, match=f"(read-only|cannot be opened or created).*make {folder} "),
        ):
            Ledger.open(f"sqlite:///{folder / 'new.sqlite'}")

    def test_a_ledger_of_someone_else_in_a_read_only_folder(self, folder):
        folder.chmod(0o555)
        (folder / "ledger.sqlite").chmod(0o444)
        with without_privileges(), pytest.raises(LedgerError, match=f"make {folder} "):  # noqa: SIM117
            with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
                ledger.append(make.candidate("c", 2), token=None)

    def test_a_file_that_another_program_will_not_let_go(self, folder, monkeypatch):
        monkeypatch.setattr("loop.ledger.database.BUSY_TIMEOUT", 0.05)
        other = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
            assert len(ledger.rows(Candidate)) == 1
            with pytest.raises(LedgerError, match="another process has held the database"):
                ledger.append(make.candidate("c", 2), token=None)
            other.execute("ROLLBACK")
            ledger.append(make.candidate("c", 2), token=None)
        other.close()


class TestFullDisk:
    FULL = "the disk is full .*free space under .* and resume, nothing was lost"

    def fill(self, ledger: Ledger) -> int:
        """Append transactions until one is refused; the number that were kept."""
        for number in range(2, 10_000):
            row = make.candidate("c", number)
            row.details = {"filler": "x" * 20_000}
            try:
                ledger.append(row, token=None)
            except LedgerError as error:
                refused = error
                break
        assert "the disk is full" in str(refused)
        return number - 1

    def test_the_page_limit_gives_sqlites_own_error_and_nothing_is_lost(self, folder):
        with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
            limit = [60]
            event.listen(
                ledger._engine,
                "checkout",
                lambda dbapi, *_: dbapi.execute(f"PRAGMA max_page_count = {limit[0]}"),
            )
            kept = self.fill(ledger)
            assert kept > 2
            with pytest.raises(LedgerError, match=self.FULL):
                ledger.append(
                    make.stored_crystal(0), *(make.candidate("c", 50 + i) for i in range(4000)), token=None
                )
            assert len(ledger.rows(Candidate)) == kept
            limit[0] = 10_000
            ledger.append(make.candidate("c", 9999), token=None)
            assert len(ledger.rows(Candidate)) == kept + 1

    @pytest.fixture
    def small_disk(self, tmp_path) -> Iterator[Path]:
        """A file system of two megabytes."""
        path = tmp_path / "disk"
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
        if (
            shutil.which("mount") is None
            or subprocess.run(mount, capture_output=True, check=False).returncode
        ):
            pytest.skip("a small file system cannot be mounted here (that takes root)")
        yield path
        subprocess.run(["umount", "--lazy", str(path)], check=True)

    def test_a_disk_that_really_is_full(self, small_disk, sqlite_template):
        shutil.copy(sqlite_template, small_disk / "ledger.sqlite")
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * 500_000)
        with Ledger.open(f"sqlite:///{small_disk / 'ledger.sqlite'}") as ledger:
            kept = self.fill(ledger)
            assert kept > 2
            assert len(ledger.rows(Candidate)) == kept - 1
            ballast.unlink()
            ledger.append(make.candidate("c", 9999), token=None)
            assert len(ledger.rows(Candidate)) == kept

    def test_a_new_ledger_on_a_full_disk(self, small_disk):
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"\0" * 4096)
                file.flush()
        with pytest.raises(LedgerError, match=self.FULL):
            Ledger.open(f"sqlite:///{small_disk / 'ledger.sqlite'}")
        ballast.unlink()
        Ledger.open(f"sqlite:///{small_disk / 'ledger.sqlite'}").close()


def test_a_dead_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        LedgerError, match=rf"the server at 127\.0\.0\.1:{port} does not answer .*refused.*start it"
    ):
        Ledger.open(f"postgresql://user:swordfish@127.0.0.1:{port}/database")


def test_a_host_that_does_not_exist():
    with pytest.raises(
        LedgerError, match=r"the server at nowhere\.invalid:5432 does not answer .*correct host and port"
    ):
        Ledger.open("postgresql://user@nowhere.invalid/database")


def test_a_port_where_something_else_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        import threading

        def answer():
            with contextlib.suppress(OSError):
                for _ in range(4):
                    connection, _ = server.accept()
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(LedgerError, match=rf"the server at 127\.0\.0\.1:{port} does not answer"):
            Ledger.open(f"postgresql://user@127.0.0.1:{port}/database")


@pytest.mark.postgresql
class TestServer:
    def test_a_wrong_password(self, postgresql_server):
        url = make_url(postgresql_server).set(password="swordfish").render_as_string(hide_password=False)
        with pytest.raises(LedgerError, match="the password is wrong; correct it in the URL") as error:
            Ledger.open(url)
        assert "swordfish" not in str(error.value)

    def test_a_password_in_the_query_is_hidden_too(self, postgresql_server):
        url = make_url(postgresql_server)
        url = url.set(username=None, password=None).update_query_dict(
            {"user": "motherlode", "password": "swordfish"}
        )
        with pytest.raises(LedgerError, match="the password is wrong") as error:
            Ledger.open(url.render_as_string(hide_password=False))
        assert "swordfish" not in str(error.value)

    def test_no_password(self, postgresql_server, monkeypatch, tmp_path):
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
        url = make_url(postgresql_server)._replace(password=None).render_as_string(hide_password=False)
        with pytest.raises(LedgerError, match="the server asks for a password; give it in the URL"):
            Ledger.open(url)

    def test_a_database_that_does_not_exist(self, postgresql_server):
        url = make_url(postgresql_server).set(database="nowhere").render_as_string(hide_password=False)
        with pytest.raises(LedgerError, match=r"knows no such database or user; create it .*nowhere"):
            Ledger.open(url)

    @pytest.mark.parametrize(
        ("state", "found"),
        [
            ("53100", "the server's disk is full; free space there and resume"),
            ("53300", "raise max_connections"),
            ("25006", "give the URL of the primary"),
            ("42501", "this user may not write here"),
            ("XX000", "the database refused .*InternalError"),
        ],
    )
    def test_what_the_server_says_while_writing(self, postgresql_ledger, state, found):
        """Raised by the server itself, since its disk is not ours to fill."""
        with Ledger.open(postgresql_ledger) as ledger:
            with pytest.raises(LedgerError, match=found), writing(ledger._engine) as connection:
                connection.execute(
                    text(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")
                )
            ledger.append(make.candidate("c", 1), token=None)

    def test_a_user_who_may_not_write(self, empty_server_url):
        with pytest.raises(LedgerError, match="this user may not write here; grant it"):
            Ledger.open(empty_server_url)

    @pytest.fixture
    def empty_server_url(self, postgresql_ledger) -> Iterator[str]:
        """URL of a ledger for a user who may read it only."""
        with Ledger.open(postgresql_ledger) as owner:
            with writing(owner._engine) as connection:
                connection.execute(text("CREATE SCHEMA private"))
                connection.execute(text("CREATE ROLE reader LOGIN PASSWORD 'reader'"))
                connection.execute(text("ALTER ROLE reader SET search_path = private"))
                connection.execute(text("GRANT USAGE ON SCHEMA private TO reader"))
            yield (
                make_url(postgresql_ledger)
                .set(username="reader", password="reader")
                .render_as_string(hide_password=False)
            )
            with writing(owner._engine) as connection:
                connection.execute(text("DROP OWNED BY reader"))
                connection.execute(text("DROP ROLE reader"))
                connection.execute(text("DROP SCHEMA private"))

    def test_a_connection_that_the_server_cuts(self, postgresql_ledger):
        """A restart while the ledger is idle is not even noticed."""
        with Ledger.open(postgresql_ledger) as ledger, Ledger.open(postgresql_ledger) as other:
            ledger.append(make.candidate("c", 1), token=None)
            with writing(other._engine) as connection:
                connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
            ledger.append(make.candidate("c", 2), token=None)
            assert len(ledger.rows(Candidate)) == 2

    def test_a_connection_that_the_server_cuts_while_writing(self, postgresql_ledger):
        with Ledger.open(postgresql_ledger) as ledger:
            with (
                pytest.raises(LedgerError, match=r"the server at .* does not answer .*then resume"),
                writing(ledger._engine) as connection,
            ):
                connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            ledger.append(make.candidate("c", 1), token=None)
