"""What every policy does alike: check its inputs, fill a batch within the budget, write its choices down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.acquisition.policy import Choice, Observation, Option
from loop.budget import affordable
from loop.errors import AcquisitionError

Floats = NDArray[np.float64]


def check_inputs(options: Sequence[Option], observations: Sequence[Observation], *, budget: float) -> None:
    """Refuse what no policy can judge. A budget below 0, left by costs above the declared, is no fault.

    Raises:
        AcquisitionError: an option is listed twice, numbers are not finite, a cost is not positive, features
        differ in
            length, or the budget is not a number.
    """
    if math.isnan(budget):
        raise AcquisitionError("the budget is not a number; give what is left of the currency, or infinity")
    if len({o.candidate_id for o in options}) != len(options):
        raise AcquisitionError("a candidate is listed twice among the options; list each once")
    everyone: list[Option | Observation] = [*options, *observations]
    lengths = {o.features.shape for o in everyone}
    if len(lengths) > 1 or any(len(shape) != 1 for shape in lengths):
        raise AcquisitionError(f"features must all be vectors of one length; found shapes {sorted(lengths)}")
    for option in options:
        if not (math.isfinite(option.cost) and option.cost > 0):
            raise AcquisitionError(f"{option.candidate_id}: the cost {option.cost} is not a positive number")
    for item in everyone:
        values = [item.screened, *([item.verified] if isinstance(item, Observation) else [])]
        if not (np.isfinite(item.features).all() and np.isfinite(values).all()):
            raise AcquisitionError(f"{item.candidate_id}: features or energies are not finite numbers")


def pick(
    options: Sequence[Option],
    *,
    batch_size: int,
    budget: float,
    next_scores: Callable[[Sequence[int]], Floats],
) -> list[tuple[int, float]]:
    """Fill a batch one option at a time.

    Args:
        options: of which to pick.
        batch_size: at most this many are picked.
        budget: their costs sum to at most this.
        next_scores: given the indices picked so far, the score of every option (`n_options`, larger is
        better).

    Returns:
        Index and score of each pick, in order. Ties go to the cheaper option, then to the lower id. An option
        that the rest of the budget cannot pay for is passed over for the next best.
    """
    picked: list[tuple[int, float]] = []
    taken: list[int] = []
    left = budget
    while len(picked) < batch_size:
        open_ones = [
            i for i, o in enumerate(options) if i not in taken and affordable({"": o.cost}, {"": left})
        ]
        if not open_ones:
            break
        scores = next_scores(taken)
        best = min(open_ones, key=lambda i: (-scores[i], options[i].cost, options[i].candidate_id))
        picked.append((best, float(scores[best])))
        taken.append(best)
        left = budget - math.fsum(options[i].cost for i in taken)
    return picked


def choices_from(
    options: Sequence[Option],
    *,
    scores: Floats,
    mean: Floats,
    deviation: Floats,
    picked: Sequence[tuple[int, float]],
    reasons: Callable[[int], Mapping[str, Any]],
) -> list[Choice]:
    """One choice per option, in their order.

    Args:
        options: `n_options`.
        scores: `n_options`: of each option by itself, which the ranks follow (ties as in `pick`).
        mean: `n_options`, predicted verified energy above hull, eV/atom.
        deviation: `n_options`, eV/atom.
        picked: index and score at the moment of each pick, in order.
        reasons: JSON values to keep about an option. What is added for picked ones: `pick` (1 for the first)
        and
            `score_in_batch`.
    """
    order = sorted(range(len(options)), key=lambda i: (-scores[i], options[i].cost, options[i].candidate_id))
    ranks = {index: rank for rank, index in enumerate(order, start=1)}
    place = {index: (number, score) for number, (index, score) in enumerate(picked, start=1)}
    result = []
    for i, option in enumerate(options):
        why = dict(reasons(i))
        if i in place:
            why["pick"], why["score_in_batch"] = place[i]
        result.append(
            Choice(
                candidate_id=option.candidate_id,
                role="chosen" if i in place else "passed over",
                rank=ranks[i],
                score=float(scores[i]),
                predicted_mean=float(mean[i]),
                predicted_deviation=float(deviation[i]),
                reasons=why,
            )
        )
    return result
