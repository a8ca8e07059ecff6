"""Element symbols and spelling help for what users type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from ase.data import chemical_symbols

ELEMENT_SYMBOLS: Final[frozenset[str]] = frozenset(chemical_symbols[1:104])
"""H to Lr: the elements that potentials and hulls can know."""


def closest(word: str, choices: Iterable[str]) -> str:
    """The choice that `word` most likely meant."""
    options = sorted(choices)
    exact = [c for c in options if c.lower() == word.lower()]
    matches = exact or difflib.get_close_matches(word, options, n=1, cutoff=0.0)
    return matches[0] if matches else ""
