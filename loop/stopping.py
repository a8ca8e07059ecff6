"""When a campaign ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loop.budget import affordable, exhausted
from loop.spec import CampaignSpec, Stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the ledger says at the end of an iteration."""

    iterations: int
    """Finished iterations."""
    discoveries: Sequence[int]
    """`n_iterations`: discoveries that each finished iteration made."""
    remaining: Mapping[str, float]
    """What is left of each budgeted currency (`loop.budget.remaining`)."""
    cheapest: Mapping[str, float] | None = None
    """Declared cost of the cheapest thing that could be done next, where that is known."""
    nothing_left: bool = False
    """Whether the last iteration found nothing new to propose and nothing left to verify."""


def reason_to_stop(spec: CampaignSpec, facts: Facts) -> str | None:
    """Why the campaign ends now, as a sentence for its report, or None where it goes on.

    The reasons are asked in a fixed order, so that the same ledger always gives the same one.
    """
    return next(_reasons(spec.stopping, facts), None)


def _reasons(stopping: Stopping, facts: Facts) -> Iterator[str]:
    """Every reason to end, the most telling first."""
    found = sum(facts.discoveries)
    if stopping.discoveries is not None and found >= stopping.discoveries:
        yield f"{found} discoveries were made; stopping.discoveries asks for {stopping.discoveries}"
    spent = exhausted(facts.remaining)
    if spent:
        yield f"the budget is exhausted: nothing is left of {', '.join(spent)}"
    for currency, cost in sorted((facts.cheapest or {}).items()):
        if not affordable({currency: cost}, facts.remaining):
            left = facts.remaining[currency]
            yield f"the budget is exhausted: {left:g} {currency} are left, the next step costs {cost:g}"
    if facts.iterations >= stopping.iterations:
        yield f"{facts.iterations} iterations are done; stopping.iterations asks for {stopping.iterations}"
    barren, limit = iterations_since_discovery(facts.discoveries), stopping.iterations_without_discovery
    if limit is not None and barren >= limit:
        yield (
            f"{barren} iterations in a row made no discovery; "
            f"stopping.iterations_without_discovery asks for {limit}"
        )
    if facts.nothing_left:
        yield "nothing is left to propose or to verify in this space"


def iterations_since_discovery(discoveries: Sequence[int]) -> int:
    """Iterations at the end of the campaign that made no discovery."""
    barren = 0
    for made in reversed(discoveries):
        if made > 0:
            break
        barren += 1
    return barren
