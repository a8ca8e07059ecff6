"""Reference sources by name: entry points of `motherlode.references`, called as `Source(options, base=…)`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from loop.errors import ReferencePhaseError
from loop.plugins import PluginKind
from loop.references.source import ReferenceSource
from loop.spec import ReferenceSpec

SOURCES: Final = PluginKind(group="motherlode.references", seam=ReferenceSource, error=ReferencePhaseError)


def load_source(spec: ReferenceSpec, *, base: Path) -> ReferenceSource:
    """The reference source that a campaign file names.

    Args:
        spec: registry name and options.
        base: folder that relative paths in the options start from (the campaign file's own).

    Raises:
        ReferencePhaseError: the name is not registered, or its package cannot be imported.
        CampaignFileError: the source refuses an option.
    """
    return SOURCES.make(spec.source, spec.options, field="references.source", base=base)
