"""How likely one set of elements takes the roles of another: data-mined substitution probabilities.

The table is that of Hautier, Fischer, Ehrlacher, Jain and Ceder, Inorg. Chem. 50, 656 (2011), as pymatgen
ships it: it gives p(s, s') = exp(λ(s, s')) / Z for pairs of *ions* that play the same role in two compounds
of the ICSD. Alloys have no ions; for them the same table is summed over oxidation states,

    p(e, e') = Σ_{s of e} Σ_{s' of e'} p(s, s'),    p(e | e') = p(e, e') / Σ_e p(e, e'),

so that elements which replace one another in whatever oxidation state are held to replace one another in
metals too.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from pymatgen.core import Composition, Element, Species

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
            _ion_log_probability((old, before[old]), (new, after[new])) for old, _, new in replacements
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


@cache
def element_log_probability(old: str, new: str) -> float:
    """Logarithm of p(new | old) over elements; the table's smallest where one is not in it."""
    index, table = _element_table()
    if old not in index or new not in index:
        return float(table.min())
    return float(table[index[new], index[old]])


def _ion_log_probability(old: tuple[str, float], new: tuple[str, float]) -> float:
    model = _model()
    ions = [Species(symbol, state) for symbol, state in (old, new)]
    if any(ion not in model.species for ion in ions):
        return element_log_probability(old[0], new[0])
    return float(np.log(model.cond_prob(ions[1], ions[0])))


@cache
def _model() -> Any:
    from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

    return SubstitutionProbability()  # type: ignore[no-untyped-call]


@cache
def _element_table() -> tuple[Mapping[str, int], np.ndarray]:
    """Index of each element, and log p(new | old), `n_elements x n_elements`."""
    model = _model()
    by_element: dict[str, list[Species]] = defaultdict(list)
    for ion in sorted(model.species, key=str):
        by_element[Element(ion.symbol).symbol].append(ion)
    symbols = sorted(by_element)
    joint = np.array(
        [
            [sum(model.prob(s, t) for s in by_element[a] for t in by_element[b]) for b in symbols]
            for a in symbols
        ]
    )
    return {symbol: i for i, symbol in enumerate(symbols)}, np.log(joint / joint.sum(axis=0, keepdims=True))
