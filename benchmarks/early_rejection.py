"""What early rejection saves a screen of Li-Fe-O with CHGNet, and what it loses.

    python benchmarks/early_rejection.py [--quick] [--out FILE] [--candidates N]

The hull is CHGNet's own, of the Materials Project's phases of Li-Fe-O (small cells). Candidates are those of a first
iteration, decorated prototypes and random symmetric crystals, and phases displaced at random by 0.15 Å and strained by
4 %, a third each. All are relaxed to the end once. Then, many times over, a rule is learned from a random half and
judged on the other: the share that it abandons, the evaluations that it saves, and its false-negative rate among what
ends within the window. At last each half is relaxed again under a rule learned from the other, for the CPU seconds.

Relaxations that fail are left out. Needs MOTHERLODE_DATA (hull/Li-Fe-O_375.json.gz). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

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
SETTINGS: Final = RelaxationSpec(symmetry="free")
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
    """Crystals that a screen might be given: a third each from two generators and from displaced phases."""
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
        structures += [p.structure for p in generator.sample(count // 3, condition=condition, rng=rng)]
    compounds = [crystal for crystal in known if len(crystal.elements) > 1]
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
    lost = matter = abandoned = total = saved = evaluations = 0
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
    share = proportion(lost // SPLITS, max(matter // SPLITS, 1))
    return {
        "false_negative_rate": lost / max(matter, 1),
        "interval_of_one_half": [share.low, share.high],
        "abandoned_of_what_does_not_matter": abandoned / max(total, 1),
        "evaluations_saved": saved / evaluations,
        "matter_in_a_half": matter / SPLITS,
    }


def seconds_saved(
    crystals: Sequence[Crystal],
    runs: Sequence[Run],
    *,
    beside: Sequence[Run],
    rate: float,
    potential: Potential,
) -> dict[str, Any] | None:
    """Each half relaxed without a rule and with the one that the other half teaches."""
    order = np.random.default_rng(1).permutation(len(runs))
    halves = order[: len(runs) // 2], order[len(runs) // 2 :]
    whole = short = 0.0
    abandoned = lost = 0
    for taught, judged in (halves, halves[::-1]):
        rule = fit_rule([runs[i] for i in taught], beside=beside, false_negative_rate=rate)
        if rule is None:
            return None
        chosen, ceilings = [crystals[i] for i in judged], [runs[i].ceiling for i in judged]
        began = time.process_time()
        relax(chosen, potential, SETTINGS)
        between = time.process_time()
        found = relax(chosen, potential, SETTINGS, rule=rule, ceilings=ceilings)
        whole, short = whole + between - began, short + time.process_time() - between
        ended = [not isinstance(outcome, Relaxation) and outcome.reason == REASON for outcome in found]
        abandoned += sum(ended)
        lost += sum(end and runs[i].matters for end, i in zip(ended, judged, strict=True))
    return {
        "window": WINDOWS[0],
        "stated": rate,
        "relaxations": len(runs),
        "matter": sum(run.matters for run in runs),
        "abandoned": abandoned,
        "lost": lost,
        "cpu_seconds_saved": 1 - short / whole,
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
    potential = load_potential(PotentialSpec(), base=BASE)
    fidelity = potential.fidelity
    phases = [r for r in relax(references(largest), potential, SETTINGS) if isinstance(r, Relaxation)]
    hulls = HullSet(
        HullPhase(f"{i}", p.crystal.composition, energy_per_atom=p.energy_per_atom, fidelity=fidelity)
        for i, p in enumerate(phases)
    )
    proposed = candidates(count, known=[phase.crystal for phase in phases], largest=largest)
    began = time.process_time()
    pairs = [
        (crystal, found)
        for crystal, found in zip(proposed, relax(proposed, potential, SETTINGS), strict=True)
        if isinstance(found, Relaxation)
    ]
    seconds = time.process_time() - began
    runs = as_runs([found for _, found in pairs], hulls, fidelity=fidelity)
    beside = as_runs(phases, hulls, fidelity=fidelity)
    print(
        f"{len(phases)} reference phases; {len(pairs)} of {len(proposed)} candidates relaxed, "
        f"{np.mean([run.evaluations for run in runs]):.1f} evaluations each"
    )
    rng = np.random.default_rng(2)
    table: list[dict[str, Any]] = []
    print(
        f"{'window':>8}{'stated':>8}{'measured':>10}{'abandoned':>11}{'evaluations saved':>19}{'matter':>8}"
    )
    for window in WINDOWS:
        shifted = [replace(run, ceiling=run.ceiling + window) for run in runs]
        for rate in (0.1,) if given.quick else RATES:
            row = measure(shifted, beside=beside, rate=rate, rng=rng)
            table.append({"window": window, "stated": rate, **(row or {})})
            print(
                f"{window:>8}{rate:>8}"
                + (
                    f"{row['false_negative_rate']:>10.1%}{row['abandoned_of_what_does_not_matter']:>11.1%}"
                    f"{row['evaluations_saved']:>19.1%}{row['matter_in_a_half']:>8.0f}"
                    if row
                    else "  too few candidates end within the window to learn from half of them"
                )
            )
    real = (
        None
        if given.quick
        else seconds_saved(
            [crystal for crystal, _ in pairs],
            [replace(run, ceiling=run.ceiling + WINDOWS[0]) for run in runs],
            beside=beside,
            rate=0.05,
            potential=potential,
        )
    )
    print(f"each half relaxed again: {real}")
    line = json.dumps(
        {
            "references": len(phases),
            "candidates": len(pairs),
            "failed": len(proposed) - len(pairs),
            "cpu_seconds_per_candidate": seconds / max(len(proposed), 1),
            "rows": table,
            "again": real,
        }
    )
    if given.out:
        given.out.write_text(line + "\n")
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
