"""Campaigns as Prefect sees them, on a real (private) server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time

import httpx
import pytest

from flows.campaign import Campaign
from flows.prefect_runner import (
    PrefectError,
    PrefectObserver,
    PrefectRunner,
    check_server,
    prepare_environment,
)
from flows.turning import run
from tests.flows.worlds import EMT, emt_spec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    prepare_environment()
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def asked(call):
    """Run a coroutine that asks Prefect's server."""
    from prefect import get_client

    async def ask():
        async with get_client() as client:
            return await call(client)

    return asyncio.run(ask())


def test_one_flow_run_per_iteration_with_coarse_tasks_and_artifacts(server, tmp_path):
    spec = emt_spec(stopping={"iterations": 2})
    with Campaign.open(spec, folder=tmp_path, base=EMT.parent, observer=PrefectObserver()) as campaign:
        run(campaign, runner=PrefectRunner())
    flows = asked(lambda client: client.read_flow_runs())
    assert sorted(r.name for r in flows) == [
        "emt-world iteration 1",
        "emt-world iteration 2",
        "emt-world references",
    ]
    assert all(r.state.is_completed() for r in flows)

    tasks = asked(lambda client: client.read_task_runs())
    names = {t.name for t in tasks}
    assert {
        "propose 1",
        "relax 1",
        "relax 1.1",
        "screen 1",
        "select 1",
        "verify 1",
        "learn 1",
        "report 1",
    } <= names
    assert len(tasks) < 50 * 3

    artifacts = asked(lambda client: client.read_artifacts())
    by_type = {a.type for a in artifacts}
    assert {"progress", "table", "markdown"} <= by_type
    hull = next(a for a in artifacts if a.key and a.key.endswith("-hull"))
    assert "data:image/png;base64," in hull.data
    assert len(hull.data) < 140_000


def test_a_dead_server_is_found_before_work_starts(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(PrefectError, match="prefect server start"),
    ):
        check_server()


def test_a_cron_deployment_gets_scheduled_runs(tmp_path):
    """On a whole server. Under sqlalchemy 2.1 its scheduler makes none; pyproject.toml's bound is there for this."""
    from prefect import flow
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.settings import PREFECT_API_URL, temporary_settings

    @flow
    def nothing() -> None:
        """Do nothing."""

    async def deploy(client):
        flow_id = await client.create_flow(nothing)
        nightly = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 3 * * *"), active=True)
        return await client.create_deployment(flow_id, name="nightly", schedules=[nightly])

    def scheduled(deployment_id):
        runs = asked(lambda client: client.read_flow_runs())
        return any(r.deployment_id == deployment_id and r.state.is_scheduled() for r in runs)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/api"
    try:
        waited_for(lambda: answers(f"{url}/health"), seconds=120)
        with temporary_settings({PREFECT_API_URL: url}):
            deployment_id = asked(deploy)
            waited_for(lambda: scheduled(deployment_id), seconds=180)
    finally:
        server.terminate()
        server.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def waited_for(condition, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.5)
