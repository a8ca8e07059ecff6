"""Reference sources by name: entry points of `motherlode.references`, called as `Source(options, base=…)`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from loop.elements import closest
from loop.errors import ReferencePhaseError
from loop.references.source import ReferenceSource
from loop.spec import ReferenceSpec

ENTRY_POINT_GROUP: Final = "motherlode.references"


def source_names() -> list[str]:
    """Names of the registered sources, alphabetical."""
    return sorted(_registered())


def load_source(spec: ReferenceSpec, *, base: Path) -> ReferenceSource:
    """The reference source that a campaign file names.

    Args:
        spec: registry name and options.
        base: folder that relative paths in the options start from (the campaign file's own).

    Raises:
        ReferencePhaseError: the name is not registered, or its package cannot be imported.
        CampaignFileError: the source refuses an option.
    """
    registered = _registered()
    if spec.source not in registered:
        known = ", ".join(sorted(registered)) or "none; reinstall motherlode so that they are written"
        near = f"did you mean {closest(spec.source, registered)!r}? " if registered else ""
        raise ReferencePhaseError(
            f"references.source: {spec.source!r} is not registered; {near}(registered: {known})"
        )
    entry = registered[spec.source]
    try:
        factory: Callable[..., Any] = entry.load()
    except (ImportError, AttributeError) as error:
        raise ReferencePhaseError(
            f"references.source: {spec.source!r} is registered as {entry.value!r}, which cannot be imported "
            f"({error}); install or mend that package"
        ) from error
    source = factory(spec.options, base=base)
    if not isinstance(source, ReferenceSource):
        raise ReferencePhaseError(
            f"references.source: {entry.value!r} made a {type(source).__name__}, which lacks part of "
            "loop.references.source.ReferenceSource; give it `entries` and `describe`"
        )
    return source


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
