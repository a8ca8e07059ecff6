"""The supercell of a phonon calculation: wide enough, of few atoms, and as symmetric as the crystal.

atomate2's nearly cubic supercells were tried first: at 10 Å they take 216 atoms for MgO where 128 do, and
their skewed cells break the symmetry of hexagonal crystals, which doubles the displacements to compute.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import moyopy
import numpy as np
from moyopy.interface import MoyoAdapter
from numpy.typing import NDArray
from pymatgen.core.lattice import Lattice

from flows.verification.failures import CalculationFailedError
from loop.crystal import SYMMETRY_TOLERANCE, Crystal

EVEN_SHORTER: Final = 0.9
"""Even multiples may keep an atom from its image by this share of the length asked for."""
EVEN_DEARER: Final = 1.5
"""Even multiples may take this many times the atoms."""
_COEFFICIENTS: Final = np.array([c for c in itertools.product(range(-2, 3), repeat=3) if any(c)])


def supercell_matrix(crystal: Crystal, *, min_length: float, max_atoms: int) -> NDArray[np.int64]:
    """The smallest multiple of the primitive or of the conventional cell that keeps an atom from its images.

    Even multiples are preferred where they take at most half as many atoms again, even if they keep an atom from
    its image by a tenth less: the edge of the Brillouin zone, where crystals go soft, is exact in them and
    interpolated in odd ones. (Of rutile, 3 x 3 x 4 cells interpolate -4.8 THz at M, where 2 x 2 x 4 find it stable.)

    Args:
        crystal: in its standardised primitive cell.
        min_length: smallest distance between an atom and its nearest periodic image, Å.
        max_atoms: atoms that the supercell may hold.

    Returns:
        `3 x 3`, whose columns are the supercell's vectors in the primitive ones (phonopy's convention).

    Raises:
        CalculationFailedError: more than `max_atoms` are needed.
    """
    smallest = _smallest(crystal, min_length=min_length, even=False)
    even = _smallest(crystal, min_length=EVEN_SHORTER * min_length, even=True)
    best = even if _cells(even) <= EVEN_DEARER * _cells(smallest) else smallest
    atoms = _cells(best) * crystal.number_of_atoms
    if atoms > max_atoms:
        raise CalculationFailedError(
            "too-large",
            f"a supercell of {min_length:g} Å holds {atoms} atoms, max_atoms is {max_atoms}; "
            "raise it or lower min_length",
        )
    return best


def shortest_vector(lattice: NDArray[Any]) -> float:
    """Length of the shortest vector of a lattice, Å.

    Args:
        lattice: `3 x 3`, rows are lattice vectors, Å.
    """
    reduced = Lattice(lattice).get_lll_reduced_lattice().matrix
    return float(np.linalg.norm(_COEFFICIENTS @ reduced, axis=1).min())


def _smallest(crystal: Crystal, *, min_length: float, even: bool) -> NDArray[np.int64]:
    primitive = np.array(crystal.lattice)
    candidates = [
        matrix @ np.diag(_multiples(matrix.T @ primitive, min_length=min_length, even=even))
        for matrix in (np.eye(3, dtype=np.int64), _conventional(crystal))
    ]
    return np.asarray(min(candidates, key=_cells), dtype=np.int64)


def _cells(matrix: NDArray[np.int64]) -> int:
    """Primitive cells in a supercell."""
    return abs(round(float(np.linalg.det(matrix))))


def _multiples(basis: NDArray[Any], *, min_length: float, even: bool) -> NDArray[np.int64]:
    """Multiples of three vectors; vectors of one length get one multiple, so that no symmetry is lost."""
    lengths = np.linalg.norm(basis, axis=1)
    target = min_length
    while True:
        multiples = np.maximum(np.ceil(target / lengths - 1e-4), 1)
        if even:
            multiples = np.where(multiples > 1, 2 * np.ceil(multiples / 2), multiples)
        if shortest_vector(multiples[:, None] * basis) >= min_length - 1e-3:
            return np.asarray(multiples, dtype=np.int64)
        target *= 1.05


def _conventional(crystal: Crystal) -> NDArray[np.int64]:
    """Conventional vectors in the primitive ones, as columns."""
    dataset = moyopy.MoyoDataset(
        MoyoAdapter.from_structure(crystal.to_structure()), symprec=SYMMETRY_TOLERANCE
    )
    return np.asarray(np.rint(dataset.std_linear), dtype=np.int64)
