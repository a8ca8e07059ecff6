"""The lower facets of a convex hull over composition, by qhull, each checked before it is believed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from loop.envelope import highest_planes
from loop.errors import HullError

Floats = NDArray[np.float64]

PLANE_TOLERANCE: Final = 1e-9
"""Energy by which a facet's plane may pass above a phase, eV/atom: rounding, no physics."""
_SINGULAR: Final = 1e-15
"""Volume of a facet in composition space (the whole simplex is 1) below which it has none."""
_COVERED: Final = 1e-6
"""Share of the composition space that facets may leave bare or cover twice."""
_BENDS: Final = (0.0, 1e-9, 1e-8)
"""Strictly convex amounts added to the energies that qhull sees, eV/atom, tried in order. Hundreds of phases
on one plane to within rounding make its triangulation overlap; a bend far below any physics parts them."""


def lower_facets(fractions: Floats, energies: Floats, *, system: str) -> tuple[NDArray[np.int64], Floats]:
    """The facets of the lower hull and their planes.

    qhull proposes simplices; their planes are solved from the phases themselves, E_i = x_i·μ. A plane that
    passes above any phase is dropped, for a plane below all phases is below the hull everywhere. So the
    largest of the planes exceeds the true hull by no more than the tolerance, and equals it where the facets
    cover the composition space, which is checked too.

    Args:
        fractions: `n_phases x n_elements`, distinct compositions, every element among them.
        energies: `n_phases`, formation energies, eV/atom: 0 for the elements and not above 0 for the rest.
        system: the chemical system, for messages.

    Returns:
        Facets (`n_facets x n_elements`, indices of phases, ascending) and the chemical potentials of their
        planes (`n_facets x n_elements`, eV/atom).

    Raises:
        HullError: the facets do not cover the composition space.
    """
    number, dimension = fractions.shape
    if number == dimension:
        # The elements alone: one flat facet, on which qhull would stumble.
        order = np.argsort(fractions.argmax(axis=1))
        return np.sort(order)[None], np.zeros((1, dimension))
    covered = 0.0
    for bend in _BENDS:
        simplices = _simplices(fractions, energies + bend * (fractions**2).sum(axis=1))
        simplices, potentials, volumes = _sound(
            simplices, fractions, energies, tolerance=PLANE_TOLERANCE + bend
        )
        covered = float(volumes.sum())
        if abs(covered - 1) <= _COVERED:
            return simplices, potentials
    raise HullError(
        f"{system}: qhull found facets over {covered:.6f} of the composition space instead of all of it; "
        f"do {number} phases between {energies.min():.3g} and {energies.max():.3g} eV/atom make sense?"
    )


def _simplices(fractions: Floats, energies: Floats) -> NDArray[np.int64]:
    """Simplices of the full hull that do not touch an apex put above it; none where qhull gives up."""
    number, dimension = fractions.shape
    # Energies on the scale of the fractions, so that qhull's notion of roundoff fits both.
    scale = max(float(np.abs(energies).max()), PLANE_TOLERANCE)
    points = np.column_stack([fractions[:, 1:], energies / scale])
    apex = np.append(np.full(dimension - 1, 1 / dimension), 1.0 + points[:, -1].max())
    try:
        # Qt alone: with QJ (joggled input) phases on the hull are lost, with Qx facets.
        hull = ConvexHull(np.vstack([points, apex]), qhull_options="Qt")
    except QhullError:
        # No cover, which the caller sees and bends the energies against.
        return np.empty((0, dimension), dtype=np.int64)
    simplices = np.sort(hull.simplices[(hull.simplices != number).all(axis=1)], axis=1).astype(np.int64)
    return simplices[np.lexsort(simplices.T[::-1])]


def _sound(
    simplices: NDArray[np.int64], fractions: Floats, energies: Floats, *, tolerance: float
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The simplices whose plane lies below all phases, with chemical potentials and volumes."""
    volumes: Floats = np.abs(np.linalg.det(fractions[simplices]))
    simplices, volumes = simplices[volumes > _SINGULAR], volumes[volumes > _SINGULAR]
    solution = np.linalg.solve(fractions[simplices], energies[simplices][..., None])
    potentials = solution[..., 0].astype(np.float64)
    slack = tolerance * max(1.0, float(np.abs(energies).max()))
    sound = np.ones(len(simplices), dtype=bool)
    # A plane passes above a phase only where the highest of them does.
    above = np.flatnonzero(highest_planes(fractions, potentials)[1] > energies + slack)
    for phase in above:
        sound &= potentials @ fractions[phase] <= energies[phase] + slack
    return simplices[sound], potentials[sound], volumes[sound]
