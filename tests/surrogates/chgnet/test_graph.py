"""CHGNet's crystal graph against ASE's neighbour list and plain loops."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.neighbours import pairs_on_device
from surrogates.potential import Batch
from surrogates.potentials.chgnet.graph import crystal_graph
from tests.surrogates.chgnet.samples import peculiar_crystals

CUTOFF, ANGULAR_CUTOFF = 6.0, 3.0


def tensor_pairs(positions, cell, cutoff):
    import torch

    found = pairs_on_device(torch.from_numpy(positions), torch.from_numpy(cell), cutoff)
    return tuple(array.numpy() for array in found)


def graph_of(*structures, **changes):
    return crystal_graph(
        Batch.from_atoms(structures), cutoff=CUTOFF, angular_cutoff=ANGULAR_CUTOFF, **changes
    )


def directed(graph, positions):
    """Directed bonds as sortable rows: start, end and vector."""
    vectors = positions[graph.second] + graph.shift - positions[graph.first]
    rows = [
        np.column_stack([graph.first, graph.second, vectors]),
        np.column_stack([graph.second, graph.first, -vectors]),
    ]
    return sorted_rows(np.concatenate(rows))


def sorted_rows(rows):
    rows = np.round(rows, 6) + 0.0
    return rows[np.lexsort(rows.T[::-1])]


@pytest.fixture(params=peculiar_crystals().items(), ids=lambda item: item[0])
def crystal(request):
    return request.param[1]


@pytest.mark.parametrize("changes", [{}, {"pairs": tensor_pairs}], ids=["vesin", "tensors"])
def test_bonds_are_ases_neighbours(crystal, changes):
    graph = graph_of(crystal, **changes)
    i, j, vectors = neighbor_list("ijD", crystal, CUTOFF)
    expected = sorted_rows(np.column_stack([i, j, vectors]))
    np.testing.assert_allclose(directed(graph, crystal.positions), expected, atol=2e-6)


@given(
    cell=st.lists(st.floats(-3, 3), min_size=9, max_size=9),
    positions=st.lists(st.floats(-20, 20), min_size=6, max_size=6),
)
@settings(max_examples=30, deadline=None)
def test_both_pair_finders_agree_on_any_cell(cell, positions):
    matrix = np.reshape(cell, (3, 3)) + 4 * np.eye(3)
    if abs(np.linalg.det(matrix)) < 10:
        return
    atoms = Atoms("H2", positions=np.reshape(positions, (2, 3)), cell=matrix, pbc=True)
    lengths = [
        np.sort(np.linalg.norm(directed(graph, atoms.positions)[:, 2:], axis=1))
        for graph in (graph_of(atoms), graph_of(atoms, pairs=tensor_pairs))
    ]
    # A pair at the cutoff itself may be on either side of it.
    inside = [found[found < CUTOFF - 1e-6] for found in lengths]
    np.testing.assert_allclose(inside[0], inside[1], atol=1e-6)


def test_angles_are_all_ordered_pairs_of_short_bonds_at_an_atom():
    structures = list(peculiar_crystals().values())
    graph = graph_of(*structures)
    n_short = graph.n_short
    starts = np.concatenate([graph.first[:n_short], graph.second[:n_short]])
    expected = {
        (a, b) for a in range(2 * n_short) for b in range(2 * n_short) if a != b and starts[a] == starts[b]
    }
    found = list(zip(graph.arm[graph.left].tolist(), graph.arm[graph.right].tolist(), strict=True))
    assert len(found) == len(expected) > 1000
    assert set(found) == expected
    np.testing.assert_array_equal(graph.left[graph.mirrored], graph.right)
    np.testing.assert_array_equal(graph.right[graph.mirrored], graph.left)
    np.testing.assert_array_equal(np.searchsorted(graph.left, np.arange(2 * n_short)), graph.arm_offsets)
    np.testing.assert_array_equal(starts[graph.arm], graph.arm_centre)


def test_short_bonds_come_first_and_groups_are_complete():
    batch = Batch.from_atoms(list(peculiar_crystals().values()))
    graph = crystal_graph(batch, cutoff=CUTOFF, angular_cutoff=ANGULAR_CUTOFF)
    lengths = np.linalg.norm(
        batch.positions[graph.second] + graph.shift - batch.positions[graph.first], axis=1
    )
    assert (lengths[: graph.n_short] < ANGULAR_CUTOFF).all()
    assert (lengths[graph.n_short :] >= ANGULAR_CUTOFF).all()
    starts = np.concatenate([graph.first, graph.second])[graph.by_centre]
    assert (np.diff(starts) >= 0).all()
    np.testing.assert_array_equal(
        np.searchsorted(starts, np.arange(len(batch.positions))), graph.centre_offsets
    )


def test_structures_of_a_batch_are_not_bonded_to_one_another():
    batch = Batch.from_atoms([bulk("Cu", "fcc", a=3.6), bulk("NaCl", "rocksalt", a=5.6)] * 2)
    graph = crystal_graph(batch, cutoff=CUTOFF, angular_cutoff=ANGULAR_CUTOFF)
    np.testing.assert_array_equal(batch.structure[graph.first], batch.structure[graph.second])
