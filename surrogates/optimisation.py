"""L-BFGS over the positions and the cell of one crystal together, as a pure pair of `initialise` and `step`.

Coordinates are ASE's UnitCellFilter's: positions in the frame of the starting cell, and the deformation
gradient D that carries that frame to the present one (Tadmor et al., Phys. Rev. B 59, 235, 1999). The
cell's part is scaled so that its stiffness is that of the atoms, whatever the number of atoms. The initial
inverse Hessian of every step is H0 = s·y / y·Py P, with P the inverse of a spring model's Hessian (see
`stiffness`) and s, y the last pair of displacement and gradient; with P = 1 it is eq. 7.20 of Nocedal and
Wright, Numerical Optimization.

A step that raises the energy is taken back, so that a relaxation never ends above where it started.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from surrogates.potential import Floats, Integers
from surrogates.stiffness import inverse_stiffness
from surrogates.symmetry import Symmetry

MEMORY: Final = 20
"""Pairs of displacement and gradient kept; crystals of a screen converge in about as many steps."""
FIRST_STIFFNESS: Final = 25.0
"""eV/Å2 assumed where there are no springs: the usual bond's, so that the first step is safe and not idle."""
LARGEST_DISPLACEMENT: Final = 0.25
"""Å that any atom moves in one step at most."""
LARGEST_STRAIN: Final = 0.08
"""Largest component of the deformation gradient's change in one step."""
SUFFICIENT_DECREASE: Final = 1e-4
"""Armijo's constant (Nocedal and Wright, section 3.1)."""
ENERGY_NOISE: Final = 2e-6
"""eV/atom by which two evaluations of the same geometry may differ in single precision."""
SMALLEST_WITH_MEMORY: Final = 0.05
"""Fraction of a step below which what was learned is forgotten, for it misleads."""
SMALLEST_WITHOUT: Final = 1e-3
"""Fraction of a plain downhill step below which the relaxation is stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A geometry that has been evaluated."""

    coordinates: Floats
    """`(n_atoms + 3) x 3`: positions in the starting frame, Å, then the scaled deformation gradient, Å."""
    energy: float
    """eV."""
    gradient: Floats
    """`(n_atoms + 3) x 3`, eV/Å."""
    max_force: float
    """Largest force on an atom, eV/Å."""
    max_stress: float
    """Largest stress component, eV/Å3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What generalised coordinates are measured from."""

    cell: Floats
    """`3 x 3`, the cell that the deformation gradient starts from, Å."""
    scale: float
    """Å by which the deformation gradient is multiplied to stand beside positions."""
    inverse_stiffness: Floats | None = None
    """`3 (n_atoms + 3)` squared, Å2/eV, a model's; without it every direction is as stiff as the others."""
    symmetry: Symmetry | None = None
    """Kept by every step; None leaves all coordinates free."""

    def allowed(self, field: Floats) -> Floats:
        """The part of a gradient or step, `(n_atoms + 3) x 3`, that keeps the symmetry."""
        return field if self.symmetry is None else self.symmetry.project(field)

    def downhill(self, gradient: Floats) -> Floats:
        """The gradient times the model's inverse Hessian, `(n_atoms + 3) x 3`, Å."""
        if self.inverse_stiffness is None:
            return gradient / FIRST_STIFFNESS
        product: Floats = (self.inverse_stiffness @ gradient.ravel()).reshape(gradient.shape)
        return product

    def geometry(self, coordinates: Floats) -> tuple[Floats, Floats]:
        """Positions (`n_atoms x 3`) and cell (`3 x 3`), Å, of generalised coordinates."""
        deformation = coordinates[-3:] / self.scale
        return coordinates[:-3] @ deformation.T, self.cell @ deformation.T

    def point(self, coordinates: Floats, energy: float, *, forces: Floats, stress: Floats) -> Point:
        """Generalised coordinates with what the potential says of them."""
        deformation = coordinates[-3:] / self.scale
        volume = abs(float(np.linalg.det(self.cell) * np.linalg.det(deformation)))
        # With the stress S, dE = V S:dε - f·dr with dε = dD D^-1 and r = D r0 gives dE/dD = V S D^-T and
        # dE/dr0 = -D^T f.
        by_deformation = volume * np.linalg.solve(deformation, stress).T
        return Point(
            coordinates=coordinates,
            energy=energy,
            gradient=self.allowed(np.concatenate([-forces @ deformation, by_deformation / self.scale])),
            max_force=float(np.linalg.norm(forces, axis=1).max()),
            max_stress=float(np.abs(stress).max()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """State of one relaxation: where it stands, what it learned, and the geometry that it asks about next."""

    frame: Frame
    point: Point
    """The accepted geometry."""
    lowest: float
    """Lowest accepted energy, eV; `point` is above it by no more than the potential's noise."""
    pairs: tuple[tuple[Floats, Floats], ...]
    """Displacements and gradient changes, newest last."""
    direction: Floats
    """`(n_atoms + 3) x 3`, the full step from `point`, Å."""
    fraction: float = 1.0
    """Part of the step that is asked about next."""
    stuck: bool = False
    """No lower energy was found along the forces: the potential's forces disagree with its energy here."""

    def stands_at(self) -> tuple[Floats, Floats]:
        """Positions (`n_atoms x 3`) and cell (`3 x 3`), Å, of the accepted geometry."""
        return self.frame.geometry(self.point.coordinates)

    def asks_about(self) -> tuple[Floats, Floats]:
        """Positions (`n_atoms x 3`) and cell (`3 x 3`), Å, to be evaluated for the next `step`."""
        return self.frame.geometry(self.point.coordinates + self.fraction * self.direction)


def initialise(
    positions: Floats,
    cell: Floats,
    *,
    energy: float,
    forces: Floats,
    stress: Floats,
    numbers: Integers | None = None,
    symmetry: Symmetry | None = None,
) -> Descent:
    """Start at an evaluated geometry.

    Args:
        positions: `n_atoms x 3`, Å.
        cell: `3 x 3`, rows are lattice vectors, Å.
        energy: eV, finite.
        forces: `n_atoms x 3`, eV/Å.
        stress: `3 x 3`, eV/Å3, positive where the cell wants to shrink.
        numbers: `n_atoms`, atomic numbers: with them, springs guess how stiff the crystal is in which
            direction, which saves a quarter of the evaluations.
        symmetry: of the start, to be kept.
    """
    n_atoms = len(positions)
    # A cell's stiffness per strain is V C with C of about 1 eV/Å3; so scaled, it is some eV/Å2, as the
    # atoms' is.
    scale = float(np.sqrt(n_atoms) * (abs(np.linalg.det(cell)) / n_atoms) ** (1 / 3))
    springs = None if numbers is None else inverse_stiffness(numbers, positions, cell=cell, scale=scale)
    frame = Frame(cell=cell, scale=scale, inverse_stiffness=springs, symmetry=symmetry)
    point = frame.point(np.concatenate([positions, scale * np.eye(3)]), energy, forces=forces, stress=stress)
    return _set_out(
        Descent(frame=frame, point=point, lowest=energy, pairs=(), direction=np.zeros_like(point.gradient))
    )


def step(state: Descent, energy: float, *, forces: Floats, stress: Floats) -> Descent:
    """Go on from the evaluation of the geometry that `state` asked about.

    Args:
        state: from `initialise` or `step`.
        energy: eV; a value that is not finite counts as infinitely high.
        forces: `n_atoms x 3`, eV/Å.
        stress: `3 x 3`, eV/Å3.
    """
    slope = float(np.vdot(state.point.gradient, state.direction))
    is_finite = bool(np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all())
    if is_finite:
        coordinates = state.point.coordinates + state.fraction * state.direction
        point = state.frame.point(coordinates, energy, forces=forces, stress=stress)
        if _is_acceptable(state, point, slope=slope):
            pairs = _remember(
                state.pairs,
                point.coordinates - state.point.coordinates,
                point.gradient - state.point.gradient,
            )
            return _set_out(replace(state, point=point, lowest=min(state.lowest, energy), pairs=pairs))
    fraction = state.fraction * 0.1
    if is_finite:
        # Minimum of the parabola through the old energy, its slope and the new energy.
        rise = energy - state.point.energy - state.fraction * slope
        parabola = -slope * state.fraction**2 / (2 * rise) if rise > 0 else 0.0
        fraction = min(max(parabola, fraction), 0.5 * state.fraction)
    if fraction >= (SMALLEST_WITH_MEMORY if state.pairs else SMALLEST_WITHOUT):
        return replace(state, fraction=fraction)
    if state.pairs:
        return _set_out(replace(state, pairs=()))
    return replace(state, stuck=True)


def _is_acceptable(state: Descent, point: Point, *, slope: float) -> bool:
    """Whether the energy fell enough, or stayed within the noise while the slope flattened."""
    if (
        point.energy <= state.point.energy + SUFFICIENT_DECREASE * state.fraction * slope
        and point.energy <= state.lowest
    ):
        return True
    noise = ENERGY_NOISE * (len(point.coordinates) - 3)
    return (
        point.energy <= state.lowest + noise
        and float(np.vdot(point.gradient, state.direction)) <= -0.8 * slope
    )


def _remember(
    pairs: tuple[tuple[Floats, Floats], ...], displacement: Floats, change: Floats
) -> tuple[tuple[Floats, Floats], ...]:
    """The pairs with one more, unless it shows negative curvature, which L-BFGS cannot represent."""
    if np.vdot(displacement, change) <= 1e-8 * np.linalg.norm(displacement) * np.linalg.norm(change):
        return pairs
    return (*pairs, (displacement, change))[-MEMORY:]


def _set_out(state: Descent) -> Descent:
    """Take the full step from the accepted point, shortened to the largest displacement and strain."""
    direction = state.frame.allowed(_direction(state.point.gradient, state.pairs, frame=state.frame))
    pairs = state.pairs
    if pairs and np.vdot(direction, state.point.gradient) >= 0:
        pairs = ()
        direction = state.frame.allowed(_direction(state.point.gradient, pairs, frame=state.frame))
    displacement = float(np.linalg.norm(direction[:-3], axis=1).max())
    strain = float(np.abs(direction[-3:]).max()) / state.frame.scale
    shortened = direction / max(1.0, displacement / LARGEST_DISPLACEMENT, strain / LARGEST_STRAIN)
    return replace(state, pairs=pairs, direction=shortened, fraction=1.0)


def _direction(gradient: Floats, pairs: tuple[tuple[Floats, Floats], ...], *, frame: Frame) -> Floats:
    """L-BFGS's two-loop recursion (Nocedal and Wright, algorithm 7.4)."""
    if not pairs:
        return -frame.downhill(gradient)
    q = gradient.copy()
    weights: list[float] = []
    for displacement, change in reversed(pairs):
        weight = float(np.vdot(displacement, q) / np.vdot(displacement, change))
        weights.append(weight)
        q -= weight * change
    newest, newest_change = pairs[-1]
    q = frame.downhill(q) * (
        np.vdot(newest, newest_change) / np.vdot(newest_change, frame.downhill(newest_change))
    )
    for (displacement, change), weight in zip(pairs, reversed(weights), strict=True):
        q += (weight - float(np.vdot(change, q) / np.vdot(displacement, change))) * displacement
    return -q
