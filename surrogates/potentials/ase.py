"""Any ASE calculator as a potential, one structure after another, and ASE's own effective medium theory.

EMT (Jacobsen, Stoltze and Nørskov, Surf. Sci. 366, 394, 1996) describes seven metals and their alloys
crudely but in
milliseconds: a world to try campaigns in, not a source of predictions.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import __version__ as ase_version
from ase.calculators.calculator import BaseCalculator, CalculatorError

from loop.elements import closest
from loop.errors import PotentialError
from loop.spec import PotentialSpec
from surrogates.potential import Batch, Evaluation, Potential
from surrogates.potentials import loading

EMT_METALS: Final = frozenset({"Ag", "Al", "Au", "Cu", "Ni", "Pd", "Pt"})
"""ASE's EMT also has parameters for H, C, N and O, "just for fun", as its source says."""


class CalculatorPotential:
    """An ASE calculator as a potential."""

    def __init__(
        self,
        calculator: BaseCalculator,
        *,
        fidelity: str,
        version: str,
        elements: frozenset[str] | None,
        seconds_per_atom: float,
    ) -> None:
        self._calculator = calculator
        self.fidelity = fidelity
        self.version = version
        self.elements = elements
        self.seconds_per_atom = seconds_per_atom

    def evaluate(self, batch: Batch) -> Evaluation:
        """Energy, forces and stress of every structure; what the calculator cannot do is refused.

        Raises:
            PotentialError: an element that the calculator is known not to know.
        """
        if self.elements is not None:
            loading.check_elements(batch.atomic_numbers, known=self.elements, fidelity=self.fidelity)
        refused: dict[int, str] = {}
        evaluation = loading.refusal(batch, refused)
        for i, atoms in enumerate(batch.atoms()):
            atoms.calc = self._calculator
            try:
                energy = float(atoms.get_potential_energy())
                forces = np.asarray(atoms.get_forces(), dtype=np.float64)
                stress = np.asarray(atoms.get_stress(voigt=False), dtype=np.float64)
            except (CalculatorError, ArithmeticError, RuntimeError, ValueError, KeyError) as error:
                refused[i] = f"{type(error).__name__}: {error}"
                continue
            evaluation.energy[i] = energy
            evaluation.forces[batch.structure == i] = forces
            evaluation.stress[i] = stress
        return evaluation


def load(spec: PotentialSpec, *, base: Path) -> Potential:  # noqa: ARG001 (every entry point has this signature)
    """An ASE calculator by `calculator: package.module:Name`, called with `arguments`.

    Raises:
        PotentialError: the path is malformed or cannot be imported, the call fails, or what it gives
            computes no stress.
    """
    loading.refuse_foreign_fields(spec, calculator=True, arguments=spec.arguments)
    if spec.calculator is None:
        raise PotentialError(
            "potential 'ase': calculator is missing; give an import path such as ase.calculators.emt:EMT"
        )
    factory = _imported(spec.calculator)
    try:
        with loading.quiet():
            calculator = factory(**spec.arguments)
    except (TypeError, ValueError, RuntimeError, OSError, KeyError, CalculatorError) as error:
        raise PotentialError(
            f"potential 'ase': {spec.calculator} cannot be built with arguments {spec.arguments} "
            f"({type(error).__name__}: {error})"
        ) from error
    if not isinstance(calculator, BaseCalculator):
        raise PotentialError(
            f"potential 'ase': {spec.calculator} gives a {type(calculator).__name__}, which is not an "
            "ASE calculator"
        )
    lacking = sorted({"energy", "forces", "stress"} - set(calculator.implemented_properties))
    if lacking:
        raise PotentialError(
            f"potential 'ase': {spec.calculator} computes no {', '.join(lacking)}, which relaxing a "
            "cell needs"
        )
    module, _, name = spec.calculator.partition(":")
    suffix = f"-{loading.hash_of_values(spec.arguments)}" if spec.arguments else ""
    return CalculatorPotential(
        calculator,
        fidelity=f"{name.lower()}{suffix}",
        version=f"{_distribution(module)}, ase {ase_version}, {spec.calculator}{suffix}",
        elements=None,
        seconds_per_atom=1.0,
    )


def load_emt(spec: PotentialSpec, *, base: Path) -> Potential:  # noqa: ARG001 (every entry point has this signature)
    """ASE's effective medium theory for Ag, Al, Au, Cu, Ni, Pd and Pt.

    Raises:
        PotentialError: the specification gives a model, a calculator or arguments.
    """
    from ase.calculators.emt import EMT

    loading.refuse_foreign_fields(spec)
    return CalculatorPotential(
        EMT(), fidelity="emt", version=f"ase {ase_version}, EMT", elements=EMT_METALS, seconds_per_atom=0.03
    )


def _imported(path: str) -> Any:
    """What `package.module:Name` names."""
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise PotentialError(
            f"potential 'ase': calculator {path!r} is not an import path; write package.module:Name, "
            "e.g. ase.calculators.emt:EMT"
        )
    try:
        with loading.quiet():
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise PotentialError(
            f"potential 'ase': calculator {path!r} cannot be imported ({error}); install its package "
            "or mend the path"
        ) from error
    if not hasattr(module, name):
        raise PotentialError(
            f"potential 'ase': {module_name} has no {name!r}; did you mean {closest(name, vars(module))!r}?"
        )
    factory = getattr(module, name)
    if not callable(factory):
        raise PotentialError(
            f"potential 'ase': calculator {path!r} is a {type(factory).__name__}, not a class or function"
        )
    return factory


def _distribution(module: str) -> str:
    """Name and version of the distribution that brings a module, or the module's own name."""
    top = module.partition(".")[0]
    for name in (top, *packages_distributions().get(top, ())):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return module
