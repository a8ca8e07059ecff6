"""How likely one set of elements takes the roles of another: data-mined substitution probabilities.

The table is that of Hautier, Fischer, Ehrlacher, Jain and Ceder, Inorg. Chem. 50, 656 (2011), as pymatgen
ships it: it gives p(s, s') = exp(λ(s, s')) / Z for pairs of *ions* that play the same role in two compounds
of the ICSD. Alloys have no ions; for them the same table is summed over oxidation states,

    p(e, e') = Σ_{s of e} Σ_{s' of e'} p(s, s'),    p(e | e') = p(e, e') / Σ_e p(e, e'),

so that elements which replace one another in whatever oxidation state are held to replace one another in
metals too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Final

import numpy as np
from pymatgen.core.composition import Composition
from pymatgen.core.periodic_table import Element, Species

UNOBSERVED: Final = -5.0
"""λ of a pair that was never observed: pymatgen's choice."""
IONIC_DIFFERENCE: Final = 1.7
"""Difference of Pauling electronegativities from which a bond is counted as mainly ionic (Pauling's half-
ionic bond)."""


Replacement = tuple[str, int, str]
"""An element of the known compound, its atoms in the cell, and the element that takes its role."""


@lru_cache(maxsize=2**18)
def likelihood(replacements: tuple[Replacement, ...]) -> float:
    """Probability that the elements of a compound are so replaced: geometric mean over them.

    By ions where the known and the new compound are both ionic and can be charge neutral, by elements
    otherwise.

    Args:
        replacements: one for each element of the known compound.
    """
    before = oxidation_states(tuple((old, amount) for old, amount, _ in replacements))
    after = oxidation_states(tuple((new, amount) for _, amount, new in replacements))
    if before and after:
        logarithms = [
            ion_log_probability((old, before[old]), (new, after[new])) for old, _, new in replacements
        ]
    else:
        logarithms = [element_log_probability(old, new) for old, _, new in replacements]
    return math.exp(math.fsum(logarithms) / len(logarithms))


@lru_cache(maxsize=2**18)
def oxidation_states(formula: tuple[tuple[str, int], ...]) -> Mapping[str, float] | None:
    """The likeliest oxidation states of an ionic compound; None where it is not ionic or neutral.

    Args:
        formula: pairs of an element and its number of atoms.
    """
    composition = Composition(dict(formula)).reduced_composition
    electronegativities = [element.X for element in composition.elements]
    if (
        not np.isfinite(electronegativities).all()
        or max(electronegativities) - min(electronegativities) < IONIC_DIFFERENCE
    ):
        return None
    guesses = composition.oxi_state_guesses(max_sites=-1)
    return dict(guesses[0]) if guesses else None


def element_log_probability(old: str, new: str) -> float:
    """Logarithm of p(new | old) over elements; the table's smallest where one is not in it."""
    index, table = _element_table()
    if old not in index or new not in index:
        return float(table.min())
    return float(table[index[new], index[old]])


def ion_log_probability(old: tuple[str, float], new: tuple[str, float]) -> float:
    """Logarithm of p(new | old) over ions, each an element and its oxidation state.

    That over elements where one of the ions is not in the table.
    """
    index, table = _ion_table()
    if old not in index or new not in index:
        return element_log_probability(old[0], new[0])
    return float(table[index[new], index[old]])


@cache
def _weights() -> tuple[tuple[tuple[str, float], ...], np.ndarray]:
    """The ions, and exp(λ) of each pair, `n_ions x n_ions`."""
    # pymatgen's SubstitutionProbability reads the same file in 3 s, and sums it in an order that differs
    # between processes.
    file = resources.files("pymatgen.core.structure_prediction") / "data" / "lambda.json"
    # Rows with the ion D1+ stand for elements that were not observed, and pymatgen leaves them out too.
    rows = [(a, b, value) for a, b, value in json.loads(file.read_bytes()) if "D1+" not in (a, b)]
    names = sorted({name for a, b, _ in rows for name in (a, b)})
    species = {name: Species.from_str(name) for name in names}
    ions = tuple((Element(s.symbol).symbol, float(s.oxi_state or 0.0)) for s in species.values())
    index = {name: i for i, name in enumerate(names)}
    exponents = np.full((len(names), len(names)), UNOBSERVED)
    for a, b, value in rows:
        exponents[index[a], index[b]] = exponents[index[b], index[a]] = float(value)
    return ions, np.exp(exponents)


@cache
def _ion_table() -> tuple[Mapping[tuple[str, float], int], np.ndarray]:
    """Index of each ion, and log p(new | old), `n_ions x n_ions`."""
    ions, weights = _weights()
    return {ion: i for i, ion in enumerate(ions)}, np.log(weights / weights.sum(axis=0, keepdims=True))


@cache
def _element_table() -> tuple[Mapping[str, int], np.ndarray]:
    """Index of each element, and log p(new | old), `n_elements x n_elements`."""
    ions, weights = _weights()
    symbols = sorted({symbol for symbol, _ in ions})
    member = np.array([[symbol == other for other, _ in ions] for symbol in symbols], dtype=float)
    joint = member @ weights @ member.T
    return {symbol: i for i, symbol in enumerate(symbols)}, np.log(joint / joint.sum(axis=0, keepdims=True))
