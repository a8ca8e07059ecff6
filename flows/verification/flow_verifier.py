"""What verifiers that run jobflow flows share: requests on disk, adopted by id, collected once."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flows.verification.dispatch import Dispatcher, Ended
from flows.verification.failures import STAGE
from flows.verification.quiet import known_warnings_ignored
from flows.verification.request import (
    RESULT_FILE,
    Request,
    read_request,
    read_result,
    request_digest,
    write_request,
    write_result,
)
from flows.verification.verifier import VerificationResult
from loop.crystal import Crystal
from loop.errors import VerificationError
from loop.records import Failure
from loop.spec import VerificationLevel

if TYPE_CHECKING:
    from jobflow import Flow

FOLDER: Final = "verification"
WAIT: Final = 0.2
"""Seconds that `collect` waits at most."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    request_id: str
    digest: str
    repeated: bool = False


class FlowVerifier(ABC):
    """A level whose calculations are one jobflow `Flow` per crystal; subclasses say which."""

    gives_energy: bool
    kind: ClassVar[str]
    """Kind of calculation in the ledger."""
    packages: ClassVar[tuple[str, ...]]
    """Packages whose versions decide the result besides the potential's."""

    def __init__(
        self, level: VerificationLevel, *, timeout: float, folder: Path, dispatcher: Dispatcher
    ) -> None:
        self.fidelity = level.name
        self._level = level
        self._timeout = timeout
        self._folder = folder.absolute() / FOLDER
        self._dispatcher = dispatcher
        self._pending: dict[Path, _Pending] = {}
        self._settled: list[VerificationResult] = []

    @abstractmethod
    def flow(self, crystal: Crystal) -> Flow:
        """The flow to run, whose output is an answer (see `flows.verification.makers`)."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """All settings that decide the result, as JSON values."""

    @property
    @abstractmethod
    def codes(self) -> str:
        """Programs, potentials and pseudopotentials that decide the result, with their versions."""

    @abstractmethod
    def cpu_seconds(self, crystal: Crystal) -> float:
        """CPU seconds expected; deterministic."""

    @cached_property
    def _identity(self) -> dict[str, Any]:
        packages = ", ".join(f"{name} {version(name)}" for name in self.packages)
        return {
            "kind": self.kind,
            "fidelity": self.fidelity,
            "code_version": f"{self.codes}; {packages}",
            **self.settings,
        }

    def identity(self, crystal: Crystal) -> Mapping[str, Any]:  # noqa: ARG002 - the seam's signature
        """Kind, fidelity, code version and settings: the same for every crystal."""
        return dict(self._identity)

    def declared_cost(self, crystal: Crystal) -> Mapping[str, float]:
        """The level's declared currencies, and CPU seconds estimated where they are not among them."""
        return {"cpu_seconds": self.cpu_seconds(crystal), **self._level.cost}

    def submit(self, crystal: Crystal, *, request_id: str) -> None:
        """Write the request and hand it to the dispatcher, or adopt the result that is there.

        Raises:
            VerificationError: the id cannot name a folder, or its folder answers another request.
        """
        if not _REQUEST_ID.fullmatch(request_id):
            raise VerificationError(
                f"request id {request_id!r}: must be 1 to 128 letters, digits, dots, hyphens or underscores"
            )
        folder = self._folder / request_id
        if folder in self._pending:
            return
        wanted = request_digest(request_id=request_id, crystal=crystal, identity=self._identity)
        written = read_request(folder)
        if written is not None and written.digest != wanted:
            raise VerificationError(
                f"{folder}: holds a request for another crystal ({written.crystal.reduced_formula} at "
                f"{written.level}), settings or code; one id names one calculation, so move it away"
            )
        result = read_result(folder, request_digest=wanted)
        if result is not None:
            self._settled.append(self._with_declared(result))
            return
        if written is None:
            write_request(folder, self._request(crystal, request_id=request_id))
        self._pending[folder] = _Pending(request_id=request_id, digest=wanted)
        self._dispatcher.submit(folder, timeout=self._timeout)

    def collect(self) -> list[VerificationResult]:
        """Results that settled since the last call."""
        settled, self._settled = self._settled, []
        for ended in (
            self._dispatcher.poll(tuple(self._pending), wait=0.0 if settled else WAIT)
            if self._pending
            else ()
        ):
            result = self._result_of(ended)
            if result is not None:
                del self._pending[ended.folder]
                settled.append(self._with_declared(result))
        return settled

    def close(self) -> None:
        """End local workers; requests on disk stay."""
        self._dispatcher.close()

    def _request(self, crystal: Crystal, *, request_id: str) -> Request:
        from monty.json import MontyEncoder

        with known_warnings_ignored():
            flow = json.loads(json.dumps(self.flow(crystal), cls=MontyEncoder))
        return Request(
            request_id=request_id, level=self._level.name, crystal=crystal, identity=self._identity, flow=flow
        )

    def _result_of(self, ended: Ended) -> VerificationResult | None:
        """What an ended run left; None where it is run again."""
        pending = self._pending[ended.folder]
        result = read_result(ended.folder, request_digest=pending.digest)
        if result is not None:
            return result
        failure = ended.failure
        if failure is None and not pending.repeated:
            self._pending[ended.folder] = _Pending(
                request_id=pending.request_id, digest=pending.digest, repeated=True
            )
            self._dispatcher.submit(ended.folder, timeout=self._timeout)
            return None
        if failure is None:
            failure = Failure(
                stage=STAGE,
                reason="no-result",
                detail=f"{ended.folder / RESULT_FILE}: missing or not whole after two runs",
            )
        result = VerificationResult(
            request_id=pending.request_id,
            crystal=None,
            energy_per_atom=None,
            failure=failure,
            cost={"cpu_seconds": ended.cpu_seconds},
        )
        write_result(ended.folder, result, request_digest=pending.digest)
        return result

    def _with_declared(self, result: VerificationResult) -> VerificationResult:
        """The result with the level's flat currencies charged besides the seconds that were measured."""
        return VerificationResult(
            request_id=result.request_id,
            crystal=result.crystal,
            energy_per_atom=result.energy_per_atom,
            properties=result.properties,
            failure=result.failure,
            cost={"cpu_seconds": 0.0, **self._level.cost, **result.cost},
        )
