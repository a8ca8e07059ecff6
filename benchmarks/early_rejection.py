"""What early rejection saves a screen of Li-Fe-O with CHGNet, and what it loses.

    python benchmarks/early_rejection.py [--quick] [--out FILE] [--candidates N]

The hull is CHGNet's own, of the Materials Project's phases of Li-Fe-O (small cells). Candidates are those of a first
iteration, decorated prototypes and random symmetric crystals, and known phases: displaced at random by 0.15 Å and
strained by 4 %, and kept in their space group with lattice constants off by 4 %; a quarter each. All are relaxed to the
end once, holding no space group (`free`), and holding and letting go of it (`released`). Then, many times over, a rule
is learned from a random half and judged on the other: the share that it abandons, the evaluations and the releases that
it saves, and its false-negative rate among what ends within the window. At last each half is relaxed again under a rule
learned from the other, for the CPU seconds.

Relaxations that fail are left out. Needs MOTHERLODE_DATA (hull/Li-Fe-O_375.json.gz). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from generators.protocol import Condition
from generators.registry import load_generator
from loop.crystal import Crystal
from loop.errors import CrystalError
from loop.hull import HullPhase, HullSet
from loop.metrics import proportion
from loop.references.registry import load_source
from loop.spec import PotentialSpec, ReferenceSpec, RelaxationSpec, Space
from loop.validity import first_reason_against
from surrogates.early_rejection import REASON
from surrogates.early_rejection_learning import Run, fit_rule
from surrogates.potential import Potential
from surrogates.registry import load_potential
from surrogates.relaxation import Relaxation, relax

SYSTEM: Final = ("Fe", "Li", "O")
WINDOWS: Final = (0.1, 0.2)
"""Energy above hull that still matters, eV/atom."""
RATES: Final = (0.02, 0.05, 0.1)
SPLITS: Final = 100
SYMMETRIES: Final[tuple[Literal["free", "released"], ...]] = ("released", "free")
BASE: Final = Path()


def references(largest: int) -> list[Crystal]:
    """The phases that the hull is made of."""
    options = {
        "path": "$MOTHERLODE_DATA/hull/Li-Fe-O_375.json.gz",
        "max_atoms": largest,
        "elements_from_prototypes": True,
    }
    source = load_source(ReferenceSpec(source="files", options=options), base=BASE)
    return [phase.crystal for phase in source.entries(SYSTEM)]


def candidates(count: int, *, known: Sequence[Crystal], largest: int) -> list[Crystal]:
    """Crystals that a screen might be given: from two generators, strained phases, displaced ones, a quarter each."""
    rng = np.random.default_rng(0)
    condition = Condition(
        space=Space(
            chemical_systems=("-".join(SYSTEM),),
            number_of_elements=(2, 3),
            atoms=(2, largest),
            charge_neutral=True,
        )
    )
    structures = []
    for name in ("prototypes", "random_symmetric"):
        generator = load_generator(name, {}, base=BASE)
        structures += [p.structure for p in generator.sample(count // 4, condition=condition, rng=rng)]
    compounds = [crystal for crystal in known if len(crystal.elements) > 1]
    for i in rng.integers(len(compounds), size=count // 4):
        atoms = compounds[i].to_atoms()
        atoms.set_cell(atoms.cell.array * np.exp(rng.normal(0, 0.04)), scale_atoms=True)
        structures.append(Crystal.from_atoms(atoms).to_structure())
    for i in rng.integers(len(compounds), size=count - len(structures)):
        atoms = compounds[i].to_atoms()
        atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.04, (3, 3))), scale_atoms=True)
        structures.append(Crystal.from_atoms(atoms).to_structure())
    found = []
    for structure in structures:
        try:
            crystal = Crystal.from_structure(structure)
        except CrystalError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if first_reason_against(crystal, charge_neutral=False) is None:
            found.append(crystal)
    return found


def measure(
    runs: Sequence[Run], *, beside: Sequence[Run], rate: float, rng: np.random.Generator
) -> dict[str, Any] | None:
    """What rules learned from random halves do to the other halves; None where a half is too few to learn from."""
    lost = matter = abandoned = total = saved = evaluations = spared = released = 0
    for _ in range(SPLITS):
        order = rng.permutation(len(runs))
        half = len(runs) // 2
        rule = fit_rule([runs[i] for i in order[:half]], beside=beside, false_negative_rate=rate)
        if rule is None:
            return None
        for run in (runs[i] for i in order[half:]):
            at = rule.first_abandoned(run.trace, ceiling=run.ceiling)
            matter += run.matters
            lost += run.matters and at is not None
            total += not run.matters
            abandoned += not run.matters and at is not None
            saved += run.evaluations - at.evaluations if at else 0
            evaluations += run.evaluations
            let_go = any(point.released for point in run.trace)
            released += let_go
            spared += let_go and at is not None and at.place <= (True, 0)
    share = proportion(lost // SPLITS, max(matter // SPLITS, 1))
    return {
        "false_negative_rate": lost / max(matter, 1),
        "interval_of_one_half": [share.low, share.high],
        "abandoned_of_what_does_not_matter": abandoned / max(total, 1),
        "evaluations_saved": saved / evaluations,
        "releases_spared": spared / released if released else None,
        "matter_in_a_half": matter / SPLITS,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Candidates relaxed to the end, half by half, and what that took."""

    crystals: Sequence[Crystal]
    runs: Mapping[int, Run]
    """By index, of those that did not fail; their ceiling is the hull itself."""
    halves: tuple[list[int], list[int]]
    seconds: float
    """CPU."""
    evaluations: int

    def within(self, window: float) -> dict[int, Run]:
        """The runs, where so much above the hull still matters."""
        return {i: replace(run, ceiling=run.ceiling + window) for i, run in self.runs.items()}


def screened(
    proposed: Sequence[Crystal], hulls: HullSet, *, potential: Potential, settings: RelaxationSpec
) -> Screened:
    """Relax all candidates to the end."""
    order = np.random.default_rng(1).permutation(len(proposed)).tolist()
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    runs: dict[int, Run] = {}
    counted: list[int] = []
    seconds = 0.0
    for half in halves:
        began = time.process_time()
        outcomes = relax([proposed[i] for i in half], potential, settings, evaluated=counted.append)
        seconds += time.process_time() - began
        whole = {i: found for i, found in zip(half, outcomes, strict=True) if isinstance(found, Relaxation)}
        runs |= dict(
            zip(whole, as_runs(list(whole.values()), hulls, fidelity=potential.fidelity), strict=True)
        )
    return Screened(crystals=proposed, runs=runs, halves=halves, seconds=seconds, evaluations=len(counted))


def seconds_saved(
    whole: Screened, *, beside: Sequence[Run], rate: float, potential: Potential, settings: RelaxationSpec
) -> dict[str, Any] | None:
    """Each half relaxed again under the rule that the other half teaches; what fails runs along without a ceiling."""
    runs = whole.within(WINDOWS[0])
    seconds = 0.0
    abandoned = lost = evaluations = 0
    for taught, judged in (whole.halves, whole.halves[::-1]):
        rule = fit_rule([runs[i] for i in taught if i in runs], beside=beside, false_negative_rate=rate)
        if rule is None:
            return None
        counted: list[int] = []
        began = time.process_time()
        found = relax(
            [whole.crystals[i] for i in judged],
            potential,
            settings,
            rule=rule,
            ceilings=[runs[i].ceiling if i in runs else None for i in judged],
            evaluated=counted.append,
        )
        seconds += time.process_time() - began
        evaluations += len(counted)
        ended = [not isinstance(outcome, Relaxation) and outcome.reason == REASON for outcome in found]
        abandoned += sum(ended)
        lost += sum(end and runs[i].matters for end, i in zip(ended, judged, strict=True))
    return {
        "window": WINDOWS[0],
        "stated": rate,
        "relaxations": len(runs),
        "matter": sum(run.matters for run in runs.values()),
        "abandoned": abandoned,
        "lost": lost,
        "evaluations_saved": 1 - evaluations / whole.evaluations,
        "cpu_seconds_saved": 1 - seconds / whole.seconds,
    }


def as_runs(relaxed: Sequence[Relaxation], hulls: HullSet, *, fidelity: str) -> list[Run]:
    """Relaxations as runs whose ceiling is the hull itself."""
    return [
        Run(
            trace=found.trace,
            energy_per_atom=found.energy_per_atom,
            evaluations=found.steps,
            ceiling=-hulls.energy_above_hull(found.crystal.composition, 0.0, fidelity=fidelity),
        )
        for found in relaxed
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="100 candidates of at most 6 atoms, a rate of 0.1"
    )
    parser.add_argument("--out", type=Path, help="file to write the JSON object to")
    parser.add_argument("--candidates", type=int, default=400, help="how many; 400 by default")
    given = parser.parse_args(arguments)
    if "MOTHERLODE_DATA" not in os.environ:
        print("MOTHERLODE_DATA is not set; it names the folder that holds hull/", file=sys.stderr)
        return 2
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    count, largest = (100, 6) if given.quick else (given.candidates, 10)
    rates = RATES[-1:] if given.quick else RATES
    potential = load_potential(PotentialSpec(), base=BASE)
    tables = []
    for symmetry in SYMMETRIES:
        settings = RelaxationSpec(symmetry=symmetry)
        phases = [r for r in relax(references(largest), potential, settings) if isinstance(r, Relaxation)]
        hulls = HullSet(
            HullPhase(
                f"{i}", p.crystal.composition, energy_per_atom=p.energy_per_atom, fidelity=potential.fidelity
            )
            for i, p in enumerate(phases)
        )
        proposed = candidates(count, known=[phase.crystal for phase in phases], largest=largest)
        whole = screened(proposed, hulls, potential=potential, settings=settings)
        beside = as_runs(phases, hulls, fidelity=potential.fidelity)
        print(
            f"\nsymmetry {symmetry}: {len(phases)} reference phases; {len(whole.runs)} of {len(proposed)} "
            f"candidates relaxed, {whole.evaluations / len(proposed):.1f} evaluations each, {whole.seconds:.0f} CPU s"
        )
        tables.append(
            {
                "symmetry": symmetry,
                "references": len(phases),
                "candidates": len(whole.runs),
                "failed": len(proposed) - len(whole.runs),
                "cpu_seconds_per_candidate": whole.seconds / max(len(proposed), 1),
                "rows": _table(whole, beside=beside, rates=rates),
                "again": []
                if given.quick
                else _again(whole, beside=beside, rates=rates, potential=potential, settings=settings),
            }
        )
    line = json.dumps({"tables": tables})
    if given.out:
        given.out.write_text(line + "\n")
    print(line)
    return 0


def _table(whole: Screened, *, beside: Sequence[Run], rates: Sequence[float]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(2)
    table: list[dict[str, Any]] = []
    print("  window  stated  measured  abandoned  evaluations saved  releases spared  matter")
    for window in WINDOWS:
        for rate in rates:
            row = measure(list(whole.within(window).values()), beside=beside, rate=rate, rng=rng)
            table.append({"window": window, "stated": rate, **(row or {})})
            print(
                f"{window:>8}{rate:>8}"
                + (
                    f"{row['false_negative_rate']:>10.1%}{row['abandoned_of_what_does_not_matter']:>11.1%}"
                    f"{row['evaluations_saved']:>19.1%}{row['releases_spared'] or 0.0:>17.1%}"
                    f"{row['matter_in_a_half']:>8.0f}"
                    if row
                    else "  too few candidates end within the window to learn from half of them"
                ),
                flush=True,
            )
    return table


def _again(
    whole: Screened,
    *,
    beside: Sequence[Run],
    rates: Sequence[float],
    potential: Potential,
    settings: RelaxationSpec,
) -> list[dict[str, Any] | None]:
    rows = []
    for rate in reversed(rates):
        row = seconds_saved(whole, beside=beside, rate=rate, potential=potential, settings=settings)
        rows.append(row)
        print(f"each half relaxed again: {row}", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
