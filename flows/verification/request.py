"""A verification request on disk: what to run in `request.json`, what came of it in `result.json`.

The folder is all that a machine needs which has no database and no network: copy it there, run
`python -m flows.verification.node FOLDER`, copy it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from flows.verification.sealed import digest, read_sealed, write_sealed
from flows.verification.verifier import VerificationResult
from loop.crystal import Crystal
from loop.errors import VerificationError
from loop.records import Failure

REQUEST_FILE: Final = "request.json"
RESULT_FILE: Final = "result.json"
FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a node is asked to run."""

    request_id: str
    level: str
    """Name of the verification level, for messages."""
    crystal: Crystal
    identity: Mapping[str, Any]
    """All that decides the result apart from the crystal."""
    flow: Mapping[str, Any] = field(repr=False)
    """A jobflow `Flow` as JSON values, whose output is what `flows.verification.makers` calls an answer."""

    @cached_property
    def digest(self) -> str:
        """Hash of what was asked."""
        return request_digest(request_id=self.request_id, crystal=self.crystal, identity=self.identity)


def request_digest(*, request_id: str, crystal: Crystal, identity: Mapping[str, Any]) -> str:
    """Hash of what is asked for. Not of the flow, whose jobs are numbered anew each time it is built."""
    return digest({"request_id": request_id, "crystal": crystal.key, "identity": dict(identity)})


def write_request(folder: Path, request: Request) -> None:
    """Write `request.json`, making the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "request_id": request.request_id,
        "level": request.level,
        "crystal": request.crystal.to_dict(),
        "identity": dict(request.identity),
        "flow": dict(request.flow),
    }
    write_sealed(folder / REQUEST_FILE, content)


def read_request(folder: Path) -> Request | None:
    """The request in a folder; None where there is none or it is not whole.

    Raises:
        VerificationError: it was written by a later version of Motherlode.
    """
    content = read_sealed(folder / REQUEST_FILE)
    if content is None:
        return None
    _check_format(content, folder / REQUEST_FILE)
    return Request(
        request_id=content["request_id"],
        level=content["level"],
        crystal=Crystal.from_dict(content["crystal"]),
        identity=content["identity"],
        flow=content["flow"],
    )


def write_result(folder: Path, result: VerificationResult, *, request_digest: str) -> None:
    """Write `result.json`.

    Raises:
        ValueError: an energy, property or cost is not a finite number.
    """
    content = {
        "format": FORMAT,
        "request_digest": request_digest,
        "request_id": result.request_id,
        "crystal": result.crystal.to_dict() if result.crystal else None,
        "energy_per_atom": result.energy_per_atom,
        "properties": dict(result.properties),
        "failure": _failure_as_json(result.failure),
        "cost": dict(result.cost),
    }
    write_sealed(folder / RESULT_FILE, content)


def read_result(folder: Path, *, request_digest: str) -> VerificationResult | None:
    """The settled result in a folder; None where there is none whole that answers this request.

    Raises:
        VerificationError: it was written by a later version of Motherlode.
    """
    content = read_sealed(folder / RESULT_FILE)
    if content is None or content.get("request_digest") != request_digest:
        return None
    _check_format(content, folder / RESULT_FILE)
    failure = content["failure"]
    return VerificationResult(
        request_id=content["request_id"],
        crystal=Crystal.from_dict(content["crystal"]) if content["crystal"] else None,
        energy_per_atom=content["energy_per_atom"],
        properties=content["properties"],
        failure=Failure(**failure) if failure else None,
        cost=content["cost"],
    )


def _failure_as_json(failure: Failure | None) -> dict[str, str] | None:
    return {"stage": failure.stage, "reason": failure.reason, "detail": failure.detail} if failure else None


def _check_format(content: Mapping[str, Any], path: Path) -> None:
    if content.get("format") != FORMAT:
        raise VerificationError(
            f"{path}: format {content.get('format')!r}, this version of Motherlode reads format {FORMAT}; "
            "run it with the version that wrote it, or remove the folder to compute it again"
        )
