"""What runs on a node: one request folder, from `request.json` to `result.json`, and nothing else.

    python -m flows.verification.node FOLDER

No database, no network: the flow runs by jobflow into memory, in a scratch folder inside the request's own.
Run again, it returns at once if the result is there; of two at a time, the second waits and finds the result.
Time limits are the dispatcher's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from flows.verification.failures import CalculationFailedError, failure_of
from flows.verification.quiet import known_warnings_ignored
from flows.verification.request import REQUEST_FILE, Request, read_request, read_result, write_result
from flows.verification.verifier import VerificationResult
from loop.crystal import Crystal
from loop.errors import MotherlodeError, PotentialError, VerificationError

LOCK_FILE: Final = "lock"
TRACEBACK_FILE: Final = "traceback.txt"
SCRATCH_PREFIX: Final = "scratch-"


def run_request(folder: Path) -> None:
    """Settle the request in a folder, unless it is settled already.

    Raises:
        VerificationError: the folder holds no whole request.
        PotentialError: the potential cannot be used at all, for any crystal; nothing is settled.
        OSError: the result could not be written.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise VerificationError(f"{folder}: no such folder; a request's folder holds {REQUEST_FILE}")
    with _alone_in(folder):
        request = read_request(folder)
        if request is None:
            raise VerificationError(
                f"{folder / REQUEST_FILE}: missing or not whole; submit the request again"
            )
        if read_result(folder, request_digest=request.digest) is not None:
            return
        _remove_scratch(folder)
        started = _cpu_seconds(), time.monotonic()
        result = _settle(request, folder=folder)
        cost = {"cpu_seconds": _cpu_seconds() - started[0]}
        _write(folder, request, result=result, cost=cost, wall_seconds=time.monotonic() - started[1])
        _remove_scratch(folder)


def _settle(request: Request, *, folder: Path) -> VerificationResult:
    """Run the flow and take its answer; what it raises is the result, unless no crystal would fare better."""
    from jobflow import CURRENT_JOB

    CURRENT_JOB.reset()
    try:
        answer = _run_flow(request.flow, scratch=Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=folder)))
        return VerificationResult(
            request_id=request.request_id,
            crystal=Crystal.from_dict(answer["crystal"]),
            energy_per_atom=answer["energy_per_atom"],
            properties=answer["properties"],
        )
    except PotentialError:
        raise
    except Exception as error:  # noqa: BLE001 - any failure of the flow is a result, stored with its reason and traceback
        (folder / TRACEBACK_FILE).write_text(traceback.format_exc(), encoding="utf-8")
        job = CURRENT_JOB.job.name if CURRENT_JOB.job is not None else "flow"
        return _failed(request, error, job=job)


def _write(
    folder: Path,
    request: Request,
    *,
    result: VerificationResult,
    cost: Mapping[str, float],
    wall_seconds: float,
) -> None:
    """Write the result; numbers that JSON cannot hold make it a failure."""
    properties = {**result.properties, "wall_seconds": wall_seconds}
    settled = VerificationResult(
        request_id=result.request_id,
        crystal=result.crystal,
        energy_per_atom=result.energy_per_atom,
        properties=properties,
        failure=result.failure,
        cost=cost,
    )
    try:
        write_result(folder, settled, request_digest=request.digest)
    except ValueError:
        error = CalculationFailedError("not-finite", "the answer holds a number that is not finite")
        failed = _failed(request, error, job="answer", cost=cost)
        write_result(folder, failed, request_digest=request.digest)


def _failed(
    request: Request, error: Exception, *, job: str, cost: Mapping[str, float] | None = None
) -> VerificationResult:
    failure = failure_of(error, level=request.level, job=job)
    return VerificationResult(
        request_id=request.request_id, crystal=None, energy_per_atom=None, failure=failure, cost=cost or {}
    )


def _run_flow(flow: Mapping[str, Any], *, scratch: Path) -> dict[str, Any]:
    """Run a jobflow `Flow`, given as JSON values, into memory; its resolved output."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore
    from monty.json import MontyDecoder

    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    with known_warnings_ignored():
        decoded = MontyDecoder().process_decoded(dict(flow))
        run_locally(
            decoded,
            store=store,
            log=False,
            root_dir=scratch,
            create_folders=True,
            raise_immediately=True,
            ensure_success=True,
        )
        output: dict[str, Any] = json.loads(json.dumps(decoded.output.resolve(store)))
    return output


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process runs this request. The lock dies with its holder.

    A file system without locks is taken as it is: there the dispatcher must not start a request twice.
    """
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
        yield


def _cpu_seconds() -> float:
    """Of this process and of the programs it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _remove_scratch(folder: Path) -> None:
    for scratch in folder.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(scratch)


def main(arguments: list[str]) -> int:
    """Entry point for batch systems: 0 once the result is written, a failed calculation included."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m flows.verification.node FOLDER\n")
        return os.EX_USAGE
    try:
        run_request(Path(arguments[0]))
    except MotherlodeError as error:
        sys.stderr.write(f"{error}\n")
        return os.EX_CONFIG
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
