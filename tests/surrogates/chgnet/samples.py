"""Crystals to compare CHGNet's evaluators on, and the package's own evaluation of them."""

import contextlib
import csv
import gzip
import io
import os
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from loop.spec import PotentialSpec
from surrogates.registry import load_potential


def potential(model="0.3.0", **arguments):
    return load_potential(PotentialSpec(name="chgnet", model=model, arguments=arguments), base=Path.cwd())


@lru_cache
def package(model="0.3.0"):
    """The chgnet package's own model."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from chgnet.model.model import CHGNet

        return CHGNet.load(model_name=model, use_device="cpu", verbose=False)


def package_evaluation(structures, model="0.3.0"):
    """Energies (eV/atom), forces and symmetric stresses (eV/Å3), one structure at a time, as its users do."""
    from ase.units import GPa
    from pymatgen.io.ase import AseAtomsAdaptor

    energies, forces, stresses = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for atoms in structures:
            found = package(model).predict_structure(AseAtomsAdaptor.get_structure(atoms), task="efs")
            energies.append(float(found["e"]))
            forces.append(found["f"])
            stresses.append((found["s"] + found["s"].T) / 2 * GPa)
    return np.array(energies), np.concatenate(forces), np.array(stresses)


def disturbed(atoms, rng, *, rattle=0.08, strain=0.04):
    """The same crystal with random displacements (Å) and a random strain."""
    atoms = atoms.copy()
    atoms.info.clear()
    atoms.positions += rng.normal(0, rattle, atoms.positions.shape)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, strain / 2, (3, 3))), scale_atoms=True)
    return atoms


def real_crystals(count, *, largest, seed):
    """Materials Project structures: half as they are, half disturbed; 1 to `largest` atoms."""
    data = os.environ.get("MOTHERLODE_DATA")
    if not data:
        pytest.skip("MOTHERLODE_DATA is unset: no real structures to read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.core import Structure

        with gzip.open(Path(data) / "structures" / "mp_structures.csv.gz", "rt") as file:
            rows = list(csv.DictReader(file))
        rng = np.random.default_rng(seed)
        found = []
        for row in rng.permutation(len(rows)):
            atoms = Structure.from_str(rows[row]["cif"], fmt="cif").to_ase_atoms()
            if len(atoms) <= largest and "Yb" not in atoms.symbols:
                found.append(disturbed(atoms, rng) if len(found) % 2 else atoms)
            if len(found) == count:
                return found
    raise AssertionError(f"only {len(found)} crystals of at most {largest} atoms")


def peculiar_crystals():
    """Cells that graphs go wrong on: one atom, flat, long, sheared, without angles, without short bonds, far."""
    rng = np.random.default_rng(5)
    silicon = bulk("Si", "diamond", a=5.43)
    sheared = make_supercell(silicon, [[1, 3, 0], [0, 1, 0], [2, 0, 1]], wrap=False)
    dimer = Atoms("N2", positions=[[0, 0, 0], [1.1, 0, 0]], cell=np.diag([5.2, 5.3, 5.1]), pbc=True)
    shifted = disturbed(bulk("MgO", "rocksalt", a=4.2, cubic=True), rng)
    shifted.positions += [13.0, -7.0, 3.0]
    return {
        "one atom": bulk("Cu", "fcc", a=3.6),
        "one atom, many arms": bulk("Al", "fcc", a=3.9),
        "perfect rock salt": bulk("MgO", "rocksalt", a=4.2),
        "sheared": disturbed(sheared, rng),
        "no angles": dimer,
        "no short bonds": bulk("Cs", "bcc", a=5.5),
        "outside its cell": shifted,
        "flat": Atoms("C2", positions=[[0, 0, 0], [1.42, 0, 0]],
                      cell=[[2.13, -1.23, 0], [2.13, 1.23, 0], [0, 0, 14]], pbc=True),
    }  # fmt: skip
