"""The other programs' rows: each as its documentation shows it, with its own defaults but for the largest force."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from loop.crystal import Crystal
from screens.ours import matgl_folder
from screens.outcomes import STEPS, Outcome, Relaxer

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

BATCH_ATOMS: Final = 128
"""Atoms that torch-sim evaluates together: as many as Motherlode does."""
FAILURES: Final = (ValueError, RuntimeError, ArithmeticError)
"""What calculators raise over structures that they cannot handle."""


def versions(*packages: str) -> str:
    """Names and versions."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def _one_by_one(relax_one: Callable[[Crystal], Outcome]) -> Relaxer:
    def run(crystals: Sequence[Crystal]) -> list[Outcome]:
        outcomes = []
        for crystal in crystals:
            try:
                outcomes.append(relax_one(crystal))
            except FAILURES as error:
                outcomes.append(Outcome(note=f"{type(error).__name__}: {error}"))
        return outcomes

    return run


def _of_trajectory(found: dict[str, Any]) -> Outcome:
    """CHGNet's and matgl's optimisers observe every step and, once more, the end."""
    trajectory, final = found["trajectory"], found["final_structure"]
    return Outcome(
        energy=float(np.squeeze(trajectory.energies[-1])) / len(final),
        evaluations=len(trajectory) - 1,
        converged=len(trajectory) - 1 <= STEPS,
        structure=final,
    )


def chgnet_optimiser(*, max_force: float) -> Callable[[], Relaxer]:
    """CHGNet's own optimiser, as its README shows it."""

    def prepare() -> Relaxer:
        from chgnet.model import StructOptimizer

        optimiser = StructOptimizer(use_device="cpu")
        return _one_by_one(
            lambda crystal: _of_trajectory(
                optimiser.relax(crystal.to_structure(), fmax=max_force, steps=STEPS, verbose=False)
            )
        )

    return prepare


def matgl_relaxer(*, max_force: float) -> Callable[[], Relaxer]:
    """Matgl's own relaxer, as its documentation shows it."""

    def prepare() -> Relaxer:
        import matgl
        from matgl.ext.ase import Relaxer as MatGLRelaxer

        with contextlib.redirect_stdout(io.StringIO()):
            relaxer = MatGLRelaxer(potential=matgl.load_model(str(matgl_folder())))
        return _one_by_one(
            lambda crystal: _of_trajectory(relaxer.relax(crystal.to_structure(), fmax=max_force, steps=STEPS))
        )

    return prepare


def by_ase(calculator: Callable[[], Calculator], *, max_force: float) -> Callable[[], Relaxer]:
    """A calculator in the hands of ASE's FIRE, with its cell filter."""

    def prepare() -> Relaxer:
        from ase.filters import FrechetCellFilter
        from ase.optimize import FIRE
        from pymatgen.io.ase import AseAtomsAdaptor

        made = calculator()

        def relax_one(crystal: Crystal) -> Outcome:
            atoms = crystal.to_atoms()
            atoms.calc = made
            with FIRE(FrechetCellFilter(atoms), logfile=None) as optimiser:
                converged = bool(optimiser.run(fmax=max_force, steps=STEPS))
                steps = int(optimiser.nsteps)
            energy = float(np.squeeze(atoms.get_potential_energy())) / len(atoms)
            atoms.calc = None
            return Outcome(
                energy=energy,
                evaluations=steps + 1,
                converged=converged,
                structure=AseAtomsAdaptor.get_structure(atoms),
            )

        return _one_by_one(relax_one)

    return prepare


def chgnet_calculator() -> Calculator:
    """CHGNet's calculator."""
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def sevennet_calculator() -> Calculator:
    """SevenNet's calculator."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(model="7net-0", device="cpu")


def torch_sim(optimiser: str, *, max_force: float) -> Callable[[], Relaxer]:
    """torch-sim's optimiser with SevenNet-0, in batches, cells included."""

    def prepare() -> Relaxer:
        import torch
        import torch_sim as ts  # type: ignore[import-not-found, unused-ignore]
        from torch_sim.autobatching import (  # type: ignore[import-not-found, unused-ignore]
            InFlightAutoBatcher,
        )
        from torch_sim.models.sevennet import (  # type: ignore[import-not-found, unused-ignore]
            SevenNetModel,
        )

        model = SevenNetModel("7net-0", device="cpu")
        evaluated = _Counted(model.forward)
        model.forward = evaluated
        has_converged = ts.generate_force_convergence_fn(force_tol=max_force, include_cell_forces=True)

        def run(crystals: Sequence[Crystal]) -> list[Outcome]:
            before = evaluated.systems
            state = ts.optimize(
                system=[crystal.to_atoms() for crystal in crystals],
                model=model,
                optimizer=ts.Optimizer(optimiser),
                convergence_fn=has_converged,
                max_steps=STEPS,
                autobatcher=InFlightAutoBatcher(
                    model, memory_scales_with="n_atoms", max_memory_scaler=BATCH_ATOMS
                ),
                init_kwargs={"cell_filter": ts.CellFilter.frechet},
            )
            each = (evaluated.systems - before) / len(crystals)
            with torch.no_grad():
                ended = has_converged(state, None).tolist()
            return [
                Outcome(
                    energy=energy / len(structure),
                    evaluations=each,
                    converged=bool(end),
                    structure=structure,
                )
                for energy, end, structure in zip(
                    state.energy.tolist(), ended, state.to_structures(), strict=True
                )
            ]

        return run

    return prepare


class _Counted:
    """A model's forward pass that counts the structures it was given."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward
        self.systems = 0

    def __call__(self, state: Any, *arguments: Any, **options: Any) -> Any:
        self.systems += int(state.n_systems)
        return self._forward(state, *arguments, **options)
