"""Named, independent random streams that all come from the campaign's one seed."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The random stream of this seed that bears these names.

    The same seed and names give the same numbers in every process and on every platform, whatever else was
    drawn before; different names give independent streams. So a stage asks for its own stream, e.g.
    `stream(spec.seed, "propose", iteration, "evolution")`, and a resumed campaign draws what an unbroken one
    would have.

    Args:
        seed: the campaign's seed, 0 or larger.
        names: what the stream is for. Order and kind matter: `"1"` and `1` are different names.

    Raises:
        ValueError: the seed is negative.
        TypeError: a name is neither text nor a whole number.
    """
    if seed < 0:
        raise ValueError(f"seed: {seed} is negative; give a whole number of 0 or more")
    plain: list[str | int] = []
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int | np.integer):
            raise TypeError(f"the name {name!r} of a random stream is neither text nor a whole number")
        plain.append(name if isinstance(name, str) else int(name))
    # JSON keeps ("a", "b") apart from ("ab",) and 1 from "1"; SHA-256 is the same everywhere, unlike hash().
    digest = hashlib.sha256(json.dumps(plain).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    # PCG64 is named, since numpy may change what default_rng returns.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), *words])))
