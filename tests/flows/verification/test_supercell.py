import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from flows.verification.failures import CalculationFailedError
from flows.verification.supercell import shortest_vector, supercell_matrix
from loop.crystal import Crystal

SIMPLE_CUBIC = Crystal.from_atoms(bulk("Al", "sc", a=2.7))
FACE_CENTRED = Crystal.from_atoms(bulk("Cu", "fcc", a=3.61))
BODY_CENTRED = Crystal.from_atoms(bulk("Fe", "bcc", a=2.87))
RUTILE = Crystal.from_structure(
    Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
)
WURTZITE = Crystal.from_structure(
    Structure.from_spacegroup(
        "P6_3mc", Lattice.hexagonal(3.25, 5.2), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
    )
)
SHARP_RHOMBOHEDRAL = Crystal.from_structure(Structure(Lattice.rhombohedral(7.0, 33.0), ["Bi"], [[0, 0, 0]]))
CRYSTALS = [SIMPLE_CUBIC, FACE_CENTRED, BODY_CENTRED, RUTILE, WURTZITE, SHARP_RHOMBOHEDRAL]
NAMES = ["simple cubic", "face centred", "body centred", "rutile", "wurtzite", "sharp rhombohedral"]


@pytest.mark.parametrize("crystal", CRYSTALS, ids=NAMES)
@pytest.mark.parametrize("min_length", [6.0, 10.0])
def test_no_atom_is_nearer_to_its_image(crystal, min_length):
    matrix = supercell_matrix(crystal, min_length=min_length, max_atoms=1000)
    supercell = crystal.to_structure().make_supercell(matrix.T.tolist(), in_place=False)
    assert len(supercell) == round(abs(np.linalg.det(matrix))) * crystal.number_of_atoms
    images = supercell.get_neighbors(supercell[0], r=0.9 * min_length - 0.01)
    assert not [n for n in images if n.index == 0]


@pytest.mark.parametrize("crystal", CRYSTALS, ids=NAMES)
def test_the_point_group_is_kept(crystal):
    """Every rotation of the crystal maps the supercell onto itself: no displacement is computed twice."""
    import moyopy
    from moyopy.interface import MoyoAdapter

    matrix = supercell_matrix(crystal, min_length=10.0, max_atoms=1000)
    dataset = moyopy.MoyoDataset(MoyoAdapter.from_structure(crystal.to_structure()), symprec=0.01)
    for rotation in dataset.operations.rotations:
        inside = np.linalg.inv(matrix) @ np.array(rotation) @ matrix
        assert np.allclose(inside, np.rint(inside), atol=1e-6)


@given(shears=st.lists(st.tuples(st.permutations(range(3)), st.integers(-3, 3)), max_size=5))
def test_shortest_vector_does_not_depend_on_the_choice_of_cell(shears):
    lattice = np.array([[3.0, 0.0, 0.0], [0.5, 4.0, 0.0], [0.3, -0.7, 5.0]])
    for (i, j, _), times in shears:
        lattice[i] += times * lattice[j]
    assert shortest_vector(lattice) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("crystal", "min_length", "expected"),
    [
        (FACE_CENTRED, 10.0, 4 * np.eye(3)),  # 64 primitive cells, not 108 of three conventional ones
        (
            FACE_CENTRED,
            7.0,
            2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]),
        ),  # 32 and even, not 27 and odd
        (RUTILE, 10.0, np.diag([2, 2, 4])),  # 9.2 Å and even, not 13.8 Å and odd
        (SIMPLE_CUBIC, 8.0, 3 * np.eye(3)),  # 64 even ones would be too many beside 27
    ],
)
def test_fewest_atoms_with_even_multiples_preferred(crystal, min_length, expected):
    matrix = supercell_matrix(crystal, min_length=min_length, max_atoms=300)
    lattices = [m.T @ np.array(crystal.lattice) for m in (matrix, expected)]
    between = lattices[0] @ np.linalg.inv(lattices[1])
    assert between == pytest.approx(np.rint(between), abs=1e-6)
    assert abs(np.linalg.det(between)) == pytest.approx(1.0)


def test_too_large_a_supercell_is_a_failure_with_its_mend():
    with pytest.raises(CalculationFailedError, match="holds 64 atoms, max_atoms is 63") as caught:
        supercell_matrix(FACE_CENTRED, min_length=10.0, max_atoms=63)
    assert caught.value.reason == "too-large"
