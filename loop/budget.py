"""The budget: what may be spent, in named currencies, declared before and settled after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from loop.elements import closest
from loop.errors import BudgetError
from loop.spec import CampaignSpec

TOLERANCE: Final = 1e-9
"""Relative rounding allowed when a cost is compared with what is left: sums of decimals are not exact."""


def total(costs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of costs, currency by currency, in order of the currencies' names."""
    amounts: dict[str, list[float]] = {}
    for cost in costs:
        for currency, amount in cost.items():
            amounts.setdefault(currency, []).append(amount)
    # fsum is exact, so the order in which costs settle does not matter.
    return {currency: math.fsum(amounts[currency]) for currency in sorted(amounts)}


def remaining(
    budget: Mapping[str, float], *, settled: Mapping[str, float], outstanding: Mapping[str, float]
) -> dict[str, float]:
    """What is left of every budgeted currency.

    Args:
        budget: what may be spent, by currency.
        settled: what finished calculations cost.
        outstanding: what is declared for calculations that have not settled yet.

    Returns:
        Budget minus settled minus outstanding; negative where calculations cost more than was declared. A
        currency without a budget is unlimited and does not appear.
    """
    return {
        currency: math.fsum((amount, -settled.get(currency, 0.0), -outstanding.get(currency, 0.0)))
        for currency, amount in budget.items()
    }


def affordable(cost: Mapping[str, float], left: Mapping[str, float]) -> bool:
    """Whether `left` pays for `cost` in every currency. A currency that `left` does not name is unlimited."""
    return all(
        amount <= left[currency] + TOLERANCE * abs(amount)
        for currency, amount in cost.items()
        if currency in left
    )


def exhausted(left: Mapping[str, float]) -> tuple[str, ...]:
    """Currencies of which nothing is left, alphabetical."""
    return tuple(sorted(currency for currency, amount in left.items() if amount <= 0))


def scarcest(left: Mapping[str, float], costs: Iterable[Mapping[str, float]]) -> str | None:
    """The currency that would run out first if all of `costs` were paid, over and over.

    It is the one whose remaining amount is the smallest multiple of what `costs` take of it; the acquisition
    weighs candidates by their cost in it. None where `costs` touch no budgeted currency.
    """
    taken = {currency: amount for currency, amount in total(costs).items() if currency in left and amount > 0}
    return min(taken, key=lambda currency: (left[currency] / taken[currency], currency), default=None)


def check_currencies(spec: CampaignSpec) -> None:
    """Refuse a budget in a currency that nothing in the campaign spends.

    Raises:
        BudgetError: naming the field, the currency found and the one probably meant.
    """
    known = spec.currencies()
    for currency in spec.budget:
        if currency not in known:
            raise BudgetError(
                f"budget.{currency}: nothing in this campaign spends {currency!r}; did you mean "
                f"{closest(currency, known)!r}? It spends {', '.join(sorted(known))}; a verification level's "
                "`cost` can name more"
            )


def check_feasible(
    spec: CampaignSpec, iteration: Mapping[str, float], *, once: Mapping[str, float] | None = None
) -> None:
    """Refuse a budget that cannot pay for a single iteration, before anything runs.

    Args:
        spec: the campaign.
        iteration: what one iteration is declared to cost, by currency.
        once: what is declared besides for work done once, such as the reference phases.

    Raises:
        BudgetError: naming the field, what it holds, what is declared and the mend.
    """
    check_currencies(spec)
    needed = total([iteration, once or {}])
    for currency in sorted(spec.budget):
        held, wanted = spec.budget[currency], needed.get(currency, 0.0)
        if affordable({currency: wanted}, {currency: held}):
            continue
        first = (once or {}).get(currency, 0.0)
        parts = f" ({first:g} of them once, for the reference phases)" if first else ""
        raise BudgetError(
            f"budget.{currency}: holds {held:g}, but the first iteration is declared to cost {wanted:g} "
            f"{currency}{parts}; raise budget.{currency} to at least {_rounded_up(wanted)}, or lower "
            f"batch.proposals (now {spec.batch.proposals}) or batch.verifications (now "
            f"{spec.batch.verifications})"
        )


def iterations_affordable(left: Mapping[str, float], iteration: Mapping[str, float]) -> int | None:
    """How many iterations of this declared cost `left` pays for; None where no budget limits them."""
    counts = [
        math.floor(left[currency] / amount + TOLERANCE)
        for currency, amount in iteration.items()
        if currency in left and amount > 0
    ]
    return max(0, min(counts)) if counts else None


def _rounded_up(amount: float) -> str:
    """The amount with at most three digits, never less than it is, for a message."""
    if amount <= 0:
        return "0"
    step = 10.0 ** max(math.floor(math.log10(amount)) - 2, -6)
    return f"{math.ceil(amount / step - TOLERANCE) * step:.12g}"
