"""SevenNet's compiled convolution against e3nn's tensor product, and the model with it against the model without."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from e3nn.o3 import Irreps, TensorProduct

from loop.errors import PotentialError
from surrogates.potential import Batch
from surrogates.potentials.sevennet import convolution
from surrogates.potentials.sevennet.convolution import Convolve, Plan
from tests.surrogates.architectures import ARCHITECTURES, library_for
from tests.surrogates.chgnet.samples import disturbed
from tests.surrogates.sevennet.samples import potential

FEATURES = ("16x0e", "32x0e+16x1e", "48x0e+32x1e+16x2e+16x3e")
HARMONICS = {"0e": "1x0e", "to 1": "1x0e+1x1e", "to 3": "1x0e+1x1e+1x2e+1x3e"}


@pytest.fixture(scope="module", params=ARCHITECTURES.values(), ids=ARCHITECTURES)
def compiled(request, tmp_path_factory):
    loaded = library_for(request.param, convolution.SOURCE, tmp_path_factory.mktemp("native"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "library", lambda source: loaded)
        yield


def product(features, harmonics, *, most=3, mode="uvu"):
    """All paths from features by harmonics to degrees up to `most`, as SevenNet builds them."""
    first, second = Irreps(features), Irreps(harmonics)
    middle, instructions = [], []
    for i, (mul, inner) in enumerate(first):
        for j, (_, filter_) in enumerate(second):
            for outer in inner * filter_:
                if outer.l <= most:
                    instructions.append((i, j, len(middle), mode, True))
                    middle.append((mul, outer))
    return TensorProduct(
        first, second, Irreps(middle), instructions, shared_weights=False, internal_weights=False
    )


def graph(n_nodes, n_edges, *, seed=0):
    rng = np.random.default_rng([seed, n_nodes, n_edges])
    source, target = (torch.from_numpy(rng.integers(0, n_nodes, n_edges)) for _ in range(2))
    return source, target.sort().values


def normal(*shape, seed=0):
    return (
        torch.from_numpy(np.random.default_rng([seed, *shape]).normal(0, 1, shape)).float().requires_grad_()
    )


@pytest.mark.filterwarnings("ignore:.torch.jit.[a-z_]+. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("harmonics", HARMONICS.values(), ids=HARMONICS)
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize(("n_nodes", "n_edges"), [(1, 1), (4, 16), (5, 53)])
def test_sums_and_derivatives_are_those_of_e3nn(compiled, features, harmonics, n_nodes, n_edges):
    reference = product(features, harmonics)
    plan = Plan.of(reference)
    source, target = graph(n_nodes, n_edges)
    inputs = (
        normal(n_nodes, reference.irreps_in1.dim, seed=1),
        normal(n_edges, reference.irreps_in2.dim, seed=2),
        normal(n_edges, reference.weight_numel, seed=3),
    )
    messages = reference(inputs[0][source], *inputs[1:])
    expected = torch.zeros(n_nodes, reference.irreps_out.dim).index_add(0, target, messages)
    found = Convolve.apply(*inputs, source, target, plan)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    change = normal(*expected.shape, seed=4).detach()
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, change), torch.autograd.grad(expected, inputs, change), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_without_edges_there_is_nothing_to_sum(compiled):
    plan = Plan.of(product("16x0e", "1x0e+1x1e"))
    nothing = torch.zeros(0, dtype=torch.int64)
    sums = Convolve.apply(
        torch.ones(3, 16), torch.zeros(0, 4), torch.zeros(0, plan.weights), nothing, nothing, plan
    )
    assert torch.equal(sums, torch.zeros(3, 64))


@pytest.mark.parametrize(
    ("features", "harmonics", "most"),
    [("16x4e", "1x0e", 4), ("8x0e", "1x0e", 3), ("16x0e", "2x0e", 3), ("16x3e", "1x0e+1x1e+1x2e+1x3e", 6)],
    ids=["degree 4", "8 channels", "two harmonics alike", "messages of degree 6"],
)
def test_what_it_is_not_written_for_is_left_to_e3nn(features, harmonics, most):
    assert Plan.of(product(features, harmonics, most=most)) is None


def mixture():
    rng = np.random.default_rng(3)
    crystals = (
        bulk("Cu", "fcc", a=3.6), bulk("MgO", "rocksalt", a=4.2), bulk("Si", "diamond", a=5.43, cubic=True),
        bulk("CsCl", "cesiumchloride", a=4.1),
    )  # fmt: skip
    return [disturbed(atoms, rng) for atoms in crystals]


@pytest.mark.parametrize(("model", "modal"), [("7net-0", None), ("7net-l3i5", None), ("7net-mf-0", "PBE")])
def test_the_model_says_the_same_with_and_without(model, modal):
    batch = Batch.from_atoms(mixture())
    arguments = {"modal": modal} if modal else {}
    compiled, plain = (potential(model, compiled=flag, **arguments) for flag in (True, False))
    convolutions = [m for m in compiled._model.children() if isinstance(m, convolution.CompiledConvolution)]
    assert len(convolutions) == 5
    found, expected = compiled.evaluate(batch), plain.evaluate(batch)
    counts = np.bincount(batch.structure)
    np.testing.assert_allclose(found.energy / counts, expected.energy / counts, rtol=0, atol=3e-6)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.stress, expected.stress, rtol=1e-5, atol=1e-5)
    assert compiled.version == plain.version


def test_without_a_compiler_it_still_runs_and_declares_what_that_costs(monkeypatch, tmp_path):
    quick = potential().seconds_per_atom
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(PotentialError, match=r"'sevennet': argument compiled is true, but no C compiler"):
        potential(compiled=True)
    slow = potential()
    assert slow.seconds_per_atom > 5 * quick
    model = slow._model
    assert not any(isinstance(m, convolution.CompiledConvolution) for m in model.children())
