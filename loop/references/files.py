"""Reference phases from files of the user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from loop.errors import ReferencePhaseError
from loop.references.checks import checked_elements, missing_elements, unique_names
from loop.references.options import read_options
from loop.references.prototypes import PrototypeReferences
from loop.references.reading import SourceStructure, locate, read_structures
from loop.references.source import ReferencePhase
from loop.spec import Model, PositiveInt


class FileOptions(Model):
    """Options of `files`."""

    path: str | None = None
    """A file or folder, relative to the campaign file: pymatgen entries JSON, ASE database, extended XYZ,
    CIF, POSCAR, or a folder of such. It may begin with `~` and hold environment variables (`$NAME`)."""
    paths: tuple[str, ...] = ()
    """Several files or folders, in place of `path`."""
    max_atoms: PositiveInt | None = None
    """Leave out phases with more atoms in the primitive cell; null keeps all."""
    skip_disordered: bool = False
    """Leave out structures with partial occupancy; otherwise they are an error."""
    elements_from_prototypes: bool = False
    """Take elements that the files lack from the `prototypes` source; otherwise a lacking element is an
    error."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.path) == bool(self.paths):
            raise ValueError(
                "path: give either path (a file or folder) or paths (a list), not both, not neither"
            )
        return self


class FileReferences:
    """The phases of files or folders. Their energies are kept as details and never enter the hull."""

    def __init__(self, options: Mapping[str, Any], *, base: Path) -> None:
        self._options = read_options(FileOptions, options)
        given = self._options.paths or (str(self._options.path),)
        self._given = given
        self._paths = [locate(path, base=base) for path in given]
        self._left_out: dict[str, dict[str, int]] = {}

    def entries(self, chemical_system: Sequence[str]) -> list[ReferencePhase]:
        """Every phase of the files whose elements lie in `chemical_system`, in the files' order.

        Raises:
            ReferencePhaseError: a file is missing, corrupt or empty, a structure cannot be a crystal, or an
                element has no phase.
        """
        elements = checked_elements(chemical_system)
        left_out = {"outside the chemical system": 0, "larger than max_atoms": 0, "partial occupancy": 0}
        phases = []
        for name, source in zip(self._names, self._structures, strict=True):
            if not {e.symbol for e in source.structure.composition.elements} <= set(elements):
                left_out["outside the chemical system"] += 1
                continue
            if self._options.skip_disordered and not source.structure.is_ordered:
                left_out["partial occupancy"] += 1
                continue
            crystal = source.crystal()
            if self._options.max_atoms is not None and crystal.number_of_atoms > self._options.max_atoms:
                left_out["larger than max_atoms"] += 1
                continue
            details = {"file": source.file.name, **source.details}
            phases.append(ReferencePhase(name=name, crystal=crystal, details=details))
        self._left_out["-".join(elements)] = left_out
        return phases + self._missing(phases, elements, left_out)

    def describe(self) -> Mapping[str, Any]:
        """Paths, hashes of the files' content, options, and what was left out of each system asked for.

        Raises:
            ReferencePhaseError: a file is missing or cannot be read.
        """
        files = sorted({structure.file for structure in self._structures})
        return {
            "source": "files",
            "paths": list(self._given),
            "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
            "structures": len(self._structures),
            "left_out": dict(self._left_out),
            "options": self._options.model_dump(mode="json"),
        }

    @cached_property
    def _structures(self) -> list[SourceStructure]:
        return [found for path in self._paths for found in read_structures(path)]

    @cached_property
    def _names(self) -> list[str]:
        return unique_names(structure.name for structure in self._structures)

    def _missing(
        self, phases: Sequence[ReferencePhase], elements: Sequence[str], left_out: Mapping[str, int]
    ) -> list[ReferencePhase]:
        missing = missing_elements(phases, elements)
        if not missing:
            return []
        if self._options.elements_from_prototypes:
            prototypes = PrototypeReferences({"max_elements": 1}, base=Path())
            return prototypes.entries(missing)
        skipped = ", ".join(f"{count} {why}" for why, count in left_out.items() if count) or "none"
        raise ReferencePhaseError(
            f"{', '.join(self._given)}: no phase of {' and '.join(missing)} among {len(self._structures)} "
            f"structures (left out: {skipped}), so formation energies are undefined; add them, or set "
            "references.options.elements_from_prototypes to true"
        )
