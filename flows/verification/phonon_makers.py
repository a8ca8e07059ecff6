"""The phonon flow: atomate2's jobs for displacements and forces, our own for supercell and verdict.

atomate2's whole `PhononMaker` is not run: its document writes plots, force constants and a band file of many
megabytes, which cost more than the forces of a small crystal, and its verdict is not the one wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from atomate2.common.jobs.phonons import generate_phonon_displacements, run_phonon_displacements
from jobflow import Flow, Maker, job
from pymatgen.core.structure import Structure

from flows.verification.makers import (
    PotentialRelaxMaker,
    PotentialStaticMaker,
    check_converged,
    crystal_of,
    steps_of,
)
from flows.verification.phonon_bands import judge, thermal_properties
from flows.verification.supercell import shortest_vector, supercell_matrix
from loop.crystal import Crystal


@dataclass
class PhononFlowMaker(Maker):  # type: ignore[misc]
    """Tight relaxation → supercell → displacements → forces → verdict, for any makers that give forces."""

    name: str = "phonons"
    relax_maker: Maker = field(default_factory=lambda: PotentialRelaxMaker(fix_symmetry=True))
    displacement_maker: Maker = field(default_factory=PotentialStaticMaker)
    max_force: float = 0.001
    """eV/Å, checked after the tight relaxation."""
    max_stress: float = 0.1
    """GPa."""
    min_length: float = 10.0
    """Smallest distance of an atom from its image in the supercell, Å."""
    max_atoms: int = 300
    displacement: float = 0.01
    """Å."""
    symmetry_tolerance: float = 1e-3
    """Å."""
    gamma_radius: float | None = None
    """1/Å; None for the reciprocal of the supercell's length."""
    q_spacing: float = 0.03
    """1/Å."""
    threshold: float = -0.1
    """THz."""
    temperatures: tuple[float, ...] = ()
    """K."""
    code: str = "ase"
    """atomate2's name of what computes the forces."""

    def make(self, structure: Structure) -> Flow:
        """The flow for one structure."""
        relaxation = self.relax_maker.make(structure)
        prepared = prepare(
            initial=structure,
            relaxed=relaxation.output.structure,
            forces=relaxation.output.output.forces,
            stress=relaxation.output.output.stress,
            relaxation=relaxation.output.output,
            max_force=self.max_force,
            max_stress=self.max_stress,
            min_length=self.min_length,
            max_atoms=self.max_atoms,
        )
        displaced = generate_phonon_displacements(
            structure=prepared.output["structure"],
            supercell_matrix=prepared.output["supercell_matrix"],
            displacement=self.displacement,
            sym_reduce=True,
            symprec=self.symmetry_tolerance,
            use_symmetrized_structure=None,
            kpath_scheme="seekpath",
            code=self.code,
        )
        forces = run_phonon_displacements(
            displacements=displaced.output,
            structure=prepared.output["structure"],
            supercell_matrix=prepared.output["supercell_matrix"],
            phonon_maker=self.displacement_maker,
        )
        answer = judge_phonons(
            prepared=prepared.output,
            forces=forces.output["forces"],
            displacement=self.displacement,
            symmetry_tolerance=self.symmetry_tolerance,
            gamma_radius=self.gamma_radius,
            q_spacing=self.q_spacing,
            threshold=self.threshold,
            temperatures=list(self.temperatures),
            code=self.code,
        )
        return Flow([relaxation, prepared, displaced, forces, answer], output=answer.output, name=self.name)


@job(name="supercell")  # type: ignore[untyped-decorator]
def prepare(
    *,
    initial: Structure,
    relaxed: Structure,
    forces: list[list[float]],
    stress: list[list[float]],
    relaxation: Any,
    max_force: float,
    max_stress: float,
    min_length: float,
    max_atoms: int,
) -> dict[str, Any]:
    """Check the tight relaxation, standardise the crystal and choose its supercell.

    Raises:
        CalculationFailedError: not converged, collapsed, or the supercell would be too large.
    """
    steps = steps_of(relaxation)
    largest = check_converged(
        forces=forces, stress=stress, max_force=max_force, max_stress=max_stress, steps=steps
    )
    crystal = crystal_of(relaxed, initial=initial)
    matrix = supercell_matrix(crystal, min_length=min_length, max_atoms=max_atoms)
    return {
        "structure": crystal.to_structure(),
        "crystal": crystal.to_dict(),
        "supercell_matrix": matrix.tolist(),
        "properties": {"steps": steps, **largest, "space_group_number": crystal.space_group_number},
    }


@job(name="phonon bands")  # type: ignore[untyped-decorator]
def judge_phonons(
    *,
    prepared: dict[str, Any],
    forces: Sequence[Sequence[Sequence[float]]],
    displacement: float,
    symmetry_tolerance: float,
    gamma_radius: float | None,
    q_spacing: float,
    threshold: float,
    temperatures: list[float],
    code: str,
) -> dict[str, Any]:
    """Force constants, bands and the dynamical verdict.

    Args:
        prepared: what `prepare` answered.
        forces: of each displaced supercell, `n_displacements x n_atoms x 3`, eV/Å.
        displacement: Å, as the displaced supercells were made.
        symmetry_tolerance: Å, as the displaced supercells were made.
        gamma_radius: 1/Å; None for the reciprocal of the supercell's length.
        q_spacing: see `flows.verification.phonon_bands.judge`.
        threshold: as above.
        temperatures: K, for thermal properties; none where empty.
        code: atomate2's name of what computed the forces.
    """
    from atomate2.common.schemas.phonons import get_factor
    from phonopy import Phonopy
    from pymatgen.io.phonopy import get_phonopy_structure

    crystal = Crystal.from_dict(prepared["crystal"])
    matrix = np.array(prepared["supercell_matrix"])
    phonon = Phonopy(
        get_phonopy_structure(crystal.to_structure()),
        matrix,
        primitive_matrix="auto",
        symprec=symmetry_tolerance,
        is_symmetry=True,
    )
    phonon.unit_conversion_factor = get_factor(code)
    phonon.generate_displacements(distance=displacement)
    phonon.forces = np.array(forces)
    phonon.produce_force_constants(show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    length = shortest_vector(np.asarray(phonon.supercell.cell))
    radius = 1.0 / length if gamma_radius is None else gamma_radius
    properties = {
        **prepared["properties"],
        "supercell_matrix": matrix.tolist(),
        "supercell_atoms": len(phonon.supercell),
        "supercell_length": round(length, 3),
        "displacements": len(forces),
        "gamma_radius": round(radius, 4),
        **judge(phonon, gamma_radius=radius, q_spacing=q_spacing, threshold=threshold),
    }
    if temperatures and properties["dynamically_stable"]:
        properties["thermal"] = thermal_properties(phonon, temperatures=temperatures, q_spacing=q_spacing)
    return {"crystal": crystal.to_dict(), "energy_per_atom": None, "properties": properties}
