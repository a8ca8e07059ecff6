"""Small worlds whose truth is known, for policies to be tried in."""

import numpy as np

from loop.acquisition.policy import Observation, Option


def option(number, features, *, screened=0.05, cost=1.0):
    return Option(
        candidate_id=f"0002-{number:04d}",
        features=np.asarray(features, dtype=np.float64),
        screened=float(screened),
        cost=float(cost),
    )


def observation(number, features, *, screened=0.05, verified=0.05):
    return Observation(
        candidate_id=f"0001-{number:04d}",
        features=np.asarray(features, dtype=np.float64),
        screened=float(screened),
        verified=float(verified),
    )


class LinearWorld:
    """The screen is off by an amount linear in the first feature; the other features say nothing."""

    slope = 0.08
    """eV/atom per unit of the first feature."""

    def __init__(self, *, seed=0, n_features=6, noise=0.005):
        self.rng = np.random.default_rng(seed)
        self.n_features, self.noise = n_features, noise

    def draw(self, n, *, start=0, screened=None):
        """`n` candidates: features, screened and verified energies above hull."""
        features = self.rng.uniform(-1.5, 1.5, size=(n, self.n_features))
        screened = self.rng.uniform(0.0, 0.2, size=n) if screened is None else np.full(n, screened)
        verified = screened + self.slope * features[:, 0] + self.rng.normal(scale=self.noise, size=n)
        return [
            (start + i, f, s, v) for i, (f, s, v) in enumerate(zip(features, screened, verified, strict=True))
        ]

    def observations(self, n):
        return [observation(i, f, screened=s, verified=v) for i, f, s, v in self.draw(n)]

    def options(self, n, **values):
        """Options and their truth by id."""
        rows = self.draw(n, **values)
        options = [option(i, f, screened=s) for i, f, s, _ in rows]
        return options, {o.candidate_id: v for o, (_, _, _, v) in zip(options, rows, strict=True)}
