"""The Dispatcher seam: where request folders are run. Here, this machine's worker processes."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from loop.records import Failure

if TYPE_CHECKING:
    from surrogates.workers import WorkerPool

logger = logging.getLogger(__name__)

TASK_PREFIX: Final = "verification:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A request folder in which nothing runs any more, whatever it left there."""

    folder: Path
    failure: Failure | None
    """What the dispatcher saw: `timeout`, `worker-died`, …; None where the run ended by itself."""
    cpu_seconds: float
    """Spent by a run that left no result; a result holds its own."""


@runtime_checkable
class Dispatcher(Protocol):
    """Runs `flows.verification.node` on request folders, here or elsewhere."""

    def submit(self, folder: Path, *, timeout: float) -> None:
        """Run the request in `folder`, or adopt the run that is already under way there. Returns at once.

        Args:
            folder: absolute; its name identifies the run.
            timeout: wall seconds after which the run is ended and reported as failed.
        """
        ...

    def poll(self, folders: Collection[Path], *, wait: float) -> list[Ended]:
        """Those of `folders` that were submitted here and have ended since they were last reported.

        Args:
            folders: what the caller waits for; other callers' folders are kept for them.
            wait: seconds to wait at most where nothing has ended yet.
        """
        ...

    def close(self) -> None:
        """Give up what this process holds. Runs on other machines go on."""
        ...


class LocalDispatcher:
    """Runs requests on persistent workers: each imports atomate2 and loads a potential only once."""

    def __init__(self, *, pool: WorkerPool | None = None, workers: int = 1) -> None:
        """Share a pool, which stays the caller's to close, or start an own one on the first submission.

        A pool must not be asked for completions by two owners at the same time: each takes all there are.
        """
        self._pool = pool
        self._owns_pool = pool is None
        self._workers = workers
        self._running: set[str] = set()
        self._ended: dict[Path, Ended] = {}

    def submit(self, folder: Path, *, timeout: float) -> None:
        """Queue the request for the next free worker; once, however often it is asked for."""
        from flows.verification.node import run_request

        task_id = f"{TASK_PREFIX}{folder}"
        if task_id in self._running:
            return
        self._ended.pop(folder, None)
        self._running.add(task_id)
        self._open_pool().submit(task_id, run_request, folder, timeout=timeout)

    def poll(self, folders: Collection[Path], *, wait: float) -> list[Ended]:
        """Requests whose worker has finished, died or been ended."""
        if self._running:
            self._take_completions(wait=0.0 if any(folder in self._ended for folder in folders) else wait)
        return [self._ended.pop(folder) for folder in folders if folder in self._ended]

    def close(self) -> None:
        """End the workers, if they are this dispatcher's own."""
        if self._owns_pool and self._pool is not None:
            self._pool.close()
            self._pool = None
        self._running.clear()

    def _take_completions(self, *, wait: float) -> None:
        for completed in self._open_pool().completed(wait=wait):
            if completed.task_id not in self._running:
                logger.warning(
                    "a completed task that no verification waits for was dropped: %s", completed.task_id
                )
                continue
            self._running.remove(completed.task_id)
            folder = Path(completed.task_id.removeprefix(TASK_PREFIX))
            self._ended[folder] = Ended(
                folder=folder, failure=completed.failure, cpu_seconds=completed.cpu_seconds
            )

    def _open_pool(self) -> WorkerPool:
        if self._pool is None:
            from surrogates.workers import WorkerPool

            self._pool = WorkerPool(self._workers)
        return self._pool
