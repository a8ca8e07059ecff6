"""Verification by a second potential, which errs differently from the screening one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flows.verification.dispatch import Dispatcher
from flows.verification.flow_verifier import FlowVerifier
from flows.verification.options import PotentialOptions, potential_of, read_options
from loop.crystal import Crystal
from loop.errors import VerificationError
from loop.spec import PotentialSpec, RelaxationSpec, Thresholds, VerificationLevel, as_json
from surrogates.registry import PotentialDescription, describe_potential

if TYPE_CHECKING:
    from jobflow import Flow

RECIPE: Final = 1
"""Raised whenever the flow is changed so that it gives other numbers."""
OVERHEAD: Final = 0.3
"""CPU seconds of jobflow and atomate2 around the calculations of one flow, measured."""


class PotentialVerifier(FlowVerifier):
    """Relax and static with a potential, through atomate2. Implements `Verifier`."""

    gives_energy = True
    kind: ClassVar = "verification"
    packages: ClassVar = ("atomate2", "jobflow", "ase", "pymatgen")

    def __init__(
        self,
        level: VerificationLevel,
        *,
        thresholds: Thresholds,  # noqa: ARG002 - every verifier has this signature; energies are judged on the hull
        relaxation: RelaxationSpec,
        folder: Path,
        dispatcher: Dispatcher,
        base: Path,
    ) -> None:
        """A level of the campaign file.

        Raises:
            VerificationError: an option is unknown or impossible, the potential is missing, or the level's name
                hides that its energies are corrected.
        """
        options = read_options(level, PotentialOptions)
        super().__init__(
            level, timeout=options.timeout or relaxation.timeout, folder=folder, dispatcher=dispatcher
        )
        self._potential = potential_of(level)
        _check_name(level, self._potential)
        self._base = base.absolute()
        self._max_force = options.max_force or relaxation.max_force
        self._max_stress = options.max_stress or relaxation.max_stress
        self._max_steps = options.max_steps or relaxation.max_steps
        self._fix_symmetry = options.fix_symmetry

    @cached_property
    def _description(self) -> PotentialDescription:
        return describe_potential(self._potential, base=self._base)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Convergence criteria and what the relaxation may change."""
        return {
            "recipe": RECIPE,
            "max_force": self._max_force,
            "max_stress": self._max_stress,
            "max_steps": self._max_steps,
            "fix_symmetry": self._fix_symmetry,
        }

    @property
    def codes(self) -> str:
        """The potential's package and weights."""
        return self._description.version

    def cpu_seconds(self, crystal: Crystal) -> float:
        """Proportional to the number of atoms."""
        return OVERHEAD + self._description.seconds_per_atom * crystal.number_of_atoms

    def flow(self, crystal: Crystal) -> Flow:
        """Relax → static → answer."""
        from flows.verification.makers import PotentialRelaxMaker, PotentialStaticMaker, RelaxStaticMaker

        potential, base = as_json(self._potential), str(self._base)
        relax_maker = PotentialRelaxMaker(
            potential=dict(potential),
            base=base,
            max_force=self._max_force,
            max_stress=self._max_stress,
            steps=self._max_steps,
            fix_symmetry=self._fix_symmetry,
        )
        maker = RelaxStaticMaker(
            relax_maker=relax_maker,
            static_maker=PotentialStaticMaker(potential=dict(potential), base=base),
            max_force=self._max_force,
            max_stress=self._max_stress,
            corrections=self._potential.corrections,
        )
        return maker.make(crystal.to_structure())


def _check_name(level: VerificationLevel, potential: PotentialSpec) -> None:
    """A level's name names its hull in the ledger and the report, so it must show what was added to the energies."""
    if potential.corrections != "none" and potential.corrections not in level.name:
        raise VerificationError(
            f"verification.{level.name}.name: the level's energies get {potential.corrections} corrections, which "
            f"its name does not show; call it {f'{level.name}+{potential.corrections}'!r}"
        )
