"""Asking the Materials Project through its own client, and what its failures mean."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import requests

from loop.errors import ReferencePhaseError

KEY_VARIABLE: Final = "MP_API_KEY"
FIELDS: Final = (
    "material_id",
    "structure",
    "energy_per_atom",
    "energy_above_hull",
    "theoretical",
    "database_IDs",
    "nsites",
)
"""What is asked of each summary document."""
TIMEOUT: Final = 20.0
"""Seconds that the service has to show that it is alive, and to answer each page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for, and of whom."""

    endpoint: str
    elements: Sequence[str]
    max_energy_above_hull: float
    max_atoms: int
    include_theoretical: bool
    include_gnome: bool


def ask(query: Query, *, key: str, attempts: int, pause: float) -> dict[str, Any]:
    """The database version and the summary documents, as JSON values.

    Args:
        query: what is asked for.
        key: the user's key, which never stands in an error message.
        attempts: how often to try while the fault is the service's and may pass.
        pause: seconds before the second attempt; doubled before each further one.

    Raises:
        ReferencePhaseError: the key is refused, the service cannot be reached, fails or limits the rate, or
            its answer cannot be read.
    """
    from mp_api.client.core.exceptions import MPRestError

    # Beside its own error the client lets through what requests, orjson and pydantic raise.
    foreign = (MPRestError, requests.RequestException, ValueError, LookupError, TypeError, AttributeError)
    for attempt in itertools.count(1):
        try:
            return _ask_once(query, key=key)
        except foreign as error:
            passing, explanation = _explained(error, query.endpoint)
            if not passing or attempt >= attempts:
                tried = f" (tried {attempt} times)" if attempt > 1 else ""
                message = f"Materials Project: {explanation}{tried}".replace(key, "<key>")
                raise ReferencePhaseError(message) from None
        time.sleep(pause * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _ask_once(query: Query, *, key: str) -> dict[str, Any]:
    endpoint = query.endpoint.rstrip("/") + "/"
    # The client's own first request has no timeout; this one tells a dead network from a slow one.
    heartbeat = requests.get(endpoint + "heartbeat", timeout=TIMEOUT)
    if heartbeat.status_code >= 500:
        heartbeat.raise_for_status()
    from mp_api.client import MPRester

    systems = [
        "-".join(chosen)
        for number in range(1, len(query.elements) + 1)
        for chosen in itertools.combinations(sorted(query.elements), number)
    ]
    with MPRester(key, endpoint=endpoint, mute_progress_bars=True) as client:
        documents = client.materials.summary.search(
            chemsys=systems,
            deprecated=False,
            energy_above_hull=(0.0, query.max_energy_above_hull),
            num_sites=(1, query.max_atoms),
            theoretical=None if query.include_theoretical else False,
            include_gnome=query.include_gnome,
            fields=list(FIELDS),
        )
        database_version = client.db_version or "unknown"
    return {"database_version": database_version, "documents": [_document(d) for d in documents]}


def _document(document: Any) -> dict[str, Any]:
    identifiers = document.get("database_IDs") or {}
    return {
        "material_id": str(document["material_id"]),
        "structure": document["structure"].as_dict(),
        "energy_per_atom": document.get("energy_per_atom"),
        "energy_above_hull": document.get("energy_above_hull"),
        "theoretical": document.get("theoretical"),
        "database_ids": {str(database): list(ids) for database, ids in identifiers.items()},
    }


def _explained(error: BaseException, endpoint: str) -> tuple[bool, str]:
    """Whether trying again may help, and what to tell the user."""
    chain = list(_chain(error))
    status = next((s for e in chain if (s := _status(e))), None)
    if status is not None:
        return _explained_status(status, error, endpoint)
    if any(isinstance(e, requests.exceptions.Timeout) for e in chain):
        return True, f"{endpoint} did not answer within {TIMEOUT:g} s; check the network and resume"
    if any(isinstance(e, requests.exceptions.ConnectionError) for e in chain):
        return True, (
            f"{endpoint} cannot be reached; check the network, or use references.source `prototypes`, which "
            "needs none"
        )
    return False, (
        f"the answer of {endpoint} cannot be read ({type(error).__name__}: {_shortened(error)}); "
        "update mp-api, or check references.options.endpoint"
    )


def _explained_status(status: int, error: BaseException, endpoint: str) -> tuple[bool, str]:
    if status in (401, 403):
        return False, (
            f"the key was refused (HTTP {status}); copy it again from https://materialsproject.org/api into "
            f"the environment variable {KEY_VARIABLE}"
        )
    if status == 429:
        return True, "too many requests (HTTP 429); wait some minutes and resume"
    if status >= 500:
        return True, f"the service at {endpoint} is failing (HTTP {status}); resume later"
    return (
        False,
        f"the service does not understand the question (HTTP {status}: {_shortened(error)}); update mp-api",
    )


def _shortened(error: BaseException) -> str:
    """What an error says, on one line."""
    said = " ".join(str(error).split())
    return said if len(said) <= 200 else said[:199] + "…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from or while handling."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _status(error: BaseException) -> int | None:
    """HTTP status that an error of requests or of the client speaks of."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    spoken = re.search(r"error status code (\d{3})|too many (\d{3}) error responses", str(error))
    return int(spoken[1] or spoken[2]) if spoken else None
