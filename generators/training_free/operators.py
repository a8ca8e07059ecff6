"""Operators of evolution: from crystals to a child (ASE has moved its own, `ase.ga`, out).

The ideas are those of USPEX (Oganov and Glass, J. Chem. Phys. 124, 244704 (2006)) and of Deaven and Ho's cut
and splice (Phys. Rev. Lett. 75, 288 (1995)). A child may have atoms too near to one another; the caller
judges it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from generators.training_free.compositions import covalent_volume

VOID_PROBES = 64
"""Random points among which the one farthest from all atoms takes a new atom."""


def supercell(structure: Structure, *, largest: int, rng: np.random.Generator) -> Structure:
    """The structure, or, half of the time where it fits, repeated twice along a random axis.

    Primitive cells are too small to hold an ordering of their own sites.

    Args:
        structure: the parent.
        largest: atoms that a child may have.
        rng: the stream to draw from.
    """
    if 2 * len(structure) > largest or rng.random() < 0.5:
        return structure.copy()
    repeats = [1, 1, 1]
    repeats[int(rng.integers(3))] = 2
    return structure.copy().make_supercell(repeats)


def heredity(first: Structure, second: Structure, *, rng: np.random.Generator) -> Structure:
    """Cut and splice: complementary slabs of two parents, in a cell between theirs.

    Args:
        first: a parent.
        second: the other.
        rng: the stream to draw from.
    """
    parents = [parent.get_reduced_structure(reduction_algo="niggli") for parent in (first, second)]
    axis, share = int(rng.integers(3)), float(rng.uniform(0.25, 0.75))
    symbols: list[str] = []
    coordinates: list[np.ndarray] = []
    for parent, low, high in ((parents[0], 0.0, share), (parents[1], share, 1.0)):
        # Each parent is cut with its axes in a random order and at a random height: there is no natural
        # origin.
        order = rng.permutation(3)
        shifted = np.mod(parent.frac_coords[:, order] + rng.random(3), 1.0)
        inside = (shifted[:, axis] >= low) & (shifted[:, axis] < high)
        symbols += [site.specie.symbol for site, keep in zip(parent, inside, strict=True) if keep]
        coordinates += list(shifted[inside])
    if not symbols:
        return first.copy()
    weight = float(rng.uniform(0.25, 0.75))
    shape = weight * _unit_shape(parents[0]) + (1 - weight) * _unit_shape(parents[1])
    packing = weight * _packing(parents[0]) + (1 - weight) * _packing(parents[1])
    lattice = Lattice.from_parameters(*shape.tolist()).scale(_covalent(symbols) / packing)
    return Structure(lattice, symbols, np.array(coordinates))


def strain(structure: Structure, *, deviation: float, rng: np.random.Generator) -> Structure:
    """Deform the cell at constant volume.

    Args:
        structure: the parent.
        deviation: standard deviation of each component of the strain.
        rng: the stream to draw from.
    """
    components = rng.normal(0.0, deviation, (3, 3))
    deformation = np.eye(3) + (components + components.T) / 2
    # A strain of several deviations could turn the cell inside out.
    if np.linalg.det(deformation) < 0.2:
        return structure.copy()
    lattice = Lattice(structure.lattice.matrix @ deformation.T).scale(structure.volume)
    return Structure(lattice, structure.species, structure.frac_coords)


def rattle(structure: Structure, *, deviation: float, rng: np.random.Generator) -> Structure:
    """Move every atom by a normally distributed step.

    Args:
        structure: the parent.
        deviation: standard deviation of each Cartesian component, Å.
        rng: the stream to draw from.
    """
    moved = structure.cart_coords + rng.normal(0.0, deviation, (len(structure), 3))
    return Structure(structure.lattice, structure.species, moved, coords_are_cartesian=True)


def permutation(structure: Structure, *, rng: np.random.Generator) -> Structure:
    """Exchange two elements on all their sites, or two unlike atoms.

    Args:
        structure: the parent; with one element only it comes back as it is.
        rng: the stream to draw from.
    """
    symbols = [site.specie.symbol for site in structure]
    elements = sorted(set(symbols))
    if len(elements) < 2:
        return structure.copy()
    a, b = (elements[i] for i in rng.choice(len(elements), size=2, replace=False))
    if rng.random() < 0.5:
        exchanged = [b if s == a else a if s == b else s for s in symbols]
    else:
        exchanged = list(symbols)
        i = int(rng.choice([k for k, s in enumerate(symbols) if s == a]))
        j = int(rng.choice([k for k, s in enumerate(symbols) if s == b]))
        exchanged[i], exchanged[j] = b, a
    return Structure(structure.lattice, exchanged, structure.frac_coords)


def stoichiometry(structure: Structure, elements: Sequence[str], *, rng: np.random.Generator) -> Structure:
    """Add an atom in a void, remove one, or give one another element; the volume follows the atoms.

    Args:
        structure: the parent.
        elements: those that may be added.
        rng: the stream to draw from.
    """
    symbols = [site.specie.symbol for site in structure]
    coordinates = structure.frac_coords
    change = ("add", "remove", "replace")[int(rng.integers(3))]
    if change == "remove" and len(symbols) < 2:
        change = "add"
    if change == "add":
        symbols.append(elements[int(rng.integers(len(elements)))])
        coordinates = np.vstack([coordinates, _void(structure, rng)])
    elif change == "remove":
        gone = int(rng.integers(len(symbols)))
        del symbols[gone]
        coordinates = np.delete(coordinates, gone, axis=0)
    else:
        place = int(rng.integers(len(symbols)))
        others = [e for e in elements if e != symbols[place]]
        if others:
            symbols[place] = others[int(rng.integers(len(others)))]
    lattice = structure.lattice.scale(_covalent(symbols) / _packing(structure))
    return Structure(lattice, symbols, coordinates)


def _void(structure: Structure, rng: np.random.Generator) -> np.ndarray:
    probes = rng.random((VOID_PROBES, 3))
    nearest = structure.lattice.get_all_distances(probes, structure.frac_coords).min(axis=1)
    point: np.ndarray = probes[int(np.argmax(nearest))]
    return point


def _unit_shape(structure: Structure) -> np.ndarray:
    """Cell parameters at unit volume: three lengths, three angles in degrees."""
    return np.array(structure.lattice.scale(1.0).parameters)


def _packing(structure: Structure) -> float:
    """Share of the cell that spheres of covalent radius fill."""
    return _covalent([site.specie.symbol for site in structure]) / float(structure.volume)


def _covalent(symbols: Sequence[str]) -> float:
    return covalent_volume({symbol: symbols.count(symbol) for symbol in sorted(set(symbols))})
