"""CHGNet's message functions on edges, each with its reverse written out.

Nearly all the time of an evaluation is spent here, on arrays of `n_edges x 128`: the core and the gate of a gated
perceptron side by side. Autograd is not used: the reverse reuses the sigmoids of the forward pass (exponentials
cost as much as the matrix products), sums over an atom's edges by `embedding_bag` on grouped indices instead of
scattering, works in place, and spares thousands of small operations that cost more than a small crystal does.

Every function is pure but for what it was given to overwrite, which no caller reads again. `native` has the same
functions as compiled loops. Torch is imported by this module: import it where an evaluation begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surrogates.potentials.chgnet.weights import FEATURES, Gate

NORM_EPSILON = 1e-5
"""Of the layer normalisation that the weights were trained with (PyTorch's default)."""

Saved = tuple[Tensor, ...]


class Edges(NamedTuple):
    """Where messages come from and go to; every row of a table starts as many edges as it ends."""

    start: Tensor
    """`n_edges`: row of the first table that each edge reads, and where its message is summed."""
    end: Tensor
    """`n_edges`: row of the second table that each edge reads."""
    by_start: Tensor
    """`n_edges`: edges grouped by start."""
    by_end: Tensor
    """`n_edges`: edges grouped by end."""
    offsets: Tensor
    """`n_rows`: where the groups begin."""


def grouped_sum(rows: Tensor, order: Tensor, offsets: Tensor) -> Tensor:
    """Sums of rows by group, `n_groups x features`.

    Args:
        rows: `n x features`.
        order: `n`: row indices, group after group.
        offsets: `n_groups`: where in `order` each group begins.
    """
    return torch.nn.functional.embedding_bag(order, rows, offsets, mode="sum")


def gated_forward(z: Tensor, gate: Gate) -> tuple[Tensor, Saved]:
    """Messages from the result of the first linear layer, and what the reverse needs.

    Args:
        z: `n x 128`: core and gate before the first activation; overwritten.
        gate: the rest of the gated perceptron.

    Returns:
        `n x 64`: SiLU of the core times sigmoid of the gate; and saved tensors.
    """
    saved: Saved = ()
    if gate.hidden:
        sigmoid = torch.sigmoid(z)
        z = z.mul_(sigmoid)
        saved = (z, sigmoid)
        core, opening = (
            torch.addmm(bias, half, matrix)
            for half, (matrix, bias) in zip(z.chunk(2, dim=1), gate.hidden, strict=True)
        )
    else:
        core, opening = (half.contiguous() for half in z.chunk(2, dim=1))
    if gate.norms:
        saved = (*saved, core, opening)
        core, *core_statistics = normalised(core, gate.norms[0])
        opening, *opening_statistics = normalised(opening, gate.norms[1])
        saved = (*saved, *core_statistics, *opening_statistics)
    core_sigmoid = torch.sigmoid(core)
    opening = opening.sigmoid_()
    core = core.mul_(core_sigmoid)
    message = core * opening
    return message, (*saved, core, core_sigmoid, opening, message)


def gated_reverse(change: Tensor, gate: Gate, saved: Saved) -> Tensor:
    """Derivative by `z` of `gated_forward`, `n x 128`.

    Args:
        change: `n x 64`: derivative by the messages.
        gate: as in the forward pass.
        saved: from the forward pass; partly overwritten.
    """
    *saved_before, core, core_sigmoid, opening, message = saved
    # d(x s(x))/dx = s + x s (1 - s), with x s(x) at hand.
    by_core = torch.addcmul(core_sigmoid, core, core_sigmoid, value=-1).add_(core).mul_(opening).mul_(change)
    by_opening = message.addcmul(message, opening, value=-1).mul_(change)
    if gate.norms:
        *saved_before, core, opening, mean, scale, opening_mean, opening_scale = saved_before
        by_core = norm_reverse(by_core, core, mean=mean, scale=scale, norm=gate.norms[0])
        by_opening = norm_reverse(
            by_opening, opening, mean=opening_mean, scale=opening_scale, norm=gate.norms[1]
        )
    if not gate.hidden:
        return torch.cat([by_core, by_opening], dim=1)
    activated, sigmoid = saved_before
    by_z = _side_by_side(
        by_core, gate.hidden[0][0].T, by_opening, gate.hidden[1][0].T, out=torch.empty_like(activated)
    )
    return by_z.mul_(torch.addcmul(sigmoid, activated, sigmoid, value=-1).add_(activated))


def _side_by_side(core: Tensor, first: Tensor, opening: Tensor, second: Tensor, *, out: Tensor) -> Tensor:
    """Both products, one in each half of the columns."""
    torch.mm(core, first, out=out[:, :FEATURES])
    torch.mm(opening, second, out=out[:, FEATURES:])
    return out


def normalised(values: Tensor, norm: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Layer normalisation of `n x 64`, and the mean and scale of every row that its reverse needs."""
    return torch.native_layer_norm(values, (FEATURES,), norm[0], norm[1], NORM_EPSILON)


def norm_reverse(
    change: Tensor, values: Tensor, *, mean: Tensor, scale: Tensor, norm: tuple[Tensor, Tensor]
) -> Tensor:
    """Derivative of a layer normalisation by its input, given that by its result."""
    by_values: Tensor = torch.ops.aten.native_layer_norm_backward(
        change, values, (FEATURES,), mean, scale, *norm, (True, False, False)
    )[0]
    return by_values


def atom_messages(
    centre: Tensor, neighbour: Tensor, *, along: Tensor, weight: Tensor, gate: Gate, edges: Edges
) -> tuple[Tensor, Saved]:
    """Messages along bonds, both ways, summed at the atoms that they are for.

    Args:
        centre: `n_atoms x 128`, the receiving atom's part of the first layer.
        neighbour: `n_atoms x 128`, the sending atom's part.
        along: `n_bonds x 128`, the bond's part.
        weight: `n_bonds x 64`, what messages are multiplied with.
        gate: of this convolution.
        edges: bonds, then the same bonds reversed.

    Returns:
        `n_atoms x 64`, and saved tensors.
    """
    z = centre.index_select(0, edges.start).add_(neighbour.index_select(0, edges.end))
    message, saved = gated_forward(z.view(2, *along.shape).add_(along).view(z.shape), gate)
    weighted = (message.view(2, *weight.shape) * weight).view(message.shape)
    return grouped_sum(weighted, edges.by_start, edges.offsets), saved


def atom_messages_reverse(
    change: Tensor, weight: Tensor, *, gate: Gate, edges: Edges, saved: Saved
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of `atom_messages` by centre, neighbour, along and weight, given that by its sums."""
    message = saved[-1]
    by_message = change.index_select(0, edges.start)
    by_weight = (by_message * message).view(2, *weight.shape).sum(0)
    by_message.view(2, *weight.shape).mul_(weight)
    by_z = gated_reverse(by_message, gate, saved)
    return (
        grouped_sum(by_z, edges.by_start, edges.offsets),
        grouped_sum(by_z, edges.by_end, edges.offsets),
        by_z.view(2, len(weight), -1).sum(0),
        by_weight,
    )


def bond_messages(
    left: Tensor, right: Tensor, *, angle: Tensor, matrix: Tensor, weight: Tensor, gate: Gate, edges: Edges
) -> tuple[Tensor, Saved]:
    """Messages along angles, summed at the left arms that they are for.

    Args:
        left: `n_arms x 128`, the left arm's and the vertex' part of the first layer.
        right: `n_arms x 128`, the right arm's part.
        angle: `n_angles x k`, features of the angles.
        matrix: `k x 128`, the angles' part of the first layer.
        weight: `n_arms x 64`, the right arms' weights of messages.
        gate: of this convolution.
        edges: angles.

    Returns:
        `n_arms x 64`, and saved tensors.
    """
    message, saved = gated_forward(_gathered(left, right, angle, matrix, edges), gate)
    weighted = weight.index_select(0, edges.end).mul_(message)
    return grouped_sum(weighted, edges.by_start, edges.offsets), saved


def bond_messages_reverse(
    change: Tensor, matrix: Tensor, *, weight: Tensor, gate: Gate, edges: Edges, saved: Saved
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of `bond_messages` by left, right, angle and weight, given that by its sums."""
    by_message = change.index_select(0, edges.start)
    by_weight = grouped_sum(by_message * saved[-1], edges.by_end, edges.offsets)
    by_z = gated_reverse(by_message.mul_(weight.index_select(0, edges.end)), gate, saved)
    return (*_reverse_of_gathered(by_z, matrix, edges), by_weight)


def angle_update(
    left: Tensor, right: Tensor, *, angle: Tensor, matrix: Tensor, gate: Gate, edges: Edges
) -> tuple[Tensor, Saved]:
    """What is added to the features of each angle, `n_angles x 64`; arguments as in `bond_messages`."""
    return gated_forward(_gathered(left, right, angle, matrix, edges), gate)


def angle_update_reverse(
    change: Tensor, matrix: Tensor, *, gate: Gate, edges: Edges, saved: Saved
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of `angle_update` by left, right and angle, given that by its result."""
    return _reverse_of_gathered(gated_reverse(change, gate, saved), matrix, edges)


def _gathered(left: Tensor, right: Tensor, angle: Tensor, matrix: Tensor, edges: Edges) -> Tensor:
    z = left.index_select(0, edges.start).add_(right.index_select(0, edges.end))
    return z.addmm_(angle, matrix)


def _reverse_of_gathered(by_z: Tensor, matrix: Tensor, edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
    return (
        grouped_sum(by_z, edges.by_start, edges.offsets),
        grouped_sum(by_z, edges.by_end, edges.offsets),
        by_z @ matrix.T,
    )


class Functions(NamedTuple):
    """The message functions: of this module, or others that give the same."""

    atom_messages: Callable[..., Any] = atom_messages
    atom_messages_reverse: Callable[..., Any] = atom_messages_reverse
    bond_messages: Callable[..., Any] = bond_messages
    bond_messages_reverse: Callable[..., Any] = bond_messages_reverse
    angle_update: Callable[..., Any] = angle_update
    angle_update_reverse: Callable[..., Any] = angle_update_reverse
