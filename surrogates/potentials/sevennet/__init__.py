"""SevenNet: the checkpoints inside sevenn's wheel, or a file.

Park et al., J. Chem. Theory Comput. 20, 4857 (2024).
Energies are those of the training labels (PBE and PBE+U of MPtrj), without the Materials Project's
corrections. The wheel is MIT licensed; nothing is ever downloaded.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import numpy as np
from ase.data import chemical_symbols

from loop.elements import closest
from loop.errors import PotentialError
from loop.spec import PotentialSpec
from surrogates.potential import Batch, Evaluation, Potential
from surrogates.potentials import loading

CHECKPOINTS: Final = {
    "7net-0": "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
    "7net-0_22may2024": "SevenNet_0__22May2024/checkpoint_sevennet_0.pth",
    "7net-l3i5": "SevenNet_l3i5/checkpoint_l3i5.pth",
    "7net-mf-0": "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
}
MODALS: Final = {"7net-mf-0": ("PBE", "R2SCAN")}
"""Fidelities that one multi-fidelity checkpoint answers at."""
SECONDS_PER_ATOM: Final = {"7net-0": 0.03, "7net-0_22may2024": 0.03, "7net-l3i5": 0.06, "7net-mf-0": 0.03}
"""With compiled convolutions."""
SLOWER: Final = 10
"""Times as long without."""
VOIGT: Final = np.array([[0, 3, 5], [3, 1, 4], [5, 4, 2]])
"""Where the model's xx, yy, zz, xy, yz, zx stand in a 3 x 3 tensor."""


class SevenNetPotential:
    """A SevenNet checkpoint, evaluated in batches."""

    def __init__(
        self, checkpoint: Path, *, name: str, modal: str | None, compiled: bool | None = None
    ) -> None:
        """SevenNet.

        Args:
            checkpoint: its weights.
            name: of the checkpoint.
            modal: which of several fidelities of one checkpoint.
            compiled: run the convolutions as compiled loops, seconds to compile once, then about ten times as fast;
                None does so where there is a C compiler.
        """
        self._checkpoint = checkpoint
        self._compiled = compiled
        self._modal = modal
        suffix = f"-{modal.lower()}" if modal else ""
        self.fidelity = f"sevennet-{name.removeprefix('7net-')}{suffix}"
        weights = f"{name}{suffix} {loading.hash_of_files(checkpoint)}"
        self.version = f"sevenn {loading.package_version('sevenn')}, weights {weights}"
        with_loops = SECONDS_PER_ATOM.get(name, max(SECONDS_PER_ATOM.values()))
        self.seconds_per_atom = with_loops * (1 if loading.compiles(compiled) else SLOWER)
        self._is_packaged = name in CHECKPOINTS

    @cached_property
    def elements(self) -> frozenset[str]:
        """Those of MPtrj for the packaged checkpoints; a foreign checkpoint is read to know."""
        if self._is_packaged:
            return loading.MATERIALS_PROJECT_ELEMENTS
        return frozenset(chemical_symbols[z] for z in self._model.type_map)

    @cached_property
    def _model(self) -> Any:
        with loading.quiet():
            from sevenn.checkpoint import SevenNetCheckpoint

            from surrogates.potentials.sevennet.convolution import compile_convolutions

            try:
                model = SevenNetCheckpoint(self._checkpoint).build_model()
            except (KeyError, RuntimeError, ValueError, EOFError, OSError, UnpicklingError) as error:
                raise PotentialError(
                    f"potential 'sevennet': {self._checkpoint} is not a SevenNet checkpoint ({error})"
                ) from error
        known = tuple(model.modal_map or ())
        if known and self._modal not in known:
            raise PotentialError(
                f"potential 'sevennet': {self._checkpoint.name} answers at several fidelities; give "
                f"arguments.modal, one of {', '.join(known)}"
            )
        loading.compiled_or_not(
            lambda: compile_convolutions(model),
            asked=self._compiled,
            slower="SevenNet runs at about a tenth of its speed",
        )
        model.set_is_batch_data(True)
        return model.eval()

    def evaluate(self, batch: Batch) -> Evaluation:
        """Energy, forces and stress of every structure of the batch.

        Raises:
            PotentialError: an element outside the training set, or a checkpoint that cannot be read.
        """
        loading.check_elements(batch.atomic_numbers, known=self.elements, fidelity=self.fidelity)
        evaluation = loading.refusal(batch, loading.isolated(batch, cutoff=float(self._model.cutoff)))
        with loading.quiet():
            for chunk in loading.passes(batch, refused=evaluation.refused):
                self._evaluate_pass(batch, chunk, evaluation=evaluation)
        return evaluation

    def _evaluate_pass(self, batch: Batch, chunk: list[int], *, evaluation: Evaluation) -> None:
        model = self._model
        from sevenn import _keys as key
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.train.dataload import unlabeled_atoms_to_graph
        from torch_geometric.data import Batch as GraphBatch  # type: ignore[import-untyped]

        atoms = batch.atoms()
        graphs = []
        for i in chunk:
            graph = AtomGraphData.from_numpy_dict(
                unlabeled_atoms_to_graph(atoms[i], model.cutoff, with_shift=False)
            )
            if self._modal:
                graph[key.DATA_MODALITY] = self._modal
            graphs.append(graph)
        output = model(GraphBatch.from_data_list(graphs))
        energy = output[key.PRED_TOTAL_ENERGY].detach().double().numpy()
        forces = output[key.PRED_FORCE].detach().double().numpy()
        # The model's stress is the virial's sign: negative where the cell wants to shrink.
        stress = -output[key.PRED_STRESS].detach().double().numpy()[:, VOIGT]
        evaluation.energy[chunk] = energy
        evaluation.forces[np.isin(batch.structure, chunk)] = forces
        evaluation.stress[chunk] = stress


def load(spec: PotentialSpec, *, base: Path) -> Potential:
    """A SevenNet checkpoint: `7net-0` (default), `7net-l3i5`, `7net-mf-0` with `arguments.modal`, or a file.

    Raises:
        PotentialError: sevenn is not installed, the name is neither in its wheel nor a file, or the modal
            is unknown.
    """
    loading.refuse_foreign_fields(spec, model=True, arguments=("modal", "compiled"))
    name = (spec.model or "7net-0").lower().replace("sevennet-", "7net-")
    if name in CHECKPOINTS:
        checkpoint = loading.packaged_file("sevenn", f"pretrained_potentials/{CHECKPOINTS[name]}")
        modal = _check_modal(spec, name=name)
    else:
        checkpoint = base / (spec.model or "")
        if not checkpoint.is_file():
            raise PotentialError(
                f"potential 'sevennet': model {spec.model!r} is neither a checkpoint in sevenn's wheel "
                f"({', '.join(CHECKPOINTS)}; did you mean {closest(name, CHECKPOINTS)!r}?) nor a file at "
                f"{checkpoint}; larger checkpoints are to be downloaded from the SevenNet releases by you, "
                "and their path given"
            )
        name, modal = checkpoint.stem, spec.arguments.get("modal")
    return SevenNetPotential(checkpoint, name=name, modal=modal, compiled=loading.compiled_argument(spec))


def _check_modal(spec: PotentialSpec, *, name: str) -> str | None:
    modal = spec.arguments.get("modal")
    known = MODALS.get(name, ())
    if modal is None and not known:
        return None
    spelled = {choice.lower(): choice for choice in known}.get(str(modal).lower())
    if spelled is None:
        choices = f"one of {', '.join(known)}" if known else "none, for this checkpoint has one fidelity"
        raise PotentialError(f"potential 'sevennet': arguments.modal is {modal!r}; {name} takes {choices}")
    return spelled
