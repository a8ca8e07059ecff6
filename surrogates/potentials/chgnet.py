"""CHGNet (Deng et al., Nature Machine Intelligence 5, 1031, 2023), whose weights come inside its wheel.

Version 0.3.0's energies already include the Materials Project's 2020 corrections (MP2020), because the
labels it was trained on do: they must not be corrected a second time.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase.units import GPa

from loop.elements import closest
from loop.errors import PotentialError
from loop.spec import PotentialSpec
from surrogates.potential import Batch, Evaluation, Potential
from surrogates.potentials import loading

WEIGHTS: Final = {
    "0.3.0": "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "0.2.0": "0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
    "r2scan": "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}
SECONDS_PER_ATOM: Final = 0.2


class CHGNetPotential:
    """CHGNet in batches, as its package evaluates it."""

    def __init__(self, model_name: str, *, weights: Path) -> None:
        self._model_name = model_name
        self.fidelity = f"chgnet-{model_name}"
        package = loading.package_version("chgnet")
        self.version = f"chgnet {package}, weights {model_name} {loading.hash_of_files(weights)}"
        # The r2SCAN transfer learning had no ytterbium: its reference energy is zero.
        self.elements = loading.MATERIALS_PROJECT_ELEMENTS - (
            {"Yb"} if model_name == "r2scan" else frozenset()
        )
        self.seconds_per_atom = SECONDS_PER_ATOM

    @cached_property
    def _model(self) -> Any:
        with loading.quiet():
            from chgnet.model.model import CHGNet

            model = CHGNet.load(model_name=self._model_name, use_device="cpu", verbose=False)
        # An atom without neighbours within 6 Å has an arbitrary energy; the converter then refuses the
        # structure.
        model.graph_converter.set_isolated_atom_response("error")
        return model.eval()

    def evaluate(self, batch: Batch) -> Evaluation:
        """Energy, forces and stress of every structure of the batch.

        Raises:
            PotentialError: an element that CHGNet does not know.
        """
        loading.check_elements(batch.atomic_numbers, known=self.elements, fidelity=self.fidelity)
        graphs: dict[int, Any] = {}
        refused: dict[int, str] = {}
        for i, structure in enumerate(loading.structures(batch)):
            try:
                graphs[i] = self._model.graph_converter(structure)
            except (RuntimeError, ValueError) as error:
                refused[i] = str(error)
        evaluation = loading.refusal(batch, refused)
        for chunk in loading.passes(batch, refused=refused):
            with loading.quiet():
                predictions = self._model.predict_graph(
                    [graphs[i] for i in chunk], task="efs", batch_size=len(chunk)
                )
            for i, prediction in zip(chunk, [predictions] if len(chunk) == 1 else predictions, strict=True):
                forces = np.asarray(prediction["f"], dtype=np.float64)
                stress = np.asarray(prediction["s"], dtype=np.float64) * GPa
                evaluation.energy[i] = float(prediction["e"]) * len(forces)
                evaluation.forces[batch.structure == i] = forces
                evaluation.stress[i] = (stress + stress.T) / 2
        return evaluation


def load(spec: PotentialSpec, *, base: Path) -> Potential:  # noqa: ARG001 (every entry point has this signature)
    """CHGNet by the version of its weights: `0.3.0` (default), `0.2.0` or `r2scan`.

    Raises:
        PotentialError: chgnet is not installed, its weights are not in its wheel, or the version is unknown.
    """
    loading.refuse_foreign_fields(spec, model=True)
    model_name = spec.model or "0.3.0"
    if model_name not in WEIGHTS:
        raise PotentialError(
            f"potential 'chgnet': model {model_name!r} is not in its wheel; did you mean "
            f"{closest(model_name, WEIGHTS)!r}? "
            f"(it has {', '.join(WEIGHTS)})"
        )
    return CHGNetPotential(
        model_name, weights=loading.packaged_file("chgnet", f"pretrained/{WEIGHTS[model_name]}")
    )
