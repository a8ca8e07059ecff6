"""The message functions of `messages` by the compiled loops of `messages.c`: the same arguments, the same results.

A block of some 24 edges goes from gathering to summing inside a core's caches, where operations on whole arrays go
through memory a dozen times. For float32 weights on the host.

Torch is imported by this module: import it where an evaluation begins.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from surrogates.native import library
from surrogates.potentials.chgnet.messages import Edges, Functions, Saved
from surrogates.potentials.chgnet.weights import FEATURES, Gate

SOURCE: Final = Path(__file__).with_name("messages.c")
_Pair = ctypes.c_void_p * 2


class _Gate(ctypes.Structure):
    """`Gate` of messages.c."""

    _fields_ = [(name, _Pair) for name in ("hidden", "transposed", "bias", "norm", "shift")]


def functions(loaded: ctypes.CDLL | None = None) -> Functions:
    """The compiled message functions.

    Args:
        loaded: messages.c as a library; by default as compiled for this processor.

    Raises:
        PotentialError: they cannot be compiled here.
    """
    native = _Native(loaded or library(SOURCE))
    return Functions(
        native.atom_messages,
        native.atom_messages_reverse,
        native.bond_messages,
        native.bond_messages_reverse,
        native.angle_update,
        native.angle_update_reverse,
    )


class _Native:
    """Calls into the library. What a forward function saves is one pair of tensors: `z` and `pre` of messages.c."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self._library = loaded
        self._gates: dict[int, tuple[Gate, _Gate, list[Tensor]]] = {}
        self._room: list[Tensor] = []

    def atom_messages(
        self, centre: Tensor, neighbour: Tensor, *, along: Tensor, weight: Tensor, gate: Gate, edges: Edges
    ) -> tuple[Tensor, Saved]:
        saved = self._to_save(2 * len(along), gate)
        sums = along.new_zeros(len(centre), FEATURES)
        inputs = (edges.start, edges.end, centre, neighbour, along, weight)
        self._call("atom_messages", len(along), *inputs, self._gate(gate), *saved, sums)
        return sums, saved

    def atom_messages_reverse(
        self, change: Tensor, weight: Tensor, *, gate: Gate, edges: Edges, saved: Saved
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        by_centre, by_neighbour = (change.new_zeros(len(change), 2 * FEATURES) for _ in range(2))
        by_along, by_weight = change.new_empty(len(weight), 2 * FEATURES), torch.empty_like(weight)
        results = (by_centre, by_neighbour, by_along, by_weight)
        inputs = (edges.start, edges.end, change, weight)
        self._call("atom_messages_reverse", len(weight), *inputs, self._gate(gate), *saved, *results)
        self._give_back(saved)
        return results

    def bond_messages(
        self,
        left: Tensor,
        right: Tensor,
        *,
        angle: Tensor,
        matrix: Tensor,
        weight: Tensor,
        gate: Gate,
        edges: Edges,
    ) -> tuple[Tensor, Saved]:
        saved = self._to_save(len(angle), gate)
        sums = angle.new_zeros(len(left), FEATURES)
        inputs = (edges.start, edges.end, left, right, angle, angle.shape[1], matrix, weight)
        self._call("bond_messages", len(angle), *inputs, self._gate(gate), *saved, sums)
        return sums, saved

    def bond_messages_reverse(
        self, change: Tensor, matrix: Tensor, *, weight: Tensor, gate: Gate, edges: Edges, saved: Saved
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        by_weight = torch.zeros_like(weight)
        by_left, by_right, by_angle = self._angles_reverse(
            change, matrix, weight=weight, by_weight=by_weight, gate=gate, edges=edges, saved=saved
        )
        return by_left, by_right, by_angle, by_weight

    def angle_update(
        self, left: Tensor, right: Tensor, *, angle: Tensor, matrix: Tensor, gate: Gate, edges: Edges
    ) -> tuple[Tensor, Saved]:
        added = angle.new_empty(len(angle), FEATURES)
        saved = self._to_save(len(angle), gate)
        inputs = (edges.start, edges.end, left, right, angle, angle.shape[1], matrix)
        self._call("angle_update", len(angle), *inputs, self._gate(gate), *saved, added)
        return added, saved

    def angle_update_reverse(
        self, change: Tensor, matrix: Tensor, *, gate: Gate, edges: Edges, saved: Saved
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._angles_reverse(
            change, matrix, weight=None, by_weight=None, gate=gate, edges=edges, saved=saved
        )

    def _angles_reverse(
        self,
        change: Tensor,
        matrix: Tensor,
        *,
        weight: Tensor | None,
        by_weight: Tensor | None,
        gate: Gate,
        edges: Edges,
        saved: Saved,
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_angles, arms, depth = len(edges.start), len(edges.offsets), len(matrix)
        by_left, by_right = (change.new_zeros(arms, 2 * FEATURES) for _ in range(2))
        by_angle = change.new_empty(n_angles, depth)
        inputs = (edges.start, edges.end, change, depth, matrix.T, weight)
        results = (by_left, by_right, by_angle)
        self._call("angles_reverse", n_angles, *inputs, self._gate(gate), *saved, *results, by_weight)
        self._give_back(saved)
        return results

    def _to_save(self, edges: int, gate: Gate) -> Saved:
        """Room for `z` (where there is a hidden layer), `pre`, both `edges x 128`, and its moments, `edges x 4`.

        The next evaluation uses it again, for it asks for about as much in the same order: to get fresh memory costs
        more than to fill it.
        """
        size = edges * 2 * FEATURES
        saved = []
        for needed in (size if gate.hidden else 0, size, 4 * edges):
            room = self._room.pop() if needed and self._room else torch.empty(0)
            saved.append(room if len(room) >= needed else torch.empty(needed))
        return tuple(saved)

    def _give_back(self, saved: Saved) -> None:
        self._room += [room for room in reversed(saved) if len(room)]

    def _call(self, name: str, *arguments: Any) -> None:
        held = [a.contiguous() if isinstance(a, Tensor) else a for a in arguments]
        getattr(self._library, name)(*map(_argument, held))

    def _gate(self, gate: Gate) -> Any:
        if id(gate) not in self._gates:
            transposed = tuple((matrix.T.contiguous(), bias) for matrix, bias in gate.hidden)
            parts = [_columns(gate.hidden, 0), _columns(transposed, 0), _columns(gate.hidden, 1)]
            parts += [_columns(gate.norms, 0), _columns(gate.norms, 1)]
            pointers = (_Pair(*(t.data_ptr() for t in part)) if part else _Pair() for part in parts)
            # The tensors are kept, for the pointers and the gate's identity hold as long as they live.
            self._gates[id(gate)] = (gate, _Gate(*pointers), [t for part in parts for t in part])
        return ctypes.byref(self._gates[id(gate)][1])


def _columns(pairs: tuple[tuple[Tensor, Tensor], ...], column: int) -> list[Tensor]:
    """The matrices or biases of core and gate, contiguous; nothing where the weights have none."""
    return [pair[column].contiguous() for pair in pairs]


def _argument(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, int):
        return ctypes.c_int64(value)
    return value
