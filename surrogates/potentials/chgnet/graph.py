"""CHGNet's crystal graph of a batch: bonds, and angles between short bonds that share an atom.

A bond is stored once and used in both directions. Bonds short enough for angles come first, so that whatever
concerns them is a slice. The lists are made by vesin and NumPy on the host; `brute_force_pairs` is the same
list from tensor operations alone, for devices on which leaving would cost more than the extra pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.potential import Batch, Floats, Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class CrystalGraph:
    """Who is bonded to whom in a batch. Directed bond `d` is bond `d`, or bond `d - n_bonds` reversed."""

    first: Integers
    """`n_bonds`: the atom that the bond starts from."""
    second: Integers
    """`n_bonds`: the atom that it leads to."""
    shift: Floats
    """`n_bonds x 3`, Å: added to the second atom's position."""
    n_short: int
    """Bonds within the angular cutoff: the first so many."""
    by_centre: Integers
    """`2 n_bonds`: directed bonds grouped by the atom that they start from, in its order."""
    centre_offsets: Integers
    """`n_atoms`: where in `by_centre` an atom's group starts."""
    arm: Integers
    """`2 n_short`: directed short bonds grouped by the atom that they start from; a directed short bond is
    short bond `d`, or `d - n_short` reversed."""
    arm_centre: Integers
    """`2 n_short`: the atom that each of `arm` starts from."""
    arm_offsets: Integers
    """`2 n_short`: where the angles of each of `arm` start, as its left arm; they are consecutive."""
    left: Integers
    """`n_angles`, ascending: the left arm, as index into `arm`."""
    right: Integers
    """`n_angles`: the right arm, as index into `arm`; every ordered pair of distinct arms occurs once."""
    mirrored: Integers
    """`n_angles`: the angle with left and right arm exchanged."""


Pairs = tuple[Integers, Integers, Integers, Floats]
"""First and second atom, lattice translation (`n x 3`) and distance (Å) of pairs, each counted once."""
PairFinder = Callable[[Floats, Floats, float], Pairs]
"""Positions (`n_atoms x 3`), cell (`3 x 3`) and cutoff, all Å, to pairs."""


@lru_cache(maxsize=8)
def _neighbour_list(cutoff: float) -> Any:
    from vesin import NeighborList

    return NeighborList(cutoff=cutoff, full_list=False, n_threads=1)


def vesin_pairs(positions: Floats, cell: Floats, cutoff: float) -> Pairs:
    """Pairs of one periodic structure within the cutoff, by vesin."""
    first, second, translation, distance = _neighbour_list(cutoff).compute(
        points=positions, box=cell, periodic=True, quantities="ijSd"
    )
    return first.astype(np.int64), second.astype(np.int64), translation.astype(np.int64), distance


def crystal_graph(
    batch: Batch, *, cutoff: float, angular_cutoff: float, pairs: PairFinder = vesin_pairs
) -> CrystalGraph:
    """The graph of a batch.

    Args:
        batch: structures; coordinates need not be wrapped.
        cutoff: longest bond, Å.
        angular_cutoff: longest bond that takes part in angles, Å.
        pairs: finds the pairs of one structure.
    """
    first, second, shift, distance = _bonds(batch, cutoff=cutoff, pairs=pairs)
    is_short = distance < angular_cutoff
    order = np.concatenate([np.flatnonzero(is_short), np.flatnonzero(~is_short)])
    first, second, shift = first[order], second[order], shift[order]
    n_short = int(is_short.sum())
    n_atoms = len(batch.atomic_numbers)
    centres = np.concatenate([first, second])
    counts = np.bincount(centres, minlength=n_atoms)
    arm_centres = np.concatenate([first[:n_short], second[:n_short]])
    arm = np.argsort(arm_centres, kind="stable")
    left, right, mirrored, arm_offsets = _angles(np.bincount(arm_centres, minlength=n_atoms))
    return CrystalGraph(
        first=first,
        second=second,
        shift=shift,
        n_short=n_short,
        by_centre=np.argsort(centres, kind="stable"),
        centre_offsets=np.cumsum(counts) - counts,
        arm=arm,
        arm_centre=arm_centres[arm],
        arm_offsets=arm_offsets,
        left=left,
        right=right,
        mirrored=mirrored,
    )


def _bonds(
    batch: Batch, *, cutoff: float, pairs: PairFinder
) -> tuple[Integers, Integers, Floats, Floats]:
    """First and second atom within the batch, shift (Å) and distance (Å) of every bond."""
    parts: list[tuple[Integers, Integers, Floats, Floats]] = []
    offset = 0
    for positions, cell in _geometries(batch):
        first, second, translation, distance = pairs(positions, cell, cutoff)
        parts.append((first + offset, second + offset, translation @ cell, distance))
        offset += len(positions)
    first, second, shift, distance = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return first, second, shift, distance


def _geometries(batch: Batch) -> Iterator[tuple[Floats, Floats]]:
    for _, positions, cell in batch.split():
        yield positions, cell


def _angles(arms: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    """Left arm, right arm, mirror image and first angle per left arm, where atom `i` has `arms[i]` arms.

    Arms are numbered atom by atom. The angles of a left arm are consecutive, their right arms ascending.
    """
    others = np.maximum(np.repeat(arms, arms) - 1, 0)
    """Per arm: the angles that it is the left arm of."""
    group = np.repeat(np.cumsum(arms) - arms, arms)
    """Per arm: the first arm of its atom."""
    offsets = np.cumsum(others) - others
    left = np.repeat(np.arange(len(others)), others)
    rank = np.arange(len(left)) - offsets[left]
    own_rank = left - group[left]
    right = group[left] + rank + (rank >= own_rank)
    mirrored = offsets[right] + own_rank - (own_rank > right - group[right])
    return left, right, mirrored, offsets


def brute_force_pairs(positions: Any, cell: Any, cutoff: float) -> tuple[Any, Any, Any, Any]:
    """Pairs of one periodic structure within the cutoff, from tensor operations on its device.

    Every image that may hold a neighbour is compared with every atom: `n_atoms^2` times the number of images
    within the cutoff, which suits small cells.

    Args:
        positions: tensor `n_atoms x 3`, Å; it need not be wrapped.
        cell: tensor `3 x 3`, Å.
        cutoff: Å.

    Returns:
        Tensors as in `Pairs`, on the device of `positions`.
    """
    import torch

    inverse = torch.linalg.inv(cell)
    fractional = positions @ inverse
    wrapped = torch.floor(fractional)
    inside = (fractional - wrapped) @ cell
    # The planes of atoms along axis k are 1 / |column k of the inverse| apart; wrapped atoms differ by less
    # than one.
    reach = torch.ceil(cutoff * torch.linalg.vector_norm(inverse, dim=0)).long().tolist()
    axes = [torch.arange(-n, n + 1, device=positions.device) for n in reach]
    images = torch.cartesian_prod(*axes)
    vectors = (
        inside[None, None, :, :] + (images.to(cell.dtype) @ cell)[:, None, None, :] - inside[None, :, None, :]
    )
    distances = torch.linalg.vector_norm(vectors, dim=-1)
    first = torch.arange(len(positions), device=positions.device)[:, None]
    second = first.T
    # One of each pair and its reverse: the lower atom first, and the later half of the images of an atom.
    middle = len(images) // 2
    image_index = torch.arange(len(images), device=positions.device)[:, None, None]
    once = (first < second)[None] | ((first == second)[None] & (image_index > middle))
    image, i, j = torch.nonzero((distances < cutoff) & once, as_tuple=True)
    translation = images[image] - wrapped[j].long() + wrapped[i].long()
    return i, j, translation, distances[image, i, j]
