"""A campaign in the terminal: one line per finished stage, one progress bar for the running one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from flows.progress import remaining_seconds

UNINTERESTING: Final[tuple[Any, ...]] = ("", 0, 0.0, None, [], {})


class Remaining(ProgressColumn):
    """What is left at the pace of the stage so far, counted down between two reports."""

    def render(self, task: Task) -> Text:
        """Hours, minutes and seconds; nothing before the first calculation settles."""
        ends: float | None = task.fields.get("ends")
        if ends is None:
            return Text("")
        minutes, seconds = divmod(max(0, round(ends - task.get_time())), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left", style="progress.remaining")


class Terminal:
    """Shows a campaign's progress with rich. On a pipe it prints the finished stages only."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            Remaining(),
            console=console,
            transient=True,
            get_time=clock,
        )
        self._task: TaskID | None = None
        self._label = ""
        self._queue: tuple[str, float, float] | None = None
        """Label, time and share of what is running, when it was first heard of."""
        self._began = clock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage_started(self, iteration: int, stage: str) -> None:
        """Show the stage as running."""
        self._clear()
        self._task = self._progress.add_task(f"{_place(iteration)}{stage}", total=None, count="", ends=None)
        self._queue = None
        self._label = f"{_place(iteration)}{stage}"

    def progress(self, label: str, *, done: int, total: int, share: float) -> None:
        """Move the bar, by work and not by number."""
        if self._task is None:
            return
        now = self._clock()
        if self._queue is None or self._queue[0] != label:
            self._queue = label, now, share
        _, began, first_share = self._queue
        left = remaining_seconds(elapsed=now - began, first_share=first_share, share=share)
        self._progress.update(
            self._task,
            description=f"{self._label}: {label}",
            completed=share,
            total=1.0,
            count=f"{done}/{total}",
            ends=None if left is None else now + left,
        )

    def stage_finished(
        self, iteration: int, stage: str, *, seconds: float, summary: Mapping[str, Any]
    ) -> None:
        """Print the stage's line."""
        self._clear()
        self._console.print(
            f"[dim]{_clock(self._clock() - self._began)}[/dim]  {_place(iteration)}[bold]{stage:<10}[/bold] "
            f"{_words(summary)} [dim]{seconds:.1f} s[/dim]",
            soft_wrap=True,
            highlight=False,
        )

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False)

    def _clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _place(iteration: int) -> str:
    return f"iteration {iteration:>2}  " if iteration else "              "


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:3d}:{rest:02d}"


def _words(summary: Mapping[str, Any]) -> str:
    """A stage's summary as words: `proposed 40, kept 31, duplicate 9`."""
    parts = []
    for name, value in summary.items():
        if value in UNINTERESTING:
            continue
        if isinstance(value, Mapping):
            inner = _words(value)
            parts.append(f"{name.replace('_', ' ')} ({inner})" if inner else "")
        elif isinstance(value, list):
            parts.append(
                f"{name.replace('_', ' ')}: {', '.join(map(str, value[:4]))}{' …' if len(value) > 4 else ''}"
            )
        else:
            parts.append(
                f"{name.replace('_', ' ')} {value:.3g}"
                if isinstance(value, float)
                else f"{name.replace('_', ' ')} {value}"
            )
    return ", ".join(part for part in parts if part)
