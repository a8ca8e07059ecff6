"""Verifiers by name: every entry point of `motherlode.verifiers` takes the arguments of `load_verifier`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flows.verification.dispatch import Dispatcher
from flows.verification.verifier import Verifier
from loop.errors import VerificationError
from loop.plugins import PluginKind
from loop.spec import RelaxationSpec, Thresholds, VerificationLevel

VERIFIERS: Final = PluginKind(group="motherlode.verifiers", seam=Verifier, error=VerificationError)


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
    return VERIFIERS.make(
        level.verifier,
        level,
        field=f"verification.{level.name}.verifier",
        thresholds=thresholds,
        relaxation=relaxation,
        folder=folder,
        dispatcher=dispatcher,
        base=base,
    )
