"""How fast duplicates are found among crystals, and whether the answers are pymatgen's.

Each set is grouped four times in one process on one thread: by Motherlode's IdentityIndex with all crystals at once
(add_distinct) and one by one (find, then add), by pymatgen's StructureMatcher.group_structures, and by the loop that
most scripts have, StructureMatcher.fit of every new structure with one of each kind found so far. All use the same
tolerances (0.2, 0.3, 5 degrees) and start from the same standardised crystals. Agreement is the share of pairs that
group_structures and the index sort alike, the lesser of both ways.

    python benchmarks/identity.py [--quick] [--out FILE]

Sets: rattled and strained copies of every AFLOW prototype decorated to one composition; random cells of it; and,
where MOTHERLODE_DATA is set, real crystals of the Materials Project and published generators' output. Then how time
and memory grow with the number of crystals held.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from loop.crystal import Crystal
from loop.errors import CrystalError
from loop.identity import ANGLE_TOLERANCE, LENGTH_TOLERANCE, SITE_TOLERANCE, IdentityIndex, _prepared
from loop.randomness import stream

LARGEST = 12
"""Atoms per primitive cell of the decorated prototypes."""


@cache
def decorated(formula: str, elements: tuple[str, ...]) -> list[Crystal]:
    """AFLOW prototypes in every decoration with the elements that gives the formula."""
    crystals = []
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure = entry["snl"].structure
        places = sorted({site.specie.symbol for site in structure})
        if len(places) != len(elements) or len(structure) > 2 * LARGEST:
            continue
        for order in permutations(elements):
            copy = structure.copy()
            copy.replace_species(dict(zip(places, order, strict=True)))
            if copy.composition.reduced_formula == formula:
                crystal = Crystal.from_structure(copy)
                crystals += [crystal] * (crystal.number_of_atoms <= LARGEST)
    return crystals


def disturbed(crystal: Crystal, rng: np.random.Generator, *, strain: float, rattle: float) -> Crystal | None:
    """The crystal with other lattice parameters and its atoms moved (in units of (volume per atom)^(1/3)), or None."""
    structure = crystal.to_structure()
    lengths = (
        np.array(structure.lattice.abc) * (1 + rng.uniform(-strain, strain, 3)) * rng.uniform(0.95, 1.05)
    )
    angles = np.array(structure.lattice.angles) + 20 * strain * rng.uniform(-1, 1, 3)
    lattice = Lattice.from_parameters(*lengths, *angles)
    moves = rng.normal(0, rattle / np.sqrt(3), (len(structure), 3)) * (lattice.volume / len(structure)) ** (
        1 / 3
    )
    coordinates = structure.frac_coords + moves @ np.linalg.inv(lattice.matrix)
    try:
        return Crystal.from_structure(Structure(lattice, structure.species, coordinates))
    except CrystalError:
        return None


def one_composition(number: int, *, seed: int) -> list[Crystal]:
    """Copies of all prototypes of TiNiSn, little and much disturbed, in turn."""
    rng = stream(seed, "identity benchmark", "one composition")
    sources = decorated("TiNiSn", ("Ti", "Ni", "Sn"))
    crystals: list[Crystal] = []
    while len(crystals) < number:
        source = sources[len(crystals) % len(sources)]
        strain, rattle = rng.choice([0.005, 0.03, 0.08]), rng.choice([0.01, 0.05, 0.12])
        crystal = disturbed(source, rng, strain=strain, rattle=rattle)
        crystals += [crystal] if crystal else []
    return crystals


def random_cells(number: int, *, seed: int) -> list[Crystal]:
    """Two formula units of TiNiSn anywhere in a random cell, as a generator without symmetry makes them."""
    rng = stream(seed, "identity benchmark", "random cells")
    crystals: list[Crystal] = []
    while len(crystals) < number:
        lattice = Lattice.from_parameters(*rng.uniform(3.5, 7, 3), *rng.uniform(65, 115, 3)).scale(6 * 18.0)
        structure = Structure(lattice, ["Ti", "Ni", "Sn"] * 2, rng.random((6, 3)))
        if structure.is_valid(tol=1.9):
            crystals.append(Crystal.from_structure(structure))
    return crystals


def materials_project(folder: Path, *, number: int) -> list[Crystal]:
    """The crystals of the formulas with most entries among the smaller real ones."""
    table = pd.read_csv(folder / "structures" / "mp_structures.csv.gz", usecols=["material_id", "cif"])
    formula = table.cif.str.extract(r"_chemical_formula_structural\s+(\S+)")[0]
    counts = formula.map(formula.value_counts())
    ranked = table.assign(formula=formula, counts=counts).sort_values(
        ["counts", "formula", "material_id"], ascending=[False, True, True], kind="stable"
    )
    return crystals_of(ranked.cif.head(number))


def crystals_of(cifs: Sequence[str]) -> list[Crystal]:
    """Crystals of CIF texts; what cannot be one is left out and counted on standard error."""
    crystals, refused = [], 0
    for cif in cifs:
        try:
            crystals.append(Crystal.from_structure(Structure.from_str(cif, fmt="cif")))
        except CrystalError:
            refused += 1
    if refused:
        print(f"{refused} structures are no crystals and left out", file=sys.stderr)
    return crystals


def generated(folder: Path, *, number: int) -> list[Crystal]:
    """The first crystals of published DiffCSP and WyFormer samples."""
    import torch

    raw = torch.load(folder / "generated" / "DiffCSP_mp_20_10000.pt", weights_only=True)
    counts = [int(n) for n in raw["num_atoms"].reshape(-1)]
    ends = np.cumsum(counts)
    crystals = []
    for start, end, lengths, angles in zip(
        ends - counts,
        ends,
        raw["lengths"].reshape(-1, 3).tolist(),
        raw["angles"].reshape(-1, 3).tolist(),
        strict=True,
    ):
        lattice = Lattice.from_parameters(*lengths, *angles)
        numbers = raw["atom_types"].reshape(-1)[start:end].tolist()
        coordinates = raw["frac_coords"].reshape(-1, 3)[start:end].tolist()
        try:
            crystals.append(Crystal.from_structure(Structure(lattice, numbers, coordinates)))
        except CrystalError:
            continue
        if len(crystals) == number // 2:
            break
    with gzip.open(folder / "generated" / "WyFormer_DiffCSPpp_1000.json.gz", "rt") as file:
        rows = json.load(file)
    for row in rows:
        if len(crystals) == number:
            break
        try:
            crystals.append(Crystal.from_structure(Structure.from_dict(row)))
        except CrystalError:
            continue
    return crystals


def at_once(crystals: Sequence[Crystal]) -> list[int]:
    """Number of the first crystal that each is the same as, by the index, which is given all of them."""
    found = IdentityIndex().add_distinct({str(number): crystal for number, crystal in enumerate(crystals)})
    return [int(found[str(number)]) for number in range(len(crystals))]


def by_index(crystals: Sequence[Crystal]) -> list[int]:
    """As `at_once`, by the index, which is given one after another."""
    index, first = IdentityIndex(), []
    for number, crystal in enumerate(crystals):
        twin = index.find(crystal)
        if twin is None:
            index.add(str(number), crystal)
        first.append(number if twin is None else int(twin))
    return first


def by_groups(crystals: Sequence[Crystal]) -> list[int]:
    """As `at_once`, by group_structures."""
    structures = [crystal.to_structure() for crystal in crystals]
    numbers = {id(structure): number for number, structure in enumerate(structures)}
    first = [0] * len(structures)
    for group in matcher().group_structures(structures):
        members = [numbers[id(structure)] for structure in group]
        for member in members:
            first[member] = members[0]
    return first


def by_pairs(crystals: Sequence[Crystal]) -> list[int]:
    """As `at_once`, by asking the matcher about each kind found so far."""
    structures, kinds, first = [crystal.to_structure() for crystal in crystals], list[int](), []
    asked = matcher()
    for number, structure in enumerate(structures):
        twin = next((kind for kind in kinds if asked.fit(structures[kind], structure)), None)
        if twin is None:
            kinds.append(number)
        first.append(number if twin is None else twin)
    return first


def matcher() -> StructureMatcher:
    """pymatgen's, at the tolerances of the index."""
    return StructureMatcher(ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE)


def timed(
    sort: Callable[[Sequence[Crystal]], list[int]], crystals: Sequence[Crystal]
) -> tuple[list[int], float]:
    """What a way of sorting answers, and its CPU-seconds, with nothing remembered from before."""
    _prepared.cache_clear()
    StructureMatcher._get_reduced_istructure.cache_clear()  # noqa: SLF001 (a fair start for both)
    start = time.process_time()
    first = sort(crystals)
    return first, time.process_time() - start


def compare(name: str, crystals: Sequence[Crystal], *, pairwise: int) -> dict[str, Any]:
    """The index against group_structures on all crystals and against the loop over pairs on the first few."""
    ours, seconds = timed(at_once, crystals)
    in_turn, seconds_in_turn = timed(by_index, crystals)
    theirs, their_seconds = timed(by_groups, crystals)
    few = crystals[:pairwise]
    few_ours, few_seconds = timed(at_once, few)
    few_theirs, pair_seconds = timed(by_pairs, few)
    missed = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a == i and b != i]
    return {
        "set": name,
        "crystals": len(crystals),
        "kinds": len(set(theirs)),
        "seconds": seconds,
        "one_by_one_seconds": seconds_in_turn,
        "group_structures_seconds": their_seconds,
        "speedup": their_seconds / seconds,
        "one_by_one_speedup": their_seconds / seconds_in_turn,
        "agreement": min(agreement(ours, theirs), agreement(in_turn, theirs)),
        "missed_duplicates": [f"{crystals[i].reduced_formula} {i} = {theirs[i]}" for i in missed],
        "false_duplicates": [
            f"{crystals[i].reduced_formula} {i} = {a}"
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
            if a != i and b == i
        ],
        "pairwise": {
            "crystals": len(few),
            "seconds": few_seconds,
            "fit_seconds": pair_seconds,
            "speedup": pair_seconds / few_seconds,
            "same_answers": few_ours == few_theirs,
        },
    }


def agreement(ours: Sequence[int], theirs: Sequence[int]) -> float:
    """Share of pairs that two ways of sorting take alike for the same or for different."""
    mine, other = (np.array(x)[:, None] == np.array(x) for x in (ours, theirs))
    upper = np.triu_indices(len(ours), 1)
    return float((mine == other)[upper].mean()) if len(ours) > 1 else 1.0


def growth_of_one_composition(
    sizes: Sequence[int], *, baseline_up_to: int, seed: int
) -> list[dict[str, Any]]:
    """CPU-seconds to sort ever more crystals of one composition."""
    rows = []
    crystals = one_composition(max(sizes), seed=seed)
    for size in sizes:
        first, seconds = timed(at_once, crystals[:size])
        theirs = timed(by_groups, crystals[:size])[1] if size <= baseline_up_to else None
        rows.append(
            {
                "crystals": size,
                "kinds": len(set(first)),
                "seconds": seconds,
                "group_structures_seconds": theirs,
            }
        )
    return rows


def growth_of_the_index(sizes: Sequence[int], *, seed: int) -> list[dict[str, Any]]:
    """Adding crystals of many compositions, and finding one of a composition that is there.

    The crystals share the coordinates of the prototypes: their memory is that of a million elements and names.
    """
    rng = stream(seed, "identity benchmark", "index")
    sources = decorated("TiNiSn", ("Ti", "Ni", "Sn"))
    rows, index, added, seconds = [], IdentityIndex(), 0, 0.0
    for size in sizes:
        # Any three elements, by the order of random numbers: a choice without replacement is much slower.
        elements = rng.random((size - added, 87)).argsort(axis=1)[:, :3] + 3
        chosen = [
            other_elements(sources[number % len(sources)], own)
            for number, own in zip(range(added, size), elements.tolist(), strict=True)
        ]
        names = [str(number) for number in range(added, size)]
        start = time.process_time()
        for name, crystal in zip(names, chosen, strict=True):
            index.add(name, crystal)
        seconds += time.process_time() - start
        added = size
        asked = [chosen[i] for i in rng.choice(len(chosen), 100, replace=False)]
        _prepared.cache_clear()
        start = time.process_time()
        found = [index.find(crystal) for crystal in asked]
        query = (time.process_time() - start) / len(asked)
        if None in found:
            raise RuntimeError("a crystal that was added is not found")
        rows.append(
            {
                "crystals": size,
                "add_seconds": seconds,
                "seconds_per_query": query,
                "process_gigabytes": resident() / 1e9,
            }
        )
    return rows


def other_elements(source: Crystal, elements: Sequence[int]) -> Crystal:
    """The crystal with other elements in the places of its own."""
    others = dict(zip(sorted(set(source.atomic_numbers)), elements, strict=True))
    return replace(source, atomic_numbers=tuple(others[z] for z in source.atomic_numbers))


def resident() -> int:
    """Memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def one_shelf(size: int, *, seed: int) -> dict[str, Any]:
    """An index that holds many crystals of one composition, all asked about once."""
    crystals = one_composition(size + 20, seed=seed)
    index = IdentityIndex()
    for number, crystal in enumerate(crystals[:size]):
        index.add(str(number), crystal)
    start = time.process_time()
    index.find(crystals[size])
    filled = time.process_time()
    for crystal in crystals[size:]:
        index.find(crystal)
    return {
        "crystals": size,
        "fill_seconds": filled - start,
        "seconds_per_query": (time.process_time() - filled) / 20,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and give the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer crystals; under a minute")
    parser.add_argument("--out", type=Path, help="file to write the JSON object to")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=UserWarning, module="pymatgen")
    sets = {
        "TiNiSn, decorated and disturbed": one_composition(80 if given.quick else 400, seed=given.seed),
        "TiNiSn, random cells": random_cells(25 if given.quick else 120, seed=given.seed),
    }
    if "MOTHERLODE_DATA" in os.environ:
        folder = Path(os.environ["MOTHERLODE_DATA"])
        sets["Materials Project, commonest formulas"] = materials_project(
            folder, number=60 if given.quick else 300
        )
        sets["DiffCSP and WyFormer"] = generated(folder, number=60 if given.quick else 600)
    else:
        print("MOTHERLODE_DATA is not set: real and generated crystals are left out", file=sys.stderr)
    rows = []
    print("CPU-seconds to sort all at once, one by one, and by group_structures; ratios to the last")
    print(
        f"{'set':<38}{'crystals':>9}{'kinds':>6}{'at once':>9}{'by one':>9}{'group':>9}"
        f"{'at once':>9}{'by one':>9}{'agreement':>11}  loop"
    )
    for name, crystals in sets.items():
        row = compare(name, crystals, pairwise=40 if given.quick else 120)
        rows.append(row)
        print(
            f"{name:<38}{row['crystals']:>9}{row['kinds']:>6}{row['seconds']:>9.3f}"
            f"{row['one_by_one_seconds']:>9.3f}{row['group_structures_seconds']:>9.2f}"
            f"{row['speedup']:>8.1f}x{row['one_by_one_speedup']:>8.1f}x{row['agreement']:>11.6f}"
            f"{row['pairwise']['speedup']:>7.1f}x ({row['pairwise']['crystals']})",
            flush=True,
        )
        for what in ("missed_duplicates", "false_duplicates"):
            if row[what]:
                print(f"  {what.replace('_', ' ')}: {', '.join(row[what])}")
        if not row["pairwise"]["same_answers"]:
            print("  the loop over pairs answers otherwise")
    growth = growth_of_one_composition(
        (25, 50, 100) if given.quick else (100, 200, 400, 800, 1600),
        baseline_up_to=50 if given.quick else 800,
        seed=given.seed,
    )
    print("\none composition, ever more crystals: CPU-seconds to sort them")
    for row in growth:
        theirs = row["group_structures_seconds"]
        said = f"{theirs:10.2f} {theirs / row['seconds']:6.1f}x" if theirs is not None else f"{'not run':>10}"
        print(f"{row['crystals']:>8}{row['kinds']:>7}{row['seconds']:10.2f}{said}", flush=True)
    shelves = [one_shelf(size, seed=given.seed + 1) for size in ((200,) if given.quick else (1000,))]
    print("\none composition, nothing sorted out: crystals held, seconds to fill, ms per query")
    for row in shelves:
        print(
            f"{row['crystals']:>8}{row['fill_seconds']:10.2f}{1000 * row['seconds_per_query']:10.2f}",
            flush=True,
        )
    index = growth_of_the_index(
        (1000, 10_000) if given.quick else (1000, 10_000, 100_000, 1_000_000), seed=given.seed
    )
    print("\nmany compositions: crystals held, seconds to add them, ms per query, GB of the process")
    for row in index:
        print(
            f"{row['crystals']:>8}{row['add_seconds']:10.2f}{1000 * row['seconds_per_query']:10.2f}"
            f"{row['process_gigabytes']:10.2f}"
        )
    result = {
        "speedup": rows[0]["speedup"],
        "agreement": min(row["agreement"] for row in rows),
        "one_by_one_speedup": rows[0]["one_by_one_speedup"],
        "loop_speedup": rows[0]["pairwise"]["speedup"],
        "missed_duplicates": sum(len(row["missed_duplicates"]) for row in rows),
        "false_duplicates": sum(len(row["false_duplicates"]) for row in rows),
        "sets": rows,
        "growth_one_composition": growth,
        "growth_one_composition_unsorted": shelves,
        "growth_many_compositions": index,
    }
    line = json.dumps(result)
    if given.out:
        given.out.write_text(line + "\n")
    print(f"\n{line}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
