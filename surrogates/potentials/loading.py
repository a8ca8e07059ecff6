"""What every `load` needs: refuse what it cannot use, name its weights, keep packages quiet."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.optimization.neighbors import find_points_in_spheres

from loop.elements import closest
from loop.errors import PotentialError
from loop.spec import PotentialSpec
from surrogates.native import NO_COMPILER, compiler
from surrogates.potential import Batch, Evaluation, Integers

T = TypeVar("T")
MATERIALS_PROJECT_ELEMENTS: Final = frozenset(chemical_symbols[1:95]) - {"Po", "At", "Rn", "Fr", "Ra"}
"""The 89 elements of the MPtrj and MatPES training sets: H to Pu without the short-lived five."""
ATOMS_PER_PASS: Final = 128
"""Atoms in one forward pass of a model: beyond about 100 a CPU gains nothing, and memory grows."""


def refuse_foreign_fields(
    spec: PotentialSpec, *, model: bool = False, calculator: bool = False, arguments: Collection[str] = ()
) -> None:
    """Refuse fields and arguments that this potential would silently ignore.

    Raises:
        PotentialError: names the field, what was found, and what is understood.
    """
    for field, allowed, found in (("model", model, spec.model), ("calculator", calculator, spec.calculator)):
        if found is not None and not allowed:
            raise PotentialError(
                f"potential {spec.name!r}: {field} is {found!r}, but this potential takes none; remove it"
            )
    for name in spec.arguments:
        if name not in arguments:
            understood = ", ".join(sorted(arguments)) or "none"
            hint = f"; did you mean {closest(name, arguments)!r}?" if arguments else ""
            raise PotentialError(
                f"potential {spec.name!r}: argument {name!r} is not understood{hint} (understood: "
                f"{understood})"
            )


def compiled_argument(spec: PotentialSpec) -> bool | None:
    """What the potential's argument `compiled` says: insist on compiled loops, forbid them, or None.

    Raises:
        PotentialError: it is neither true nor false, or true where there is no C compiler.
    """
    asked = spec.arguments.get("compiled")
    if not (asked is None or isinstance(asked, bool)):
        raise PotentialError(f"potential {spec.name!r}: argument compiled is {asked!r}; write true or false")
    if asked and compiler() is None:
        raise PotentialError(f"potential {spec.name!r}: argument compiled is true, but {NO_COMPILER}")
    return asked


def compiles(asked: bool | None) -> bool:  # noqa: FBT001 - the argument is all there is
    """Whether a potential's loops are compiled: not where that is forbidden or there is no compiler."""
    return asked is not False and compiler() is not None


def compiled_or_not(compiled: Callable[[], T], *, asked: bool | None, slower: str) -> T | None:
    """What `compiled` gives, or None where compiled loops are forbidden or cannot be had.

    Compiled loops give the same but for rounding, as one processor and the next do, so that they are no part of a
    calculation's identity.

    Args:
        compiled: compiles and loads.
        asked: the potential's argument `compiled`.
        slower: what running without costs, for the warning where a compiler fails.

    Raises:
        PotentialError: they are insisted on and cannot be had.
    """
    if not (asked or compiles(asked)):
        return None
    try:
        return compiled()
    except PotentialError as error:
        if asked:
            raise
        warnings.warn(f"{slower}: {error}", stacklevel=2)
        return None


def package_version(distribution: str) -> str:
    """Installed version of a distribution, or a clear refusal.

    Raises:
        PotentialError: the distribution is not installed.
    """
    try:
        return version(distribution)
    except PackageNotFoundError as error:
        raise PotentialError(
            f"the package {distribution!r} is not installed; `pip install {distribution}` brings it"
        ) from error


def hash_of_files(*paths: Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the files' contents, in order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def hash_of_values(values: Mapping[str, Any]) -> str:
    """First 8 hexadecimal digits of the SHA-256 of JSON values, whatever the order of their keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def check_elements(numbers: Integers, *, known: frozenset[str], fidelity: str) -> None:
    """Refuse a batch with an element that the potential does not know.

    Raises:
        PotentialError: names the elements and those that are known.
    """
    unknown = sorted({chemical_symbols[z] for z in np.unique(numbers)} - known)
    if unknown:
        listed = ", ".join(sorted(known, key=lambda s: int(atomic_numbers[s])))
        raise PotentialError(f"{fidelity} does not know {', '.join(unknown)}; it knows {listed}")


def structures(batch: Batch) -> list[Structure]:
    """The batch as pymatgen structures, coordinates not wrapped."""
    return [
        Structure(Lattice(cell), numbers.tolist(), positions, coords_are_cartesian=True)
        for numbers, positions, cell in batch.split()
    ]


def refusal(batch: Batch, refused: Mapping[int, str]) -> Evaluation:
    """An evaluation full of NaN, to be filled in where structures were not refused."""
    return Evaluation(
        energy=np.full(len(batch), np.nan),
        forces=np.full_like(batch.positions, np.nan),
        stress=np.full((len(batch), 3, 3), np.nan),
        refused=refused,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep model packages from chattering while imported, built and run; errors still pass."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # e3nn, which SevenNet is built on, still scripts its modules: nothing a user can act on.
        warnings.filterwarnings(
            "ignore", message=r"`torch\.jit\..*` is deprecated", category=DeprecationWarning
        )
        # CHGNet takes the volumes of a batch out of a differentiable tensor on purpose.
        warnings.filterwarnings(
            "ignore", message="Converting a tensor with requires_grad", category=UserWarning
        )
        # Accelerators need CUDA; on a CPU there is none to enable.
        warnings.filterwarnings("ignore", message="No tensor product accelerator", category=UserWarning)
        # The 2025.1 weights carry an older version number than the class; the conformance test checks their
        # energies.
        warnings.filterwarnings("ignore", message="Incompatible model version detected", category=UserWarning)
        yield


def packaged_file(package: str, relative: str) -> Path:
    """A file that a package brings inside its wheel, found without importing the package.

    Raises:
        PotentialError: the package is not installed or lacks the file.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise PotentialError(f"the package {package!r} is not installed; `pip install {package}` brings it")
    path = Path(found.submodule_search_locations[0]) / relative
    if not path.is_file():
        raise PotentialError(
            f"the package {package!r} lacks {relative}; its wheel should bring it: reinstall with "
            f"`pip install --force-reinstall {package}`"
        )
    return path


def passes(batch: Batch, *, refused: Collection[int] = ()) -> Iterator[list[int]]:
    """Indices of the structures that go through a model together, at most `ATOMS_PER_PASS` atoms or one."""
    together: list[int] = []
    atoms = 0
    for i, count in enumerate(np.bincount(batch.structure, minlength=len(batch))):
        if i in refused:
            continue
        if together and atoms + count > ATOMS_PER_PASS:
            yield together
            together, atoms = [], 0
        together.append(i)
        atoms += int(count)
    if together:
        yield together


def isolated(batch: Batch, *, cutoff: float) -> dict[int, str]:
    """Structures with an atom that has no neighbour within a model's cutoff, and so no meaningful energy.

    Args:
        batch: the structures.
        cutoff: Å.

    Returns:
        Reasons by index, as in `Evaluation.refused`.
    """
    refused: dict[int, str] = {}
    for i, (_, positions, cell) in enumerate(batch.split()):
        centres, neighbours, _, distances = find_points_in_spheres(
            positions,
            positions,
            r=cutoff,
            pbc=np.ones(3, dtype=np.int64),
            lattice=np.ascontiguousarray(cell),
            tol=1e-8,
        )
        bonded = np.unique(centres[(centres != neighbours) | (distances > 1e-8)])
        if len(bonded) < len(positions):
            refused[i] = (
                f"{len(positions) - len(bonded)} of {len(positions)} atoms have no neighbour within "
                f"{cutoff:g} Å"
            )
    return refused
