"""The crystals that are relaxed, and the phases that they are judged against."""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.errors import CrystalError
from loop.identity import IdentityIndex

LI_FE_O: Final = ("Fe", "Li", "O")
LI_FE_O_ATOMS: Final = (2, 14)
LI_FE_O_FILE: Final = "$MOTHERLODE_DATA/hull/Li-Fe-O_375.json.gz"
GENERATORS: Final = {"prototypes": 3, "substitution": 3, "random_symmetric": 1}
"""Those of examples/li-fe-o.yaml by weight; evolution breeds from what is known and proposes nothing at first."""


ALLOTROPES: Final = 3
"""Phases that each element is given."""
LARGEST_ALLOTROPE: Final = 40
"""Atoms."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase that a hull is made of."""

    name: str
    crystal: Crystal


@cache
def _materials_project(folder: Path) -> tuple[dict[str, str], ...]:
    with gzip.open(folder / "structures" / "mp_structures.csv.gz", "rt") as file:
        return tuple(csv.DictReader(file))


def rattled_real(folder: Path, *, rng: np.random.Generator, largest: int) -> Iterator[Crystal]:
    """Materials Project structures, displaced and strained."""
    rows = _materials_project(folder)
    for row in rng.permutation(len(rows)):
        atoms = Structure.from_str(rows[row]["cif"], fmt="cif").to_ase_atoms()
        if 2 <= len(atoms) <= largest:
            atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
            yield Crystal.from_atoms(atoms)


def generated(folder: Path, *, rng: np.random.Generator, largest: int) -> Iterator[Crystal]:
    """DiffCSP's published samples; those that are no crystals are passed over."""
    import torch

    samples = torch.load(folder / "generated" / "DiffCSP_mp_20_10000.pt", weights_only=True)
    counts = samples["num_atoms"].reshape(-1).numpy()
    ends = np.cumsum(counts)
    numbers, fractional = samples["atom_types"].reshape(-1), samples["frac_coords"].reshape(-1, 3)
    lengths, angles = samples["lengths"].reshape(-1, 3), samples["angles"].reshape(-1, 3)
    for i in rng.permutation(len(counts)):
        if not 2 <= counts[i] <= largest:
            continue
        atoms = slice(ends[i] - counts[i], ends[i])
        lattice = Lattice.from_parameters(*lengths[i].tolist(), *angles[i].tolist())
        try:
            yield Crystal.from_structure(
                Structure(lattice, numbers[atoms].tolist(), fractional[atoms].numpy())
            )
        except CrystalError as error:
            print(f"DiffCSP sample {i} left out: {error}", file=sys.stderr)


def mixed_crystals(
    folder: Path, *, count: int, others: int = 0, largest: int, known: frozenset[str]
) -> tuple[list[Crystal], list[Crystal]]:
    """Real and generated crystals in turn, of elements that the potential knows.

    Returns:
        `count` of them, and up to `others` more that come after them and are none of them.
    """
    rng = np.random.default_rng(0)
    both = zip(
        rattled_real(folder, rng=rng, largest=largest),
        generated(folder, rng=rng, largest=largest),
        strict=False,
    )
    crystals = list(islice((c for c in chain.from_iterable(both) if c.elements <= known), count + others))
    return crystals[:count], crystals[count:]


def proposed_crystals(*, count: int, others: int, largest: int) -> tuple[list[Crystal], list[Crystal]]:
    """What the training-free generators propose for compounds of lithium, iron and oxygen at first.

    Proposals that are no valid crystals are left out, as a campaign does before anything is spent on them. Duplicates
    among the proposals are left in.

    Returns:
        `count` crystals, and up to `others` more of the same draw, none of which is the same as one of the first.
    """
    from generators.protocol import Condition
    from generators.registry import load_generator
    from loop.spec import Space
    from loop.validity import first_reason_against

    rng = np.random.default_rng(0)
    space = Space(
        chemical_systems=("-".join(LI_FE_O),),
        number_of_elements=(2, 3),
        atoms=(LI_FE_O_ATOMS[0], min(LI_FE_O_ATOMS[1], largest)),
        charge_neutral=True,
    )
    drawn = []
    for name, weight in GENERATORS.items():
        generator = load_generator(name, {}, base=Path())
        share = -(-(count + others) * 5 * weight // (4 * sum(GENERATORS.values())))
        proposals = generator.fit((), start=None, rng=rng).sample(
            share, condition=Condition(space=space), rng=rng
        )
        for proposal in proposals:
            try:
                crystal = Crystal.from_structure(proposal.structure)
            except CrystalError:
                continue
            outside = space.reason_against(crystal.elements, crystal.number_of_atoms)
            if outside is None and first_reason_against(crystal, charge_neutral=True) is None:
                drawn.append(crystal)
    shuffled = [drawn[i] for i in rng.permutation(len(drawn))]
    judged, rest, index = shuffled[:count], shuffled[count:], IdentityIndex()
    for i, crystal in enumerate(judged):
        index.add(str(i), crystal)
    return judged, [crystal for crystal in rest if index.find(crystal) is None][:others]


def phases_around(folder: Path, crystals: Iterable[Crystal], *, largest: int | None) -> list[Phase]:
    """The Materials Project's phases inside the chemical systems of some crystals.

    The table has few elements, so each element's come from the Materials Project's element references besides.

    Args:
        folder: the data.
        crystals: whose systems.
        largest: atoms in a cell beyond which a compound is left out; None takes all.
    """
    systems = {crystal.elements for crystal in crystals}
    rows, phases = _materials_project(folder), []
    for row, elements in zip(rows, _elements(folder), strict=True):
        if any(elements <= system for system in systems):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                structure = Structure.from_str(row["cif"], fmt="cif")
            phases.append(Phase(name=row["material_id"], crystal=Crystal.from_structure(structure)))
    # Rows repeat between the two benchmark sets that the table was made of.
    compounds = {p.name: p for p in phases if largest is None or p.crystal.number_of_atoms <= largest}
    symbols = sorted(frozenset().union(*systems))
    return [*compounds.values(), *_element_phases(folder, symbols)]


def _element_phases(folder: Path, symbols: Sequence[str]) -> list[Phase]:
    """The lowest allotropes of some elements by the Materials Project's energies, of cells that are not large."""
    with gzip.open(folder / "hull" / "MP-PBE-Element-Refs.json.gz", "rt") as file:
        references: dict[str, dict[str, Any]] = json.load(file)
    phases = []
    for symbol in symbols:
        found = references.get(symbol, {"energy_per_atom": [], "structure": []})
        order = sorted(
            zip(found["energy_per_atom"], found["structure"], strict=True), key=lambda pair: pair[0]
        )
        small = [Structure.from_dict(item) for _, item in order if len(item["sites"]) <= LARGEST_ALLOTROPE]
        phases += [
            Phase(name=f"{symbol} {i}", crystal=Crystal.from_structure(structure))
            for i, structure in enumerate(small[:ALLOTROPES])
        ]
    return phases


@cache
def _elements(folder: Path) -> tuple[frozenset[str], ...]:
    """Elements of each row, read off its formula: parsing 14,240 CIFs would take minutes."""
    found = (
        re.search(r"_chemical_formula_sum\s+'?([^'\n]+)'?", row["cif"]) for row in _materials_project(folder)
    )
    return tuple(frozenset(re.findall(r"[A-Z][a-z]?", match[1] if match else "")) for match in found)


def phases_of_li_fe_o(*, largest: int | None) -> list[Phase]:
    """The Materials Project's phases of Li-Fe-O, all of them or those of at most `largest` atoms."""
    from loop.references.registry import load_source
    from loop.spec import ReferenceSpec

    options: dict[str, Any] = {"path": LI_FE_O_FILE, "elements_from_prototypes": True}
    if largest is not None:
        options["max_atoms"] = largest
    source = load_source(ReferenceSpec(source="files", options=options), base=Path())
    return [Phase(name=p.name, crystal=p.crystal) for p in source.entries(LI_FE_O)]
