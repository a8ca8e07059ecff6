"""CHGNet's energy and its derivative by bond vectors, in one forward and one reverse pass.

Forces and stress of a structure both follow from the derivative g of its energy by the vectors v of its bonds: a
bond pulls its two atoms by g and -g, and the virial is the sum of v g^T. So neither positions nor strains need
to be differentiated through, and nothing is differentiated twice.

Torch is imported by this module: import it where an evaluation begins. All tensors live on the device of the
weights; this was written for any device and run on CPUs only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

from surrogates.potential import Batch, Floats, Integers
from surrogates.potentials.chgnet.bases import Bases
from surrogates.potentials.chgnet.graph import CrystalGraph
from surrogates.potentials.chgnet.messages import (
    NORM_EPSILON,
    AngleUpdate,
    AtomMessages,
    BondMessages,
    Edges,
    Project,
)
from surrogates.potentials.chgnet.weights import FEATURES, Convolution, Weights

SHRINK_COSINE = 1 - 1e-6
"""Factor of cosines, as in training: it keeps the arc cosine's slope finite where three atoms are in line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Derivatives in double precision, on the host."""

    energy: Floats
    """`n_structures`, eV."""
    forces: Floats
    """`n_atoms x 3`, eV/Å."""
    virial: Floats
    """`n_structures x 3 x 3`, eV: dE/dε."""


class Network:
    """CHGNet with one set of weights."""

    def __init__(self, weights: Weights, *, compiled: bool = False) -> None:
        self.weights = weights
        self._bases = Bases(weights)

    def evaluate(self, batch: Batch, graph: CrystalGraph) -> Result:
        """Energy, forces and virial of every structure.

        Args:
            batch: structures without isolated atoms.
            graph: theirs.
        """
        device = self.weights.elements.device
        positions, shift = (torch.from_numpy(a).to(device) for a in (batch.positions, graph.shift))
        indices = _Indices.of(graph, structure=batch.structure, device=device)
        numbers, structure = (
            torch.from_numpy(a).to(device) for a in (batch.atomic_numbers - 1, batch.structure)
        )
        vectors = positions[indices.second] + shift - positions[indices.first]
        vectors.requires_grad_(True)
        energies = self.atomic_energies(numbers, structure, vectors, indices)
        (pull,) = torch.autograd.grad(energies.sum(), vectors)
        vectors = vectors.detach()
        forces = torch.zeros_like(positions)
        forces.index_add_(0, indices.first, pull).index_add_(0, indices.second, pull, alpha=-1)
        virial = positions.new_zeros(len(batch), 3, 3)
        virial.index_add_(0, structure[indices.first], vectors[:, :, None] * pull[:, None, :])
        energy = positions.new_zeros(len(batch))
        energy.index_add_(0, structure, energies.detach().double() + self.weights.reference_energies[numbers])
        return Result(energy=_host(energy), forces=_host(forces), virial=_host(virial))

    def atomic_energies(
        self, numbers: Tensor, structure: Tensor, vectors: Tensor, indices: _Indices
    ) -> Tensor:
        """Energy of every atom without its element's reference energy, `n_atoms`, eV.

        Args:
            numbers: `n_atoms`, atomic numbers - 1.
            structure: `n_atoms`.
            vectors: `n_bonds x 3`, Å, double precision.
            indices: of the graph.
        """
        weights, n_short = self.weights, indices.n_short
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        radial = self._bases.radial(lengths)
        bond_weight = radial @ self._bases.bond_weight
        atoms = weights.elements[numbers]
        if indices.has_angles:
            short_radial = self._bases.short_radial(lengths[:n_short])
            right_weight = short_radial @ self._bases.short_bond_weight
            bonds = initial_bonds = radial[:n_short] @ self._bases.bond
            everywhere = torch.zeros_like(weights.elements[0])
            angles = basis = self._bases.angular(_angles(vectors, lengths, indices))
        for i, convolution in enumerate(weights.atoms):
            along = Project.apply(radial, self._bases.bond_in_atoms[i])
            if i and indices.has_angles:
                updated = Project.apply(bonds - initial_bonds, convolution.others[0])
                long = along[:, n_short:]
                if weights.bonds[i - 1].out_bias is not None:
                    long = long + indices.in_angles[n_short:] * (everywhere @ convolution.others[0])[:, None]
                along = torch.cat([along[:, :n_short] + updated, long], dim=1)
            centre = torch.matmul(atoms, convolution.centre) + convolution.bias
            neighbour = torch.matmul(atoms, convolution.others[1])
            summed = AtomMessages.apply(
                centre, neighbour, along, bond_weight, convolution.gate, indices.bonds
            )
            atoms = atoms + summed @ convolution.out
            if convolution.out_bias is not None:
                atoms = atoms + convolution.out_bias
            if i == len(weights.bonds) or not indices.has_angles:
                continue
            update = weights.bonds[i]
            left, right = _arm_tables(atoms, bonds, update, indices)
            matrices = self._bases.angle_in_bonds if i == 0 else update.others[2]
            arm_weight = right_weight[indices.arm_bond]
            summed = BondMessages.apply(
                left, right, angles, arm_weight, matrices, update.gate, indices.angles
            )
            by_bond = summed.new_zeros(n_short, FEATURES).index_add(0, indices.arm_bond, summed)
            bonds = bonds + (by_bond * right_weight) @ update.out
            if update.out_bias is not None:
                # Weights 0.2.0 add a constant to all bonds of a structure with angles, however long.
                bonds = bonds + indices.in_angles[:n_short] * update.out_bias
                everywhere = everywhere + update.out_bias
            if i == len(weights.angles):
                continue
            update = weights.angles[i]
            left, right = _arm_tables(atoms, bonds, update, indices)
            matrices = self._bases.angle_in_angles if i == 0 else update.others[2]
            added = AngleUpdate.apply(left, right, angles, matrices, update.gate, indices.angles)
            angles = (basis @ self._bases.angle if i == 0 else angles) + added
        return self._read_out(atoms)

    def _read_out(self, atoms: Tensor) -> Tensor:
        if self.weights.readout_norm:
            atoms = layer_norm(atoms, (FEATURES,), *self.weights.readout_norm, NORM_EPSILON)
        *hidden, last = self.weights.readout
        for matrix, bias in hidden:
            atoms = silu(torch.addmm(bias, atoms, matrix))
        return torch.addmm(last[1], atoms, last[0])[:, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Indices:
    """A `CrystalGraph` as tensors."""

    first: Tensor
    second: Tensor
    n_short: int
    has_angles: bool
    bonds: Edges
    """From atoms, along bonds, to atoms."""
    angles: Edges
    """From arms, along angles, to arms."""
    arm: Tensor
    arm_bond: Tensor
    """`2 n_short`: short bond of every arm."""
    arm_centre: Tensor
    in_angles: Tensor
    """`n_bonds x 1`: 1 where the bond's structure has angles, else 0."""

    @classmethod
    def of(cls, graph: CrystalGraph, *, structure: Integers, device: torch.device) -> Self:
        def tensor(array: Integers) -> Tensor:
            return torch.from_numpy(array).to(device)

        n_bonds, n_short = len(graph.first), graph.n_short
        first, second, by_centre = tensor(graph.first), tensor(graph.second), tensor(graph.by_centre)
        arm, mirrored = tensor(graph.arm), tensor(graph.mirrored)
        with_angles = np.zeros(structure[-1] + 1, dtype=np.float32)
        with_angles[structure[graph.arm_centre[graph.left]]] = 1
        return cls(
            first=first,
            second=second,
            n_short=n_short,
            has_angles=len(graph.left) > 0,
            bonds=Edges(
                start=torch.cat([first, second]),
                end=torch.cat([second, first]),
                by_start=by_centre,
                by_end=(by_centre + n_bonds) % (2 * n_bonds),
                offsets=tensor(graph.centre_offsets),
            ),
            angles=Edges(
                start=tensor(graph.left),
                end=tensor(graph.right),
                by_start=torch.arange(len(graph.left), device=device),
                by_end=mirrored,
                offsets=tensor(graph.arm_offsets),
            ),
            arm=arm,
            arm_bond=arm % n_short if n_short else arm,
            arm_centre=tensor(graph.arm_centre),
            in_angles=torch.from_numpy(with_angles[structure[graph.first]]).to(device)[:, None],
        )


def _angles(vectors: Tensor, lengths: Tensor, indices: _Indices) -> Tensor:
    """Angle between the arms of every angle, radians, `n_angles`."""
    directions = vectors[: indices.n_short] / lengths[: indices.n_short, None]
    arms = torch.cat([directions, -directions])[indices.arm]
    cosines = (arms[indices.angles.start] * arms[indices.angles.end]).sum(dim=1)
    return torch.acos(cosines * SHRINK_COSINE)


def _arm_tables(
    atoms: Tensor, bonds: Tensor, update: Convolution, indices: _Indices
) -> tuple[Tensor, Tensor]:
    """What left and right arms add to the first layer of an update, each `2 x n_arms x features`.

    The atom at the vertex goes with the left arm.
    """
    vertex = torch.matmul(atoms, update.centre) + update.bias
    left = Project.apply(bonds, update.others[0])[:, indices.arm_bond] + vertex[:, indices.arm_centre]
    right = Project.apply(bonds, update.others[1])[:, indices.arm_bond]
    return left, right


def _host(values: Tensor) -> Floats:
    array: Floats = values.cpu().numpy()
    return array
