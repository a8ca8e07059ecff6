"""How large a cell a set of atoms needs: a first guess of the volume, before any potential is asked."""

from __future__ import annotations

import math
import warnings
from typing import Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Element, Structure
from pymatgen.core.structure_prediction.volume_predictor import DLSVolumePredictor, bond_params

AVOGADRO: Final = 6.02214076e23
"""Per mole, exact by the definition of the SI."""
SHORTEST_CONTACT: Final = 0.7
"""No pair may start nearer than this share of the sum of its covalent radii."""
COVALENT_CONTACT: Final = 0.93
"""Shortest contact over the sum of covalent radii in real crystals: its cube is the median ratio of volumes,
0.80, over 600 compounds of the Materials Project. Used where the data-mined bond lengths lack an element."""


def atomic_volume(symbol: str) -> float | None:
    """Volume per atom of the element as it is found (molar volume), Å3; None where none was measured."""
    molar_volume = Element(symbol).molar_volume
    return None if molar_volume is None else float(molar_volume) * 1e24 / AVOGADRO


def shortest_contact(structure: Structure) -> float:
    """Smallest ratio of a distance to the sum of the two covalent radii (ASE's, of Cordero et al. 2008)."""
    radii = np.array([covalent_radii[atomic_numbers[site.specie.symbol]] for site in structure])
    # Every atom has a neighbour, its own image at worst, within the length of the shortest lattice vector.
    radius = min(structure.lattice.abc) + 1e-6
    centers, neighbours, _, distances = structure.get_neighbor_list(radius)
    return float(np.min(distances / (radii[centers] + radii[neighbours])))


def predicted_volume(structure: Structure) -> float:
    """Volume of the cell that its elements suggest, Å3, whatever volume it has now.

    An element takes its measured molar volume. A compound takes the volume at which its relatively shortest
    contact has its data-mined length: DLS of Chu, Mathew, Chen and Ong, Comput. Mater. Sci. 146, 184 (2018),
    as pymatgen implements it. Elements outside that data (noble gases, the heaviest actinides) fall back on
    covalent radii. Never so small that two atoms come nearer than `SHORTEST_CONTACT`.
    """
    contact = shortest_contact(structure)
    floor = structure.volume * (SHORTEST_CONTACT / contact) ** 3
    covalent = structure.volume * (COVALENT_CONTACT / contact) ** 3
    symbols = {site.specie.symbol for site in structure}
    if len(symbols) == 1:
        volume_per_atom = atomic_volume(symbols.pop())
        volume = covalent if volume_per_atom is None else volume_per_atom * len(structure)
    elif symbols <= set(bond_params) and all(math.isfinite(Element(s).X) for s in symbols):
        volume = _data_mined_volume(structure.copy().scale_lattice(covalent))
    else:
        volume = covalent
    return max(volume, floor)


def scaled_to_predicted_volume(structure: Structure) -> Structure:
    """The same structure, its lattice scaled to `predicted_volume`."""
    return structure.copy().scale_lattice(predicted_volume(structure))


def _data_mined_volume(structure: Structure) -> float:
    # Bounds on the scaling would make the answer depend on the volume that came in.
    predictor = DLSVolumePredictor(min_scaling=None, max_scaling=None)  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return float(predictor.predict(structure))
