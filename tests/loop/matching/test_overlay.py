"""Cells are laid over one another as pymatgen's own routines do, and no pairing that fits is missed."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.util.coord_cython import is_coord_subset_pbc, pbc_shortest_vectors

from loop.matching.cell_stack import CellStack
from loop.matching.cells import Cell, niggli_cell
from loop.matching.lattice_mappings import mappings
from loop.matching.overlay import Laid, Overlay

SITE = 0.3


def overlay(seed: int, *, thin: bool) -> Overlay:
    """Some pairs of one to four magnesium and an oxygen atom anywhere in cells that are not far from one another."""
    rng = np.random.default_rng(seed)
    numbers = np.array([12] * rng.integers(1, 5) + [8])
    pairs: list[list[Cell]] = [[], []]
    for _ in range(3):
        lengths = rng.uniform(2.5, 5, 3) * ([1, 1, 0.35] if thin else [1, 1, 1])
        matrix = Lattice.from_parameters(*lengths, *rng.uniform(70, 110, 3)).matrix
        for cells in pairs:
            lattice = matrix @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3)))
            coordinates = rng.random((len(numbers), 3))
            cells.append(niggli_cell(Cell(lattice, coordinates, rng.permutation(numbers))))
    first, second = (CellStack.of(cells) for cells in pairs)
    maps = mappings(first, second, length_tolerance=0.2, angle_tolerance=5.0)
    return Overlay.of(first, second, maps, site_tolerance=SITE)


def ways(laid_over: Overlay) -> list[tuple[int, np.ndarray]]:
    """Every mapping with every way to lay the second cell's anchor onto an atom of its element."""
    found = []
    for mapping, pair in enumerate(laid_over.pair.tolist()):
        anchor = laid_over.anchors[pair]
        for atom in np.flatnonzero(~laid_over.apart[anchor]).tolist():
            shift = laid_over.mapped[:, atom, mapping] - laid_over.onto[:, anchor, pair]
            found.append((mapping, shift))
    return found


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40, deadline=None)
def test_boxes_are_pymatgens_and_the_nearest_its_shortest_vectors(seed: int, thin: bool) -> None:
    laid_over = overlay(seed, thin=thin)
    mask = laid_over.apart.astype(np.int64)
    expected = set()
    for mapping, shift in ways(laid_over):
        first = laid_over.mapped[:, :, mapping].T
        second = laid_over.onto[:, :, laid_over.pair[mapping]].T + shift
        if is_coord_subset_pbc(second, first, laid_over.boxes[:, mapping].copy(), mask):
            expected.add((mapping, *shift.round(9)))
    found = set()
    for laid in laid_over.within_boxes():
        near = laid_over.nearest(laid)
        assert len(near.laid.mapping) + len(near.others) == len(laid.mapping)
        found |= {
            (mapping, *shift)
            for mapping, shift in zip(laid.mapping.tolist(), laid.shifts.T.round(9), strict=True)
        }
        for place, mapping in enumerate(near.laid.mapping.tolist()):
            first = laid_over.mapped[:, :, mapping].T
            second = laid_over.onto[:, :, laid_over.pair[mapping]].T + near.laid.shifts[:, place]
            lattice = Lattice(laid_over.means[:, :, mapping])
            _, squares = pbc_shortest_vectors(lattice, second, first, mask, return_d2=True)
            distances = np.sqrt(np.where(mask, np.inf, squares).min(axis=1))
            ours = np.linalg.norm(near.vectors[:, :, place], axis=0)
            # Atoms may be grouped by element.
            assert np.allclose(np.sort(ours), np.sort(distances), atol=1e-8)
    assert found == expected


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_pairing_that_fits_is_missed(seed: int, thin: bool) -> None:
    """All pairings over all images, the anchor staying where it is laid."""
    laid_over = overlay(seed, thin=thin)
    images = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    for laid in laid_over.within_boxes():
        near = laid_over.nearest(laid)
        close = laid_over.close(near)
        fitting = (
            {(int(close.mapping[way]), *close.shifts[:, way].round(9)) for way in laid_over.may_fit(close)}
            if len(close.mapping)
            else set()
        )
        for mapping, shift in zip(laid.mapping.tolist(), laid.shifts.T, strict=True):
            if fits(laid_over, mapping, shift, images):
                assert (mapping, *shift.round(9)) in fitting


def fits(laid_over: Overlay, mapping: int, shift: np.ndarray, images: np.ndarray) -> bool:
    """Whether a pairing leaves no atom further than the tolerance from the mean displacement."""
    pair = laid_over.pair[mapping]
    second = laid_over.onto[:, :, pair].T + shift
    difference = laid_over.mapped[:, :, mapping].T[None] - second[:, None]
    difference -= np.rint(difference)
    vectors = (difference[:, :, None] + images) @ laid_over.means[:, :, mapping]
    site = laid_over.sites[mapping]
    anchor = laid_over.anchors[pair]
    number = len(second)
    for order in itertools.permutations(range(number)):
        if laid_over.apart[np.arange(number), order].any():
            continue
        choices = []
        for atom, partner in enumerate(order):
            options = vectors[atom, partner]
            limit = 1e-9 if atom == anchor else 2 * site
            choices.append(options[np.linalg.norm(options, axis=1) < limit])
        for chosen in itertools.product(*choices):
            moves = np.array(chosen)
            if np.linalg.norm(moves - moves.mean(axis=0), axis=1).max() < site * (1 - 1e-9):
                return True
    return False


def test_a_block_holds_all_ways() -> None:
    laid = Laid(np.arange(1000), np.zeros((3, 1000)), np.zeros((1, 3)))
    parts = list(laid.blocks(2000))
    assert len(parts) == 10
    assert np.array_equal(np.concatenate([part.mapping for part in parts]), laid.mapping)
