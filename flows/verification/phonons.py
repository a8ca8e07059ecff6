"""Verification by phonons: is the crystal a minimum, or does it fall apart along some vibration?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from flows.verification.dispatch import Dispatcher
from flows.verification.failures import CalculationFailedError
from flows.verification.flow_verifier import FlowVerifier
from flows.verification.options import PhononOptions, potential_of, read_options
from loop.crystal import SYMMETRY_TOLERANCE, Crystal
from loop.spec import RelaxationSpec, Thresholds, VerificationLevel, as_json
from surrogates.registry import PotentialDescription, describe_potential

if TYPE_CHECKING:
    from jobflow import Flow

RECIPE: Final = 1
"""Raised whenever the flow is changed so that it gives other numbers."""
OVERHEAD: Final = 3.0
"""CPU seconds of phonopy's symmetry search and of the bands, measured on supercells of 64 to 216 atoms."""
EVALUATIONS_PER_RELAXATION: Final = 20
"""A potential declares seconds to relax one atom; a displaced supercell is evaluated once."""
DISPLACEMENTS_PER_FREE_ATOM: Final = 6
"""Of an atom without site symmetry: three directions, both ways."""


class PhononVerifier(FlowVerifier):
    """Harmonic phonons by finite displacements with a potential, through atomate2 and phonopy."""

    gives_energy = False
    kind: ClassVar = "phonons"
    packages: ClassVar = ("atomate2", "jobflow", "phonopy", "seekpath", "ase", "pymatgen")

    def __init__(
        self,
        level: VerificationLevel,
        *,
        thresholds: Thresholds,
        relaxation: RelaxationSpec,  # noqa: ARG002 - every verifier has this signature; phonons need a tighter one
        folder: Path,
        dispatcher: Dispatcher,
        base: Path,
    ) -> None:
        """A level of the campaign file.

        Raises:
            VerificationError: an option is unknown or impossible, or the potential is missing.
        """
        self._options = read_options(level, PhononOptions)
        super().__init__(level, timeout=self._options.timeout, folder=folder, dispatcher=dispatcher)
        self._potential = potential_of(level)
        self._base = base.absolute()
        self._threshold = thresholds.phonon_frequency

    @cached_property
    def _description(self) -> PotentialDescription:
        return describe_potential(self._potential, base=self._base)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Options and threshold: the verdict is part of the result."""
        options = self._options.model_dump(mode="json", exclude={"timeout"})
        return {"recipe": RECIPE, "phonon_frequency": self._threshold, **options}

    @property
    def codes(self) -> str:
        """The potential's package and weights."""
        return self._description.version

    def cpu_seconds(self, crystal: Crystal) -> float:
        """Tight relaxation, and one evaluation of the supercell per displacement that symmetry leaves."""
        from flows.verification.supercell import supercell_matrix

        per_atom = self._description.seconds_per_atom
        relaxation = OVERHEAD + 2.0 * per_atom * crystal.number_of_atoms
        try:
            matrix = supercell_matrix(
                crystal, min_length=self._options.min_length, max_atoms=self._options.max_atoms
            )
        except CalculationFailedError:
            return relaxation  # it will fail after the relaxation
        atoms = abs(_determinant(matrix.tolist())) * crystal.number_of_atoms
        return relaxation + expected_displacements(crystal) * atoms * per_atom / EVALUATIONS_PER_RELAXATION

    def flow(self, crystal: Crystal) -> Flow:
        """Tight relaxation → supercell → displacements → forces → verdict."""
        from flows.verification.makers import PotentialRelaxMaker, PotentialStaticMaker
        from flows.verification.phonon_makers import PhononFlowMaker

        potential, base, options = as_json(self._potential), str(self._base), self._options
        relax_maker = PotentialRelaxMaker(
            name="tight relaxation",
            potential=dict(potential),
            base=base,
            max_force=options.max_force,
            max_stress=options.max_stress,
            steps=options.max_steps,
            # The symmetry is phonopy's to use, and a saddle point must not be left before it is seen.
            fix_symmetry=True,
        )
        maker = PhononFlowMaker(
            relax_maker=relax_maker,
            displacement_maker=PotentialStaticMaker(
                name="displacement", potential=dict(potential), base=base
            ),
            max_force=options.max_force,
            max_stress=options.max_stress,
            min_length=options.min_length,
            max_atoms=options.max_atoms,
            displacement=options.displacement,
            gamma_radius=options.gamma_radius,
            q_spacing=options.q_spacing,
            threshold=self._threshold,
            temperatures=options.temperatures,
        )
        return maker.make(crystal.to_structure())


def expected_displacements(crystal: Crystal) -> int:
    """Displacements that phonopy is expected to need, from the site symmetries alone."""
    import moyopy
    from moyopy.interface import MoyoAdapter

    dataset = moyopy.MoyoDataset(
        MoyoAdapter.from_structure(crystal.to_structure()), symprec=SYMMETRY_TOLERANCE
    )
    operations = len(dataset.operations)
    return sum(
        ceil(DISPLACEMENTS_PER_FREE_ATOM * atoms / operations) for atoms in Counter(dataset.orbits).values()
    )


def _determinant(matrix: list[list[int]]) -> int:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
