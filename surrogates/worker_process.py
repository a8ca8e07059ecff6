"""What runs inside a worker process: read a task, run it, answer; die when the parent dies.

Started by `surrogates.workers` as `python -m surrogates.worker_process FILE_DESCRIPTOR PARENT`. Imports
only the standard library, so that a worker is ready in tens of milliseconds; what a task needs is imported
by its function.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final

from loop.errors import MotherlodeError

PARENT_CHECK_SECONDS: Final = 0.5
STATM: Final = "/proc/self/statm"
"""Linux's: sizes of this process in pages, the resident one second."""
M_TRIM_THRESHOLD: Final = -1
"""From glibc's <malloc.h>."""
M_MMAP_THRESHOLD: Final = -3
"""From glibc's <malloc.h>."""
KEPT_BYTES: Final = 2**30
"""Of free memory that a task keeps for its next large array, and size of an array that still comes from it."""
PR_SET_PDEATHSIG: Final = 1
"""From Linux's <sys/prctl.h>."""
_C_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a worker sends back; one when it is ready, then one per task."""

    value: Any = None
    reason: str | None = None
    """Class name of the exception that ended the task."""
    detail: str = ""
    fatal: MotherlodeError | None = None
    """The user's to mend, so that no other task would fare better."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    resident_bytes: int = 0
    """Of the worker once the task is over; 0 where the system does not say."""


def main(descriptor: int, parent: int) -> None:
    """Serve tasks until the connection closes.

    Args:
        descriptor: file descriptor of this side of the connection.
        parent: process id that this process lives with.
    """
    _die_with(parent)
    _keep_memory()
    # Ctrl-C reaches the whole group of processes; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 (positional only)
    connection = Connection(descriptor)
    try:
        initialise: Callable[[], None] | None = pickle.loads(connection.recv_bytes())  # noqa: S301 (from the parent)
        ready = _run(lambda: initialise() if initialise else None)
        connection.send_bytes(pickle.dumps(ready))
        while True:
            message = connection.recv_bytes()
            answer = _run(partial(_call, message))
            _give_memory_back()
            connection.send_bytes(_pickled(replace(answer, resident_bytes=_resident_bytes())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _call(message: bytes) -> Any:
    function, arguments = pickle.loads(message)  # noqa: S301 (from the parent)
    return function(*arguments)


def _run(call: Callable[[], Any]) -> Answer:
    """The call's answer, whatever it raises: this is where an exception becomes a value."""
    cpu, wall = time.process_time(), time.perf_counter()
    value, reason, detail, fatal = None, None, "", None
    try:
        value = call()
    except MotherlodeError as error:
        fatal = error
    except Exception as error:  # noqa: BLE001 (a task's failure is a result, and is charged)
        reason = type(error).__name__
        frame = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{error} ({frame.name}, {frame.filename}:{frame.lineno})"
    return Answer(
        value=value,
        reason=reason,
        detail=detail,
        fatal=fatal,
        cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.perf_counter() - wall,
    )


def _pickled(answer: Answer) -> bytes:
    try:
        return pickle.dumps(answer)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        return pickle.dumps(
            Answer(
                reason=type(error).__name__,
                detail=f"the task's result cannot be sent back ({error}); return plain values",
                cpu_seconds=answer.cpu_seconds,
                wall_seconds=answer.wall_seconds,
                resident_bytes=answer.resident_bytes,
            )
        )


def _keep_memory() -> None:
    """Have glibc keep the memory of large arrays until a task is over.

    It would return each at once, and the system would hand out the next one empty, page by page: a tenth of an
    evaluation.
    """
    if sys.platform == "linux" and hasattr(_C_LIBRARY, "mallopt"):
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            _C_LIBRARY.mallopt(parameter, KEPT_BYTES)


def _give_memory_back() -> None:
    """Have the C library return what is free to the system, once a task is over.

    glibc keeps the holes between what is still used: after evaluations of supercells by SevenNet as much again as
    the potential itself, half a gigabyte. It takes milliseconds; not every C library has the call.
    """
    if sys.platform == "linux" and hasattr(_C_LIBRARY, "malloc_trim"):
        _C_LIBRARY.malloc_trim(0)


def _resident_bytes() -> int:
    try:
        with open(STATM, encoding="ascii") as file:  # noqa: PTH123 (pathlib is not worth its import here)
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:  # no Linux
        return 0


def _die_with(parent: int) -> None:
    """End this process when its parent ends, even by SIGKILL."""
    if sys.platform == "linux":
        _C_LIBRARY.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Elsewhere, and where the parent was gone before the call above, a thread looks.
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    # Under its own name, so that what it pickles is known to the parent.
    from surrogates.worker_process import main as serve

    serve(int(sys.argv[1]), int(sys.argv[2]))
