"""Pairs of neighbouring atoms in one periodic structure, on the host by vesin or on a device by tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from surrogates.potential import Floats, Integers

Pairs = tuple[Integers, Integers, Integers, Floats]
"""First and second atom, lattice translation of the second (`n x 3`), and distance (Å) of pairs, each once."""
PairFinder = Callable[[Floats, Floats, float], Pairs]
"""Positions (`n_atoms x 3`), cell (`3 x 3`) and cutoff, all Å, to pairs."""


@lru_cache(maxsize=8)
def _neighbour_list(cutoff: float) -> Any:
    from vesin import NeighborList

    return NeighborList(cutoff=cutoff, full_list=False, n_threads=1)


def pairs_on_host(positions: Floats, cell: Floats, cutoff: float) -> Pairs:
    """Pairs of one periodic structure within the cutoff, by vesin."""
    first, second, translation, distance = _neighbour_list(cutoff).compute(
        points=positions, box=cell, periodic=True, quantities="ijSd"
    )
    return first.astype(np.int64), second.astype(np.int64), translation.astype(np.int64), distance


def pairs_on_device(positions: Any, cell: Any, cutoff: float) -> tuple[Any, Any, Any, Any]:
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
