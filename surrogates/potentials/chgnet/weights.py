"""CHGNet's weights, regrouped for evaluation.

The published network (Deng et al., Nature Machine Intelligence 5, 1031, 2023, Methods) feeds concatenated features
of atoms, bonds and angles to a first linear layer. Here that layer is one matrix per operand, so that it is
applied once per atom or bond before its result is gathered onto edges; and the core and the gate of a gated
perceptron stand side by side, 64 columns each. Matrices map rows: `in x out`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from loop.errors import PotentialError

if TYPE_CHECKING:
    from torch import Tensor

FEATURES: Final = 64
"""Length of every feature vector, and of every hidden layer of the message functions."""
CONVOLUTIONS: Final = 4
REQUIRED: Final = {
    "n_conv": CONVOLUTIONS, "atom_fea_dim": FEATURES, "bond_fea_dim": FEATURES, "angle_fea_dim": FEATURES,
    "atom_conv_hidden_dim": FEATURES, "bond_conv_hidden_dim": FEATURES, "angle_layer_hidden_dim": 0,
    "update_bond": True, "update_angle": True, "mlp_first": True, "is_intensive": True,
    "non_linearity": "silu",
}  # fmt: skip
"""The architecture that is implemented; the three published sets of weights share it."""


class Gate(NamedTuple):
    """What follows the first linear layer of a gated perceptron: core, then gate."""

    hidden: tuple[tuple[Tensor, Tensor], ...]
    """Matrix `features x features` and bias `features` of each, after SiLU; empty where there is one layer only."""
    norms: tuple[tuple[Tensor, Tensor], ...]
    """Weight and bias, `features`, of each; empty where nothing is normalised."""


class Convolution(NamedTuple):
    """One message function, its first layer split by operand, each `features x 2 features`: core, then gate."""

    centre: Tensor
    """On the central atom."""
    bias: Tensor
    """`2 features`, added with the central atom."""
    others: tuple[Tensor, ...]
    """Atom convolution: bond and neighbour. Bond convolution and angle update: left bond, right bond, angle."""
    gate: Gate
    out: Tensor
    """`features x features`, on the sum of messages; empty for angle updates, which sum nothing."""
    out_bias: Tensor | None
    """`features`, only in weights 0.2.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """All of one set of published weights."""

    cutoff: float
    """Longest bond, Å."""
    angular_cutoff: float
    """Longest bond in angles, Å."""
    envelope: int
    """Exponent p of the polynomial envelope of both radial bases."""
    reference_energies: Tensor
    """`94`, eV/atom by atomic number - 1, double precision."""
    elements: Tensor
    """`94 x features`: features of an atom before the first convolution."""
    radial: Tensor
    """`n_radial`: frequencies of the radial basis up to `cutoff`."""
    short_radial: Tensor
    """`n_radial`: the same up to `angular_cutoff`."""
    angular: Tensor
    """`n_angular`: frequencies of the angular basis."""
    bond: Tensor
    """`n_radial x features`: features of a bond before the first convolution."""
    bond_weight: Tensor
    """`n_radial x features`: of messages along a bond to atoms."""
    short_bond_weight: Tensor
    """`n_radial x features`: of messages along a short bond to bonds."""
    angle: Tensor
    """`2 n_angular + 1 x features`: features of an angle before the first convolution."""
    atoms: tuple[Convolution, ...]
    bonds: tuple[Convolution, ...]
    angles: tuple[Convolution, ...]
    """One fewer than bond convolutions: nothing reads the last update of the published network."""
    readout_norm: tuple[Tensor, Tensor] | None
    """Weight and bias, `features` each; None where atoms are not normalised before the readout."""
    readout: tuple[tuple[Tensor, Tensor], ...]
    """Matrix (`in x out`) and bias of every layer of the perceptron that gives an atom's energy."""

    def to(self, device: str) -> Weights:
        """The same on another device."""
        return replace(self, **{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def read_weights(path: Path) -> Weights:
    """Read a checkpoint of the chgnet package; its code is not needed.

    Raises:
        PotentialError: the file cannot be read, or holds another architecture.
    """
    import torch

    try:
        model = torch.load(path, map_location="cpu", weights_only=True)["model"]
        settings, state = model["model_args"], model["state_dict"]
    except Exception as error:
        raise PotentialError(
            f"the CHGNet weights {path} cannot be read ({error}); reinstall with "
            "`pip install --force-reinstall chgnet`"
        ) from error
    differing = {k: settings.get(k) for k, v in REQUIRED.items() if settings.get(k) != v}
    if differing:
        raise PotentialError(
            f"the CHGNet weights {path} have another architecture than the published ones: "
            + ", ".join(f"{k} is {v!r}, not {REQUIRED[k]!r}" for k, v in differing.items())
        )
    bases = "bond_basis_expansion.rbf_expansion"
    return Weights(
        cutoff=float(settings["atom_graph_cutoff"]),
        angular_cutoff=float(settings["bond_graph_cutoff"]),
        envelope=int(settings["cutoff_coeff"]),
        reference_energies=state["composition_model.fc.weight"][0].double(),
        elements=state["atom_embedding.embedding.weight"],
        radial=state[f"{bases}_ag.frequencies"],
        short_radial=state[f"{bases}_bg.frequencies"],
        angular=state["angle_basis_expansion.fourier_expansion.frequencies"],
        bond=_matrix(state, "bond_embedding"),
        bond_weight=_matrix(state, "bond_weights_ag"),
        short_bond_weight=_matrix(state, "bond_weights_bg"),
        angle=_matrix(state, "angle_embedding"),
        atoms=tuple(_convolution(state, f"atom_conv_layers.{i}", kind="atom") for i in range(CONVOLUTIONS)),
        bonds=tuple(
            _convolution(state, f"bond_conv_layers.{i}", kind="bond") for i in range(CONVOLUTIONS - 1)
        ),
        angles=tuple(_convolution(state, f"angle_layers.{i}", kind="bond") for i in range(CONVOLUTIONS - 2)),
        readout_norm=(state["readout_norm.weight"], state["readout_norm.bias"])
        if "readout_norm.weight" in state
        else None,
        readout=_perceptron(state, "mlp"),
    )


def _matrix(state: Mapping[str, Tensor], name: str) -> Tensor:
    return state[f"{name}.weight"].T.contiguous()


def _perceptron(state: Mapping[str, Tensor], name: str) -> tuple[tuple[Tensor, Tensor], ...]:
    """Linear layers in order; the package numbers them among activations and dropouts."""
    numbers = sorted(
        int(key.split(".")[-2])
        for key in state
        if key.startswith(f"{name}.layers.") and key.endswith("weight")
    )
    layers = [f"{name}.layers.{n}" for n in numbers]
    return tuple((_matrix(state, layer), state[f"{layer}.bias"]) for layer in layers)


def _convolution(state: Mapping[str, Tensor], name: str, *, kind: str) -> Convolution:
    import torch

    halves = tuple(_perceptron(state, f"{name}.twoBody_{kind}.mlp_{part}") for part in ("core", "gate"))
    first, bias = (torch.cat([half[0][i] for half in halves], dim=-1) for i in (0, 1))
    operands = [part.contiguous() for part in first.chunk(len(first) // FEATURES)]
    # The package concatenates centre, bond, neighbour for atoms, and left, right, angle, centre for bonds.
    centre = operands.pop(0 if kind == "atom" else -1)
    norms = [f"{name}.twoBody_{kind}.bn{i}" for i in (1, 2)]
    out = f"{name}.mlp_out.layers.1"
    return Convolution(
        centre=centre,
        bias=bias,
        others=tuple(operands),
        gate=Gate(
            hidden=tuple(half[1] for half in halves if len(half) > 1),
            norms=tuple((state[f"{n}.weight"], state[f"{n}.bias"]) for n in norms if f"{n}.weight" in state),
        ),
        out=_matrix(state, out) if f"{out}.weight" in state else torch.empty(0),
        out_bias=state.get(f"{out}.bias"),
    )


def _moved(value: Any, device: str) -> Any:
    """A tensor, or tuples of them however nested, on another device; anything else as it is."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        moved = [_moved(item, device) for item in value]
        return type(value)(*moved) if hasattr(value, "_fields") else tuple(moved)
    return value
