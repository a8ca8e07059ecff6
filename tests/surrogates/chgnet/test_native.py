"""The compiled message functions against those on whole arrays, on every width of vectors that this processor has."""

from functools import cache

import numpy as np
import pytest
import torch

from surrogates.potentials.chgnet import messages, native
from surrogates.potentials.chgnet.messages import Edges
from surrogates.potentials.chgnet.weights import FEATURES
from tests.surrogates.architectures import ARCHITECTURES, library_for
from tests.surrogates.chgnet.test_reverse import GATES, gate, random


@pytest.fixture(scope="module", params=ARCHITECTURES.values(), ids=ARCHITECTURES)
def compiled(request, tmp_path_factory):
    return native.functions(library_for(request.param, native.SOURCE, tmp_path_factory.mktemp("native")))


def single(values):
    """In single precision, tuples and gates however nested."""
    if isinstance(values, torch.Tensor):
        return values.float()
    converted = [single(value) for value in values]
    return type(values)(*converted) if hasattr(values, "_fields") else tuple(converted)


@cache
def graph(n_rows, n_bonds):
    """Random bonds, then the same reversed, and angles: all ordered pairs of what starts at a row."""
    rng = np.random.default_rng([n_rows, n_bonds])
    first, second = (torch.from_numpy(rng.integers(0, n_rows, n_bonds)) for _ in range(2))
    bonds = edges(torch.cat([first, second]), torch.cat([second, first]), n_rows)
    start, end = [], []
    for row in range(n_rows):
        arms = torch.nonzero(bonds.start == row)[:, 0].tolist()
        pairs = [(a, b) for a in arms for b in arms if a != b]
        start += [a for a, _ in pairs]
        end += [b for _, b in pairs]
    order = np.lexsort((end, start))
    left, right = (torch.tensor(ends, dtype=torch.int64)[order] for ends in (start, end))
    return bonds, edges(left, right, 2 * n_bonds)


def edges(start, end, n_rows):
    by_start, by_end = torch.argsort(start, stable=True), torch.argsort(end, stable=True)
    counts = torch.bincount(start, minlength=n_rows)
    return Edges(start=start, end=end, by_start=by_start, by_end=by_end, offsets=counts.cumsum(0) - counts)


def assert_same(name, compiled, parts, inputs, options):
    """Forward and reverse of the compiled function are those on arrays, in single precision, within its rounding."""
    eager = messages.Functions()
    found, saved = getattr(compiled, name)(*single(inputs), **single_options(options), gate=single(parts))
    expected, expected_saved = getattr(eager, name)(*[i.clone() for i in inputs], **options, gate=parts)
    scale = float(expected.abs().max()) + 1
    torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=2e-6 * scale)
    change = random(*expected.shape, seed=11)
    kept = {k: v for k, v in options.items() if k in ("weight", "edges")}
    first = (kept.pop("weight"),) if name == "atom_messages" else (options["matrix"],)
    ours = getattr(compiled, f"{name}_reverse")(
        single(change), *single(first), **single_options(kept), gate=single(parts), saved=saved
    )
    theirs = getattr(eager, f"{name}_reverse")(
        change.clone(), *first, **kept, gate=parts, saved=expected_saved
    )
    for one, other in zip(ours, theirs, strict=True):
        scale = float(other.abs().max()) + 1
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-6 * scale)


def single_options(options):
    return {name: value if isinstance(value, Edges) else single(value) for name, value in options.items()}


@pytest.mark.parametrize("parts", GATES)
@pytest.mark.parametrize(("n_rows", "n_bonds"), [(1, 1), (3, 12), (7, 61)])
def test_atom_messages(compiled, parts, n_rows, n_bonds):
    bonds, _ = graph(n_rows, n_bonds)
    inputs = (random(n_rows, 2 * FEATURES, seed=1), random(n_rows, 2 * FEATURES, seed=2))
    options = {"along": random(n_bonds, 2 * FEATURES), "weight": random(n_bonds, FEATURES), "edges": bonds}
    assert_same("atom_messages", compiled, gate(**parts), inputs, options)


@pytest.mark.parametrize("parts", GATES)
@pytest.mark.parametrize("depth", [16, 32, FEATURES])
@pytest.mark.parametrize("name", ["bond_messages", "angle_update"])
def test_angles(compiled, parts, depth, name):
    """Matrices of 16, 32 and 64 rows occur: the angular bases of both architectures, and features."""
    n_arms = 2 * 14
    _, angles = graph(3, 14)
    inputs = (random(n_arms, 2 * FEATURES, seed=1), random(n_arms, 2 * FEATURES, seed=2))
    options = {
        "angle": random(len(angles.start), depth),
        "matrix": random(depth, 2 * FEATURES) / 8,
        "edges": angles,
    }
    if name == "bond_messages":
        options["weight"] = random(n_arms, FEATURES)
    assert_same(name, compiled, gate(**parts), inputs, options)


def test_activations_far_out_are_finite_and_right(compiled):
    """Sigmoids of ±1000 are 0 and 1, of NaN NaN: an exploding crystal must show, not hide."""
    bonds, _ = graph(1, 1)
    for value, expected in (
        (1000.0, 1000.0),
        (-1000.0, 0.0),
        (float("nan"), float("nan")),
        (float("inf"), float("inf")),
    ):
        centre = torch.full((1, 2 * FEATURES), value)
        nothing = torch.zeros(1, 2 * FEATURES)
        sums, _ = compiled.atom_messages(
            centre, nothing, along=nothing, weight=torch.ones(1, FEATURES), edges=bonds,
            gate=gate(hidden=False, norms=False),
        )  # fmt: skip
        np.testing.assert_allclose(sums.numpy(), 2 * expected, atol=1e-30)


def test_the_same_input_gives_the_same_bits_whatever_came_before(compiled):
    """Room of earlier, larger and smaller, evaluations is used again and must not show."""
    parts = single(gate())
    results = []
    for n_rows, n_bonds in ((3, 12), (7, 61), (3, 12), (1, 1), (3, 12)):
        bonds, _ = graph(n_rows, n_bonds)
        weight = single(random(n_bonds, FEATURES))
        sums, saved = compiled.atom_messages(
            single(random(n_rows, 2 * FEATURES, seed=1)), single(random(n_rows, 2 * FEATURES, seed=2)),
            along=single(random(n_bonds, 2 * FEATURES)), weight=weight, gate=parts, edges=bonds,
        )  # fmt: skip
        back = compiled.atom_messages_reverse(
            torch.ones_like(sums), weight, gate=parts, edges=bonds, saved=saved
        )
        if n_bonds == 12:
            results.append((sums, *back))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
