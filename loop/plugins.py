"""What a campaign file names and a package registers: parts found by name through entry points.

Each kind of part has a group of entry points, the seam (a runtime-checkable Protocol) that every one of its parts
satisfies, and the error that a wrong one raises. A part that is misspelt, that cannot be imported, or that does not
satisfy its seam is named, with the field of the campaign file that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from loop.elements import closest
from loop.errors import MotherlodeError

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginKind(Generic[Part]):
    """One kind of part that other packages can bring."""

    group: str
    """Entry-point group, e.g. `motherlode.generators`."""
    seam: type[Part]
    """Runtime-checkable Protocol that every part satisfies."""
    error: type[MotherlodeError]

    def names(self) -> list[str]:
        """Names of the registered parts, alphabetical."""
        return sorted(self._registered())

    def make(self, name: str, *arguments: Any, field: str, **keywords: Any) -> Part:
        """The part that a campaign file names, made with what its factory takes.

        Args:
            name: registry name.
            *arguments: for the registered factory.
            field: of the campaign file where the name stands, e.g. `references.source`.
            **keywords: for the registered factory.

        Raises:
            MotherlodeError: of the kind's own type, where the name is not registered, its package cannot be
                imported, or what it made does not satisfy the seam; and whatever the factory raises when it refuses
                its arguments.
        """
        entry = self._entry(name, field)
        made = self._imported(entry, field)(*arguments, **keywords)
        if not isinstance(made, self.seam):
            raise self.error(
                f"{field}: {name!r} is registered as {entry.value!r}, which made a {type(made).__name__} that lacks "
                f"part of {self.seam.__module__}.{self.seam.__qualname__}; give it what that protocol lists"
            )
        return made

    def factory(self, name: str, *, field: str) -> Callable[..., Any]:
        """What is registered under a name, not called.

        Raises:
            MotherlodeError: of the kind's own type, where the name is not registered or cannot be imported.
        """
        return self._imported(self._entry(name, field), field)

    def _entry(self, name: str, field: str) -> EntryPoint:
        registered = self._registered()
        if not registered:
            raise self.error(
                f"{field}: nothing is registered as {self.group!r}; reinstall motherlode, so that its entry points are "
                "written"
            )
        if name not in registered:
            raise self.error(
                f"{field}: {name!r} is not registered; did you mean {closest(name, registered)!r}? "
                f"(registered: {', '.join(sorted(registered))})"
            )
        return registered[name]

    def _imported(self, entry: EntryPoint, field: str) -> Callable[..., Any]:
        try:
            factory: Callable[..., Any] = entry.load()
        except (ImportError, AttributeError) as error:
            raise self.error(
                f"{field}: {entry.name!r} is registered as {entry.value!r}, which cannot be imported ({error}); "
                "install or mend that package"
            ) from error
        return factory

    def _registered(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.group)}
