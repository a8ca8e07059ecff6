"""Structures from files: pymatgen JSON, ASE databases, extended XYZ, CIF and POSCAR, or a folder of such.

Every structure keeps what its file says of it (energies with their fidelity, ICSD numbers, citation) as
details that only people read: such energies are of another fidelity than the campaign, and never on its hull.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ase.db
import ase.io
import orjson
from ase import Atoms
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifBlock, CifFile, CifParser
from pymatgen.io.vasp.inputs import Poscar

from loop.crystal import Crystal
from loop.errors import CrystalError, ReferencePhaseError


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStructure:
    """One structure of a file, as it stands there."""

    name: str
    """The file's own identifier of it, else the file's name with a running number."""
    structure: Structure
    file: Path
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""

    def crystal(self) -> Crystal:
        """The standardised crystal.

        Raises:
            ReferencePhaseError: it cannot be one; the message names the file and the structure.
        """
        try:
            return Crystal.from_structure(self.structure)
        except CrystalError as error:
            raise ReferencePhaseError(f"{self.file}: {self.name}: {error}") from error


def locate(given: str, *, base: Path) -> Path:
    """Where a path of the campaign file leads.

    Args:
        given: as written; may begin with `~` and hold environment variables, `$NAME` or `${NAME}`.
        base: folder that relative paths start from.

    Raises:
        ReferencePhaseError: a variable is not set, or there is no such user.
    """

    def value(variable: re.Match[str]) -> str:
        name = variable["name"] or variable["braced"]
        if found := os.environ.get(name):
            return found
        raise ReferencePhaseError(
            f"{given}: the environment variable {name} is not set; set it (export {name}=...) or write the path out"
        )

    path = Path(_VARIABLE.sub(value, given))
    try:
        return (base / path.expanduser()).resolve()
    except RuntimeError as error:
        raise ReferencePhaseError(f"{given}: no such user ({error}); write the path out") from error


_VARIABLE: Final = re.compile(r"\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})")


def read_structures(path: Path) -> list[SourceStructure]:
    """Every structure of a file, or of the recognised files directly in a folder, by file name.

    Raises:
        ReferencePhaseError: the path is missing, unreadable, of no known kind or empty, or one of its
            structures is corrupt. The message names the file.
    """
    if not path.exists():
        raise ReferencePhaseError(
            f"{path}: no such file or folder; relative paths start from the campaign file's folder"
        )
    if not path.is_dir():
        return _read_file(path)
    files = sorted(p for p in path.iterdir() if p.is_file() and _reader(p))
    if not files:
        raise ReferencePhaseError(f"{path}: the folder holds no structures; it may hold {KINDS}")
    return [found for file in files for found in _read_file(file)]


def _read_file(path: Path) -> list[SourceStructure]:
    reader = _reader(path)
    if reader is None:
        raise ReferencePhaseError(f"{path}: not a kind of file that is read here; give {KINDS}")
    try:
        found = list(reader(path))
    except ReferencePhaseError:
        raise
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ReferencePhaseError(
            f"{path}: cannot be read ({error}); check its permissions and that it is whole"
        ) from error
    # Readers of other packages fail on broken text with whatever their parsing code happens to raise.
    except Exception as error:
        said = " ".join(str(error).split())
        raise ReferencePhaseError(
            f"{path}: corrupt, or not what its name says ({type(error).__name__}: {said}); mend or remove it"
        ) from error
    if not found:
        raise ReferencePhaseError(f"{path}: holds no structures; mend or remove the file")
    return found


Reader = Callable[[Path], Iterator[SourceStructure]]


def _json(path: Path) -> Iterator[SourceStructure]:
    content = orjson.loads(_bytes(path))
    if isinstance(content, dict) and "nextid" in content:
        yield from _ase_database(path)
        return
    if isinstance(content, dict):
        content = content.get("entries", [content])
    for number, item in enumerate(content, start=1):
        yield _pymatgen_item(item, path=path, name=f"{_stem(path)}-{number}")


def _pymatgen_item(item: Any, *, path: Path, name: str) -> SourceStructure:
    """A structure, or an entry with a structure, as pymatgen writes them."""
    if not isinstance(item, dict):
        raise ReferencePhaseError(
            f"{path}: {name}: a {type(item).__name__}, expected a pymatgen entry or structure"
        )
    if "sites" in item and "lattice" in item:
        return SourceStructure(name=name, structure=Structure.from_dict(item), file=path)
    name = str(item.get("entry_id") or item.get("material_id") or name)
    if not item.get("structure"):
        raise ReferencePhaseError(
            f"{path}: {name}: an entry without a structure; save ComputedStructureEntry, not ComputedEntry"
        )
    structure = Structure.from_dict(item["structure"])
    data, parameters = item.get("data") or {}, item.get("parameters") or {}
    fidelity = parameters.get("run_type") or data.get("run_type") or "not stated"
    details = {key: data[key] for key in ("icsd_ids", "theoretical", "material_id") if key in data}
    if item.get("energy") is not None:
        details |= _energy(item["energy"], len(structure), f"{fidelity}, uncorrected", path=path, name=name)
    return SourceStructure(name=name, structure=structure, file=path, details=details)


def _ase_database(path: Path) -> Iterator[SourceStructure]:
    try:
        rows = list(ase.db.connect(path).select())
    except sqlite3.DatabaseError as error:
        raise ReferencePhaseError(f"{path}: not an ASE database ({error})") from error
    for row in rows:
        pairs = row.key_value_pairs
        name = str(pairs.get("name") or pairs.get("material_id") or f"{_stem(path)}-{row.id}")
        details = {key: value for key, value in pairs.items() if isinstance(value, (str, bool, int))}
        if (energy := row.get("energy")) is not None:
            fidelity = str(row.get("calculator") or "not stated")
            details |= _energy(energy, row.natoms, fidelity, path=path, name=name)
        yield SourceStructure(
            name=name, structure=_periodic(row.toatoms(), path=path, name=name), file=path, details=details
        )


def _extended_xyz(path: Path) -> Iterator[SourceStructure]:
    for number, atoms in enumerate(ase.io.iread(path, index=":", format="extxyz"), start=1):
        named = [atoms.info[key] for key in ("name", "material_id", "mp_id", "id") if key in atoms.info]
        name = str(named[0]) if named else f"{_stem(path)}-{number}"
        details = {k: v for k, v in atoms.info.items() if isinstance(v, (str, bool, int))}
        if atoms.calc is not None and "energy" in atoms.calc.results:
            energy = atoms.calc.results["energy"]
            details |= _energy(energy, len(atoms), "not stated", path=path, name=name)
        yield SourceStructure(
            name=name, structure=_periodic(atoms, path=path, name=name), file=path, details=details
        )


def _cif(path: Path) -> Iterator[SourceStructure]:
    blocks = CifFile.from_str(_bytes(path).decode(errors="replace")).data
    for header, block in blocks.items():
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            [structure] = CifParser.from_str(str(block)).parse_structures(primitive=False, on_error="raise")
        details = _citation(block)
        if remarks := sorted({str(warning.message) for warning in raised}):
            details["reader_remarks"] = remarks
        name = _stem(path) if len(blocks) == 1 else f"{_stem(path)}-{header}"
        yield SourceStructure(name=name, structure=structure, file=path, details=details)


def _poscar(path: Path) -> Iterator[SourceStructure]:
    poscar = Poscar.from_str(_bytes(path).decode())
    yield SourceStructure(name=_stem(path), structure=poscar.structure, file=path)


_CITATION_TAGS: Final = {
    "_chemical_name_common": "name",
    "_database_code_ICSD": "icsd",
    "_journal_name_full": "journal",
    "_journal_year": "year",
    "_journal_volume": "volume",
    "_journal_page_first": "page",
    "_publ_author_name": "authors",
    "_journal_paper_doi": "doi",
}


def _citation(block: CifBlock) -> dict[str, Any]:
    found = {key: block.data[tag] for tag, key in _CITATION_TAGS.items() if tag in block.data}
    return {key: value for key, value in found.items() if value not in ("?", ".", "", ["?"])}


def _energy(energy: Any, atoms: int, fidelity: str, *, path: Path, name: str) -> dict[str, Any]:
    if not math.isfinite(float(energy)):
        raise ReferencePhaseError(
            f"{path}: {name}: its energy is {energy}; mend the file or leave the energy out"
        )
    return {"source_energy_per_atom": float(energy) / atoms, "source_fidelity": fidelity}


def _periodic(atoms: Atoms, *, path: Path, name: str) -> Structure:
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ReferencePhaseError(
            f"{path}: {name}: not periodic in three directions; give it a cell and pbc=True"
        )
    return Structure(Lattice(atoms.cell.array), atoms.numbers.tolist(), atoms.get_scaled_positions())


def _bytes(path: Path) -> bytes:
    content = path.read_bytes()
    decompress = _COMPRESSIONS.get(path.suffix)
    return decompress(content) if decompress else content


_COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}
_READERS: Final[Mapping[str, Reader]] = {
    ".json": _json,
    ".db": _ase_database,
    ".extxyz": _extended_xyz,
    ".xyz": _extended_xyz,
    ".cif": _cif,
    ".vasp": _poscar,
    ".poscar": _poscar,
}
_COMPRESSED: Final = (_json, _cif, _extended_xyz, _poscar)
KINDS: Final = (
    "pymatgen JSON (.json), an ASE database (.db), extended XYZ (.extxyz, .xyz), CIF (.cif) or POSCAR files"
)


def _reader(path: Path) -> Reader | None:
    bare = path.with_suffix("") if path.suffix in _COMPRESSIONS else path
    if bare.name.upper().startswith(("POSCAR", "CONTCAR")):
        return _poscar
    reader = _READERS.get(bare.suffix.lower())
    return reader if bare is path or reader in _COMPRESSED else None


def _stem(path: Path) -> str:
    bare = path.with_suffix("") if path.suffix in _COMPRESSIONS else path
    return bare.stem if bare.suffix.lower() in _READERS else bare.name
