"""Warnings of third-party packages about themselves, which nobody who runs a campaign can act on."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Final

_KNOWN: Final = (
    "Initial magnetic moments will not be considered",  # atomate2, of any structure
    "Only FixAtoms and FixCartesian is supported",  # pymatgen, of ASE's FixSymmetry
    "cd is deprecated",  # jobflow's own use of monty
    r"phonopy\.units\.\* is deprecated",  # atomate2's own use of phonopy
    "primitive_matrix defaulted to 'auto'",  # atomate2's own use of phonopy; 'auto' is what is wanted
    r"Mesh \[.*\] is incompatible with the primitive-cell point group",  # phonopy: more points, none fewer
    "logm result may be inaccurate",  # ASE's cell filter, of errors near 1e-13
)


@contextlib.contextmanager
def known_warnings_ignored() -> Iterator[None]:
    """Keep atomate2 and jobflow from warning of what they do themselves; other warnings pass."""
    with warnings.catch_warnings():
        for message in _KNOWN:
            warnings.filterwarnings("ignore", message=message)
        yield
