"""Verifiers by name: every entry point of `motherlode.verifiers` takes the arguments of `load_verifier`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from flows.verification.dispatch import Dispatcher
from flows.verification.verifier import Verifier
from loop.elements import closest
from loop.errors import VerificationError
from loop.spec import RelaxationSpec, Thresholds, VerificationLevel

ENTRY_POINT_GROUP: Final = "motherlode.verifiers"


def verifier_names() -> list[str]:
    """Names of the registered verifiers, alphabetical."""
    return sorted(_registered())


def load_verifier(
    level: VerificationLevel,
    *,
    thresholds: Thresholds,
    relaxation: RelaxationSpec,
    folder: Path,
    dispatcher: Dispatcher,
    base: Path,
) -> Verifier:
    """The verifier of a level of the campaign file.

    Args:
        level: its name, options, potential and declared costs.
        thresholds: what counts as dynamically stable.
        relaxation: when a relaxation ends, unless the level's options say otherwise.
        folder: the campaign's; requests go under `verification/` there.
        dispatcher: where flows run; levels share it.
        base: folder that relative paths in the campaign file start from.

    Raises:
        VerificationError: the verifier is not registered, cannot be imported, or refuses the level's options.
    """
    registered = _registered()
    where = f"verification.{level.name}.verifier"
    if level.verifier not in registered:
        known = (
            ", ".join(sorted(registered)) or "none: reinstall motherlode so that its entry points are written"
        )
        raise VerificationError(
            f"{where}: {level.verifier!r} is not registered; "
            f"did you mean {closest(level.verifier, registered)!r}? (known: {known})"
        )
    entry = registered[level.verifier]
    try:
        make: Callable[..., Any] = entry.load()
    except (ImportError, AttributeError) as error:
        raise VerificationError(
            f"{where}: entry point {entry.value!r} cannot be imported ({error}); install or mend that package"
        ) from error
    verifier = make(
        level, thresholds=thresholds, relaxation=relaxation, folder=folder, dispatcher=dispatcher, base=base
    )
    if not isinstance(verifier, Verifier):
        raise VerificationError(
            f"{where}: {entry.value!r} made {type(verifier).__name__}, "
            "which lacks part of flows.verification.verifier.Verifier"
        )
    return verifier


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
