"""Persistent worker processes, one thread each, for work that takes seconds: relaxations and verifications.

Two torch threads on two busy cores are slower than one each, so every worker is told to use one before
anything is imported. Workers are fresh interpreters that import the caller's functions by name: nothing of
the parent's memory, and not its main module, is taken along.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from surrogates.worker_process import Answer

if TYPE_CHECKING:
    from loop.records import Failure

STAGE: Final = "worker"
ONE_THREAD: Final = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
ATTEMPTS: Final = 2
"""Times that a task is handed out before a worker's death is taken to be its doing."""
BARREN_STARTS: Final = 3
"""Workers in a row that may die before they are ready."""
LEAST_MEMORY: Final = 2**30
"""Bytes that a worker may always keep: one with SevenNet-l3i5, atomate2 and phonopy in it keeps 0.7 GB."""
MOST_MEMORY: Final = 4 * 2**30
"""Bytes that a worker may keep however large the machine: more would be of no use to any potential here."""
CONTAINER_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
"""Bytes that a container may use, or `max`, where control groups (version 2) are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A task that ended, well or badly."""

    task_id: str
    value: Any
    """What the function returned; None with a failure."""
    failure: Failure | None
    """Reasons: `timeout`, `worker-died`, or the name of the exception's class."""
    cpu_seconds: float
    """Of the worker during the task; where it was killed, the wall seconds, which one thread cannot
    exceed."""
    wall_seconds: float


@dataclass(slots=True, kw_only=True)
class _Task:
    task_id: str
    message: bytes
    timeout: float
    attempts: int = 0
    lost_seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    is_ready: bool = False
    task: _Task | None = None
    handed: float = 0.0


class WorkerPool:
    """Runs module-level functions in worker processes that die with this one.

    The pool queues what it is given: whoever has millions of tasks feeds it a few per worker at a time, as
    completions come back. Workers start on the first submission. Not for use from several threads at once.
    """

    def __init__(
        self,
        workers: int,
        *,
        initialise: Callable[[], None] | None = None,
        memory_limit: int | None = None,
    ) -> None:
        """Set up without starting anything.

        Args:
            workers: processes to keep.
            initialise: module-level function that every worker calls once before its first task.
            memory_limit: bytes that a worker may still hold when a task is over; one that holds more is replaced
                before it gets another. `fair_memory` of so many workers by default.

        Raises:
            ValueError: fewer than one worker.
        """
        if workers < 1:
            raise ValueError(f"workers is {workers}; at least one is needed")
        self._size = workers
        self._memory_limit = fair_memory(workers) if memory_limit is None else memory_limit
        self._initialise = pickle.dumps(initialise)
        self._workers: list[_Worker] = []
        self._queue: deque[_Task] = deque()
        self._done: deque[Completed] = deque()
        self._barren_starts = 0
        # Linux ends a child with the *thread* that made it, so one thread that lives as long as the pool
        # makes them all.
        self._nursery: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        """The pool, closed at the end of the `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker, whatever happened in the block."""
        self.close()

    @property
    def pending(self) -> int:
        """Tasks submitted whose completion was not collected yet."""
        return len(self._queue) + len(self._done) + sum(worker.task is not None for worker in self._workers)

    def submit(self, task_id: str, function: Callable[..., Any], *arguments: Any, timeout: float) -> None:
        """Queue a task.

        Args:
            task_id: comes back with the completion.
            function: module-level, so that a worker can import it.
            arguments: picklable.
            timeout: wall seconds from the moment a worker gets the task until that worker is killed.
        """
        self._queue.append(
            _Task(task_id=task_id, message=pickle.dumps((function, arguments)), timeout=timeout)
        )
        self._staff()
        self._hand_out()

    def completed(self, wait: float) -> list[Completed]:
        """Tasks that ended, in the order in which they did; waits up to `wait` seconds for the first.

        Raises:
            MotherlodeError: a task raised one. It is the user's to mend, so no other task would fare
                better; tasks that ended before come with the next call.
            RuntimeError: workers keep dying before they are ready.
        """
        deadline = time.monotonic() + wait
        while True:
            self._look(max(0.0, self._patience(deadline)))
            if self._done or time.monotonic() >= deadline or not self.pending:
                done = list(self._done)
                self._done.clear()
                return done

    def close(self) -> None:
        """End every worker at once; what they were doing is lost. A closed pool can be used again."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.wait()
            worker.connection.close()
        self._queue.clear()
        self._done.clear()
        if self._nursery is not None:
            self._nursery.shutdown()
            self._nursery = None

    def _busy(self) -> int:
        return sum(worker.task is not None for worker in self._workers)

    def _patience(self, deadline: float) -> float:
        """Seconds until the caller's patience or a task's ends."""
        ends = [worker.handed + worker.task.timeout for worker in self._workers if worker.task is not None]
        return min(deadline, *ends) - time.monotonic() if ends else deadline - time.monotonic()

    def _look(self, seconds: float) -> None:
        """Take answers, bury the dead, stop the late, and hand out what is queued."""
        answering = (
            set(wait([worker.connection for worker in self._workers], seconds)) if self._workers else set()
        )
        for worker in list(self._workers):
            if worker.connection in answering:
                self._hear(worker)
            elif worker.task is not None and time.monotonic() > worker.handed + worker.task.timeout:
                self._stop(worker, worker.task)
        self._hand_out()

    def _hear(self, worker: _Worker) -> None:
        try:
            answer: Answer = pickle.loads(worker.connection.recv_bytes())  # noqa: S301 (from our own worker)
        except (EOFError, ConnectionResetError):
            self._bury(worker)
            return
        task, worker.task = worker.task, None
        if task is None:
            worker.is_ready, self._barren_starts = answer.reason is None, 0
        if answer.fatal is not None:
            raise answer.fatal
        if task is None:
            if answer.reason is not None:
                raise RuntimeError(f"a worker could not be initialised: {answer.reason}: {answer.detail}")
            return
        failure = _failure(answer.reason, answer.detail) if answer.reason else None
        self._finish(task, failure, value=answer.value, cpu=answer.cpu_seconds, wall=answer.wall_seconds)
        if answer.resident_bytes > self._memory_limit:
            self._dismiss(worker)
            self._staff()

    def _bury(self, worker: _Worker) -> None:
        """Replace a worker that died; its task gets one more chance on a fresh one."""
        code = worker.process.wait()
        worker.connection.close()
        self._workers.remove(worker)
        if not worker.is_ready:
            self._barren_starts += 1
            if self._barren_starts >= BARREN_STARTS:
                raise RuntimeError(
                    f"{BARREN_STARTS} workers in a row died before they were ready (exit code {code}); is "
                    f"memory short, or is {sys.executable} unable to import surrogates.worker_process?"
                )
        task = worker.task
        if task is not None:
            task.lost_seconds += time.monotonic() - worker.handed
            if task.attempts < ATTEMPTS:
                self._queue.appendleft(task)
            else:
                cause = f"signal {-code}" if code < 0 else f"exit code {code}"
                often = f"{task.attempts} times"
                detail = f"its worker ended with {cause}, {often} (out of memory, or a crash in native code)"
                self._finish(
                    task,
                    _failure("worker-died", detail),
                    value=None,
                    cpu=task.lost_seconds,
                    wall=task.lost_seconds,
                )
        self._staff()

    def _dismiss(self, worker: _Worker) -> None:
        """End a worker at once."""
        worker.process.kill()
        worker.process.wait()
        worker.connection.close()
        self._workers.remove(worker)

    def _stop(self, worker: _Worker, task: _Task) -> None:
        """Kill a worker whose task takes too long."""
        self._dismiss(worker)
        spent = time.monotonic() - worker.handed
        failure = _failure("timeout", f"ended after {task.timeout:g} wall seconds")
        self._finish(task, failure, value=None, cpu=task.lost_seconds + spent, wall=task.lost_seconds + spent)
        self._staff()

    def _finish(self, task: _Task, failure: Failure | None, *, value: Any, cpu: float, wall: float) -> None:
        self._done.append(
            Completed(task_id=task.task_id, value=value, failure=failure, cpu_seconds=cpu, wall_seconds=wall)
        )

    def _staff(self) -> None:
        """Start as many workers as there is work for."""
        while len(self._workers) < min(self._size, len(self._queue) + self._busy()):
            self._workers.append(self._start())

    def _hand_out(self) -> None:
        for worker in list(self._workers):
            if not self._queue:
                return
            if not worker.is_ready or worker.task is not None:
                continue
            task = self._queue.popleft()
            task.attempts += 1
            worker.task, worker.handed = task, time.monotonic()
            try:
                worker.connection.send_bytes(task.message)
            except (BrokenPipeError, ConnectionResetError):
                # It died while idle, which is not the task's doing.
                task.attempts -= 1
                self._bury(worker)

    def _start(self) -> _Worker:
        ours, theirs = Pipe()
        if self._nursery is None:
            self._nursery = ThreadPoolExecutor(1, thread_name_prefix="motherlode-nursery")
        process = self._nursery.submit(_spawn, theirs.fileno()).result()
        theirs.close()
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # dead already: seen when it is listened to
            ours.send_bytes(self._initialise)
        return _Worker(process=process, connection=ours)


def fair_memory(workers: int) -> int:
    """Bytes that each of so many workers may keep: half its share of this machine's memory, within bounds.

    The other half is for what a task needs while it runs, and for whoever else is here.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if CONTAINER_LIMIT.is_file() and (limit := CONTAINER_LIMIT.read_text().strip()).isdigit():
        memory = min(memory, int(limit))
    return min(max(memory // workers // 2, LEAST_MEMORY), MOST_MEMORY)


def _failure(reason: str, detail: str) -> Failure:
    # Not at the top: records bring the whole of crystallography, and a pool must be cheap to import.
    from loop.records import Failure

    return Failure(stage=STAGE, reason=reason, detail=detail)


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter that serves tasks on an inherited file descriptor; its output is dropped."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, "-P", "-m", "surrogates.worker_process", str(descriptor), str(os.getpid())],
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
    )
