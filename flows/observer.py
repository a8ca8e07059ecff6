"""Who watches a campaign: the terminal, Prefect, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Observer(Protocol):
    """Hears of a campaign's progress. Never decides anything."""

    def stage_started(self, iteration: int, stage: str) -> None:
        """A stage begins."""
        ...

    def progress(self, label: str, *, done: int, total: int, share: float) -> None:
        """`done` of `total` calculations of the running stage are settled, `share` of their declared cost."""
        ...

    def stage_finished(
        self, iteration: int, stage: str, *, seconds: float, summary: Mapping[str, Any]
    ) -> None:
        """A stage is finished and in the ledger."""
        ...

    def note(self, text: str) -> None:
        """Something a person should read."""
        ...


class Silence:
    """Watches nothing."""

    def stage_started(self, iteration: int, stage: str) -> None:
        """Ignore."""

    def progress(self, label: str, *, done: int, total: int, share: float) -> None:
        """Ignore."""

    def stage_finished(
        self, iteration: int, stage: str, *, seconds: float, summary: Mapping[str, Any]
    ) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""


class Together:
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def stage_started(self, iteration: int, stage: str) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.stage_started(iteration, stage)

    def progress(self, label: str, *, done: int, total: int, share: float) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.progress(label, done=done, total=total, share=share)

    def stage_finished(
        self, iteration: int, stage: str, *, seconds: float, summary: Mapping[str, Any]
    ) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.stage_finished(iteration, stage, seconds=seconds, summary=summary)

    def note(self, text: str) -> None:
        """Pass on."""
        for observer in self._observers:
            observer.note(text)
