"""Shows a campaign in Prefect: one flow run per iteration, one task run per stage or chunk, artifacts to look at.

Prefect watches; it decides nothing and keeps nothing that the ledger does not. Measured on Prefect 3.8 a flow costs
about a second and a task 40 ms of server time, which is why tasks are stages and chunks, never single crystals.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from loop.errors import MotherlodeError

if TYPE_CHECKING:
    from flows.campaign import Campaign

Value = TypeVar("Value")

QUIET: Final = {
    # No telemetry, from the server or the client.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # A private server takes 7-13 s to start on two busy cores; the default of 20 s was hit once.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # A restart of the server must not kill runs that hold a concurrency slot.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # The terminal shows our own progress; Prefect's log goes to its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
}
BEST: Final = 20
"""Candidates in the table of an iteration; Prefect's page is for a glance, the report for reading."""


class PrefectError(MotherlodeError):
    """Prefect's server does not answer."""


def prepare_environment() -> None:
    """Settings for Prefect that the user has not made, before Prefect is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def check_server() -> None:
    """Ask the server named by PREFECT_API_URL for a sign of life, so that a dead one is found before work starts.

    Raises:
        PrefectError: the server does not answer.
    """
    import httpx
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        return
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=10).raise_for_status()
    except httpx.HTTPError as error:
        raise PrefectError(
            f"PREFECT_API_URL={url}: no Prefect server answers ({error}). Start it with `prefect server start`, unset "
            "PREFECT_API_URL to use a private server, or run with --no-prefect"
        ) from error


class PrefectRunner:
    """Runs iterations as flow runs and stages as task runs of this process."""

    def flow(self, campaign: Campaign, iteration: int, body: Callable[[], None]) -> None:
        """Run one iteration as one flow run, and leave its artifacts there."""
        from prefect import flow

        name = "references" if iteration == 0 else f"iteration {iteration}"

        # Results stay in the ledger: Prefect gets no copy of them and caches nothing.
        @flow(
            name=campaign.spec.name,
            flow_run_name=f"{campaign.spec.name} {name}",
            persist_result=False,
            validate_parameters=False,
        )
        def iteration_flow(campaign_id: str, iteration: int) -> None:  # noqa: ARG001 - shown by Prefect as the run's parameters
            body()
            if iteration > 0:
                leave_artifacts(campaign, iteration)

        iteration_flow(campaign.id, iteration)

    def task(self, name: str, body: Callable[[], Value]) -> Value:
        """Run a piece of a stage as one task run."""
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        @task(
            name=name.split(maxsplit=1)[0],
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            log_prints=False,
        )
        def piece() -> Value:
            return body()

        return piece()


class PrefectObserver:
    """Shows the progress of the running stage as a Prefect artifact."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._shown = -1

    def stage_started(self, iteration: int, stage: str) -> None:  # noqa: ARG002 - the seam's signature
        """The next progress is a new artifact."""
        self._artifact, self._shown = None, -1

    def progress(self, label: str, *, done: int, total: int, share: float) -> None:  # noqa: ARG002 - the seam's signature
        """Show it in steps of 5 %, each step costing a request."""
        from prefect.artifacts import create_progress_artifact, update_progress_artifact
        from prefect.context import FlowRunContext

        if FlowRunContext.get() is None or total == 0:
            return
        percent = 100.0 * share
        if int(percent // 5) == self._shown:
            return
        self._shown = int(percent // 5)
        if self._artifact is None:
            created = create_progress_artifact(progress=percent, description=label)
            self._artifact = created if isinstance(created, UUID) else None
        else:
            update_progress_artifact(artifact_id=self._artifact, progress=percent, description=label)

    def stage_finished(
        self, iteration: int, stage: str, *, seconds: float, summary: Mapping[str, Any]
    ) -> None:
        """Log the stage's summary on the flow run's page."""
        from prefect.context import FlowRunContext
        from prefect.logging import get_run_logger

        if FlowRunContext.get() is not None:
            get_run_logger().info("%s %d finished in %.1f s: %s", stage, iteration, seconds, dict(summary))

    def note(self, text: str) -> None:
        """Log it on the flow run's page."""
        from prefect.context import FlowRunContext
        from prefect.logging import get_run_logger

        if FlowRunContext.get() is not None:
            get_run_logger().info("%s", text)


def leave_artifacts(campaign: Campaign, iteration: int) -> None:
    """The best candidates as a table and the hull as a picture, under keys that collect the campaign's history."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    from loop.report.artifacts import best_candidates, hull_png

    key = campaign.id.lower()
    table = best_candidates(
        campaign.state,
        screening_fidelities=campaign.screening_fidelities,
        verifying_fidelities=campaign.energy_levels,
        limit=BEST,
    )
    create_table_artifact(
        key=f"{key}-best-candidates",
        table=table,
        description=f"Best candidates of {campaign.spec.name} after iteration {iteration}, eV/atom above hull",
    )
    picture = hull_png(campaign.ledger, campaign.id)
    if picture is not None:
        encoded = base64.b64encode(picture).decode()
        create_markdown_artifact(
            key=f"{key}-hull",
            markdown=f"### {campaign.spec.name}, iteration {iteration}\n\n![Hull](data:image/png;base64,{encoded})",
            description="The convex hull at the screening and the verifying fidelity",
        )
