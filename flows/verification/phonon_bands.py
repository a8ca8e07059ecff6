"""What phonon frequencies say about dynamical stability, judged away from Γ where a supercell can see.

The flag `has_imaginary_modes` of atomate2's phonon document is not used: its tolerance of 1e-5 THz takes the
noise of single-precision forces beside Γ for an instability.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from phonopy import Phonopy

Floats = NDArray[np.float64]

STORED_CHARACTERS: Final = 16_000
"""Of the bands kept for a plot, as JSON."""
CHARACTERS: Final = 8
"""Of one frequency or distance, as JSON."""
GAMMA: Final = 1e-6
"""Wave vectors shorter than this are Γ, 1/Å."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A straight piece of the path through the Brillouin zone."""

    start: str
    end: str
    q_points: Floats
    """`n_points x 3`, in reciprocal vectors of the primitive cell."""
    distances: Floats
    """`n_points`, from the start of the segment, 1/Å."""
    frequencies: Floats
    """`n_points x n_modes`, THz, ascending; negative for imaginary."""


def judge(phonon: Phonopy, *, gamma_radius: float, q_spacing: float, threshold: float) -> dict[str, Any]:
    """Lowest frequency of a crystal and where it lies, with bands to plot.

    Judged are the optical modes at Γ, every mode of the wave vectors commensurate with the supercell, which are
    exact, and, farther from Γ than `gamma_radius`, those of the high-symmetry path and of a mesh, which are
    interpolated. Between Γ and the first exact wave vectors interpolation invents soft acoustic modes: of layered
    GeS, a supercell of 9.5 Å has -0.5 THz halfway, where one of 18.9 Å has a stable crystal.

    Args:
        phonon: with force constants.
        gamma_radius: 1/Å (reciprocal wavelength).
        q_spacing: largest distance between judged wave vectors, 1/Å.
        threshold: lowest frequency of a stable crystal, THz.

    Returns:
        JSON values: `dynamically_stable`, `minimum_frequency` (THz), `minimum_at` (reciprocal coordinates),
        `minimum_on`, `minimum_frequency_commensurate` (THz, at the wave vectors that are exact rather than
        interpolated), `maximum_frequency` (THz), `bands`.
    """
    cell = np.asarray(phonon.primitive.cell)
    segments = path_frequencies(phonon, q_spacing=q_spacing)
    mesh_points, mesh_frequencies = _mesh(phonon, cell=cell, q_spacing=q_spacing)
    commensurate = _commensurate_points(phonon)
    groups = {
        "commensurate": (commensurate, _frequencies(phonon, commensurate)),
        "path": (np.vstack([s.q_points for s in segments]), np.vstack([s.frequencies for s in segments])),
        "mesh": (mesh_points, mesh_frequencies),
    }
    lowest = [(float(f), "Γ", np.zeros(3)) for f in optical_frequencies_at_gamma(phonon)[:1]]
    exact = [frequency for frequency, _, _ in lowest]
    for name, (q_points, frequencies) in groups.items():
        radius = GAMMA if name == "commensurate" else max(gamma_radius, GAMMA)
        away = np.flatnonzero(distances_from_gamma(q_points, cell=cell) > radius)
        if len(away) == 0:
            continue
        worst = away[np.argmin(frequencies[away].min(axis=1))]
        lowest.append((float(frequencies[worst].min()), name, q_points[worst]))
        if name == "commensurate":
            exact.append(lowest[-1][0])
    minimum, where, q_point = min(lowest, key=lambda item: item[0])
    return {
        "dynamically_stable": bool(minimum >= threshold),
        "minimum_frequency": minimum,
        "minimum_at": [round(float(x), 4) for x in q_point],
        "minimum_on": where,
        "minimum_frequency_commensurate": min(exact, default=None),
        "maximum_frequency": float(max(frequencies.max() for _, frequencies in groups.values())),
        "bands": compact_bands(segments),
    }


def path_frequencies(phonon: Phonopy, *, q_spacing: float) -> list[Segment]:
    """Frequencies along the path that seekpath recommends (Hinuma et al. 2017) for the cell as it stands."""
    import seekpath

    cell = np.asarray(phonon.primitive.cell)
    path = seekpath.get_path_orig_cell(phonon.primitive.totuple(), symprec=phonon.symmetry.tolerance)
    segments = []
    for start, end in path["path"]:
        first, last = np.array(path["point_coords"][start]), np.array(path["point_coords"][end])
        length = float(np.linalg.norm(np.linalg.inv(cell) @ (last - first)))
        fractions = np.linspace(0.0, 1.0, max(2, int(np.ceil(length / (q_spacing / 2))) + 1))
        q_points = first + fractions[:, None] * (last - first)
        segments.append(
            Segment(
                start=_label(start),
                end=_label(end),
                q_points=q_points,
                distances=fractions * length,
                frequencies=_frequencies(phonon, q_points),
            )
        )
    return segments


def optical_frequencies_at_gamma(phonon: Phonopy) -> Floats:
    """Frequencies at Γ but for the three rigid translations, ascending, THz (`3 n_atoms - 3`).

    Translations are projected out of the dynamical matrix instead of dropping three small frequencies: a soft
    optical mode can be smaller than the noise of the acoustic ones.
    """
    dynamical_matrix = np.asarray(
        phonon.run_qpoints([[0.0, 0.0, 0.0]], with_dynamical_matrices=True).dynamical_matrices
    )[0]
    masses = np.asarray(phonon.primitive.masses)
    translations = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))
    complement = np.linalg.svd(translations, full_matrices=True)[0][:, 3:]
    eigenvalues = np.linalg.eigvalsh(complement.T @ dynamical_matrix @ complement)
    frequencies: Floats = np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues)) * phonon.unit_conversion_factor
    return frequencies


def distances_from_gamma(q_points: Floats, *, cell: Floats) -> Floats:
    """Distance of wave vectors from the nearest image of Γ, 1/Å.

    Args:
        q_points: `n_points x 3`, in reciprocal vectors.
        cell: `3 x 3`, rows are lattice vectors, Å.
    """
    images = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    folded = q_points - np.rint(q_points)
    cartesian = (folded[:, None, :] + images[None, :, :]) @ np.linalg.inv(cell).T
    nearest: Floats = np.linalg.norm(cartesian, axis=2).min(axis=1)
    return nearest


def compact_bands(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Bands as JSON values small enough for a ledger: ends, `distances` (1/Å), `frequencies` (THz)."""
    modes = segments[0].frequencies.shape[1]
    points = max(STORED_CHARACTERS // (CHARACTERS * (modes + 1) + 2), 2 * len(segments))
    total = sum(s.distances[-1] for s in segments)
    stored = []
    for segment in segments:
        wanted = max(2, int(points * segment.distances[-1] / total))
        kept = np.unique(np.linspace(0, len(segment.distances) - 1, wanted).round().astype(int))
        stored.append(
            {
                "start": segment.start,
                "end": segment.end,
                "distances": [round(float(x), 4) for x in segment.distances[kept]],
                "frequencies": [[round(float(f), 2) for f in row] for row in segment.frequencies[kept]],
            }
        )
    return stored


def thermal_properties(
    phonon: Phonopy, *, temperatures: Sequence[float], q_spacing: float
) -> dict[str, list[float]]:
    """Vibrational Helmholtz free energy (eV/atom) and heat capacity (k_B/atom) in the harmonic approximation.

    Modes of imaginary frequency are left out, so this means something for dynamically stable crystals only.
    """
    from ase.units import J, kB, kJ, mol

    _mesh(phonon, cell=np.asarray(phonon.primitive.cell), q_spacing=q_spacing)
    found = phonon.run_thermal_properties(temperatures=list(temperatures), exclude_gamma_acoustic=True)
    atoms = len(phonon.primitive)
    return {
        "temperatures": [float(t) for t in temperatures],
        "free_energy": [round(float(x) * kJ / mol / atoms, 6) for x in found.free_energy],
        "heat_capacity": [round(float(x) * J / mol / kB / atoms, 4) for x in found.heat_capacity],
    }


def _mesh(phonon: Phonopy, *, cell: Floats, q_spacing: float) -> tuple[Floats, Floats]:
    """Irreducible wave vectors of a mesh centred on Γ, and their frequencies (THz)."""
    divisions = np.maximum(np.ceil(np.linalg.norm(np.linalg.inv(cell), axis=0) / q_spacing), 1).astype(int)
    mesh = phonon.run_mesh(divisions.tolist(), is_gamma_center=True)
    return np.asarray(mesh.qpoints), np.asarray(mesh.frequencies)


def _commensurate_points(phonon: Phonopy) -> Floats:
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    ratio = np.asarray(phonon.supercell.cell) @ np.linalg.inv(np.asarray(phonon.primitive.cell))
    return np.asarray(get_commensurate_points(np.rint(ratio.T).astype(int)), dtype=float)


def _frequencies(phonon: Phonopy, q_points: Floats) -> Floats:
    return np.asarray(phonon.run_qpoints(q_points).frequencies, dtype=float)


def _label(name: str) -> str:
    """A label of seekpath's as it is printed."""
    return "Γ" if name == "GAMMA" else name.replace("_", "")
