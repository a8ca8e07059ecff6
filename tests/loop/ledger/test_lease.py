"""One driver per campaign: tokens, takeovers, and owners that are alive, dead or on another machine."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from loop.errors import LeaseLostError, LedgerError
from loop.ledger.database import writing
from loop.ledger.lease import Owner
from loop.ledger.ledger import Ledger
from loop.ledger.rows import insert
from loop.ledger.tables import Candidate, Lease
from tests.loop import ledger_rows as make


def leased_to(ledger: Ledger, owner: Owner, *, token: int = 1) -> None:
    """Write the lease that another process would have written."""
    lease = Lease(
        campaign_id="c",
        token=token,
        host=owner.host,
        process_id=owner.process_id,
        process_started=owner.process_started,
    )
    with writing(ledger._engine) as connection:
        insert(connection, [lease])


def owner(**changes) -> Owner:
    this = Owner.this_process()
    values = {"host": this.host, "process_id": this.process_id, "process_started": this.process_started}
    return Owner(**(values | changes))


@pytest.fixture
def sleeper():
    """Another living process."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_driver_writes_under_its_token(ledger: Ledger):
    token = ledger.acquire("c")
    ledger.append(make.candidate("c", 1), token=token)
    assert len(ledger.rows(Candidate, "c")) == 1
    lease = ledger.lease("c")
    assert (lease.token, lease.process_id, lease.released) == (token, os.getpid(), False)


def test_tokens_only_rise(ledger: Ledger):
    tokens = []
    for _ in range(3):
        tokens.append(ledger.acquire("c"))
        ledger.release("c", tokens[-1])
    assert tokens == sorted(set(tokens))
    assert [row.token for row in ledger.rows(Lease, "c")] == list(range(1, 7))


def test_campaigns_have_leases_of_their_own(ledger: Ledger):
    assert [ledger.acquire("c"), ledger.acquire("d")] == [1, 1]
    assert ledger.lease("e") is None


def test_a_living_driver_keeps_its_campaign(ledger: Ledger, sleeper):
    leased_to(
        ledger, owner(process_id=sleeper.pid, process_started=psutil.Process(sleeper.pid).create_time())
    )
    with pytest.raises(
        LedgerError,
        match=rf"c: driven by process {sleeper.pid} on .* since 20.* UTC, which is alive;.*--take-over",
    ):
        ledger.acquire("c")
    assert ledger.lease("c").token == 1


def test_this_process_cannot_drive_a_campaign_twice(ledger: Ledger):
    ledger.acquire("c")
    with pytest.raises(LedgerError, match=f"driven by process {os.getpid()}"):
        ledger.acquire("c")


def test_a_dead_drivers_campaign_is_free(ledger: Ledger, sleeper):
    leased_to(
        ledger, owner(process_id=sleeper.pid, process_started=psutil.Process(sleeper.pid).create_time())
    )
    sleeper.kill()
    sleeper.wait()
    assert ledger.acquire("c") == 2


def test_a_killed_driver_that_nobody_has_buried_is_dead(ledger: Ledger, sleeper):
    """A container's first process may never collect its children."""
    leased_to(
        ledger, owner(process_id=sleeper.pid, process_started=psutil.Process(sleeper.pid).create_time())
    )
    os.kill(sleeper.pid, signal.SIGKILL)
    while psutil.Process(sleeper.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert ledger.acquire("c") == 2


def test_a_reused_process_id_is_not_the_driver(ledger: Ledger):
    leased_to(ledger, owner(process_started=Owner.this_process().process_started - 3600))
    assert ledger.acquire("c") == 2


def test_a_driver_on_another_host_may_be_alive(ledger: Ledger):
    leased_to(ledger, owner(host="elsewhere"))
    with pytest.raises(
        LedgerError, match=r"on elsewhere since .* which may be alive, which cannot be seen from here"
    ):
        ledger.acquire("c")
    assert ledger.acquire("c", take_over=True) == 2


def test_a_released_campaign_is_free_for_every_host(ledger: Ledger):
    leased_to(ledger, owner(host="elsewhere"))
    ledger.release("c", 1)
    assert ledger.acquire("c") == 3


def test_whoever_lost_the_campaign_writes_nothing_more(ledger: Ledger):
    old = ledger.acquire("c")
    new = ledger.acquire("c", take_over=True)
    with pytest.raises(
        LeaseLostError,
        match=rf"is now driven by process {os.getpid()} .*\(token {new}, this driver had {old}\)",
    ):
        ledger.append(make.candidate("c", 1), token=old)
    with pytest.raises(LeaseLostError):
        ledger.release("c", old)
    assert ledger.rows(Candidate) == []
    ledger.append(make.candidate("c", 1), token=new)


def test_a_released_token_is_worth_nothing(ledger: Ledger):
    token = ledger.acquire("c")
    ledger.release("c", token)
    with pytest.raises(LeaseLostError, match="was released by"):
        ledger.append(make.candidate("c", 1), token=token)
    with pytest.raises(LeaseLostError, match="was released by"):
        ledger.append(make.candidate("c", 1), token=token + 1)


def test_leases_cannot_be_appended_by_hand(ledger: Ledger):
    with pytest.raises(LedgerError, match="acquire and release alone"):
        ledger.append(
            Lease(campaign_id="c", token=9, host="h", process_id=1, process_started=0.0), token=None
        )
