"""How fast hulls are built and candidates judged, against pymatgen's PhaseDiagram, and whether they agree.

Both sides get the same random systems in one process on one thread; times are CPU-seconds. Compositions are whole
numbers of atoms; energies lie exponentially far (0.15 eV/atom on average) above a strictly convex function of
composition, which leaves many phases on the hull. What is timed:

- build: `Hull.build` of phases against `PhaseDiagram` of entries;
- query: `Hull.energy_above_hull` of one candidate after another, and `Hull.energies_above_hull` of all at once,
  against `PhaseDiagram.get_decomp_and_e_above_hull`. Its checks are all the same candidates;
- judge: `loop.verdicts.judge_all`, which is what a campaign calls: a hull of references and candidates, and for
  every candidate formation energy, energy above hull, distance to the references and decomposition.

    python benchmarks/hull.py [--quick] [--out FILE]

The real systems (Li-Fe-O and Ba-Ti-O of the Materials Project) are compared where MOTHERLODE_DATA is set.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from loop.hull import Hull, HullPhase
from loop.randomness import stream
from loop.verdicts import CandidateEnergy, judge_all

ELEMENTS = ("Ba", "Fe", "Li", "Ni", "O", "Ti")
REAL = (("Li-Fe-O_375", "Li-Fe-O"), ("Ba-Ti-O_241", "Ba-Ti-O"))
FIDELITY = "benchmark"
LARGEST_AMOUNT = {2: 60, 3: 30, 4: 16, 5: 12, 6: 10}
"""Of an element in a formula, by number of elements."""

Floats = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class World:
    """Phases of a random system."""

    elements: tuple[str, ...]
    amounts: NDArray[np.int64]
    """`n x n_elements`."""
    energies: Floats
    """eV/atom."""

    @classmethod
    def random(cls, rng: np.random.Generator, *, dimension: int, number: int, shift: float = 0.0) -> World:
        """The elements at 0 eV/atom, and so many phases around a convex function."""
        amounts = rng.integers(0, LARGEST_AMOUNT[dimension] + 1, (number, dimension))
        amounts[amounts.sum(axis=1) == 0] = 1
        fractions = amounts / amounts.sum(axis=1, keepdims=True)
        energies = shift - 1.5 * (1 - (fractions**2).sum(axis=1)) + rng.exponential(0.15, number)
        return cls(elements=ELEMENTS[:dimension], amounts=amounts, energies=energies)

    @property
    def fractions(self) -> Floats:
        """`n x n_elements`."""
        fractions: Floats = self.amounts / self.amounts.sum(axis=1, keepdims=True)
        return fractions

    def compositions(self) -> list[dict[str, float]]:
        """Amounts by element."""
        return [
            {symbol: amount for symbol, amount in zip(self.elements, row, strict=True) if amount}
            for row in self.amounts.tolist()
        ]

    def phases(self) -> list[HullPhase]:
        """The elements and all phases."""
        names = [{symbol: 1.0} for symbol in self.elements] + self.compositions()
        energies = [0.0] * len(self.elements) + self.energies.tolist()
        return [
            HullPhase(f"phase {i}", composition, energy_per_atom=energy, fidelity=FIDELITY)
            for i, (composition, energy) in enumerate(zip(names, energies, strict=True))
        ]

    def entries(self) -> list[PDEntry]:
        """The same phases for pymatgen."""
        return entries_of(self.phases())

    def candidates(self) -> list[CandidateEnergy]:
        """As a campaign hands them to be judged."""
        return [
            CandidateEnergy(candidate_id=f"candidate {i}", composition=composition, energy_per_atom=energy)
            for i, (composition, energy) in enumerate(
                zip(self.compositions(), self.energies.tolist(), strict=True)
            )
        ]


def entries_of(phases: Sequence[HullPhase]) -> list[PDEntry]:
    """Phases for pymatgen."""
    return [
        PDEntry(Composition(p.composition), p.energy_per_atom * sum(p.composition.values()), name=p.name)
        for p in phases
    ]


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """A result and the CPU-seconds it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def compare(
    phases: Sequence[HullPhase], *, system: str, candidates: World | None, queries: int
) -> dict[str, Any]:
    """Build and query one system both ways; without candidates the phases themselves are asked about."""
    entries = entries_of(phases)
    hull, build = timed(lambda: Hull.build(phases, chemical_system=system))
    diagram, their_build = timed(lambda: PhaseDiagram(entries))
    asked = (phases if candidates is None else candidates.phases()[len(candidates.elements) :])[:queries]
    asked_entries = entries_of(asked)
    fractions = np.array([hull.fractions_of(p.composition) for p in asked])
    energies = np.array([p.energy_per_atom for p in asked])
    many, query = timed(lambda: hull.energies_above_hull(fractions, energies, fidelity=FIDELITY))
    # One call is over before the clock moves, so it is repeated.
    repeats = max(1, 20_000 // len(asked))
    _, query = timed(
        lambda: [hull.energies_above_hull(fractions, energies, fidelity=FIDELITY) for _ in range(repeats)]
    )
    query /= repeats
    singles, single = timed(
        lambda: [hull.energy_above_hull(p.composition, p.energy_per_atom, fidelity=FIDELITY) for p in asked]
    )
    theirs, their_query = timed(
        lambda: [
            diagram.get_decomp_and_e_above_hull(entry, allow_negative=True, check_stable=False)[1]
            for entry in asked_entries
        ]
    )
    difference = max(np.abs(many - np.array(theirs)).max(), np.abs(many - np.array(singles)).max())
    return {
        "system": system,
        "phases": len(phases),
        "stable": len(hull.stable),
        "facets": hull.number_of_facets,
        "same_stable_set": set(hull.stable) == {entry.name for entry in diagram.stable_entries},
        "build_seconds": build,
        "pymatgen_build_seconds": their_build,
        "build_speedup": their_build / build,
        "queries": len(asked),
        "query_seconds": query,
        "single_query_seconds": single,
        "pymatgen_query_seconds": their_query,
        "query_speedup": their_query / query,
        "single_query_speedup": their_query / single,
        "difference_mev": 1000 * float(difference),
    }


def real(folder: Path, name: str) -> list[HullPhase]:
    """The entries of a complete system at their raw energies."""
    with gzip.open(folder / "hull" / f"{name}.json.gz", "rt") as file:
        rows = json.load(file)
    return [
        HullPhase(
            f"{row['entry_id']} {index}",
            row["composition"],
            energy_per_atom=row["energy"] / sum(row["composition"].values()),
            fidelity=FIDELITY,
        )
        for index, row in enumerate(rows)
    ]


def growth_of_queries(sizes: Sequence[int], references: Sequence[int], *, seed: int) -> list[dict[str, Any]]:
    """Ever more candidates of whole-number and of arbitrary compositions on hulls of ever more ternary references."""
    rows = []
    for number in references:
        rng = stream(seed, "hull benchmark", "growth", number)
        world = World.random(rng, dimension=3, number=number)
        phases = world.phases()
        hull, build = timed(lambda phases=phases: Hull.build(phases, chemical_system=ELEMENTS[:3]))
        for size in sizes:
            whole = World.random(rng, dimension=3, number=size)
            anywhere = rng.dirichlet(np.ones(3), size)
            fractions = whole.fractions
            seconds = [
                timed(lambda h=hull, f=f, e=whole.energies: h.energies_above_hull(f, e, fidelity=FIDELITY))[1]
                for f in (fractions, anywhere)
            ]
            rows.append(
                {
                    "references": number,
                    "facets": hull.number_of_facets,
                    "build_seconds": build,
                    "candidates": size,
                    "whole_number_seconds": seconds[0],
                    "arbitrary_seconds": seconds[1],
                }
            )
    return rows


def screen(candidates: int, references: int, *, seed: int) -> dict[str, Any]:
    """Candidates of a ternary judged by `judge_all`, and again when nothing has changed."""
    rng = stream(seed, "hull benchmark", "screen")
    phases = World.random(rng, dimension=3, number=references).phases()
    given = World.random(rng, dimension=3, number=candidates, shift=0.02).candidates()
    first, seconds = timed(lambda: judge_all(phases, given, fidelity=FIDELITY, in_force={}))
    again, second = timed(lambda: judge_all(phases, given, fidelity=FIDELITY, in_force=first.judgements))
    return {
        "candidates": candidates,
        "references": references,
        "finds": len(first.finds),
        "seconds": seconds,
        "seconds_again": second,
        "superseded_again": len(again.superseded),
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and give the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller systems; under a minute")
    parser.add_argument("--out", type=Path, help="file to write the JSON object to")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    sizes = {2: (100, 1000), 3: (100, 1000), 4: (100, 300), 5: (100,), 6: (60,)}
    if not given.quick:
        sizes = {2: (100, 1000, 10_000), 3: (100, 1000, 10_000), 4: (100, 1000), 5: (100, 300), 6: (60, 150)}
    queries = 30 if given.quick else 200
    rows = []
    print(
        f"{'system':<20}{'phases':>7}{'facets':>8}{'build, s':>10}{'pymatgen':>10}{'ratio':>8}"
        f"{'query, µs':>11}{'single':>8}{'pymatgen':>10}{'ratio':>9}{'single':>8}{'meV':>9}"
    )

    def show(row: dict[str, Any]) -> None:
        rows.append(row)
        each = 1e6 / row["queries"]
        print(
            f"{row['system']:<20}{row['phases']:>7}{row['facets']:>8}{row['build_seconds']:>10.4f}"
            f"{row['pymatgen_build_seconds']:>10.3f}{row['build_speedup']:>7.0f}x"
            f"{each * row['query_seconds']:>11.2f}{each * row['single_query_seconds']:>8.0f}"
            f"{each * row['pymatgen_query_seconds']:>10.0f}{row['query_speedup']:>8.0f}x"
            f"{row['single_query_speedup']:>7.0f}x{row['difference_mev']:>9.1e}"
            + ("" if row["same_stable_set"] else "  other stable set"),
            flush=True,
        )

    for dimension, numbers in sizes.items():
        for number in numbers:
            rng = stream(given.seed, "hull benchmark", dimension, number)
            phases = World.random(rng, dimension=dimension, number=number).phases()
            asked = World.random(rng, dimension=dimension, number=queries)
            show(compare(phases, system="-".join(ELEMENTS[:dimension]), candidates=asked, queries=queries))
    if "MOTHERLODE_DATA" in os.environ:
        for name, system in REAL:
            phases = real(Path(os.environ["MOTHERLODE_DATA"]), name)
            show(compare(phases, system=system, candidates=None, queries=queries))
    else:
        print("MOTHERLODE_DATA is not set: real systems are left out", file=sys.stderr)
    growth = growth_of_queries(
        (1000, 100_000) if given.quick else (1000, 10_000, 100_000, 1_000_000),
        (100, 1000) if given.quick else (100, 1000, 10_000, 100_000),
        seed=given.seed,
    )
    print(
        "\nternary, CPU-seconds of energies_above_hull; candidates of whole-number and of arbitrary compositions"
    )
    print(f"{'references':>10}{'facets':>8}{'build':>8}{'candidates':>12}{'whole':>9}{'arbitrary':>11}")
    for row in growth:
        print(
            f"{row['references']:>10}{row['facets']:>8}{row['build_seconds']:>8.2f}{row['candidates']:>12}"
            f"{row['whole_number_seconds']:>9.4f}{row['arbitrary_seconds']:>11.4f}"
        )
    screens = [
        screen(candidates, references, seed=given.seed)
        for candidates, references in (
            [(1000, 1000), (20_000, 1000)]
            if given.quick
            else [(1000, 10_000), (10_000, 10_000), (100_000, 10_000), (1_000_000, 10_000)]
        )
    ]
    print("\nternary, judge_all: CPU-seconds, and once more with all verdicts in force")
    for row in screens:
        print(
            f"{row['candidates']:>9} candidates, {row['references']} references: {row['seconds']:.2f} s, "
            f"again {row['seconds_again']:.2f} s, {row['finds']} finds, {row['peak_memory_gb']:.2f} GB at most"
        )
    result = {
        "build_speedup": float(np.exp(np.mean(np.log([row["build_speedup"] for row in rows])))),
        "query_speedup": float(np.exp(np.mean(np.log([row["query_speedup"] for row in rows])))),
        "single_query_speedup": float(np.exp(np.mean(np.log([row["single_query_speedup"] for row in rows])))),
        "max_difference_mev": max(row["difference_mev"] for row in rows),
        "same_stable_sets": all(row["same_stable_set"] for row in rows),
        "screen_candidates": screens[-1]["candidates"],
        "screen_references": screens[-1]["references"],
        "screen_seconds": screens[-1]["seconds"],
        "systems": rows,
        "growth": growth,
        "screens": screens,
    }
    line = json.dumps(result)
    if given.out:
        given.out.write_text(line + "\n")
    print(f"\n{line}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
