"""matgl's potentials (TensorNet, M3GNet and others): from a folder, or by name from its hub.

Energies of the MatPES models are plain PBE or r2SCAN, without +U and without the Materials Project's
corrections.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.units import GPa

from loop.errors import PotentialError
from loop.spec import PotentialSpec
from surrogates.potential import Batch, Evaluation, Potential
from surrogates.potentials import loading
from surrogates.potentials.matgl_hub import MODEL_FILES, fetch_from_hub

SECONDS_PER_ATOM: Final = 0.15
MGO_LATTICE_PARAMETER: Final = 4.25
"""Å; PBE 4.25, r2SCAN 4.20, experiment 4.21."""
MGO_ENERGY: Final = (-9.0, -5.0)
"""eV/atom that rock-salt MgO must have: about -5.9 at PBE, -8.0 at r2SCAN."""
MGO_PRESSURE: Final = 15.0
"""GPa that rock-salt MgO may be under at that lattice parameter."""


class MatGLPotential:
    """A matgl potential from a folder of its three files, evaluated in batches."""

    def __init__(self, folder: Path, *, name: str, elements: frozenset[str]) -> None:
        self._folder = folder
        self.fidelity = name.lower().removesuffix("-pes")
        weights = loading.hash_of_files(*(folder / file for file in MODEL_FILES))
        self.version = f"matgl {loading.package_version('matgl')}, weights {name} {weights}"
        self.elements = elements
        self.seconds_per_atom = SECONDS_PER_ATOM

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        with loading.quiet():
            import matgl
            from matgl.ext.ase import Atoms2Graph

            try:
                potential = matgl.load_model(str(self._folder))
            except (RuntimeError, ValueError) as error:
                cause = error.__cause__ or error
                raise PotentialError(
                    f"potential 'matgl': the model in {self._folder} cannot be read ({cause})"
                ) from error
            # A loaded potential is in training mode, where it would keep the graph of its own gradient.
            potential.eval()
            converter = Atoms2Graph(potential.model.element_types, potential.model.cutoff)
            if {"Mg", "O"} <= self.elements:
                self._check_magnesium_oxide(potential, converter)
        return potential, converter

    def _check_magnesium_oxide(self, potential: Any, converter: Any) -> None:
        """Refuse weights of an older matgl, which load silently and give wrong energies."""
        energy, _, stress = _pass(potential, converter, [bulk("MgO", "rocksalt", a=MGO_LATTICE_PARAMETER)])
        per_atom, pressure = float(energy[0]) / 2, -float(np.trace(stress[0]) / 3 / GPa)
        if not (MGO_ENERGY[0] < per_atom < MGO_ENERGY[1] and abs(pressure) < MGO_PRESSURE):
            raise PotentialError(
                f"potential 'matgl': the weights in {self._folder} give rock-salt MgO {per_atom:.2f} eV/atom "
                f"under {pressure:.1f} GPa (expected {MGO_ENERGY[0]:.0f} to {MGO_ENERGY[1]:.0f} eV/atom and "
                "no pressure); they were probably saved by an older matgl: download the model again"
            )

    def evaluate(self, batch: Batch) -> Evaluation:
        """Energy, forces and stress of every structure of the batch.

        Raises:
            PotentialError: an element that the model does not know, or weights that cannot be read or are
                not sane.
        """
        loading.check_elements(batch.atomic_numbers, known=self.elements, fidelity=self.fidelity)
        potential, converter = self._model
        atoms = batch.atoms()
        refused = loading.isolated(batch, cutoff=float(potential.model.cutoff))
        evaluation = loading.refusal(batch, refused)
        with loading.quiet():
            for chunk in loading.passes(batch, refused=refused):
                energy, forces, stress = _pass(potential, converter, [atoms[i] for i in chunk])
                evaluation.energy[chunk] = energy
                evaluation.forces[np.isin(batch.structure, chunk)] = forces
                evaluation.stress[chunk] = stress
        return evaluation


def load(spec: PotentialSpec, *, base: Path) -> Potential:
    """A matgl potential: `model` is a folder, relative to `base`, or a hub name.

    Raises:
        PotentialError: matgl is not installed, there is neither folder nor reachable hub model, or it is no
            potential.
    """
    loading.refuse_foreign_fields(spec, model=True)
    if spec.model is None:
        raise PotentialError(
            f"potential 'matgl': model is missing; give a folder that holds {', '.join(MODEL_FILES)}, "
            "or a hub name such as TensorNet-PES-MatPES-PBE-2025.2"
        )
    loading.package_version("matgl")
    folder = base / Path(spec.model).expanduser()
    if not folder.is_dir():
        folder = fetch_from_hub(spec.model, looked_at=folder)
        name = spec.model.rpartition("/")[2]
        return MatGLPotential(folder, name=name, elements=_elements(folder))
    missing = [file for file in MODEL_FILES if not (folder / file).is_file()]
    if missing:
        raise PotentialError(
            f"potential 'matgl': {folder} lacks {', '.join(missing)}; "
            f"a matgl model folder holds {', '.join(MODEL_FILES)}"
        )
    return MatGLPotential(folder, name=folder.resolve().name, elements=_elements(folder))


def _elements(folder: Path) -> frozenset[str]:
    """Element symbols that the model in a folder was trained on."""
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        kind = description["@class"]
        if kind != "Potential":
            raise PotentialError(
                f"potential 'matgl': the model in {folder} is a {kind}, which predicts a property and "
                "no forces; give an interatomic potential (its name ends in PES)"
            )
        return frozenset(description["kwargs"]["model"]["init_args"]["element_types"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise PotentialError(
            f"potential 'matgl': {folder / 'model.json'} is not a matgl model description ({error!r})"
        ) from error


def _pass(potential: Any, converter: Any, structures: list[Atoms]) -> tuple[Any, Any, Any]:
    """Energies (eV), forces (eV/Å) and stresses (eV/Å3) of structures that go through the model together."""
    import torch
    from torch_geometric.data import Batch as GraphBatch  # type: ignore[import-untyped]

    graphs, lattices, states = zip(*(converter.get_graph(atoms) for atoms in structures), strict=True)
    energy, forces, stress, *_ = potential(
        GraphBatch.from_data_list(list(graphs)),
        torch.cat([lattice.reshape(1, 3, 3) for lattice in lattices]),
        torch.as_tensor(np.stack(states)),
    )
    in_gpa = stress.detach().double().numpy().reshape(-1, 3, 3)
    return (
        energy.detach().double().numpy().reshape(-1),
        forces.detach().double().numpy(),
        (in_gpa + in_gpa.transpose(0, 2, 1)) / 2 * GPa,
    )
