"""CHGNet's radial and angular bases, with the linear maps that read them folded into one matrix each.

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


class RadialBasis:
    """sqrt(2 / r_c) sin(f_n r / r_c) / r times a polynomial envelope that ends smoothly at r_c.

    Gasteiger, Groß and Günnemann, Directional message passing for molecular graphs, ICLR 2020, eqs. 7 and 8.
    """

    def __init__(self, frequencies: Tensor, *, cutoff: float, envelope: int) -> None:
        self._frequencies = padded(frequencies)
        self._cutoff = cutoff
        p = envelope
        self._powers = (p, p + 1, p + 2)
        self._factors = (-(p + 1) * (p + 2) / 2, p * (p + 2.0), -p * (p + 1) / 2)

    def __call__(self, lengths: Tensor) -> Tensor:
        """`n x n_columns` of `n` distances, Å."""
        scaled = lengths / self._cutoff
        envelope = 1 + sum(f * scaled**p for f, p in zip(self._factors, self._powers, strict=True))
        envelope = torch.where(scaled < 1, envelope, torch.zeros_like(envelope))
        height = (math.sqrt(2 / self._cutoff) * envelope / lengths).to(self._frequencies.dtype)
        phase = scaled.to(self._frequencies.dtype)[:, None] * self._frequencies
        return torch.sin(phase) * height[:, None]


class Bases:
    """Both bases of one set of weights. Matrices are `n_columns x features`, or with a leading 2."""

    def __init__(self, weights: Weights) -> None:
        self.radial = RadialBasis(weights.radial, cutoff=weights.cutoff, envelope=weights.envelope)
        self.short_radial = RadialBasis(
            weights.short_radial, cutoff=weights.angular_cutoff, envelope=weights.envelope
        )
        self._angular = padded(weights.angular, by_at_least=1)
        self.bond = _rows(weights.bond, len(padded(weights.radial)))
        self.bond_weight = _rows(weights.bond_weight, len(self.bond))
        self.short_bond_weight = _rows(weights.short_bond_weight, len(self.bond))
        self.angle = self._angle_matrix(weights)
        self.bond_in_atoms = tuple(_product(self.bond, c.others[0]) for c in weights.atoms)
        self.angle_in_bonds = _product(self.angle, weights.bonds[0].others[2])
        self.angle_in_angles = _product(self.angle, weights.angles[0].others[2])

    def angular(self, angles: Tensor) -> Tensor:
        """Sines, then cosines, of `n` angles (radians), `n x n_columns`; the first padding is the constant."""
        phase = angles.to(self._angular.dtype)[:, None] * self._angular
        return torch.cat([torch.sin(phase), torch.cos(phase)], dim=1)

    def _angle_matrix(self, weights: Weights) -> Tensor:
        """The angle embedding for the columns of `angular`: the constant's row is where cos 0 stands.

        The published basis is 1/sqrt(2), sines, cosines, all divided by sqrt(pi).
        """
        n = len(weights.angular)
        constant, sines, cosines = weights.angle.split([1, n, n])
        surplus = len(self._angular) - n - 1
        rows = [
            pad(sines, (0, 0, 0, surplus + 1)),
            cosines,
            constant / math.sqrt(2),
            constant.new_zeros(surplus, constant.shape[1]),
        ]
        return torch.cat(rows) / math.sqrt(math.pi)


def padded(frequencies: Tensor, *, by_at_least: int = 0) -> Tensor:
    """Frequencies and zeros, a multiple of eight in all."""
    return pad(frequencies, (0, by_at_least + -(len(frequencies) + by_at_least) % 8))


def _rows(matrix: Tensor, count: int) -> Tensor:
    return pad(matrix, (0, 0, 0, count - len(matrix)))


def _product(first: Tensor, second: Tensor) -> Tensor:
    return torch.matmul(first.double(), second.double()).to(first.dtype)
