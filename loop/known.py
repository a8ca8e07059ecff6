"""Phases known to experiment: they tell a rediscovery from a discovery, and never enter the hull."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from pymatgen.analysis.structure_matcher import StructureMatcher

from loop.crystal import Crystal
from loop.references.checks import unique_names
from loop.references.reading import locate, read_structures


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPhase:
    """A phase that has been made."""

    name: str
    crystal: Crystal
    details: Mapping[str, Any]
    """What its file says of it: citation, ICSD number."""

    @property
    def citation(self) -> str | None:
        """Where it was reported, on one line, e.g. `Acta Crystallogr. 3 (1950) 41; ICSD 1234`."""
        said = {key: str(value) for key, value in self.details.items()}
        article = said.get("journal", "")
        article += f" {said['volume']}" if article and "volume" in said else ""
        article += f" ({said['year']})" if "year" in said else ""
        article += f" {said['page']}" if article and "page" in said else ""
        parts = [article.strip(), said.get("doi", ""), f"ICSD {said['icsd']}" if "icsd" in said else ""]
        return "; ".join(part for part in parts if part) or None


@dataclass(frozen=True)
class KnownPhases:
    """A set of known phases to compare finds with."""

    phases: tuple[KnownPhase, ...] = ()

    @classmethod
    def load(cls, paths: Sequence[str], *, base: Path) -> Self:
        """Read files or folders (CIF, pymatgen JSON, extended XYZ and all else that `files` references read).

        Args:
            paths: `known_phases` of the campaign file.
            base: folder that relative paths start from.

        Raises:
            ReferencePhaseError: a file is missing, corrupt or empty, or a structure cannot be a crystal.
        """
        found = [s for path in paths for s in read_structures(locate(path, base=base))]
        names = unique_names(structure.name for structure in found)
        return cls(
            tuple(
                KnownPhase(name=name, crystal=s.crystal(), details={"file": s.file.name, **s.details})
                for name, s in zip(names, found, strict=True)
            )
        )

    def match(self, crystal: Crystal) -> str | None:
        """Name of the known phase that the crystal is, whatever its volume; None where it is none.

        pymatgen's StructureMatcher at its usual tolerances (ltol 0.2, stol 0.3, angle 5 degrees) decides;
        among several the nearest wins.
        """
        phase = self.nearest(crystal)
        return phase.name if phase else None

    def nearest(self, crystal: Crystal) -> KnownPhase | None:
        """As `match`, with all that is known of the phase."""
        structure = crystal.to_structure()
        best: tuple[float, KnownPhase] | None = None
        for phase in self._by_formula.get(crystal.reduced_formula, []):
            distance = _MATCHER.get_rms_dist(phase.crystal.to_structure(), structure)  # type: ignore[no-untyped-call]
            if distance is not None and (best is None or distance[0] < best[0]):
                best = (float(distance[0]), phase)
        return best[1] if best else None

    @cached_property
    def _by_formula(self) -> Mapping[str, list[KnownPhase]]:
        grouped: defaultdict[str, list[KnownPhase]] = defaultdict(list)
        for phase in self.phases:
            grouped[phase.crystal.reduced_formula].append(phase)
        return grouped


_MATCHER: Final = StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5, primitive_cell=True, scale=True)
