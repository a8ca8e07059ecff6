"""Every reverse pass that is written out, against autograd, in double precision."""

import numpy as np
import pytest
import torch

from surrogates.potentials.chgnet import messages
from surrogates.potentials.chgnet.bases import AngularBasis, RadialBasis
from surrogates.potentials.chgnet.messages import Edges
from surrogates.potentials.chgnet.weights import FEATURES, Gate


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(0, 1, shape))


def gate(*, hidden=True, norms=True):
    layers = tuple((random(FEATURES, FEATURES, seed=i) / 8, random(FEATURES, seed=i)) for i in (1, 2))
    scales = tuple((random(FEATURES, seed=i), random(FEATURES, seed=i + 2)) for i in (3, 4))
    return Gate(hidden=layers if hidden else (), norms=scales if norms else ())


def gated(z, parts):
    """The gated perceptron as the paper writes it."""
    halves = z.split(FEATURES, dim=1)
    if parts.hidden:
        silu = torch.nn.functional.silu
        halves = [
            silu(half) @ matrix + bias for half, (matrix, bias) in zip(halves, parts.hidden, strict=True)
        ]
    if parts.norms:
        halves = [
            torch.nn.functional.layer_norm(half, (FEATURES,), *norm)
            for half, norm in zip(halves, parts.norms, strict=True)
        ]
    return torch.nn.functional.silu(halves[0]) * torch.sigmoid(halves[1])


GATES = [
    pytest.param({"hidden": hidden, "norms": norms}, id=f"hidden {hidden} norms {norms}")
    for hidden in (True, False)
    for norms in (True, False)
]


def edges():
    """A ring of five rows and two loose ends, every row starting as many edges as it ends."""
    start = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    end = torch.tensor([1, 4, 2, 0, 3, 1, 4, 2, 0, 3])
    by_end = torch.argsort(end, stable=True)
    return Edges(start=start, end=end, by_start=torch.arange(10), by_end=by_end,
                 offsets=torch.tensor([0, 2, 4, 6, 8]))  # fmt: skip


def bonds():
    """The same ring as bonds and, after them, the bonds reversed."""
    first, second = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([1, 2, 3, 4, 0])
    start, end = torch.cat([first, second]), torch.cat([second, first])
    by_start, by_end = torch.argsort(start, stable=True), torch.argsort(end, stable=True)
    return Edges(start=start, end=end, by_start=by_start, by_end=by_end,
                 offsets=torch.tensor([0, 2, 4, 6, 8]))  # fmt: skip


def assert_reverse(forward, reverse, expected, inputs):
    """`forward` gives what `expected` does, and `reverse` what autograd says of `expected`."""
    leaves = [value.clone().requires_grad_(True) for value in inputs]
    value = expected(*leaves)
    change = random(*value.shape, seed=9)
    derivatives = torch.autograd.grad(value, leaves, change)
    found, saved = forward(*[value.clone() for value in inputs])
    torch.testing.assert_close(found, value.detach())
    for ours, theirs in zip(reverse(change, saved), derivatives, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("parts", GATES)
def test_gated_perceptron(parts):
    parts = gate(**parts)
    assert_reverse(
        lambda z: messages.gated_forward(z, parts),
        lambda change, saved: [messages.gated_reverse(change, parts, saved)],
        lambda z: gated(z, parts),
        [random(7, 2 * FEATURES)],
    )


@pytest.mark.parametrize("parts", GATES[:2])
def test_atom_messages(parts):
    parts, ring = gate(**parts), bonds()

    def expected(centre, neighbour, along, weight):
        z = centre[ring.start] + neighbour[ring.end] + torch.cat([along, along])
        weighted = gated(z, parts) * torch.cat([weight, weight])
        return torch.zeros(5, FEATURES, dtype=torch.double).index_add(0, ring.start, weighted)

    inputs = [random(5, 2 * FEATURES, seed=i) for i in range(3)] + [random(5, FEATURES)]
    assert_reverse(
        lambda centre, neighbour, along, weight: messages.atom_messages(
            centre, neighbour, along=along, weight=weight, gate=parts, edges=ring
        ),
        lambda change, saved: messages.atom_messages_reverse(
            change, inputs[3], gate=parts, edges=ring, saved=saved
        ),
        expected,
        inputs,
    )


@pytest.mark.parametrize("parts", GATES[:2])
def test_bond_messages(parts):
    parts, ring, matrix = gate(**parts), edges(), random(16, 2 * FEATURES, seed=4)

    def expected(left, right, angle, weight):
        z = left[ring.start] + right[ring.end] + angle @ matrix
        weighted = gated(z, parts) * weight[ring.end]
        return torch.zeros(5, FEATURES, dtype=torch.double).index_add(0, ring.start, weighted)

    inputs = [random(5, 2 * FEATURES, seed=i) for i in range(2)] + [random(10, 16), random(5, FEATURES)]
    assert_reverse(
        lambda left, right, angle, weight: messages.bond_messages(
            left, right, angle=angle, matrix=matrix, weight=weight, gate=parts, edges=ring
        ),
        lambda change, saved: messages.bond_messages_reverse(
            change, matrix, weight=inputs[3], gate=parts, edges=ring, saved=saved
        ),
        expected,
        inputs,
    )


@pytest.mark.parametrize("parts", GATES[2:])
def test_angle_update(parts):
    parts, ring, matrix = gate(**parts), edges(), random(16, 2 * FEATURES, seed=4)
    inputs = [random(5, 2 * FEATURES, seed=i) for i in range(2)] + [random(10, 16)]
    assert_reverse(
        lambda left, right, angle: messages.angle_update(
            left, right, angle=angle, matrix=matrix, gate=parts, edges=ring
        ),
        lambda change, saved: messages.angle_update_reverse(
            change, matrix, gate=parts, edges=ring, saved=saved
        ),
        lambda left, right, angle: gated(left[ring.start] + right[ring.end] + angle @ matrix, parts),
        inputs,
    )


def test_radial_basis():
    frequencies = np.pi * torch.arange(1, 10, dtype=torch.double)
    basis = RadialBasis(frequencies, cutoff=5.0, envelope=8)
    lengths = torch.linspace(0.7, 5.2, 40, dtype=torch.double)

    def expected(r):
        x = r / 5.0
        envelope = 1 - 45 * x**8 + 80 * x**9 - 36 * x**10
        sines = np.sqrt(2 / 5.0) * torch.sin(torch.outer(x, frequencies)) / r[:, None]
        values = sines * torch.where(x < 1, envelope, 0 * x)[:, None]
        return torch.nn.functional.pad(values, (0, 7))

    assert_reverse(basis.forward, lambda change, saved: [basis.reverse(change, saved)], expected, [lengths])


def test_angular_basis():
    frequencies = torch.linspace(0.9, 7.3, 9, dtype=torch.double)
    basis = AngularBasis(frequencies)

    def expected(angles):
        phase = torch.outer(angles, torch.nn.functional.pad(frequencies, (0, 7)))
        return torch.cat([torch.sin(phase), torch.cos(phase)], dim=1)

    assert_reverse(
        lambda angles: (basis.forward(angles),) * 2,
        lambda change, saved: [basis.reverse(change, saved)],
        expected,
        [torch.linspace(0.01, np.pi, 30, dtype=torch.double)],
    )
