"""Reference phases from the Materials Project."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.errors import CrystalError, ReferencePhaseError
from loop.references.checks import checked_elements, missing_elements
from loop.references.materials_project_client import KEY_VARIABLE, Query, ask
from loop.references.options import read_options
from loop.references.source import ReferencePhase
from loop.spec import Model, NonNegative, PositiveInt

KEY_LENGTH: Final = 32
ENDPOINT: Final = "https://api.materialsproject.org/"


class MaterialsProjectOptions(Model):
    """Options of `materials_project`."""

    api_key: SecretStr | None = None
    """Your key, 32 characters. By default it is taken from the environment variable MP_API_KEY, which is the
    better place: campaign files are shared."""
    max_energy_above_hull: NonNegative = 0.1
    """Take only phases within this energy above the Materials Project's own hull, eV/atom."""
    max_atoms: PositiveInt = 40
    """Take only phases of at most this many atoms in the cell. Where a stable phase is larger, the campaign's
    hull lies too high."""
    include_theoretical: bool = True
    """Take also phases that no experiment has reported."""
    include_gnome: bool = False
    """Take also GNoME's phases; your account must have accepted their licence (CC BY-NC)."""
    cache: str | None = "~/.cache/motherlode/materials-project"
    """Folder that keeps answers by database version, so that a resumed campaign needs no network; null keeps
    none."""
    refresh: bool = False
    """Ask the service even where the cache has an answer, to take up a new database version."""
    endpoint: str = ENDPOINT
    """Address of the service, for a mirror."""
    attempts: Annotated[PositiveInt, Field(le=10)] = 4
    """How often a request is tried while the service fails."""
    pause: NonNegative = 2.0
    """Seconds before the second attempt; each further pause is twice as long."""


class MaterialsProjectReferences:
    """The Materials Project's phases of a chemical system.

    Only structures enter the campaign, to be relaxed by its potential; the Materials Project's energies are
    kept as details, with their fidelity.
    """

    def __init__(self, options: Mapping[str, Any], *, base: Path) -> None:
        self._options = read_options(MaterialsProjectOptions, options)
        cache = self._options.cache
        self._cache = None if cache is None else (base / Path(cache).expanduser()).resolve()
        self._versions: set[str] = set()

    def entries(self, chemical_system: Sequence[str]) -> list[ReferencePhase]:
        """Every phase whose elements lie in `chemical_system`, by material id.

        The newest answer in the cache is taken without asking the service, unless `refresh` is set.

        Raises:
            ReferencePhaseError: no key or a refused one, no network, a service that fails or limits the
                rate, a broken cache, or an element without a phase.
        """
        elements = checked_elements(chemical_system)
        cached = None if self._options.refresh else self._cached(elements)
        answer = cached or self._asked(elements)
        database_version = str(answer["database_version"])
        self._versions.add(database_version)
        phases = [_phase(document, database_version) for document in answer["documents"]]
        if missing := missing_elements(phases, elements):
            raise ReferencePhaseError(
                f"Materials Project: {len(phases)} phases of {'-'.join(elements)} but none of "
                f"{' and '.join(missing)}; raise references.options.max_atoms ({self._options.max_atoms}) or "
                f"max_energy_above_hull ({self._options.max_energy_above_hull:g} eV/atom)"
            )
        return sorted(phases, key=lambda phase: phase.name)

    def describe(self) -> Mapping[str, Any]:
        """Service, database versions of the answers so far, and what was asked; never the key."""
        return {
            "source": "materials_project",
            "database_versions": sorted(self._versions),
            "options": self._deciding_options(),
        }

    def _deciding_options(self) -> dict[str, Any]:
        asked = {"endpoint", "max_energy_above_hull", "max_atoms", "include_theoretical", "include_gnome"}
        return self._options.model_dump(mode="json", include=asked)

    def _asked(self, elements: Sequence[str]) -> dict[str, Any]:
        query = Query(elements=elements, **self._deciding_options())
        answer = ask(query, key=self._key(), attempts=self._options.attempts, pause=self._options.pause)
        if self._cache is not None:
            name = self._file_name(elements, answer["database_version"])
            _write(self._cache / name, json.dumps(answer).encode())
        return answer

    def _cached(self, elements: Sequence[str]) -> dict[str, Any] | None:
        if self._cache is None:
            return None
        found = sorted(self._cache.glob(self._file_name(elements, "*")))
        if not found:
            return None
        try:
            answer: dict[str, Any] = json.loads(gzip.decompress(found[-1].read_bytes()))
        except (OSError, EOFError, ValueError) as error:
            raise ReferencePhaseError(
                f"{found[-1]}: this kept answer of the Materials Project is broken ({error}); delete it"
            ) from error
        return answer

    def _file_name(self, elements: Sequence[str], database_version: str) -> str:
        """Chemical system, a hash of what else decides the answer, and the database version."""
        deciding = json.dumps(self._deciding_options(), sort_keys=True)
        digest = hashlib.sha256(deciding.encode()).hexdigest()[:12]
        return f"{'-'.join(elements)}_{digest}_{database_version}.json.gz"

    def _key(self) -> str:
        given = self._options.api_key
        key = given.get_secret_value() if given else os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise ReferencePhaseError(
                f"Materials Project: no key; set the environment variable {KEY_VARIABLE} to yours (from "
                "https://materialsproject.org/api), or use references.source `prototypes`, which needs none"
            )
        if len(key) != KEY_LENGTH:
            place = "references.options.api_key" if given else f"the environment variable {KEY_VARIABLE}"
            raise ReferencePhaseError(
                f"Materials Project: {place} has {len(key)} characters, a key {KEY_LENGTH}; copy it whole "
                "from https://materialsproject.org/api"
            )
        return key


def _phase(document: Mapping[str, Any], database_version: str) -> ReferencePhase:
    name = str(document["material_id"])
    try:
        crystal = Crystal.from_structure(Structure.from_dict(document["structure"]))
    except CrystalError as error:
        raise ReferencePhaseError(f"Materials Project: {name}: {error}") from error
    details = {
        "source_energy_per_atom": document["energy_per_atom"],
        "source_energy_above_hull": document["energy_above_hull"],
        "source_fidelity": "Materials Project GGA/GGA+U/r2SCAN, corrected",
        "theoretical": document["theoretical"],
        "icsd": document["database_ids"].get("icsd", []),
        "database_version": database_version,
    }
    return ReferencePhase(name=name, crystal=crystal, details=details)


def _write(file: Path, content: bytes) -> None:
    """Write in one step, so that a killed campaign leaves no half answer behind."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as temporary:
            temporary.write(gzip.compress(content, mtime=0))
        Path(temporary.name).replace(file)
    except OSError as error:
        raise ReferencePhaseError(
            f"{file.parent}: the Materials Project's answer cannot be kept there ({error}); set "
            "references.options.cache to a folder that can be written, or to null"
        ) from error
