"""CHGNet's crystal graph of a batch: bonds, and angles between short bonds that share an atom.

A bond is stored once and used in both directions. Bonds short enough for angles come first, so that whatever
concerns them is a slice. All lists are made on the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surrogates.neighbours import PairFinder, pairs_on_host
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


def crystal_graph(
    batch: Batch, *, cutoff: float, angular_cutoff: float, pairs: PairFinder = pairs_on_host
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


def _bonds(batch: Batch, *, cutoff: float, pairs: PairFinder) -> tuple[Integers, Integers, Floats, Floats]:
    """First and second atom within the batch, shift (Å) and distance (Å) of every bond."""
    parts: list[tuple[Integers, Integers, Floats, Floats]] = []
    offset = 0
    for _, positions, cell in batch.split():
        first, second, translation, distance = pairs(positions, cell, cutoff)
        parts.append((first + offset, second + offset, translation @ cell, distance))
        offset += len(positions)
    first, second, shift, distance = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return first, second, shift, distance


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
