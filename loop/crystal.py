"""The crystal: a periodic structure in standardised form, the value that flows through the code."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, Self

import moyopy
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from moyopy.interface import MoyoAdapter
from pymatgen.core.composition import Composition
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from loop.distances import Floats, nearest_image_distances
from loop.elements import ELEMENT_SYMBOLS
from loop.errors import CrystalError

DECIMALS: Final = 8
"""Decimals kept of lattice vectors (Å) and fractional coordinates: below physics, above rounding noise."""
SYMMETRY_TOLERANCE: Final = 0.01
"""Distance within which atoms count as symmetric images, Å (pymatgen's and spglib's usual choice)."""
TOLERANCE_LADDER: Final = (1.0, 0.1, 0.01)
"""Factors on the symmetry tolerance, tried in order until one gives a cell that holds the same matter."""
OVERLAP: Final = 0.1
"""Distance below which two atoms are one atom written twice, Å. loop.validity judges by chemistry."""
SMALLEST_VOLUME: Final = 1.0
"""Volume per atom below which a cell is flat or collapsed, Å3 (diamond has 5.7, hydrogen at 500 GPa 1.1)."""

_HYDROGEN_ISOTOPES: Final = frozenset({"D", "T"})
_UNREADABLE: Final = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    Warning,
)
"""What pymatgen's parsers raise on corrupt files, warnings raised as errors among it."""

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Crystal:
    """A crystal in its standardised primitive cell (survey eq. 3), with the space group that it came from.

    Values are rounded once, on entry, so that a crystal written to the ledger and read back is the same.
    """

    lattice: tuple[Vector, Vector, Vector]
    """Rows are lattice vectors, Å."""
    fractional_coordinates: tuple[Vector, ...]
    """`n_atoms x 3`, each in [0, 1)."""
    atomic_numbers: tuple[int, ...]
    """`n_atoms`, ascending."""
    space_group_number: int
    """1 to 230."""

    @classmethod
    def from_structure(cls, structure: Structure, *, symmetry_tolerance: float = SYMMETRY_TOLERANCE) -> Self:
        """Standardise a structure: primitive cell, standard setting, atoms sorted by element.

        Oxidation states, isotopes and site properties are dropped. Where no consistent symmetry is found at
        the tolerance, tighter ones are tried (`TOLERANCE_LADDER`): each demands more of an image, so none
        invents symmetry.

        Args:
            structure: any periodic pymatgen structure.
            symmetry_tolerance: distance within which atoms count as symmetric images, Å.

        Raises:
            CrystalError: partial occupancy, non-finite numbers, a flat or non-periodic cell, no atoms,
                something that is not an element, or atoms on top of one another.
        """
        name = _check(structure)
        _quieten_symmetry_log()
        cell = MoyoAdapter.from_structure(structure)
        reasons = []
        for factor in TOLERANCE_LADDER:
            tolerance = symmetry_tolerance * factor
            try:
                dataset = moyopy.MoyoDataset(cell, symprec=tolerance)
            except (ValueError, RuntimeError) as error:
                reasons.append(f"at {tolerance:g} Å {error}")
                continue
            standard = dataset.prim_std_cell
            lattice, numbers = np.array(standard.basis), [int(z) for z in standard.numbers]
            if _is_same_matter(structure, lattice, numbers):
                return cls._build(lattice, np.array(standard.positions), numbers, dataset.number)
            reasons.append(f"at {tolerance:g} Å atoms were merged")
        raise CrystalError(
            f"{name}: no symmetry could be found ({'; '.join(reasons)}); pass a smaller symmetry_tolerance"
        )

    @classmethod
    def from_atoms(cls, atoms: Atoms, *, symmetry_tolerance: float = SYMMETRY_TOLERANCE) -> Self:
        """Standardise an ASE structure (see `from_structure` for what is refused)."""
        name = atoms.get_chemical_formula() or "(empty)"
        if not np.isfinite(atoms.cell.array).all() or not np.isfinite(atoms.positions).all():
            raise CrystalError(f"{name}: lattice or coordinates are not finite numbers")
        if not atoms.pbc.all() or atoms.cell.rank < 3:
            raise CrystalError(f"{name}: not periodic in three directions; give it a cell and pbc=True")
        _check_symbols(name, atoms.get_chemical_symbols())
        structure = Structure(
            Lattice(atoms.cell.array), atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False)
        )
        return cls.from_structure(structure, symmetry_tolerance=symmetry_tolerance)

    @classmethod
    def from_file(cls, path: str | Path, *, symmetry_tolerance: float = SYMMETRY_TOLERANCE) -> Self:
        """Read and standardise a CIF, POSCAR or any other structure file that pymatgen knows by its name.

        Raises:
            CrystalError: names the file, which is missing, corrupt, disordered or holds no crystal.
        """
        path = Path(path)
        try:
            with warnings.catch_warnings():
                # pymatgen warns of every rounded coordinate; what matters is checked below.
                warnings.simplefilter("ignore")
                structure = Structure.from_file(path)
        except FileNotFoundError as error:
            raise CrystalError(f"{path}: there is no such file") from error
        except _UNREADABLE as error:
            detail = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise CrystalError(
                f"{path}: cannot be read as a crystal structure ({detail}); is it a whole CIF or POSCAR?"
            ) from error
        try:
            return cls.from_structure(structure, symmetry_tolerance=symmetry_tolerance)
        except CrystalError as error:
            raise CrystalError(f"{path}: {error}") from error

    @classmethod
    def _build(cls, lattice: Floats, coordinates: Floats, numbers: list[int], space_group: int) -> Self:
        rounded = np.round(np.mod(coordinates, 1.0), DECIMALS) % 1.0 + 0.0
        order = sorted(range(len(numbers)), key=lambda i: (numbers[i], *rounded[i]))
        first, second, third = _vectors(np.round(lattice, DECIMALS) + 0.0)
        return cls(
            lattice=(first, second, third),
            fractional_coordinates=_vectors(rounded[order]),
            atomic_numbers=tuple(int(numbers[i]) for i in order),
            space_group_number=int(space_group),
        )

    @cached_property
    def key(self) -> str:
        """Hash of the content: the same crystal value has the same key on every machine."""
        text = json.dumps(
            [self.lattice, self.fractional_coordinates, self.atomic_numbers], separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @cached_property
    def composition(self) -> Composition:
        """Atoms of each element in the cell."""
        return Composition.from_dict(dict(zip(*np.unique(self.symbols, return_counts=True), strict=True)))

    @property
    def symbols(self) -> list[str]:
        """Element symbol of each atom."""
        return [chemical_symbols[z] for z in self.atomic_numbers]

    @property
    def elements(self) -> frozenset[str]:
        """The elements it contains."""
        return frozenset(self.symbols)

    @property
    def chemical_system(self) -> str:
        """Its elements, alphabetical, joined by hyphens."""
        return "-".join(sorted(self.elements))

    @property
    def reduced_formula(self) -> str:
        """Formula in smallest whole numbers, e.g. `TiNi2Sn`."""
        return str(self.composition.reduced_formula)

    @property
    def number_of_atoms(self) -> int:
        """Atoms in the primitive cell."""
        return len(self.atomic_numbers)

    @property
    def volume_per_atom(self) -> float:
        """Å3."""
        return float(abs(np.linalg.det(np.array(self.lattice))) / self.number_of_atoms)

    def to_structure(self) -> Structure:
        """As a pymatgen structure."""
        return Structure(Lattice(self.lattice), self.symbols, self.fractional_coordinates)

    def to_atoms(self) -> Atoms:
        """As an ASE structure, periodic."""
        return Atoms(
            numbers=self.atomic_numbers,
            cell=self.lattice,
            scaled_positions=self.fractional_coordinates,
            pbc=True,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` gives the same crystal back."""
        return {
            "lattice": [list(row) for row in self.lattice],
            "fractional_coordinates": [list(x) for x in self.fractional_coordinates],
            "atomic_numbers": list(self.atomic_numbers),
            "space_group_number": self.space_group_number,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            CrystalError: a field is missing or has the wrong shape.
        """
        try:
            first, second, third = _vectors(data["lattice"])
            crystal = cls(
                lattice=(first, second, third),
                fractional_coordinates=_vectors(data["fractional_coordinates"]),
                atomic_numbers=tuple(int(z) for z in data["atomic_numbers"]),
                space_group_number=int(data["space_group_number"]),
            )
        except KeyError as error:
            raise CrystalError(f"stored crystal lacks {error}; was it written by Crystal.to_dict?") from error
        except (TypeError, ValueError) as error:
            raise CrystalError(
                f"stored crystal is malformed ({error}); was it written by Crystal.to_dict?"
            ) from error
        positions = len(crystal.fractional_coordinates)
        if positions != crystal.number_of_atoms:
            raise CrystalError(
                f"stored crystal has {positions} positions for {crystal.number_of_atoms} atoms; "
                "was it written by Crystal.to_dict?"
            )
        return crystal


def _vectors(rows: Iterable[Iterable[float]]) -> tuple[Vector, ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in rows)


def _check(structure: Structure) -> str:
    """Refuse what cannot be a crystal; returns the formula for messages."""
    if len(structure) == 0:
        raise CrystalError("the structure has no atoms")
    name = structure.composition.reduced_formula
    if not structure.is_ordered:
        raise CrystalError(
            f"{name}: partial occupancy; order the sites first "
            "(pymatgen's OrderDisorderedStructureTransformation)"
        )
    _check_symbols(name, [getattr(site.specie, "element", site.specie).symbol for site in structure])
    if not np.isfinite(structure.lattice.matrix).all() or not np.isfinite(structure.frac_coords).all():
        raise CrystalError(f"{name}: lattice or coordinates are not finite numbers")
    if not all(structure.lattice.pbc):
        raise CrystalError(
            f"{name}: not periodic in three directions; set the lattice's pbc to (True, True, True)"
        )
    volume = abs(structure.lattice.volume)
    if volume < SMALLEST_VOLUME * len(structure):
        raise CrystalError(
            f"{name}: {volume:.2f} Å3 for {len(structure)} atoms; the cell is flat or collapsed"
        )
    try:
        distances = nearest_image_distances(structure.lattice.matrix, structure.frac_coords)
    except ValueError as error:
        raise CrystalError(
            f"{name}: the lattice cannot be reduced ({error}); the cell is flat or collapsed"
        ) from error
    nearest = np.unravel_index(distances.argmin(), distances.shape)
    if distances[nearest] < OVERLAP:
        first, second = (f"{structure[int(i)].specie.symbol} (site {int(i)})" for i in nearest)
        raise CrystalError(
            f"{name}: {first} and {second} are {distances[nearest]:.3g} Å apart, on top of one another"
        )
    return name


def _check_symbols(name: str, symbols: Iterable[str]) -> None:
    for symbol in symbols:
        if symbol not in ELEMENT_SYMBOLS and symbol not in _HYDROGEN_ISOTOPES:
            raise CrystalError(f"{name}: {symbol!r} is not an element from H to Lr")


def _is_same_matter(structure: Structure, lattice: Floats, numbers: list[int]) -> bool:
    """Whether a cell has the structure's composition and density, so that no atom was merged away."""
    cells = len(structure) / len(numbers)
    counts = Counter(site.specie.Z for site in structure)
    if any(counts[z] != count * cells for z, count in Counter(numbers).items()):
        return False
    return bool(np.isclose(abs(np.linalg.det(lattice)) * cells, abs(structure.lattice.volume), rtol=0.05))


@cache
def _quieten_symmetry_log() -> None:
    """Keep Moyo from logging a line per supercell; a level set by the user stays."""
    log = logging.getLogger("moyo")
    if log.level == logging.NOTSET:
        log.setLevel(logging.ERROR)
