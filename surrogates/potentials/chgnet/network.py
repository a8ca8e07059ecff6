"""CHGNet's energy and its derivative by bond vectors, in one forward and one reverse pass.

Forces and stress of a structure both follow from the derivative g of its energy by the vectors v of its bonds: a
bond pulls its two atoms by g and -g, and the virial is the sum of v g^T. So neither positions nor strains need
to be differentiated through, and nothing is differentiated twice.

Torch is imported by this module: import it where an evaluation begins. All tensors live on the device of the
weights; this was written for any device and run on CPUs only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from surrogates.potential import Batch, Floats
from surrogates.potentials.chgnet import messages
from surrogates.potentials.chgnet.bases import Bases
from surrogates.potentials.chgnet.geometry import Geometry, Indices
from surrogates.potentials.chgnet.graph import CrystalGraph
from surrogates.potentials.chgnet.messages import Functions, Saved
from surrogates.potentials.chgnet.weights import Convolution, Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Double precision, on the host."""

    energy: Floats
    """`n_structures`, eV."""
    forces: Floats
    """`n_atoms x 3`, eV/Å."""
    virial: Floats
    """`n_structures x 3 x 3`, eV: dE/dε."""


class Network:
    """CHGNet with one set of weights."""

    def __init__(self, weights: Weights, *, functions: Functions | None = None) -> None:
        """CHGNet.

        Args:
            weights: on any device, in single or double precision.
            functions: its message functions; those of `messages` by default.
        """
        self.weights = weights
        self._bases = Bases(weights)
        self._run = functions or Functions()

    def evaluate(self, batch: Batch, graph: CrystalGraph) -> Result:
        """Energy, forces and virial of every structure.

        Args:
            batch: structures without isolated atoms.
            graph: theirs.
        """
        # Weights of messages vanish smoothly at the cutoff. What is too small for a normal number there is nothing to
        # the energy, and would take a hundred times as long to multiply.
        torch.set_flush_denormal(True)
        try:
            with torch.inference_mode():
                return self._evaluate(batch, graph)
        finally:
            torch.set_flush_denormal(False)

    def _evaluate(self, batch: Batch, graph: CrystalGraph) -> Result:
        device = self.weights.elements.device
        positions, shift = (torch.from_numpy(a).to(device) for a in (batch.positions, graph.shift))
        numbers, structure = (
            torch.from_numpy(a).to(device) for a in (batch.atomic_numbers - 1, batch.structure)
        )
        indices = Indices.of(graph, structure=batch.structure, device=device)
        first, second = indices.first, indices.second
        geometry = Geometry.of(
            positions.index_select(0, second) + shift - positions.index_select(0, first), indices
        )
        there_and_back = _Pass(self.weights, self._bases, self._run, geometry, indices)
        atomic = there_and_back.forward(numbers)
        pull = there_and_back.reverse()
        forces = torch.zeros_like(positions)
        forces.index_add_(0, first, pull).index_add_(0, second, pull, alpha=-1)
        virial = positions.new_zeros(len(batch), 3, 3)
        virial.index_add_(0, structure[first], geometry.vectors[:, :, None] * pull[:, None, :])
        energy = positions.new_zeros(len(batch))
        energy.index_add_(0, structure, atomic.double() + self.weights.reference_energies[numbers])
        return Result(energy=_host(energy), forces=_host(forces), virial=_host(virial))


class _Pass:
    """One evaluation: what the forward pass leaves for the reverse. Derivatives are of the total energy."""

    def __init__(
        self, weights: Weights, bases: Bases, run: Functions, geometry: Geometry, indices: Indices
    ) -> None:
        self._weights, self._bases, self._run = weights, bases, run
        self._geometry, self._indices = geometry, indices
        self._saved: list[Any] = []

    def forward(self, numbers: Tensor) -> Tensor:
        """Energy of every atom without its element's reference energy, `n_atoms`, eV.

        Args:
            numbers: `n_atoms`, atomic numbers - 1.
        """
        weights, bases, lengths = self._weights, self._bases, self._geometry.lengths
        n_short = self._indices.n_short
        self._radial, radial_saved = bases.radial.forward(lengths)
        self._bond_weight = self._radial @ bases.bond_weight
        self._basis_saved: list[Saved] = [radial_saved]
        if n_short:
            self._short_radial, short_saved = bases.short_radial.forward(lengths[:n_short])
            self._short_weight = self._short_radial @ bases.short_bond_weight
            self._basis_saved.append(short_saved)
            self._bonds = self._radial[:n_short] @ bases.bond
            self._angles = self._angle_basis = bases.angular.forward(self._geometry.angles)
            self._everywhere = torch.zeros_like(weights.elements[0])
        self._atoms = weights.elements.index_select(0, numbers)
        self._convolve_atoms(0)
        for i in range(1, len(weights.atoms)):
            if n_short:
                self._convolve_bonds(i - 1)
                if i <= len(weights.angles):
                    self._update_angles(i - 1)
            self._convolve_atoms(i)
        return self._read_out()

    def _convolve_atoms(self, i: int) -> None:
        layer, n_short = self._weights.atoms[i], self._indices.n_short
        centre = torch.addmm(layer.bias, self._atoms, layer.centre)
        neighbour = self._atoms @ layer.others[1]
        along = self._radial @ self._bases.bond_in_atoms[i]
        if i and n_short:
            torch.mm(self._bonds, layer.others[0], out=along[:n_short])
            if self._weights.bonds[i - 1].out_bias is not None:
                along[n_short:] += self._indices.has_angles[n_short:] * (self._everywhere @ layer.others[0])
        summed, saved = self._run.atom_messages(
            centre,
            neighbour,
            along=along,
            weight=self._bond_weight,
            gate=layer.gate,
            edges=self._indices.bonds,
        )
        self._atoms = _added(self._atoms, summed, layer)
        if layer.out_bias is not None:
            self._atoms += layer.out_bias
        self._saved.append(saved)

    def _convolve_bonds(self, i: int) -> None:
        layer, indices = self._weights.bonds[i], self._indices
        left, right = self._arms(layer)
        weight = self._short_weight.index_select(0, indices.arm_bond)
        matrix = layer.others[2] if i else self._bases.angle_in_bonds
        by_arm, saved = self._run.bond_messages(
            left,
            right,
            angle=self._angles,
            matrix=matrix,
            weight=weight,
            gate=layer.gate,
            edges=indices.angles,
        )
        summed = indices.by_bond(by_arm)
        self._bonds = _added(self._bonds, summed * self._short_weight, layer)
        if layer.out_bias is not None:
            # Weights 0.2.0 add a constant to every bond of a structure with angles, however long.
            self._bonds += indices.has_angles[: indices.n_short] * layer.out_bias
            self._everywhere = self._everywhere + layer.out_bias
        self._saved.append((weight, matrix, summed, saved))

    def _update_angles(self, i: int) -> None:
        layer = self._weights.angles[i]
        left, right = self._arms(layer)
        matrix = layer.others[2] if i else self._bases.angle_in_angles
        added, saved = self._run.angle_update(
            left, right, angle=self._angles, matrix=matrix, gate=layer.gate, edges=self._indices.angles
        )
        before = self._angles if i else self._angle_basis @ self._bases.angle
        # Not in place: the reverse still reads what was added.
        self._angles = before + added
        self._saved.append((matrix, saved))

    def _arms(self, layer: Convolution) -> tuple[Tensor, Tensor]:
        """What left and right arms add to the first layer, `n_arms x 128`; the vertex goes with the left."""
        vertex = torch.addmm(layer.bias, self._atoms, layer.centre)
        left = (self._bonds @ layer.others[0]).index_select(0, self._indices.arm_bond)
        right = (self._bonds @ layer.others[1]).index_select(0, self._indices.arm_bond)
        return left.add_(vertex.index_select(0, self._indices.arm_centre)), right

    def _read_out(self) -> Tensor:
        values, weights = self._atoms, self._weights
        if weights.readout_norm:
            values, *statistics = messages.normalised(values, weights.readout_norm)
            self._saved.append(statistics)
        *hidden, (last, last_bias) = weights.readout
        before: list[Tensor] = []
        for matrix, bias in hidden:
            before.append(torch.addmm(bias, values, matrix))
            values = silu(before[-1])
        self._saved.append(before)
        return torch.addmm(last_bias, values, last)[:, 0]

    def reverse(self) -> Tensor:
        """Derivative by the bond vectors, `n_bonds x 3`, eV/Å."""
        weights, bases, n_short = self._weights, self._bases, self._indices.n_short
        self._by_atoms = self._read_out_reverse()
        self._by_radial = torch.zeros_like(self._radial)
        self._by_bond_weight = torch.zeros_like(self._bond_weight)
        if n_short:
            self._by_bonds = torch.zeros_like(self._bonds)
            self._by_short_weight = torch.zeros_like(self._short_weight)
            self._by_basis = torch.zeros_like(self._angle_basis)
            self._by_angles = torch.zeros_like(self._angles)
        for i in reversed(range(1, len(weights.atoms))):
            self._convolve_atoms_reverse(i)
            if n_short:
                if i <= len(weights.angles):
                    self._update_angles_reverse(i - 1)
                self._convolve_bonds_reverse(i - 1)
        self._convolve_atoms_reverse(0)
        self._by_radial.addmm_(self._by_bond_weight, bases.bond_weight.T)
        by_angles = self._geometry.angles
        if n_short:
            self._by_radial[:n_short].addmm_(self._by_bonds, bases.bond.T)
            by_angles = bases.angular.reverse(self._by_basis, self._angle_basis)
        by_lengths = bases.radial.reverse(self._by_radial, self._basis_saved[0])
        if n_short:
            by_short = self._by_short_weight @ bases.short_bond_weight.T
            by_lengths[:n_short] += bases.short_radial.reverse(by_short, self._basis_saved[1])
        return self._geometry.reverse(by_lengths, by_angles, self._indices)

    def _read_out_reverse(self) -> Tensor:
        *hidden, (last, _) = self._weights.readout
        by_values = last.T.expand(len(self._atoms), -1)
        for (matrix, _), before in zip(reversed(hidden), reversed(self._saved.pop()), strict=True):
            by_values = torch.ops.aten.silu_backward(by_values, before) @ matrix.T
        if not self._weights.readout_norm:
            return by_values
        mean, scale = self._saved.pop()
        return messages.norm_reverse(
            by_values, self._atoms, mean=mean, scale=scale, norm=self._weights.readout_norm
        )

    def _convolve_atoms_reverse(self, i: int) -> None:
        layer, n_short = self._weights.atoms[i], self._indices.n_short
        by_centre, by_neighbour, by_along, by_weight = self._run.atom_messages_reverse(
            self._by_atoms @ layer.out.T,
            self._bond_weight,
            gate=layer.gate,
            edges=self._indices.bonds,
            saved=self._saved.pop(),
        )
        self._by_bond_weight += by_weight
        own = n_short if i else 0
        self._by_radial[own:].addmm_(by_along[own:], self._bases.bond_in_atoms[i].T)
        if own:
            self._by_bonds.addmm_(by_along[:own], layer.others[0].T)
        if i:
            self._by_atoms.addmm_(by_centre, layer.centre.T).addmm_(by_neighbour, layer.others[1].T)

    def _convolve_bonds_reverse(self, i: int) -> None:
        layer, indices = self._weights.bonds[i], self._indices
        weight, matrix, summed, saved = self._saved.pop()
        by_weighted = self._by_bonds @ layer.out.T
        self._by_short_weight.addcmul_(by_weighted, summed)
        by_arm = by_weighted.mul_(self._short_weight).index_select(0, indices.arm_bond)
        by_left, by_right, by_angles, by_weight = self._run.bond_messages_reverse(
            by_arm, matrix, weight=weight, gate=layer.gate, edges=indices.angles, saved=saved
        )
        self._by_short_weight += indices.by_bond(by_weight)
        self._arms_reverse(by_left, by_right, layer)
        self._add_by_angles(by_angles, i)

    def _update_angles_reverse(self, i: int) -> None:
        layer = self._weights.angles[i]
        matrix, saved = self._saved.pop()
        by_left, by_right, by_angles = self._run.angle_update_reverse(
            self._by_angles, matrix, gate=layer.gate, edges=self._indices.angles, saved=saved
        )
        if not i:
            self._by_basis = self._by_angles @ self._bases.angle.T
        self._arms_reverse(by_left, by_right, layer)
        self._add_by_angles(by_angles, i)

    def _add_by_angles(self, by_angles: Tensor, i: int) -> None:
        """The first convolution and update read the basis itself, the later ones features."""
        if i:
            self._by_angles = self._by_angles + by_angles
        else:
            self._by_basis = self._by_basis + by_angles

    def _arms_reverse(self, by_left: Tensor, by_right: Tensor, layer: Convolution) -> None:
        indices = self._indices
        self._by_bonds.addmm_(indices.by_bond(by_left), layer.others[0].T)
        self._by_bonds.addmm_(indices.by_bond(by_right), layer.others[1].T)
        self._by_atoms.addmm_(indices.by_vertex(by_left), layer.centre.T)


def _added(values: Tensor, summed: Tensor, layer: Convolution) -> Tensor:
    """Features after a convolution whose messages were summed."""
    return torch.addmm(values, summed, layer.out)


def _host(values: Tensor) -> Floats:
    array: Floats = values.cpu().numpy()
    return array
