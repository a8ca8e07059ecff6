"""Campaigns as Prefect sees them, on a real (private) server."""

from __future__ import annotations

import asyncio

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


def test_a_cron_deployment_gets_scheduled_runs(server):
    """Under sqlalchemy 2.1 the scheduler makes none; the bound in pyproject.toml is there for this."""
    from prefect import flow
    from prefect.client.schemas.schedules import CronSchedule

    @flow
    def nothing() -> None:
        """Do nothing."""

    async def deploy(client):
        flow_id = await client.create_flow(nothing)
        from prefect.client.schemas.actions import DeploymentScheduleCreate

        return await client.create_deployment(
            flow_id,
            name="nightly",
            schedules=[DeploymentScheduleCreate(schedule=CronSchedule(cron="0 3 * * *"), active=True)],
        )

    deployment_id = asked(deploy)
    deadline = 60
    for _ in range(deadline):
        runs = asked(lambda client: client.read_flow_runs())
        if any(r.deployment_id == deployment_id and r.state.is_scheduled() for r in runs):
            return
        asyncio.run(asyncio.sleep(1))
    pytest.fail("no scheduled run in a minute")
