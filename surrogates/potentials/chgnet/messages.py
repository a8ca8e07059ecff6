"""CHGNet's message functions on edges, each with its reverse written out.

Nearly all the time of an evaluation is spent here, on arrays of `n_edges x features`, so these functions do not
leave it to autograd: the reverse reuses the sigmoids of the forward pass (exponentials cost as much as the
matrix products), sums over an atom's edges by `embedding_bag` on grouped indices instead of scattering, and
accumulates in place. Core and gate of a gated perceptron are the two entries of a leading axis.

Torch is imported by this module: import it where an evaluation begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surrogates.potentials.chgnet.weights import FEATURES, Gate

NORM_EPSILON = 1e-5
"""Of the layer normalisation that the weights were trained with (PyTorch's default)."""

Saved = tuple[Tensor, ...]


def gated_forward(z: Tensor, gate: Gate) -> tuple[Tensor, Saved]:
    """Messages from the first linear layer's result, and what the reverse needs.

    Args:
        z: `2 x n x features`: core and gate before the first activation.
        gate: the rest of the gated perceptron.

    Returns:
        `n x features`: SiLU of the core times sigmoid of the gate; and saved tensors.
    """
    saved: Saved = ()
    if gate.hidden is not None:
        sigmoid = torch.sigmoid(z)
        activated = z.mul_(sigmoid)
        saved = (activated, sigmoid)
        z = torch.baddbmm(gate.hidden_bias, activated, gate.hidden)
    if gate.norm_weight is not None and gate.norm_bias is not None:
        core, core_mean, core_scale = torch.native_layer_norm(
            z[0], (FEATURES,), gate.norm_weight[0], gate.norm_bias[0], NORM_EPSILON
        )
        opening, opening_mean, opening_scale = torch.native_layer_norm(
            z[1], (FEATURES,), gate.norm_weight[1], gate.norm_bias[1], NORM_EPSILON
        )
        saved = (*saved, z, core_mean, core_scale, opening_mean, opening_scale)
    else:
        core, opening = z[0], z[1]
    core_sigmoid, opening = torch.sigmoid(core), torch.sigmoid(opening)
    core = core * core_sigmoid
    message = core * opening
    return message, (*saved, core, core_sigmoid, opening, message)


def gated_reverse(change: Tensor, gate: Gate, saved: Saved) -> Tensor:
    """Derivative by `z` of `gated_forward`.

    Args:
        change: `n x features`: derivative by the messages.
        gate: as in the forward pass.
        saved: from the forward pass.

    Returns:
        `2 x n x features`.
    """
    *saved_before, core, core_sigmoid, opening, message = saved
    result = change.new_empty((2, *change.shape))
    # d(x s(x))/dx = s + x s (1 - s), with x s(x) at hand.
    slope = torch.addcmul(core_sigmoid, core, core_sigmoid, value=-1).add_(core).mul_(opening)
    torch.mul(change, slope, out=result[0])
    torch.mul(change, torch.addcmul(message, message, opening, value=-1), out=result[1])
    if gate.norm_weight is not None:
        *saved_before, z, core_mean, core_scale, opening_mean, opening_scale = saved_before
        for i, (mean, scale) in enumerate(((core_mean, core_scale), (opening_mean, opening_scale))):
            result[i], _, _ = torch.ops.aten.native_layer_norm_backward(
                result[i], z[i], (FEATURES,), mean, scale, gate.norm_weight[i], gate.norm_bias[i],
                (True, False, False),
            )  # fmt: skip
    if gate.hidden is not None:
        activated, sigmoid = saved_before
        result = torch.bmm(result, gate.hidden.transpose(1, 2))
        result.mul_(torch.addcmul(sigmoid, activated, sigmoid, value=-1).add_(activated))
    return result


def grouped_sum(rows: Tensor, order: Tensor, offsets: Tensor) -> Tensor:
    """Sums of rows by group.

    Args:
        rows: `n x features`, or `2 x n x features`.
        order: `n`: row indices, group after group.
        offsets: `n_groups`: where in `order` each group starts.

    Returns:
        `n_groups x features`, or `2 x n_groups x features`.
    """
    if rows.dim() == 3:
        return torch.stack([grouped_sum(half, order, offsets) for half in rows])
    return torch.nn.functional.embedding_bag(order, rows, offsets, mode="sum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Where messages come from and go to."""

    start: Tensor
    """`n_edges`: row of the first table that each edge reads, and where its message is summed."""
    end: Tensor
    """`n_edges`: row of the second table that each edge reads."""
    by_start: Tensor
    """`n_edges`: edges grouped by start."""
    by_end: Tensor
    """`n_edges`: edges grouped by end."""
    offsets: Tensor
    """`n_rows`: where the groups start; every row starts as many edges as it ends."""


class Project(torch.autograd.Function):
    """`2 x n x features` from `n x k` by `2 x k x features`."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, matrices: Tensor) -> Tensor:
        ctx.matrices = matrices
        return torch.bmm(features.expand(2, -1, -1), matrices)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return projected_back(change, ctx.matrices), None


def projected_back(change: Tensor, matrices: Tensor) -> Tensor:
    """Derivative by the features of `Project`, `n x k`."""
    return torch.addmm(change[0] @ matrices[0].T, change[1], matrices[1].T)


class AtomMessages(torch.autograd.Function):
    """Messages along bonds, both ways, summed at the atoms that they are for."""

    @staticmethod
    def forward(
        ctx: Any, centre: Tensor, neighbour: Tensor, bond: Tensor, weight: Tensor, gate: Gate, edges: Edges
    ) -> Tensor:
        """`n_atoms x features` from tables `2 x n_atoms x features`, bonds `2 x n_bonds x features`, weights
        `n_bonds x features`."""
        z = centre.index_select(1, edges.start)
        z += neighbour.index_select(1, edges.end)
        z.view(2, 2, *weight.shape).add_(bond[:, None])
        message, saved = gated_forward(z, gate)
        ctx.saved, ctx.message, ctx.weight, ctx.gate, ctx.edges = saved, message, weight, gate, edges
        weighted = (message.view(2, *weight.shape) * weight).view(message.shape)
        return grouped_sum(weighted, edges.by_start, edges.offsets)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        weight, edges = ctx.weight, ctx.edges
        by_message = change.index_select(0, edges.start).view(2, *weight.shape)
        by_weight = (by_message * ctx.message.view(2, *weight.shape)).sum(0)
        by_message *= weight
        by_z = gated_reverse(by_message.view(ctx.message.shape), ctx.gate, ctx.saved)
        return (
            grouped_sum(by_z, edges.by_start, edges.offsets),
            grouped_sum(by_z, edges.by_end, edges.offsets),
            by_z.view(2, 2, *weight.shape).sum(1),
            by_weight,
            None,
            None,
        )


class BondMessages(torch.autograd.Function):
    """Messages along angles, summed at the left arms that they are for."""

    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, angle: Tensor, weight: Tensor, matrices: Tensor, gate: Gate,
        edges: Edges,
    ) -> Tensor:  # fmt: skip
        """`n_arms x features` from tables `2 x n_arms x features`, angles `n_angles x k`, right arms' weights
        `n_arms x features`, and the angles' own part of the first layer, `2 x k x features`."""
        z = _gathered(left, right, angle, matrices, edges)
        message, saved = gated_forward(z, gate)
        weights = weight.index_select(0, edges.end)
        ctx.saved, ctx.message, ctx.weights, ctx.gate, ctx.edges = saved, message, weights, gate, edges
        ctx.matrices = matrices
        return grouped_sum(message * weights, edges.by_start, edges.offsets)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        edges = ctx.edges
        by_message = change.index_select(0, edges.start)
        by_weight = grouped_sum(by_message * ctx.message, edges.by_end, edges.offsets)
        by_z = gated_reverse(by_message.mul_(ctx.weights), ctx.gate, ctx.saved)
        return (*_reverse_of_gathered(by_z, ctx.matrices, edges), by_weight, None, None, None)


class AngleUpdate(torch.autograd.Function):
    """What is added to the features of each angle."""

    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, angle: Tensor, matrices: Tensor, gate: Gate, edges: Edges
    ) -> Tensor:
        """`n_angles x features`, from what `BondMessages` takes."""
        message, ctx.saved = gated_forward(_gathered(left, right, angle, matrices, edges), gate)
        ctx.gate, ctx.edges, ctx.matrices = gate, edges, matrices
        return message

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        by_z = gated_reverse(change, ctx.gate, ctx.saved)
        return (*_reverse_of_gathered(by_z, ctx.matrices, ctx.edges), None, None, None)


def _gathered(left: Tensor, right: Tensor, angle: Tensor, matrices: Tensor, edges: Edges) -> Tensor:
    z = left.index_select(1, edges.start)
    z += right.index_select(1, edges.end)
    return z.baddbmm_(angle.expand(2, -1, -1), matrices)


def _reverse_of_gathered(by_z: Tensor, matrices: Tensor, edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
    return (
        grouped_sum(by_z, edges.by_start, edges.offsets),
        grouped_sum(by_z, edges.by_end, edges.offsets),
        projected_back(by_z, matrices),
    )
