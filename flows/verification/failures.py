"""How a job says that its calculation failed, and how any exception becomes a `Failure`."""

from __future__ import annotations

from typing import Final

from loop.errors import CrystalError, MotherlodeError
from loop.records import Failure

STAGE: Final = "verify"

_REASONS: Final[dict[type[BaseException], str]] = {
    CrystalError: "not-a-crystal",
    MemoryError: "out-of-memory",
    ImportError: "code-missing",
    OSError: "input-output",
}
"""Reason of an exception by its class; the first that fits."""


class CalculationFailedError(MotherlodeError):
    """A calculation ran and did not give a result that can be trusted. Raised inside jobs."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def failure_of(error: Exception, *, level: str, job: str) -> Failure:
    """What went wrong, as a value that can be stored and counted.

    Args:
        error: what a job raised.
        level: name of the verification level.
        job: name of the job that raised it.
    """
    if isinstance(error, CalculationFailedError):
        return Failure(stage=STAGE, reason=error.reason, detail=f"{level}, {job}: {error.detail}")
    reason = next(
        (reason for kind, reason in _REASONS.items() if isinstance(error, kind)), "calculation-error"
    )
    return Failure(
        stage=STAGE, reason=reason, detail=f"{level}, {job}: {type(error).__name__}: {error}"[:1000]
    )
