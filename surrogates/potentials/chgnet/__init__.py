"""CHGNet (Deng et al., Nature Machine Intelligence 5, 1031, 2023), whose weights come inside its wheel.

The weights are the chgnet package's; the evaluator is Motherlode's own, held to that package's by
`tests/conformance` and `tests/surrogates/chgnet`. Version 0.3.0's energies already include the Materials
Project's 2020 corrections (MP2020), because the labels it was trained on do: they must not be corrected a second
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from loop.elements import closest
from loop.errors import PotentialError
from loop.spec import PotentialSpec
from surrogates.potential import Batch, Evaluation, Potential
from surrogates.potentials import loading
from surrogates.potentials.chgnet.graph import CrystalGraph, crystal_graph

if TYPE_CHECKING:
    from surrogates.potentials.chgnet.messages import Functions
    from surrogates.potentials.chgnet.network import Network

EVALUATOR_VERSION: Final = 2
"""Part of a calculation's identity: to be raised when a change in this package moves results."""
WEIGHTS: Final = {
    "0.3.0": "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "0.2.0": "0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
    "r2scan": "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}
SECONDS_PER_ATOM: Final = 0.02


class CHGNetPotential:
    """CHGNet in batches."""

    def __init__(
        self, model_name: str, *, weights: Path, compiled: bool | None = None, device: str = "cpu"
    ) -> None:
        """CHGNet.

        Args:
            model_name: version of the weights.
            weights: their checkpoint.
            compiled: run the message functions as compiled loops, seconds to compile once, then twice as fast; None
                does so where there is a C compiler.
            device: where tensors live. Only `cpu` was ever run.
        """
        self._weights = weights
        self._compiled = compiled
        self._device = device
        self.fidelity = f"chgnet-{model_name}"
        package = loading.package_version("chgnet")
        self.version = (
            f"motherlode evaluator {EVALUATOR_VERSION}, "
            f"chgnet {package}, weights {model_name} {loading.hash_of_files(weights)}"
        )
        # The r2SCAN transfer learning had no ytterbium: its reference energy is zero.
        self.elements = loading.MATERIALS_PROJECT_ELEMENTS - (
            {"Yb"} if model_name == "r2scan" else frozenset()
        )
        self.seconds_per_atom = SECONDS_PER_ATOM

    @cached_property
    def _network(self) -> Network:
        from surrogates.potentials.chgnet.network import Network
        from surrogates.potentials.chgnet.weights import read_weights

        return Network(read_weights(self._weights).to(self._device), functions=self._functions())

    def _functions(self) -> Functions | None:
        from surrogates.potentials.chgnet import native

        asked = self._compiled if self._device == "cpu" else False
        return loading.compiled_or_not(native.functions, asked=asked, slower="CHGNet runs at half its speed")

    def evaluate(self, batch: Batch) -> Evaluation:
        """Energy, forces and stress of every structure of the batch.

        Raises:
            PotentialError: an element that CHGNet does not know, or weights that cannot be read.
        """
        loading.check_elements(batch.atomic_numbers, known=self.elements, fidelity=self.fidelity)
        refused: dict[int, str] = {}
        evaluation = loading.refusal(batch, refused)
        for chunk in loading.passes(batch):
            part = _selected(batch, chunk)
            graph = self._graph(part)
            lonely = _isolated(part, graph, cutoff=self._network.weights.cutoff)
            if lonely:
                refused |= {chunk[i]: reason for i, reason in lonely.items()}
                chunk = [index for i, index in enumerate(chunk) if i not in lonely]  # noqa: PLW2901
                if not chunk:
                    continue
                part = _selected(batch, chunk)
                graph = self._graph(part)
            result = self._network.evaluate(part, graph)
            stress = result.virial / np.abs(np.linalg.det(part.cells))[:, None, None]
            evaluation.energy[chunk] = result.energy
            evaluation.forces[np.isin(batch.structure, chunk)] = result.forces
            evaluation.stress[chunk] = (stress + stress.transpose(0, 2, 1)) / 2
        return evaluation

    def _graph(self, batch: Batch) -> CrystalGraph:
        weights = self._network.weights
        return crystal_graph(batch, cutoff=weights.cutoff, angular_cutoff=weights.angular_cutoff)


def _selected(batch: Batch, chosen: Sequence[int]) -> Batch:
    """Some structures of a batch, in its order."""
    if len(chosen) == len(batch):
        return batch
    atoms = np.isin(batch.structure, chosen)
    return Batch(
        atomic_numbers=batch.atomic_numbers[atoms],
        positions=batch.positions[atoms],
        cells=batch.cells[list(chosen)],
        structure=np.searchsorted(np.asarray(chosen), batch.structure[atoms]),
    )


def _isolated(batch: Batch, graph: CrystalGraph, *, cutoff: float) -> dict[int, str]:
    """Structures with atoms that have no neighbour, and so an arbitrary energy, each with the reason."""
    bonds = np.bincount(np.concatenate([graph.first, graph.second]), minlength=len(batch.structure))
    atoms = np.bincount(batch.structure, minlength=len(batch))
    lonely = np.bincount(batch.structure, weights=bonds == 0, minlength=len(batch)).astype(int)
    return {
        int(i): f"{lonely[i]} of {atoms[i]} atoms have no neighbour within {cutoff:g} Å"
        for i in np.flatnonzero(lonely)
    }


def load(spec: PotentialSpec, *, base: Path) -> Potential:  # noqa: ARG001 (every entry point has this signature)
    """CHGNet by the version of its weights: `0.3.0` (default), `0.2.0` or `r2scan`.

    Argument `compiled` says whether its inner loops are compiled for this processor: `true` insists on it, `false`
    forbids it; without it they are where there is a C compiler (see docs/performance.md).

    Raises:
        PotentialError: chgnet is not installed, its weights are not in its wheel, or the version is unknown.
    """
    loading.refuse_foreign_fields(spec, model=True, arguments={"compiled"})
    model_name = spec.model or "0.3.0"
    if model_name not in WEIGHTS:
        raise PotentialError(
            f"potential 'chgnet': model {model_name!r} is not in its wheel; did you mean "
            f"{closest(model_name, WEIGHTS)!r}? "
            f"(it has {', '.join(WEIGHTS)})"
        )
    return CHGNetPotential(
        model_name,
        weights=loading.packaged_file("chgnet", f"pretrained/{WEIGHTS[model_name]}"),
        compiled=loading.compiled_argument(spec),
    )
