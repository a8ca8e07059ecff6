"""Hypothesis strategies: decorated structure types, random cells, and disguises of one crystal."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

METALS = ("Al", "Ba", "Ca", "Co", "Fe", "K", "La", "Li", "Mg", "Na", "Ni", "Sr", "Ti", "Zn")
ANIONS = ("Cl", "F", "N", "O", "S", "Se")


def _face_centred(a: float) -> Lattice:
    """Primitive cell; pymatgen takes a second to spell out 192 operations of a conventional one."""
    return Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])


def _screwed(space_group: int, lattice: Lattice, *sites: tuple[str, list[float]]) -> Structure:
    return Structure.from_spacegroup(space_group, lattice, [s for s, _ in sites], [x for _, x in sites])


@cache
def structure_type(name: str) -> Structure:
    """A structure type with the placeholders Li, Be, B for its sublattices, at a volume that leaves room."""
    origin, quarter, half, three_quarters = ([x] * 3 for x in (0.0, 0.25, 0.5, 0.75))
    hexagonal = Lattice.hexagonal
    types = {
        "rocksalt": lambda: Structure(_face_centred(5.6), ["Li", "Be"], [origin, half]),
        "caesium chloride": lambda: Structure(Lattice.cubic(3.6), ["Li", "Be"], [origin, half]),
        "zincblende": lambda: Structure(_face_centred(5.8), ["Li", "Be"], [origin, quarter]),
        "fluorite": lambda: Structure(
            _face_centred(5.9), ["Li", "Be", "Be"], [origin, quarter, three_quarters]
        ),
        "half-Heusler": lambda: Structure(_face_centred(6.1), ["Li", "Be", "B"], [origin, quarter, half]),
        "perovskite": lambda: Structure(
            Lattice.cubic(4.2),
            ["Li", "Be", "B", "B", "B"],
            [origin, half, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        ),
        "face-centred cubic": lambda: Structure(_face_centred(4.1), ["Li"], [origin]),
        "wurtzite": lambda: _screwed(
            186, hexagonal(4.1, 6.6), ("Li", [1 / 3, 2 / 3, 0]), ("Be", [1 / 3, 2 / 3, 0.377])
        ),
        "rutile": lambda: _screwed(
            136, Lattice.tetragonal(4.8, 3.1), ("Li", origin), ("Be", [0.306, 0.306, 0])
        ),
        "quartz": lambda: _screwed(
            152, hexagonal(5.2, 5.7), ("Li", [0.47, 0, 1 / 3]), ("Be", [0.413, 0.267, 0.119 + 1 / 3])
        ),
        "monoclinic": lambda: _screwed(
            14,
            Lattice.monoclinic(5.1, 5.3, 5.4, 99),
            ("Li", [0.276, 0.04, 0.21]),
            ("Be", [0.07, 0.33, 0.345]),
        ),
        "hexagonal close packing": lambda: Structure(
            hexagonal(3.2, 5.2), ["Li", "Li"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
        ),
    }
    return types[name]()


STRUCTURE_TYPES = (
    "rocksalt",
    "caesium chloride",
    "zincblende",
    "wurtzite",
    "rutile",
    "fluorite",
    "perovskite",
    "half-Heusler",
    "quartz",
    "monoclinic",
    "hexagonal close packing",
    "face-centred cubic",
)


@st.composite
def decorated_types(draw: st.DrawFn) -> Structure:
    """A structure type with real elements on its sublattices."""
    structure = structure_type(draw(st.sampled_from(STRUCTURE_TYPES))).copy()
    metals = draw(st.lists(st.sampled_from(METALS), min_size=2, max_size=2, unique=True))
    anion = draw(st.sampled_from(ANIONS))
    names = sorted({site.specie.symbol for site in structure}, key=["Li", "Be", "B"].index)
    elements = [metals[0]] if len(names) == 1 else [*metals[: len(names) - 1], anion]
    # Two steps, since Li may be both placeholder and decoration.
    structure.replace_species(dict(zip(names, ["Rn", "Xe", "Kr"], strict=False)))
    structure.replace_species(dict(zip(["Rn", "Xe", "Kr"], elements, strict=False)))
    return structure


@st.composite
def random_cells(draw: st.DrawFn, *, max_atoms: int = 6) -> Structure:
    """A triclinic cell with atoms anywhere, at least 1.2 Å apart."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    number = draw(st.integers(1, max_atoms))
    angles = rng.uniform(65, 115, 3)
    lattice = Lattice.from_parameters(*rng.uniform(3, 6, 3), *angles).scale(18.0 * number)
    coordinates: list[np.ndarray] = []
    while len(coordinates) < number:
        point = rng.random(3)
        if all(lattice.get_distance_and_image(point, other)[0] > 1.2 for other in coordinates):
            coordinates.append(point)
    return Structure(lattice, rng.choice(["Mg", "Ni", "O"], number).tolist(), coordinates)


@st.composite
def disguises(draw: st.DrawFn, structure: Structure) -> Structure:
    """The same crystal in a supercell or another basis, turned, shifted, with its atoms shuffled."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    disguised = structure.copy()
    shapes = ([1, 1, 1], [[1, 1, 0], [0, 1, 0], [0, 0, 1]], [2, 1, 1], [1, 1, 2])
    disguised.make_supercell(draw(st.sampled_from(shapes if len(disguised) <= 8 else shapes[:2])))
    turn = Rotation.random(rng=rng).as_matrix()
    coordinates = disguised.frac_coords + rng.random(3)
    order = rng.permutation(len(disguised))
    return Structure(
        Lattice(disguised.lattice.matrix @ turn.T), [disguised[i].specie for i in order], coordinates[order]
    )
