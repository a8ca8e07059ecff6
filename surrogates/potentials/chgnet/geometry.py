"""A crystal graph as tensors, and distances and angles of its bonds, with the way back to bond vectors.

Torch is imported by this module: import it where an evaluation begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surrogates.potential import Integers
from surrogates.potentials.chgnet.graph import CrystalGraph
from surrogates.potentials.chgnet.messages import Edges, grouped_sum

SHRINK_COSINE = 1 - 1e-6
"""Factor of cosines, as in training: it keeps the arc cosine's slope finite where three atoms are in line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indices:
    """A `CrystalGraph` on a device."""

    first: Tensor
    """`n_bonds`."""
    second: Tensor
    """`n_bonds`."""
    n_short: int
    """Short bonds; 0 where no structure has angles, for then nothing reads them."""
    bonds: Edges
    """From atoms, along bonds, to atoms."""
    angles: Edges
    """From arms, along angles, to arms."""
    arm: Tensor
    """`2 n_short`: directed short bonds, grouped by the atom that they start from."""
    arm_bond: Tensor
    """`2 n_short`: the short bond of every arm."""
    place: Tensor
    """`2 n_short`: where each directed short bond stands among the arms."""
    arm_centre: Tensor
    """`2 n_short`: the atom that every arm starts from."""
    every_arm: Tensor
    """`2 n_short`: 0, 1, 2, ..."""
    arms_of_atom: Tensor
    """`n_atoms`: where the arms of each atom begin."""
    has_angles: Tensor
    """`n_bonds x 1`: 1 where the bond's structure has angles, else 0."""

    @classmethod
    def of(cls, graph: CrystalGraph, *, structure: Integers, device: torch.device) -> Indices:
        """Move a graph to a device.

        Args:
            graph: of a batch.
            structure: `n_atoms`, the batch's.
            device: where to.
        """

        def tensor(array: Integers) -> Tensor:
            return torch.from_numpy(array).to(device)

        n_bonds, n_short = len(graph.first), graph.n_short if len(graph.left) else 0
        first, second, by_centre = tensor(graph.first), tensor(graph.second), tensor(graph.by_centre)
        arm = graph.arm[: 2 * n_short]
        place = np.empty_like(arm)
        place[arm] = np.arange(len(arm))
        arm_centre = graph.arm_centre[: 2 * n_short]
        arms = np.bincount(arm_centre, minlength=len(structure))
        with_angles = np.zeros(len(structure), dtype=np.float32)
        with_angles[structure[arm_centre[graph.left]]] = 1
        return cls(
            first=first,
            second=second,
            n_short=n_short,
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
                by_end=tensor(graph.mirrored),
                offsets=tensor(graph.arm_offsets[: 2 * n_short]),
            ),
            arm=tensor(arm),
            arm_bond=tensor(arm % max(n_short, 1)),
            place=tensor(place),
            arm_centre=tensor(arm_centre),
            every_arm=torch.arange(2 * n_short, device=device),
            arms_of_atom=tensor(np.cumsum(arms) - arms),
            has_angles=torch.from_numpy(with_angles[structure[graph.first]]).to(device)[:, None],
        )

    def by_bond(self, by_arm: Tensor) -> Tensor:
        """Sum over both arms of every short bond, `n_short x k` from `2 n_short x k`."""
        return by_arm.index_select(0, self.place).view(2, self.n_short, -1).sum(0)

    def by_vertex(self, by_arm: Tensor) -> Tensor:
        """Sum over the arms of every atom, `n_atoms x k` from `2 n_short x k`."""
        return grouped_sum(by_arm, self.every_arm, self.arms_of_atom)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Distances and angles in double precision."""

    vectors: Tensor
    """`n_bonds x 3`, Å, from the first atom to the second."""
    lengths: Tensor
    """`n_bonds`, Å."""
    directions: Tensor
    """`n_bonds x 3`."""
    right_arms: Tensor
    """`n_angles x 3`: direction of the right arm of every angle."""
    cosines: Tensor
    """`n_angles`, as shrunk in training."""
    angles: Tensor
    """`n_angles`, radians."""

    @classmethod
    def of(cls, vectors: Tensor, indices: Indices) -> Geometry:
        """Measure bond vectors (`n_bonds x 3`, Å)."""
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        directions = vectors / lengths[:, None]
        short = directions[: indices.n_short]
        arms = torch.cat([short, -short]).index_select(0, indices.arm)
        right_arms = arms.index_select(0, indices.angles.end)
        cosines = (arms.index_select(0, indices.angles.start) * right_arms).sum(dim=1) * SHRINK_COSINE
        return cls(
            vectors=vectors,
            lengths=lengths,
            directions=directions,
            right_arms=right_arms,
            cosines=cosines,
            angles=torch.acos(cosines),
        )

    def reverse(self, by_lengths: Tensor, by_angles: Tensor, indices: Indices) -> Tensor:
        """Derivative by the vectors, `n_bonds x 3`, given those by lengths (`n_bonds`) and angles."""
        by_vectors = self.directions * by_lengths[:, None]
        if not indices.n_short:
            return by_vectors
        by_cosines = by_angles * -SHRINK_COSINE / torch.sqrt(1 - self.cosines**2)
        # The two arms of an angle are each the right arm of one of its two mirror images.
        by_cosines = by_cosines + by_cosines.index_select(0, indices.angles.by_end)
        edges = indices.angles
        by_arms = grouped_sum(self.right_arms * by_cosines[:, None], edges.by_start, edges.offsets)
        outward, inward = by_arms.index_select(0, indices.place).chunk(2)
        by_directions = outward - inward
        short, lengths = self.directions[: indices.n_short], self.lengths[: indices.n_short, None]
        along = (by_directions * short).sum(dim=1, keepdim=True)
        by_vectors[: indices.n_short] += (by_directions - along * short) / lengths
        return by_vectors
