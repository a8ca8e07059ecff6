"""The audit: a stated share of verifications goes to randomly drawn rejects, to measure what the loop misses.

Without it nobody knows whether the window and the policy throw the best finds away, since only what is
verified is ever known. The draw is uniform over all rejects that the budget can pay for, so the share of
(meta)stable ones among audits estimates that among rejects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from loop.acquisition.policy import Choice, Option
from loop.budget import affordable
from loop.errors import AcquisitionError
from loop.metrics import Proportion, proportion


def audits_due(fraction: float, *, batch_size: int, verified: int, audited: int) -> int:
    """How many of the next `batch_size` verifications are audits.

    Fractional shares are carried over: after every batch the campaign's audits are the stated share of its
    verifications, rounded, so 0.1 of batches of 6 gives one audit in the first batch and six in ten batches.

    Args:
        fraction: share of verifications that are audits, 0 to 1.
        batch_size: size of the next batch.
        verified: candidates that the campaign sent to verification before, audits included.
        audited: audits among them.

    Returns:
        0 to `batch_size`. What earlier batches lacked (for want of rejects) is made up for at no more than
        twice the stated share, lest one batch be all audits.
    """
    if not 0 <= fraction <= 1:
        raise AcquisitionError(f"audit_fraction: {fraction} is no share; give a number from 0 to 1")
    target = math.floor(fraction * (verified + batch_size) + 0.5)
    return max(0, min(target - audited, batch_size, math.ceil(2 * fraction * batch_size)))


def with_audit(
    choices: Sequence[Choice],
    *,
    options: Sequence[Option],
    rejects: Sequence[Option],
    fraction: float,
    batch_size: int,
    budget: float,
    verified: int,
    audited: int,
    rng: np.random.Generator,
) -> list[Choice]:
    """The policy's choices with audits in place of its last picks.

    Args:
        choices: of the policy, one per option, with at most `batch_size` chosen.
        options: what the policy chose from.
        rejects: candidates that the policy never saw, outside the window. What it passed over is drawn from
        as well.
        fraction: share of verifications that are audits, 0 to 1.
        batch_size: most verifications of this batch, audits included.
        budget: most that they may cost together.
        verified: candidates that the campaign sent to verification before, audits included.
        audited: audits among them.
        rng: the stream to draw from.

    Returns:
        One choice per option, in order, followed by one for each audited candidate of `rejects`. Chosen and
        audited ones together number at most `batch_size` and cost at most `budget`. A pick that made room is
        `passed over` with the reason `displaced_by_audit`, and cannot itself be drawn.
    """
    cost = {option.candidate_id: option.cost for option in (*options, *rejects)}
    if len(cost) != len(options) + len(rejects):
        raise AcquisitionError("a candidate is listed twice among options and rejects; list each once")
    chosen = sorted((c for c in choices if c.role == "chosen"), key=_pick_number)
    # By id, so that the order in which candidates are listed cannot change who is drawn.
    pool = sorted({c.candidate_id for c in choices if c.role != "chosen"} | {o.candidate_id for o in rejects})
    pool = [pool[i] for i in rng.permutation(len(pool))]
    due = min(audits_due(fraction, batch_size=batch_size, verified=verified, audited=audited), len(pool))
    # Audits are drawn first: filled in last, they would get only what the policy cannot spend.
    audits = _within(pool, cost, number=due, budget=budget, taken=())
    kept = _within([c.candidate_id for c in chosen], cost, number=batch_size, budget=budget, taken=audits)
    return _roles(choices, rejects, kept=set(kept), audits=audits, pool_size=len(pool))


def _within(
    names: Sequence[str], cost: Mapping[str, float], *, number: int, budget: float, taken: Sequence[str]
) -> list[str]:
    """The first of `names` that, after those `taken`, stay within `number` and `budget` together."""
    result: list[str] = []
    for name in names:
        spent = math.fsum(cost[other] for other in (*taken, *result))
        if len(taken) + len(result) < number and affordable({"": cost[name]}, {"": budget - spent}):
            result.append(name)
    return result


def miss_rate(outcomes: Sequence[bool]) -> Proportion:
    """The share of rejects that are (meta)stable after all, with Wilson's 95 % interval.

    Args:
        outcomes: of each audited candidate, whether it was verified to be (meta)stable; a failure counts as
        not.
    """
    return proportion(sum(outcomes), len(outcomes))


def _roles(
    choices: Sequence[Choice],
    rejects: Sequence[Option],
    *,
    kept: set[str],
    audits: Sequence[str],
    pool_size: int,
) -> list[Choice]:
    """The choices with their final roles, and new ones for audited candidates that the policy never saw."""
    drawn: dict[str, Any] = {"audit": f"drawn at random from {pool_size} rejects", "pool": pool_size}
    result = []
    for choice in choices:
        if choice.candidate_id in audits:
            result.append(replace(choice, role="audit", reasons={**choice.reasons, **drawn}))
        elif choice.role == "chosen" and choice.candidate_id not in kept:
            reasons = {**choice.reasons, "displaced_by_audit": True}
            result.append(replace(choice, role="passed over", reasons=reasons))
        else:
            result.append(choice)
    outside = [option for option in rejects if option.candidate_id in audits]
    result += [
        Choice(
            candidate_id=option.candidate_id,
            role="audit",
            rank=len(choices) + number,
            score=0.0,
            predicted_mean=option.screened,
            predicted_deviation=0.0,
            reasons={**drawn, "outside_window": True},
        )
        for number, option in enumerate(outside, start=1)
    ]
    return result


def _pick_number(choice: Choice) -> tuple[float, int]:
    """Order in which the policy picked; by rank for policies that do not say."""
    return (float(choice.reasons.get("pick", math.inf)), choice.rank)
