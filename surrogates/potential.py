"""The Potential seam: crystals in, energies, forces and stresses out, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
            Atoms(numbers=self.atomic_numbers[self.structure == i], positions=self.positions[self.structure == i], cell=cell, pbc=True)
            for i, cell in enumerate(self.cells)
        ]

    def __len__(self) -> int:
        return len(self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a potential says of a batch."""

    energy: Floats
    """`n_structures`, eV."""
    forces: Floats
    """`n_atoms x 3`, eV/Å."""
    stress: Floats
    """`n_structures x 3 x 3`, eV/Å3, ASE's sign: positive where the cell wants to shrink."""


@runtime_checkable
class Potential(Protocol):
    """An interatomic potential at one fidelity."""

    fidelity: str
    """Name of its energies, e.g. `chgnet-0.3.0`: energies of two fidelities never share a hull."""
    version: str
    """Package, its version and a hash or name of the weights: part of a calculation's identity."""
    elements: frozenset[str] | None
    """Elements that it knows; None where it does not say."""
    seconds_per_atom: float
    """Rough CPU seconds to relax one atom of a crystal, for declaring costs."""

    def evaluate(self, batch: Batch) -> Evaluation:
        """Energy, forces and stress of every structure of the batch."""
        ...
