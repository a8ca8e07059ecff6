"""What one row makes of one crystal, and how rows compare."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from loop.crystal import Crystal

ROOT: Final = Path(__file__).resolve().parents[2]
STEPS: Final = 500
"""Evaluations that every row is allowed for a crystal; CHGNet's own default."""
SET_ASIDE: Final = "set aside"
"""Note of a crystal that a row did not relax on purpose."""
LEVELS: Final = (1, 5)
"""meV/atom."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One crystal relaxed by one row."""

    energy: float = float("nan")
    """eV/atom, the potential's own."""
    evaluations: float = 0
    """A mean over the batch where the row does not say it of one crystal."""
    converged: bool = False
    structure: Structure | None = None
    note: str | None = None
    """Why there is no energy, or what else became of it."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        structure = self.structure and {
            "lattice": self.structure.lattice.matrix.tolist(),
            "numbers": list(self.structure.atomic_numbers),
            "coordinates": self.structure.frac_coords.tolist(),
        }
        return {
            "energy": self.energy if np.isfinite(self.energy) else None,
            "evaluations": self.evaluations,
            "converged": self.converged,
            "note": self.note,
            "structure": structure,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        at = values["structure"]
        energy = values["energy"]
        return cls(
            energy=float("nan") if energy is None else energy,
            evaluations=values["evaluations"],
            converged=values["converged"],
            note=values["note"],
            structure=Structure(Lattice(at["lattice"]), at["numbers"], at["coordinates"]) if at else None,
        )


Relaxer = Callable[[Sequence[Crystal]], list[Outcome]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way to relax crystals."""

    name: str
    """As in `--rows` and in the JSON object."""
    title: str
    version: str
    """All that its results hang on beside crystals and convergence: a stored result of another version is not taken."""
    prepare: Callable[[], Relaxer]
    """Reads weights. Raises ImportError or MotherlodeError where the row cannot run here."""


def own_version() -> str:
    """Hash of Motherlode's sources that a relaxation runs through."""
    digest = hashlib.sha256()
    for folder in ("surrogates", "loop"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in {".py", ".c", ".cpp", ".h"}:
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def differences(found: Sequence[Outcome], reference: Sequence[Outcome]) -> dict[str, Any]:
    """Energies and geometries beside a reference row's, over the crystals that both relaxed to their end."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    both = [(a, b) for a, b in zip(found, reference, strict=True) if a.converged and b.converged]
    if not both:
        return {"compared": 0}
    higher = np.array([a.energy - b.energy for a, b in both]) * 1e3
    pairs = [(a.structure, b.structure) for a, b in both if a.structure and b.structure]
    volumes = np.array([abs(a.volume / len(a) * len(b) / b.volume - 1) for a, b in pairs])
    # Looking for a primitive cell within a tolerance may find one for one of two equal crystals and none for the other.
    matchers = StructureMatcher(), StructureMatcher(primitive_cell=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same = [any(matcher.fit(a, b) for matcher in matchers) for a, b in pairs]
    result: dict[str, Any] = {"compared": len(both)}
    for level in LEVELS:
        result |= {
            f"higher_by_{level}_mev": float(np.mean(higher > level)),
            f"lower_by_{level}_mev": float(np.mean(higher < -level)),
        }
    return result | {
        "mean_difference_mev": float(np.mean(higher)),
        "median_difference_mev": float(np.median(higher)),
        "percentile_95_difference_mev": float(np.percentile(higher, 95)),
        "highest_difference_mev": float(np.max(higher)),
        "lowest_difference_mev": float(np.min(higher)),
        "median_volume_difference": float(np.median(volumes)) if pairs else None,
        "percentile_95_volume_difference": float(np.percentile(volumes, 95)) if pairs else None,
        "same_structure": float(np.mean(same)) if pairs else None,
    }


def figures(found: Sequence[Outcome], reference: Sequence[Outcome], *, seconds: float) -> dict[str, Any]:
    """One row: cost, convergence, and differences to the reference."""
    evaluations = [o.evaluations for o in found if o.converged]
    aside = sum(o.note == SET_ASIDE for o in found)
    converged = sum(o.converged for o in found)
    return {
        "crystals": len(found),
        "seconds_per_structure": seconds / max(len(found), 1),
        "converged": converged,
        "set_aside": aside,
        "not_converged": len(found) - converged - aside,
        "mean_evaluations": float(np.mean(evaluations)) if evaluations else None,
        "median_evaluations": float(np.median(evaluations)) if evaluations else None,
        **differences(found, reference),
    }
