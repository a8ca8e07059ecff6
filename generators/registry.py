"""Generators by name: those registered under the entry-point group `motherlode.generators`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from generators.protocol import Generator
from loop.errors import GeneratorError, ReferencePhaseError
from loop.plugins import PluginKind
from loop.references.reading import locate

GENERATORS: Final = PluginKind(group="motherlode.generators", seam=Generator, error=GeneratorError)
"""What a package registers here is a callable `(options) -> Generator`."""


def load_generator(name: str, options: Mapping[str, Any], *, base: Path | None = None) -> Generator:
    """The generator of that name with those options.

    Args:
        name: registry name, e.g. `prototypes`.
        options: what stands under `options:` in the campaign file.
        base: folder that relative paths in the options start from; the working directory by default. A generator
            names the options that hold paths in a class attribute `path_options`.

    Raises:
        GeneratorError: no generator has that name, it cannot be imported, it is no Generator, or its options
            are wrong.
    """
    build = GENERATORS.factory(name, field="generators")
    try:
        based = _with_paths(options, getattr(build, "path_options", ()), base=base)
    except ReferencePhaseError as error:
        raise GeneratorError(f"generators.{name}.options: {error}") from error
    generator = GENERATORS.make(name, based, field="generators")
    if generator.name != name:
        raise GeneratorError(
            f"generators: what is registered as {name!r} calls itself {generator.name!r}; "
            "register it under that name"
        )
    return generator


def _with_paths(options: Mapping[str, Any], names: Sequence[str], *, base: Path | None) -> Mapping[str, Any]:
    """The options with relative paths made to start from `base`; what is no list of text is left to be refused."""
    if base is None:
        return options
    given = {name: options[name] for name in names if isinstance(options.get(name), list | tuple)}
    based = {
        name: [str(locate(path, base=base)) if isinstance(path, str) else path for path in paths]
        for name, paths in given.items()
    }
    return {**options, **based}
