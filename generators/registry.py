"""Generators by name: those registered under the entry-point group `motherlode.generators`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from generators.protocol import Generator
from loop.elements import closest
from loop.errors import GeneratorError

GROUP: Final = "motherlode.generators"
"""Entry-point group in which a package registers a callable `(options) -> Generator`."""


def available() -> tuple[str, ...]:
    """Names of the registered generators, alphabetical."""
    return tuple(sorted(_registered()))


def load_generator(name: str, options: Mapping[str, Any]) -> Generator:
    """The generator of that name with those options.

    Args:
        name: registry name, e.g. `prototypes`.
        options: what stands under `options:` in the campaign file.

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
    generator = build(options)
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


def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
