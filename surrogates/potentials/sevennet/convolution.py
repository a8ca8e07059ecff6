"""SevenNet's convolution by the compiled loops of `convolution.c`, in place of e3nn's tensor product.

The message is NequIP's (Batzner et al., Nature Communications 13, 2453, 2022), which SevenNet has. Paths and their
weights are read off the model's own e3nn tensor product, so that any checkpoint with degrees up to 3 is served.

Torch and e3nn are imported by this module: import it where a model is built.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from e3nn.o3 import TensorProduct, wigner_3j
from numpy.typing import NDArray
from torch import Tensor

from surrogates.native import library

SOURCE: Final = Path(__file__).with_name("convolution.c")
MOST_HARMONICS: Final = 16
"""Degrees up to 3: what convolution.c is written for."""
WIDEST: Final = 16
"""Channels come in multiples of the widest vector's lanes."""
NEGLIGIBLE: Final = 1e-8
"""Wigner symbols below it are zeros with rounding."""


class _Plan(ctypes.Structure):
    """`Plan` of convolution.c."""

    _fields_ = [(name, ctypes.c_int64) for name in ("n_paths", "n_elements", "n_harmonics")] + [
        (name, ctypes.c_void_p) for name in ("paths", "starts", "harmonic", "coefficient")
    ] + [(name, ctypes.c_int64) for name in ("features", "outs", "weights")]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Plan:
    """The paths of a tensor product, as convolution.c wants them."""

    paths: NDArray[np.int32]
    """`n_paths x 7`, see `Path` of convolution.c."""
    starts: NDArray[np.int32]
    """`n_elements + 1`."""
    harmonic: NDArray[np.int32]
    coefficient: NDArray[np.float32]
    n_harmonics: int
    features_last: Tensor
    """Columns of the features, which e3nn lays out channel by channel, in the order component by component."""
    outs_last: Tensor
    """The same of the messages."""
    features_first: Tensor
    """The way back: columns that lie component by component in e3nn's order."""
    outs_first: Tensor
    """The same of the messages."""
    weights: int

    @classmethod
    def of(cls, product: TensorProduct) -> Self | None:
        """Of e3nn's tensor product; None where convolution.c cannot serve it."""
        first, second, out = product.irreps_in1, product.irreps_in2, product.irreps_out
        served = (
            second.dim <= MOST_HARMONICS
            and all(mul == 1 for mul, _ in second)
            and all(mul % WIDEST == 0 and ir.l <= 3 for irreps in (first, out) for mul, ir in irreps)
            and all(i.connection_mode == "uvu" and i.has_weight for i in product.instructions)
            and len({i.i_out for i in product.instructions}) == len(product.instructions)
        )
        if not served:
            return None
        paths, starts, harmonic, coefficient = [], [0], [], []
        weight = 0
        for instruction in product.instructions:
            (channels, inner), (_, filter_), (_, outer) = (
                first[instruction.i_in1], second[instruction.i_in2], out[instruction.i_out],
            )  # fmt: skip
            paths.append(
                (
                    inner.dim, outer.dim, channels, first.slices()[instruction.i_in1].start,
                    out.slices()[instruction.i_out].start, weight, len(starts) - 1,
                )
            )  # fmt: skip
            weight += channels
            symbols = wigner_3j(inner.l, filter_.l, outer.l, dtype=torch.float64) * instruction.path_weight
            begin = second.slices()[instruction.i_in2].start
            for elements in symbols.permute(0, 2, 1).reshape(-1, filter_.dim).tolist():
                for component, value in enumerate(elements):
                    if abs(value) > NEGLIGIBLE:
                        harmonic.append(begin + component)
                        coefficient.append(value)
                starts.append(len(harmonic))
        return cls(
            paths=np.array(paths, dtype=np.int32),
            starts=np.array(starts, dtype=np.int32),
            harmonic=np.array(harmonic, dtype=np.int32),
            coefficient=np.array(coefficient, dtype=np.float32),
            n_harmonics=int(second.dim),
            features_last=_channels_last(first),
            outs_last=_channels_last(out),
            features_first=torch.argsort(_channels_last(first)),
            outs_first=torch.argsort(_channels_last(out)),
            weights=weight,
        )

    @property
    def n_elements(self) -> int:
        """Of all matrices of an edge."""
        return len(self.starts) - 1

    def pointer(self) -> Any:
        """To a `Plan` of convolution.c, valid as long as this lives."""
        return ctypes.byref(
            _Plan(
                len(self.paths), self.n_elements, self.n_harmonics, self.paths.ctypes.data, self.starts.ctypes.data,
                self.harmonic.ctypes.data, self.coefficient.ctypes.data, len(self.features_last),
                len(self.outs_last), self.weights,
            )
        )  # fmt: skip


def _channels_last(irreps: Any) -> Tensor:
    """Columns of e3nn's layout (channel by channel) in the order component by component."""
    return torch.cat(
        [
            torch.arange(part.start, part.stop).view(mul, ir.dim).T.reshape(-1)
            for (mul, ir), part in zip(irreps, irreps.slices(), strict=True)
        ]
    )


class Convolve(torch.autograd.Function):
    """Messages of a plan, summed at their targets. Differentiable once."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes positions
        ctx: Any,
        features: Tensor,
        harmonics: Tensor,
        weights: Tensor,
        source: Tensor,
        target: Tensor,
        plan: Plan,
    ) -> Tensor:
        """Sums of messages.

        Args:
            ctx: keeps what the reverse needs.
            features: `n_nodes x n`, e3nn's layout.
            harmonics: `n_edges x n_harmonics`.
            weights: `n_edges x n_weights`.
            source: `n_edges`, the node that each message comes from.
            target: `n_edges`, the node that it is summed at.
            plan: the paths.

        Returns:
            `n_nodes x m`, e3nn's layout.
        """
        turned = features.index_select(1, plan.features_last)
        harmonics, weights, source, target = (t.contiguous() for t in (harmonics, weights, source, target))
        sums = features.new_zeros(len(features), len(plan.outs_last))
        room = features.new_empty(plan.n_elements, WIDEST)
        _call("convolve", plan, len(source), source, target, turned, harmonics, weights, room, sums)
        ctx.save_for_backward(turned, harmonics, weights, source, target)
        ctx.plan = plan
        return sums.index_select(1, plan.outs_first)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor | None, ...]:
        """Derivatives by features, harmonics and weights, given that by the sums."""
        turned, harmonics, weights, source, target = ctx.saved_tensors
        plan: Plan = ctx.plan
        by_sums = change.index_select(1, plan.outs_last)
        by_features = torch.zeros_like(turned)
        by_harmonics, by_weights = torch.empty_like(harmonics), torch.empty_like(weights)
        rooms = turned.new_empty(2, plan.n_elements, WIDEST)
        _call(
            "convolve_reverse", plan, len(source), source, target, turned, harmonics, weights, by_sums,
            rooms[0], rooms[1], by_features, by_harmonics, by_weights,
        )  # fmt: skip
        by_given = by_features.index_select(1, plan.features_first)
        return by_given, by_harmonics, by_weights, None, None, None


def _call(name: str, plan: Plan, n_edges: int, *tensors: Tensor) -> None:
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
    getattr(library(SOURCE), name)(plan.pointer(), ctypes.c_int64(n_edges), *pointers)


class CompiledConvolution(torch.nn.Module):
    """What `sevenn.nn.convolution.IrrepsConvolution` does, by `Convolve`."""

    def __init__(self, original: Any, plan: Plan) -> None:
        super().__init__()
        self.weight_nn = original.weight_nn
        self.denominator = original.denominator
        self._keys = (original.key_x, original.key_filter, original.key_weight_input, original.key_edge_idx)
        self._plan = plan

    def forward(self, data: dict[str, Any]) -> dict[str, Any]:
        """Replace the node features by the weighed sums of their neighbours' messages."""
        x, harmonics, weight_input, edges = (data[key] for key in self._keys)
        target, source = edges
        weights = self.weight_nn(weight_input)
        data[self._keys[0]] = Convolve.apply(  # type: ignore[no-untyped-call]
            x, harmonics, weights, source, target, self._plan
        ).div(self.denominator)
        return data


def compile_convolutions(model: Any) -> None:
    """Have a SevenNet model's convolutions run by compiled loops, where these serve them.

    Raises:
        PotentialError: the loops cannot be compiled here.
    """
    library(SOURCE)
    for name, module in model.named_children():
        product = getattr(module, "convolution", None)
        plan = Plan.of(product) if isinstance(product, TensorProduct) else None
        if plan is not None:
            model._modules[name] = CompiledConvolution(module, plan)  # noqa: SLF001 - how torch replaces a child
