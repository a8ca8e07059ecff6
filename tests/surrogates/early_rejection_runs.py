"""Synthetic relaxations whose true law is known, for tests of early rejection."""

from __future__ import annotations

import numpy as np

from surrogates.early_rejection import CHECKPOINTS, Checkpoint
from surrogates.early_rejection_learning import Run


def synthetic_runs(count, *, rng, spread=0.6, matter=0.5):
    """Relaxations that decay exponentially, each at its own rate, to an energy at most 0.2 above or 0.5 eV/atom below.

    The drop left is proportional to the squared force up to a lognormal factor, which is what a rule has to learn.
    """
    runs = []
    for _ in range(count):
        final = float(rng.normal(-3.0, 1.0))
        height = rng.uniform(0.0, 0.2) if rng.random() < matter else rng.uniform(0.2, 3.0)
        amplitude, rate = np.exp(rng.normal(-0.5, 1.0)), rng.uniform(0.1, 0.5)
        evaluations = int(np.clip(np.log(amplitude / 1e-3) / rate, 3, 80))
        left = {k: amplitude * np.exp(-rate * k) for k in (0, *CHECKPOINTS) if k == 0 or k < evaluations}
        trace, before = [], left.pop(0)
        for k, drop in left.items():
            force = np.sqrt(drop * np.exp(rng.normal(0.0, spread)))
            trace.append(
                Checkpoint(
                    evaluations=k,
                    released=False,
                    since=k,
                    energy_per_atom=final + float(drop),
                    decrement=0.1 * float(drop * np.exp(rng.normal(0.0, spread))),
                    max_force=float(force),
                    max_stress=float(10 * force),
                    drop=float(before - drop),
                )
            )
            before = drop
        runs.append(
            Run(
                trace=tuple(trace),
                energy_per_atom=final,
                evaluations=evaluations,
                ceiling=float(final - height + 0.2),
            )
        )
    return runs
