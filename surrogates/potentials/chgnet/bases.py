"""CHGNet's radial and angular bases, their derivatives, and the linear maps that read them, each one matrix.

Distances and angles come in double precision; the bases are in the precision of the weights. Their columns are
padded with zero frequencies to a multiple of eight, which matrix products like.

Torch is imported by this module: import it where an evaluation begins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from surrogates.potentials.chgnet.weights import Weights

Saved = tuple[Tensor, ...]


class RadialBasis:
    """sqrt(2 / r_c) sin(f_n r / r_c) / r times a polynomial envelope that ends smoothly at r_c.

    Gasteiger, Groß and Günnemann, Directional message passing for molecular graphs, ICLR 2020, eqs. 7 and 8.
    """

    def __init__(self, frequencies: Tensor, *, cutoff: float, envelope: int) -> None:
        self._frequencies = padded(frequencies) / cutoff
        self._cutoff = cutoff
        p = envelope
        self._terms = ((p, -(p + 1) * (p + 2) / 2), (p + 1, p * (p + 2.0)), (p + 2, -p * (p + 1) / 2))

    def forward(self, lengths: Tensor) -> tuple[Tensor, Saved]:
        """`n x n_columns` of `n` distances (Å), and saved tensors."""
        dtype = self._frequencies.dtype
        x = lengths / self._cutoff
        inside = x < 1
        scale = math.sqrt(2 / self._cutoff) * inside / lengths
        polynomial = 1 + sum(factor * x**power for power, factor in self._terms)
        slope = sum(factor * power * x ** (power - 1) for power, factor in self._terms) / self._cutoff
        height = (scale * polynomial).to(dtype)[:, None]
        height_slope = (scale * (slope - polynomial / lengths)).to(dtype)[:, None]
        phase = lengths.to(dtype)[:, None] * self._frequencies
        sine = torch.sin(phase)
        return sine * height, (sine, phase, height, height_slope)

    def reverse(self, change: Tensor, saved: Saved) -> Tensor:
        """Derivative by the distances, `n`, given that by the basis."""
        sine, phase, height, height_slope = saved
        by_phase = torch.cos(phase).mul_(height).mul_(self._frequencies)
        return by_phase.addcmul_(sine, height_slope).mul_(change).sum(dim=1).double()


class AngularBasis:
    """Sines, then cosines, of frequencies times angles; the first cosine of the padding is the constant 1."""

    def __init__(self, frequencies: Tensor) -> None:
        self._frequencies = padded(frequencies, by_at_least=1)

    def forward(self, angles: Tensor) -> Tensor:
        """`n x n_columns` of `n` angles, radians."""
        phase = angles.to(self._frequencies.dtype)[:, None] * self._frequencies
        return torch.cat([torch.sin(phase), torch.cos(phase)], dim=1)

    def reverse(self, change: Tensor, basis: Tensor) -> Tensor:
        """Derivative by the angles, `n`, given that by the basis and the basis itself."""
        sine, cosine = basis.chunk(2, dim=1)
        by_sine, by_cosine = change.chunk(2, dim=1)
        return (by_sine * cosine).addcmul_(by_cosine, sine, value=-1).mv(self._frequencies).double()


class Bases:
    """The bases of one set of weights. Matrices are `n_columns x features`, or `n_columns x 2 features`."""

    def __init__(self, weights: Weights) -> None:
        self.radial = RadialBasis(weights.radial, cutoff=weights.cutoff, envelope=weights.envelope)
        self.short_radial = RadialBasis(
            weights.short_radial, cutoff=weights.angular_cutoff, envelope=weights.envelope
        )
        self.angular = AngularBasis(weights.angular)
        columns = len(padded(weights.radial))
        self.bond = _rows(weights.bond, columns)
        self.bond_weight = _rows(weights.bond_weight, columns)
        self.short_bond_weight = _rows(weights.short_bond_weight, columns)
        self.angle = _angle_matrix(weights)
        self.bond_in_atoms = tuple(_product(self.bond, c.others[0]) for c in weights.atoms)
        self.angle_in_bonds = _product(self.angle, weights.bonds[0].others[2])
        self.angle_in_angles = _product(self.angle, weights.angles[0].others[2])


def padded(frequencies: Tensor, *, by_at_least: int = 0) -> Tensor:
    """Frequencies and zeros, a multiple of eight in all."""
    return pad(frequencies, (0, by_at_least + -(len(frequencies) + by_at_least) % 8))


def _angle_matrix(weights: Weights) -> Tensor:
    """The angle embedding for the columns of `AngularBasis`.

    The published basis is 1/sqrt(2), sines and cosines, all divided by sqrt(pi).
    """
    n = len(weights.angular)
    constant, sines, cosines = weights.angle[:1], weights.angle[1 : n + 1], weights.angle[n + 1 :]
    surplus = len(padded(weights.angular, by_at_least=1)) - n
    sines = _rows(sines, n + surplus)
    cosines = _rows(torch.cat([cosines, constant / math.sqrt(2)]), n + surplus)
    return torch.cat([sines, cosines]) / math.sqrt(math.pi)


def _rows(matrix: Tensor, count: int) -> Tensor:
    return pad(matrix, (0, 0, 0, count - len(matrix)))


def _product(first: Tensor, second: Tensor) -> Tensor:
    return torch.matmul(first.double(), second.double()).to(first.dtype)
