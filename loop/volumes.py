"""How large a cell a set of atoms needs: a first guess of the volume, before any potential is asked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from loop.distances import Floats, nearest_image_distances

AVOGADRO: Final = 6.02214076e23
"""Per mole, exact by the definition of the SI."""
SHORTEST_CONTACT: Final = 0.7
"""No pair may start nearer than this share of the sum of its covalent radii."""
COVALENT_CONTACT: Final = 0.93
"""Shortest contact over the sum of covalent radii in real crystals: its cube is the median ratio of volumes,
0.80, over 600 compounds of the Materials Project. Used where the data-mined bond lengths lack an element."""


def atomic_volume(symbol: str) -> float | None:
    """Volume per atom of the element as it is found (molar volume), Å3; None where none was measured."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No data available")
        molar_volume = Element(symbol).molar_volume
    return None if molar_volume is None else float(molar_volume) * 1e24 / AVOGADRO


def shortest_contact(structure: Structure) -> float:
    """Smallest ratio of a distance to the sum of the two covalent radii (ASE's, of Cordero et al. 2008)."""
    radii = np.array([covalent_radii[atomic_numbers[site.specie.symbol]] for site in structure])
    return _shortest_ratio(structure, radii)


def predicted_volume(structure: Structure) -> float:
    """Volume of the cell that its elements suggest, Å3, whatever volume it has now.

    An element takes its measured molar volume. A compound takes the volume at which its relatively shortest
    contact has its data-mined length: the sum of two radii that shrink or grow with the spread of
    electronegativities, DLS of Chu, Mathew, Chen and Ong, Comput. Mater. Sci. 146, 184 (2018), with their
    parameters from pymatgen. Elements outside that data (noble gases, the heaviest actinides) fall back on
    covalent radii. Never so small that two atoms come nearer than `SHORTEST_CONTACT`.
    """
    contact = shortest_contact(structure)
    symbols = {site.specie.symbol for site in structure}
    radii = _data_mined_radii(structure)
    if len(symbols) == 1 and (volume_per_atom := atomic_volume(min(symbols))):
        volume = volume_per_atom * len(structure)
    elif radii is not None:
        volume = structure.volume / _shortest_ratio(structure, radii) ** 3
    else:
        volume = structure.volume * (COVALENT_CONTACT / contact) ** 3
    return float(max(volume, structure.volume * (SHORTEST_CONTACT / contact) ** 3))


def scaled_to_predicted_volume(structure: Structure) -> Structure:
    """The same structure, its lattice scaled to `predicted_volume`."""
    return structure.copy().scale_lattice(predicted_volume(structure))


def _shortest_ratio(structure: Structure, radii: Floats) -> float:
    """Smallest ratio of a distance to the sum of two radii, `n_atoms`, over all pairs and images."""
    distances = nearest_image_distances(structure.lattice.matrix, structure.frac_coords)
    return float((distances / (radii[:, None] + radii[None, :])).min())


def _data_mined_radii(structure: Structure) -> Floats | None:
    """Radius of each atom, `n_atoms`, Å; None where an element has no parameters."""
    parameters = _data_mined_parameters()
    symbols = [site.specie.symbol for site in structure]
    if not set(symbols) <= set(parameters):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No Pauling electronegativity")
        electronegativities = np.array([Element(symbol).X for symbol in symbols])
    if not np.isfinite(electronegativities).all():
        return None
    fixed, slope = np.array([parameters[symbol] for symbol in symbols]).T
    radii: Floats = fixed + slope * electronegativities.std()
    return radii


@cache
def _data_mined_parameters() -> Mapping[str, tuple[float, float]]:
    from pymatgen.core.structure_prediction.volume_predictor import bond_params

    return {symbol: (float(found["r"]), float(found["k"])) for symbol, found in bond_params.items()}
