"""The Runner seam: how iterations and the coarse pieces of their stages are run and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from flows.campaign import Campaign

Value = TypeVar("Value")


class Runner(Protocol):
    """How stages are run: plainly, or as Prefect flow and task runs."""

    def flow(self, campaign: Campaign, iteration: int, body: Callable[[], None]) -> None:
        """Run one iteration."""
        ...

    def task(self, name: str, body: Callable[[], Value]) -> Value:
        """Run one coarse piece of a stage."""
        ...


class PlainRunner:
    """Runs in this process, showing nothing to anybody."""

    def flow(self, campaign: Campaign, iteration: int, body: Callable[[], None]) -> None:  # noqa: ARG002 - the seam's signature
        """Call the body."""
        body()

    def task(self, name: str, body: Callable[[], Value]) -> Value:  # noqa: ARG002 - the seam's signature
        """Call the body."""
        return body()
