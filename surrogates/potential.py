"""The Potential seam: crystals in, energies, forces and stresses out, in batches.

Arrays at the seam are NumPy in double precision, on the host: a relaxation's own state is a few kilobytes per
structure, so copying it to and from a device costs nothing beside an evaluation. A potential keeps its
tensors, neighbour lists and compiled kernels to itself, on whatever device it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Periodic structures side by side."""

    atomic_numbers: Integers
    """`n_atoms`."""
    positions: Floats
    """`n_atoms x 3`, Cartesian, Å."""
    cells: Floats
    """`n_structures x 3 x 3`, rows are lattice vectors, Å."""
    structure: Integers
    """`n_atoms`, ascending: which structure an atom belongs to."""

    @classmethod
    def from_atoms(cls, structures: Sequence[Atoms]) -> Batch:
        """Batch of ASE structures, in their order."""
        return cls(
            atomic_numbers=np.concatenate([a.numbers for a in structures]).astype(np.int64),
            positions=np.concatenate([a.positions for a in structures]).astype(np.float64),
            cells=np.stack([np.asarray(a.cell.array) for a in structures]).astype(np.float64),
            structure=np.repeat(np.arange(len(structures)), [len(a) for a in structures]),
        )

    def atoms(self) -> list[Atoms]:
        """The structures as ASE objects."""
        return [
            Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
            for numbers, positions, cell in self.split()
        ]

    def split(self) -> Iterator[tuple[Integers, Floats, Floats]]:
        """Atomic numbers, positions and cell of each structure, in order."""
        ends = np.cumsum(np.bincount(self.structure, minlength=len(self)))
        for start, end, cell in zip((0, *ends[:-1]), ends, self.cells, strict=True):
            yield self.atomic_numbers[start:end], self.positions[start:end], cell

    def __len__(self) -> int:
        """Structures."""
        return len(self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a potential says of a batch."""

    energy: Floats
    """`n_structures`, eV."""
    forces: Floats
    """`n_atoms x 3`, eV/Å."""
    stress: Floats
    """`n_structures x 3 x 3`, eV/Å3, symmetric, ASE's sign (dE/dε / V): positive where the cell wants to
    shrink."""
    refused: Mapping[int, str] = field(default_factory=dict)
    """Structures that could not be evaluated, by index, each with the reason; their numbers are NaN."""


@runtime_checkable
class Potential(Protocol):
    """An interatomic potential at one fidelity.

    Reading its description is cheap: an implementation checks on loading that its weights exist and reads
    them on the first evaluation, so that the process which only drives a campaign never loads a model.
    """

    @property
    def fidelity(self) -> str:
        """Name of its energies, e.g. `chgnet-0.3.0`: energies of two fidelities never share a hull."""
        ...

    @property
    def version(self) -> str:
        """Package, its version and a hash or name of the weights: part of a calculation's identity."""
        ...

    @property
    def elements(self) -> frozenset[str] | None:
        """Elements that it knows; None where it does not say."""
        ...

    @property
    def seconds_per_atom(self) -> float:
        """Rough CPU seconds to relax one atom of a crystal, for declaring costs."""
        ...

    def evaluate(self, batch: Batch) -> Evaluation:
        """Energy, forces and stress of every structure of the batch.

        Raises:
            PotentialError: an element that the potential does not know, or weights that cannot be read.
        """
        ...
