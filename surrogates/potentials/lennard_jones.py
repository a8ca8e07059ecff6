"""A Lennard-Jones world: elements as spheres that attract, so that a campaign takes seconds.

It knows sizes and electronegativities and nothing else about chemistry, so its "compounds" are real minima
of a made-up world. Radii are covalent (Cordero et al., Dalton Trans. 2832, 2008, as in ASE); unlike atoms
attract more strongly by Pauling's rule, D(AB) = (D(AA) + D(BB)) / 2 + b (χA - χB)², with a coefficient b
per contact instead of per bond.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from pydantic import Field, ValidationError, field_validator
from pymatgen.core.periodic_table import Element
from pymatgen.optimization.neighbors import find_points_in_spheres

from loop.elements import ELEMENT_SYMBOLS, closest
from loop.errors import PotentialError
from loop.spec import Model, Positive, PotentialSpec
from surrogates.potential import Batch, Evaluation, Floats, Integers, Potential
from surrogates.potentials import loading

WELL_DEPTH: Final = 0.35
"""eV per contact between like atoms: about 3 eV/atom of cohesion in a close packing."""
MIXING: Final = 0.1
"""eV per contact and squared unit of Pauling electronegativity."""
VERSION: Final = 1
"""To be raised when a change here moves an energy."""


class Parameters(Model):
    """The world's constants; `PotentialSpec.arguments` sets any of them."""

    radii: dict[str, Positive] = Field(default_factory=dict)
    """Radius of an element, Å, where it is not the covalent one."""
    well_depths: dict[str, Positive] = Field(default_factory=dict)
    """Well depth between like atoms, eV, where it is not the default."""
    pair_depths: dict[str, Positive] = Field(default_factory=dict)
    """The interaction matrix: well depth of a pair such as `Al-Ni`, eV, where it is not Pauling's rule."""
    pair_distances: dict[str, Positive] = Field(default_factory=dict)
    """Distance of least energy of a pair such as `Al-Ni`, Å, where it is not the sum of the radii."""
    mixing: float = MIXING
    """Coefficient of the squared electronegativity difference, eV; 0 for a world without compounds."""
    cutoff: Positive = 2.5
    """Range of a pair in units of its sigma."""

    @field_validator("radii", "well_depths")
    @classmethod
    def _elements_exist(cls, value: dict[str, float]) -> dict[str, float]:
        for symbol in value:
            _check_symbol(symbol)
        return value

    @field_validator("pair_depths", "pair_distances")
    @classmethod
    def _pairs_exist(cls, value: dict[str, float]) -> dict[str, float]:
        for pair in value:
            if pair.count("-") != 1:
                raise ValueError(f"{pair!r} is not a pair; write two elements with a hyphen, e.g. Al-Ni")
            for symbol in pair.split("-"):
                _check_symbol(symbol)
        return {"-".join(sorted(pair.split("-"))): number for pair, number in value.items()}

    def pair(self, first: int, second: int) -> tuple[float, float]:
        """Well depth (eV) and sigma (Å) of two elements by atomic number."""
        a, b = sorted((chemical_symbols[first], chemical_symbols[second]))
        key = f"{a}-{b}"
        depths = [self.well_depths.get(symbol, WELL_DEPTH) for symbol in (a, b)]
        pauling = sum(depths) / 2 + self.mixing * (_electronegativity(a) - _electronegativity(b)) ** 2
        radii = [self.radii.get(symbol, float(covalent_radii[atomic_numbers[symbol]])) for symbol in (a, b)]
        distance = self.pair_distances.get(key, sum(radii))
        return self.pair_depths.get(key, pauling), distance / 2 ** (1 / 6)


class LennardJones:
    """Pairs of 4 D ((s/r)¹² - (s/r)⁶), brought smoothly to zero over the last fifth of the range."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        suffix = "" if parameters == Parameters() else f"-{loading.hash_of_values(parameters.model_dump())}"
        self.fidelity = f"lennard-jones{suffix}"
        self.version = f"motherlode Lennard-Jones world {VERSION}{suffix}"
        self.elements = ELEMENT_SYMBOLS
        self.seconds_per_atom = 0.01

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any]) -> Self:
        """The world with constants from a campaign file.

        Raises:
            PotentialError: an unknown constant, element or pair, or a number that is not positive.
        """
        try:
            parameters = Parameters.model_validate(arguments)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            known = ", ".join(Parameters.model_fields)
            raise PotentialError(
                f"potential 'lennard_jones': arguments.{where}: {first['msg']} (arguments: {known})"
            ) from error
        return cls(parameters)

    def evaluate(self, batch: Batch) -> Evaluation:
        """Energy, forces and stress of every structure of the batch.

        Raises:
            PotentialError: an element beyond lawrencium.
        """
        loading.check_elements(batch.atomic_numbers, known=self.elements, fidelity=self.fidelity)
        evaluation = loading.refusal(batch, {})
        for i, (numbers, positions, cell) in enumerate(batch.split()):
            energy, forces, stress = self._one(numbers, positions, cell=cell)
            evaluation.energy[i] = energy
            evaluation.forces[batch.structure == i] = forces
            evaluation.stress[i] = stress
        return evaluation

    def _one(self, numbers: Integers, positions: Floats, *, cell: Floats) -> tuple[float, Floats, Floats]:
        kinds, kind = np.unique(numbers, return_inverse=True)
        depth, sigma = np.moveaxis(
            np.array([[self._parameters.pair(int(a), int(b)) for b in kinds] for a in kinds]), -1, 0
        )
        first, second, images, distance = find_points_in_spheres(
            np.ascontiguousarray(positions),
            np.ascontiguousarray(positions),
            r=float(self._parameters.cutoff * sigma.max()),
            pbc=np.ones(3, dtype=np.int64),
            lattice=np.ascontiguousarray(cell),
            tol=1e-8,
        )
        kept = (first != second) | (distance > 1e-8)
        first, second, images, distance = first[kept], second[kept], images[kept], distance[kept]
        pair_sigma = sigma[kind[first], kind[second]]
        energy, slope = _pair_energy(
            distance, depth[kind[first], kind[second]], sigma=pair_sigma, cutoff=self._parameters.cutoff
        )
        vectors = positions[second] + images @ cell - positions[first]
        pulls = (slope / distance)[:, None] * vectors
        forces = np.zeros_like(positions)
        np.add.at(forces, first, pulls)
        stress = vectors.T @ pulls / 2 / abs(np.linalg.det(cell))
        return float(energy.sum() / 2), forces, (stress + stress.T) / 2


def load(spec: PotentialSpec, *, base: Path) -> Potential:  # noqa: ARG001 (every entry point has this signature)
    """The Lennard-Jones world; `arguments` are those of `Parameters`.

    Raises:
        PotentialError: the specification gives a model or calculator, or the arguments make no sense.
    """
    loading.refuse_foreign_fields(spec, arguments=spec.arguments)
    return LennardJones.from_arguments(spec.arguments)


def _pair_energy(distance: Floats, depth: Floats, *, sigma: Floats, cutoff: float) -> tuple[Floats, Floats]:
    """Energy (eV) and its slope (eV/Å) of pairs at distances (Å), each `n_pairs`."""
    sixth = (sigma / distance) ** 6
    bare = 4 * depth * (sixth**2 - sixth)
    bare_slope = 4 * depth * (6 * sixth - 12 * sixth**2) / distance
    end = cutoff * sigma
    start = 0.8 * end
    x = np.clip((distance - start) / (end - start), 0.0, 1.0)
    # The quintic smoothstep: value, first and second derivative vanish at the end, so that forces are smooth.
    switch = 1 - x**3 * (10 - 15 * x + 6 * x**2)
    switch_slope = -30 * x**2 * (1 - x) ** 2 / (end - start)
    return bare * switch, bare_slope * switch + bare * switch_slope


def _check_symbol(symbol: str) -> None:
    if symbol not in ELEMENT_SYMBOLS:
        raise ValueError(
            f"{symbol!r} is not an element symbol; did you mean {closest(symbol, ELEMENT_SYMBOLS)!r}?"
        )


@cache
def _electronegativity(symbol: str) -> float:
    """Pauling's electronegativity, or 2, a middling value, for the noble gases, which have none."""
    value = Element(symbol).data.get("X")
    return float(value) if value is not None and np.isfinite(value) else 2.0
