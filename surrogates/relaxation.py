"""Relaxation of crystals, positions and cell together, by any potential, any number at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.units import GPa

from loop.crystal import Crystal
from loop.errors import CrystalError
from loop.records import Failure
from loop.spec import RelaxationSpec
from surrogates import guards
from surrogates.early_rejection import PLACES, REASON, Checkpoint, Rule, explain
from surrogates.optimisation import Descent, initialise, step
from surrogates.potential import Batch, Evaluation, Floats, Integers, Potential
from surrogates.symmetry import Symmetry, symmetry_of

STAGE: Final = "relaxation"
CODE_VERSION: Final = 4
"""Part of a relaxation's identity: to be raised when a change here or in `optimisation` or `guards` moves
results."""
RELEASE_DISPLACEMENT: Final = 0.03
"""Å, standard deviation of each coordinate when a space group is let go."""
RELEASE_STRAIN: Final = 0.005
"""Standard deviation of each component of the strain then."""
SMALLEST_GAIN: Final = 1e-3
"""eV/atom below which what letting go gained is noise of where a relaxation stops."""
ATOMS_IN_FLIGHT: Final = 128
"""Atoms evaluated together; when one crystal converges, the next takes its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """A crystal at a local minimum of a potential. One that does not converge is a `Failure` instead."""

    crystal: Crystal
    """Standardised anew, so that symmetry found on the way shows."""
    energy_per_atom: float
    """eV/atom."""
    starting_energy_per_atom: float
    """eV/atom, before the first step."""
    max_force: float
    """Largest force left on an atom, eV/Å."""
    max_stress: float
    """Largest stress component left, GPa."""
    steps: int
    """Evaluations."""
    volume_change: float
    """Relative change of the volume per atom: 0.1 means 10 % larger."""
    space_group_before: int
    space_group_after: int
    trace: tuple[Checkpoint, ...] = ()
    """Where it stood after some evaluations."""
    gained_by_release: float | None = None
    """eV/atom that letting go of the space group gained; 0 where it holds by itself, None where it was not let go."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return values | {
            "crystal": self.crystal.to_dict(),
            "trace": [checkpoint.to_list() for checkpoint in self.trace],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Relaxation:
        """Read what `to_dict` wrote."""
        trace = tuple(Checkpoint.from_list(checkpoint) for checkpoint in values.get("trace", ()))
        return cls(**{**values, "crystal": Crystal.from_dict(values["crystal"]), "trace": trace})


@dataclass(slots=True, kw_only=True)
class _Job:
    """One crystal on its way."""

    index: int
    crystal: Crystal
    numbers: Integers
    positions: Floats
    cell: Floats
    volume: float
    symmetry: Symmetry | None = None
    """Held while not None."""
    operations: int = 1
    """Of the space group that is held, or was until it was let go; 1 where there is none to hold."""
    starting_energy: float = float("nan")
    evaluations: int = 0
    descent: Descent | None = None
    ceiling: float | None = None
    """eV/atom above which it does not matter where it ends; None where it is run to its end."""
    trace: list[Checkpoint] = field(default_factory=list)
    held: Descent | None = None
    """Where the relaxation that held the space group ended, once it was let go."""
    allowance: int = 0
    """Evaluations after which it is given up."""

    def asks_about(self) -> tuple[Floats, Floats]:
        return self.descent.asks_about() if self.descent else (self.positions, self.cell)


def relax(
    crystals: Sequence[Crystal],
    potential: Potential,
    settings: RelaxationSpec,
    *,
    atoms_in_flight: int = ATOMS_IN_FLIGHT,
    evaluated: Callable[[int], None] | None = None,
    rule: Rule | None = None,
    ceilings: Sequence[float | None] | None = None,
) -> list[Relaxation | Failure]:
    """Relax crystals to the nearest local minimum.

    With `settings.symmetry` other than `free` the crystal keeps its space group, and every step stays in the degrees of
    freedom of its asymmetric unit. With `released` the space group is let go afterwards: the crystal is displaced at
    random, relaxed freely, and the lower of the two minima is the result. One without symmetry has none to let go.

    Each crystal converges by itself, on its largest force and its largest stress component. What one
    crystal becomes does not depend on the others beyond the floating-point noise of a batched evaluation;
    the same list is reproducible bit for bit.

    Args:
        crystals: any number, in standardised form.
        potential: evaluates them.
        settings: when a relaxation ends; `timeout` is for whoever runs this in a worker process.
        atoms_in_flight: atoms evaluated together; at least one crystal is.
        evaluated: told the index of a crystal each time that it was evaluated.
        rule: abandons crystals that will not end at or below their ceiling.
        ceilings: eV/atom, one for each crystal, in the potential's own energies; None runs that crystal to its end.

    Returns:
        One entry per crystal, in order. Failure reasons: `unknown-element`, `overlap`, `collapsed`,
        `exploded`, `not-finite` (no finite energy, forces or stress), `not-converged`, `not-standardised`,
        `rejected-early`.

    Raises:
        PotentialError: the potential itself cannot be used (missing weights).
    """
    outcomes: dict[int, Relaxation | Failure] = {}
    waiting: deque[_Job] = deque()
    for index, crystal in enumerate(crystals):
        job = _job(index, crystal, settings=settings)
        job.ceiling = ceilings[index] if ceilings else None
        failure = _objection_to_start(job, potential=potential)
        if failure is None:
            waiting.append(job)
        else:
            outcomes[index] = failure
    flying: list[_Job] = []
    while waiting or flying:
        _refill(flying, waiting, atoms_in_flight=atoms_in_flight)
        evaluation, batch = _evaluate(flying, potential)
        still: list[_Job] = []
        for i, job in enumerate(flying):
            if evaluated:
                evaluated(job.index)
            outcome = _advance(job, evaluation, i=i, atoms=batch.structure == i, settings=settings)
            if outcome is None:
                outcome = _look(job, rule, settings=settings)
            if outcome is None:
                still.append(job)
            else:
                outcomes[job.index] = outcome
        flying = still
    return [outcomes[index] for index in range(len(crystals))]


def _job(index: int, crystal: Crystal, *, settings: RelaxationSpec) -> _Job:
    atoms = crystal.to_atoms()
    numbers = atoms.numbers.astype(np.int64)
    positions = np.asarray(atoms.positions, dtype=np.float64)
    cell = np.asarray(atoms.cell.array, dtype=np.float64)
    symmetry = None if settings.symmetry == "free" else symmetry_of(numbers, positions, cell=cell)
    return _Job(
        index=index,
        crystal=crystal,
        numbers=numbers,
        positions=positions,
        cell=cell,
        volume=abs(float(np.linalg.det(cell))),
        symmetry=symmetry,
        operations=len(symmetry.rotations) if symmetry else 1,
        allowance=settings.max_steps,
    )


def _objection_to_start(job: _Job, *, potential: Potential) -> Failure | None:
    unknown = sorted(job.crystal.elements - potential.elements) if potential.elements is not None else []
    if unknown:
        return _failure("unknown-element", f"{potential.fidelity} does not know {', '.join(unknown)}")
    objection = guards.objection(
        job.numbers, job.positions, cell=job.cell, starting_volume=job.volume, within=guards.CLOSEST_AT_START
    )
    return _failure(*objection) if objection else None


def _refill(flying: list[_Job], waiting: deque[_Job], *, atoms_in_flight: int) -> None:
    atoms = sum(len(job.numbers) for job in flying)
    while waiting and (not flying or atoms + len(waiting[0].numbers) <= atoms_in_flight):
        job = waiting.popleft()
        atoms += len(job.numbers)
        flying.append(job)


def _evaluate(jobs: list[_Job], potential: Potential) -> tuple[Evaluation, Batch]:
    geometries = [job.asks_about() for job in jobs]
    batch = Batch(
        atomic_numbers=np.concatenate([job.numbers for job in jobs]),
        positions=np.concatenate([positions for positions, _ in geometries]),
        cells=np.stack([cell for _, cell in geometries]),
        structure=np.repeat(np.arange(len(jobs)), [len(job.numbers) for job in jobs]),
    )
    return potential.evaluate(batch), batch


def _advance(
    job: _Job,
    evaluation: Evaluation,
    *,
    i: int,
    atoms: np.ndarray[Any, np.dtype[np.bool_]],
    settings: RelaxationSpec,
) -> Relaxation | Failure | None:
    """One step of one crystal: its outcome, or None where it goes on."""
    energy, forces, stress = float(evaluation.energy[i]), evaluation.forces[atoms], evaluation.stress[i]
    job.evaluations += 1
    if job.descent is None:
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            why = evaluation.refused.get(i, "energy, forces or stress of the start are not finite")
            return _give_up(job, "not-finite", why)
        descent = _set_out(job, energy, forces=forces, stress=stress)
    else:
        descent = step(job.descent, energy, forces=forces, stress=stress)
        if descent.point is not job.descent.point:
            positions, cell = descent.stands_at()
            objection = guards.objection(
                job.numbers, positions, cell=cell, starting_volume=job.volume, within=guards.CLOSEST_AT_START
            )
            if objection:
                return _give_up(job, *objection)
    job.descent = descent
    if _has_converged(descent, settings):
        if settings.symmetry != "released" or job.held is not None or job.operations == 1:
            return _settle(job, descent)
        _let_go(job, descent, settings=settings)
    elif descent.stuck or job.evaluations >= job.allowance:
        point = descent.point
        left = f"{point.max_force:.3f} eV/Å and {point.max_stress / GPa:.2f} GPa are left"
        why = evaluation.refused.get(i, "no lower energy lies along the forces")
        ended = (
            f"stuck after {job.evaluations} evaluations ({why})"
            if descent.stuck
            else (f"{job.evaluations} evaluations were not enough")
        )
        return _give_up(job, "not-converged", f"{ended}; {left}")
    return None


def _look(job: _Job, rule: Rule | None, *, settings: RelaxationSpec) -> Failure | None:
    """Note where a crystal stands, and abandon it where the rule says so."""
    # Letting go of the space group grants another `max_steps` from there.
    since = job.evaluations - (job.allowance - settings.max_steps)
    descent = job.descent or job.held
    if descent is None or (job.held is not None, since) not in PLACES:
        return None
    n_atoms, point = len(job.numbers), descent.point
    energy = min(d.point.energy for d in (descent, job.held) if d) / n_atoms
    before = job.trace[-1].energy_per_atom if job.trace else job.starting_energy / n_atoms
    checkpoint = Checkpoint(
        evaluations=job.evaluations,
        released=job.held is not None,
        since=since,
        energy_per_atom=energy,
        decrement=-0.5 * float(np.vdot(point.gradient, descent.direction)) / n_atoms,
        max_force=point.max_force,
        max_stress=point.max_stress / GPa,
        drop=before - energy,
        operations=job.operations,
    )
    job.trace.append(checkpoint)
    if rule is None or job.ceiling is None or not rule.abandons(checkpoint, ceiling=job.ceiling):
        return None
    return _failure(REASON, explain(rule, checkpoint, ceiling=job.ceiling))


def _set_out(job: _Job, energy: float, *, forces: Floats, stress: Floats) -> Descent:
    """Begin at the evaluated start, or at the place where the space group was let go."""
    if job.held is None:
        job.starting_energy = energy
    return initialise(
        job.positions,
        job.cell,
        energy=energy,
        forces=forces,
        stress=stress,
        numbers=job.numbers,
        symmetry=job.symmetry,
    )


def _has_converged(descent: Descent, settings: RelaxationSpec) -> bool:
    point = descent.point
    return point.max_force <= settings.max_force and point.max_stress / GPa <= settings.max_stress


def _let_go(job: _Job, descent: Descent, *, settings: RelaxationSpec) -> None:
    """Set out again without the space group, from a little beside where holding it led.

    At a symmetric saddle point no force points away from the symmetry, so something else has to.
    """
    rng = np.random.default_rng(int(job.crystal.key[:16], 16))
    positions, cell = descent.stands_at()
    strain = np.eye(3) + rng.normal(scale=RELEASE_STRAIN, size=(3, 3))
    job.positions = (positions + rng.normal(scale=RELEASE_DISPLACEMENT, size=positions.shape)) @ strain.T
    job.cell = cell @ strain.T
    job.symmetry, job.held, job.descent = None, descent, None
    job.allowance = job.evaluations + settings.max_steps


def _give_up(job: _Job, reason: str, detail: str) -> Relaxation | Failure:
    """A failure, unless holding the space group led to a minimum that letting go did not improve upon."""
    if job.held is None:
        return _failure(reason, detail)
    if job.descent is not None and _gain(job, job.descent) > SMALLEST_GAIN:
        return _failure(
            reason,
            f"space group {job.crystal.space_group_number} does not hold by itself, and without it {detail}",
        )
    return _settle(job, job.held)


def _gain(job: _Job, descent: Descent) -> float:
    """eV/atom by which a relaxation lies below the one that held the space group."""
    assert job.held is not None
    return (job.held.point.energy - descent.point.energy) / len(job.numbers)


def _settle(job: _Job, descent: Descent) -> Relaxation | Failure:
    gain: float | None = None
    if job.held is not None:
        gain = _gain(job, descent)
        if gain <= SMALLEST_GAIN:
            descent, gain = job.held, 0.0
    positions, cell = descent.stands_at()
    objection = guards.objection(
        job.numbers, positions, cell=cell, starting_volume=job.volume, within=guards.CLOSEST_AT_END
    )
    if objection:
        return _failure(*objection)
    try:
        crystal = Crystal.from_atoms(Atoms(numbers=job.numbers, positions=positions, cell=cell, pbc=True))
    except CrystalError as error:
        return _failure("not-standardised", str(error))
    n_atoms = len(job.numbers)
    return Relaxation(
        crystal=crystal,
        energy_per_atom=descent.point.energy / n_atoms,
        starting_energy_per_atom=job.starting_energy / n_atoms,
        max_force=descent.point.max_force,
        max_stress=descent.point.max_stress / GPa,
        steps=job.evaluations,
        volume_change=abs(float(np.linalg.det(cell))) / job.volume - 1,
        space_group_before=job.crystal.space_group_number,
        space_group_after=crystal.space_group_number,
        trace=tuple(job.trace),
        gained_by_release=gain,
    )


def _failure(reason: str, detail: str) -> Failure:
    return Failure(stage=STAGE, reason=reason, detail=detail)
