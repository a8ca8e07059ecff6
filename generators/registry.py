"""Generators by name: those registered under the entry-point group `motherlode.generators`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from generators.protocol import Generator
from loop.elements import closest
from loop.errors import GeneratorError, ReferencePhaseError
from loop.references.reading import locate

GROUP: Final = "motherlode.generators"
"""Entry-point group in which a package registers a callable `(options) -> Generator`."""


def available() -> tuple[str, ...]:
    """Names of the registered generators, alphabetical."""
    return tuple(sorted(_registered()))


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
    registered = _registered()
    if name not in registered:
        listed = ", ".join(sorted(registered)) or "none: is the package motherlode installed?"
        mend = f"; did you mean {closest(name, registered)!r}?" if registered else ""
        raise GeneratorError(f"generators: {name!r} is not registered{mend} Registered are {listed}")
    try:
        build = registered[name].load()
    except (ImportError, AttributeError) as error:
        raise GeneratorError(
            f"generators: {name!r} cannot be imported from {registered[name].value} ({error}); "
            "install or repair the package that provides it"
        ) from error
    try:
        based = _with_paths(options, getattr(build, "path_options", ()), base=base)
    except ReferencePhaseError as error:
        raise GeneratorError(f"generators.{name}.options: {error}") from error
    generator = build(based)
    if not isinstance(generator, Generator):
        raise GeneratorError(
            f"generators: {registered[name].value} gave a {type(generator).__name__}, which lacks name, "
            "version, fit, sample or state; see docs/generators.md"
        )
    if generator.name != name:
        raise GeneratorError(
            f"generators: {registered[name].value} calls itself {generator.name!r}; "
            f"register it under that name, not {name!r}"
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


def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
