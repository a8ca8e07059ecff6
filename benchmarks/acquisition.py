"""How many phases each acquisition policy finds per verification, in hindsight, on complete chemical systems.

The candidates are the entries (at most 40 atoms per primitive cell) of a complete Materials Project system.
The truth is their energy above the Materials Project's hull (MP2020-corrected). The screen is real: a CHGNet
0.3.0 energy of each entry at its own geometry, on CHGNet's hull of the same entries. Geometries are not
relaxed by CHGNet, so relaxation's share of the screening error is missing. Every policy starts with nothing
verified, and the truth of a candidate is shown to it only after it was chosen.

Needs MOTHERLODE_DATA (hull/Li-Fe-O_375.json.gz and hull/Ba-Ti-O_241.json.gz).
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loop.acquisition.baselines import Greedy, Random
from loop.acquisition.features import features
from loop.acquisition.policy import Observation, Option, Policy
from loop.acquisition.residual import Residual, UpperConfidenceBound
from loop.crystal import Crystal
from loop.randomness import stream
from loop.spec import Thresholds

SYSTEMS = ("Li-Fe-O_375", "Ba-Ti-O_241")
WINDOW = 0.2
"""Screened energy above hull up to which entries are offered, eV/atom: the campaign file's default."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A complete chemical system with its truth."""

    name: str
    options: Sequence[Option]
    truth: Mapping[str, float]
    """Energy above the Materials Project's hull by candidate id, eV/atom."""
    seconds: float
    """Spent on the screen."""


def load(folder: Path, name: str, *, largest: int) -> Case:
    """Screen the entries of a system with at most `largest` atoms per primitive cell."""
    import torch
    from chgnet.model import CHGNet
    from monty.json import MontyDecoder
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    start = time.perf_counter()
    torch.set_num_threads(1)
    with gzip.open(folder / f"{name}.json.gz", "rt") as file:
        entries = json.load(file, cls=MontyDecoder)
    entries = MaterialsProject2020Compatibility().process_entries(entries)
    diagram = PhaseDiagram(entries)
    potential = CHGNet.load(use_device="cpu", verbose=False)
    kept = []
    for entry in entries:
        crystal = Crystal.from_structure(entry.structure)
        if crystal.number_of_atoms > largest:
            continue
        try:
            energy = float(potential.predict_structure(crystal.to_structure(), task="e")["e"])
        except ValueError as error:
            # CHGNet refuses structures with atoms beyond its cut-off of all others: the screen has no value.
            print(f"{entry.entry_id} left out: {error}", file=sys.stderr)
            continue
        kept.append((entry, crystal, energy))
    screen_entries = [PDEntry(c.composition, e * c.number_of_atoms, name=x.entry_id) for x, c, e in kept]
    screen = PhaseDiagram(screen_entries)
    options, truth = [], {}
    for (entry, crystal, energy), own in zip(kept, screen_entries, strict=True):
        screened = float(screen.get_e_above_hull(own))
        if screened > WINDOW:
            continue
        vector = features(
            crystal,
            formation_energy=float(screen.get_form_energy_per_atom(own)),
            energy_above_hull=screened,
            energy_per_atom=energy,
        )
        options.append(Option(candidate_id=entry.entry_id, features=vector, screened=screened, cost=1.0))
        truth[entry.entry_id] = float(diagram.get_e_above_hull(entry))
    seconds = time.perf_counter() - start
    return Case(name=name.split("_", maxsplit=1)[0], options=options, truth=truth, seconds=seconds)


def run(case: Case, policy: Policy, *, iterations: int, batch: int, seed: int) -> list[str]:
    """Ids in the order of verification."""
    # Each seed is a campaign on another random two thirds of the entries, or greedy would never vary.
    rng = stream(seed, "benchmark", case.name)
    share = rng.permutation(len(case.options))[: math.ceil(2 * len(case.options) / 3)]
    open_ones = [case.options[i] for i in sorted(share)]
    known: list[Observation] = []
    for iteration in range(iterations):
        choices = policy.choose(
            open_ones,
            known,
            batch_size=batch,
            budget=math.inf,
            rng=stream(seed, "policy", policy.name, iteration),
        )
        chosen = {c.candidate_id for c in choices if c.role == "chosen"}
        known += [
            Observation(
                candidate_id=o.candidate_id,
                features=o.features,
                screened=o.screened,
                verified=case.truth[o.candidate_id],
            )
            for o in open_ones
            if o.candidate_id in chosen
        ]
        open_ones = [o for o in open_ones if o.candidate_id not in chosen]
    return [o.candidate_id for o in known]


def policies(thresholds: Thresholds) -> dict[str, Callable[[], Policy]]:
    """What is compared."""
    return {
        "random": Random,
        "greedy": Greedy,
        "upper_confidence_bound": lambda: UpperConfidenceBound(thresholds=thresholds),
        "residual": lambda: Residual(thresholds=thresholds),
    }


def compare(case: Case, *, threshold: float, iterations: int, batch: int, seeds: int) -> dict[str, Any]:
    """Mean finds of each policy over the seeds and their lead over greedy, with standard errors."""
    thresholds = Thresholds(metastable=threshold)
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, make in policies(thresholds).items():
        policy = make()
        runs = [run(case, policy, iterations=iterations, batch=batch, seed=s) for s in range(seeds)]
        found[name] = np.array([sum(case.truth[i] <= threshold for i in ids) for ids in runs], dtype=float)
    spent = iterations * batch

    def error(values: np.ndarray[Any, Any]) -> float:
        return float(values.std(ddof=1) / math.sqrt(seeds)) if seeds > 1 else float("nan")

    return {
        name: {
            "found": float(values.mean()),
            "found_standard_error": error(values),
            "per_verification": float(values.mean() / spent),
            "lead_over_greedy": float((values - found["greedy"]).mean()),
            "lead_standard_error": error(values - found["greedy"]),
        }
        for name, values in found.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few seeds, only entries of at most 14 atoms")
    parser.add_argument("--out", type=Path, help="file to write the JSON object to")
    parser.add_argument("--seeds", type=int, help="campaigns per policy; 20 by default, 2 with --quick")
    given = parser.parse_args(arguments)
    if "MOTHERLODE_DATA" not in os.environ:
        print(
            "MOTHERLODE_DATA is not set; it names the folder that holds hull/Li-Fe-O_375.json.gz",
            file=sys.stderr,
        )
        return 2
    folder = Path(os.environ["MOTHERLODE_DATA"]) / "hull"
    seeds = given.seeds or (2 if given.quick else 20)
    iterations, batch = (3, 6) if given.quick else (6, 6)
    spent = iterations * batch
    result: dict[str, Any] = {
        "seeds": seeds,
        "verifications": spent,
        "screen": "chgnet-0.3.0 single points",
        "truth": "MP energy above hull",
        "systems": {},
    }
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pymatgen|chgnet")
    for name in SYSTEMS:
        case = load(folder, name, largest=14 if given.quick else 40)
        residuals = np.array([case.truth[o.candidate_id] - o.screened for o in case.options])
        print(f"\n{case.name}: {len(case.options)} screened below {WINDOW} eV/atom, {case.seconds:.0f} s")
        print(f"verified minus screened: {residuals.mean():+.3f} +- {residuals.std():.3f} eV/atom")
        result["systems"][case.name] = {"entries": len(case.options), "thresholds": {}}
        for threshold in (0.025, 0.1):
            share = float(np.mean([value <= threshold for value in case.truth.values()]))
            start = time.perf_counter()
            rows = compare(case, threshold=threshold, iterations=iterations, batch=batch, seeds=seeds)
            seconds = time.perf_counter() - start
            result["systems"][case.name]["thresholds"][str(threshold)] = {
                "base_rate": share,
                "policies": rows,
            }
            print(f"\nwithin {threshold} eV/atom: {share:.0%}; {spent} verifications, {seconds:.0f} s")
            print(
                f"{'policy':<26}{'found':>14}{'per verification':>18}{'over greedy':>16}{'over random':>13}"
            )
            for policy, row in rows.items():
                ratio = row["found"] / rows["random"]["found"] if rows["random"]["found"] else float("nan")
                print(
                    f"{policy:<26}{row['found']:>8.2f} ± {row['found_standard_error']:.2f}"
                    f"{row['per_verification']:>18.3f}"
                    f"{row['lead_over_greedy']:>+9.2f} ± {row['lead_standard_error']:.2f}{ratio:>12.2f}x"
                )
    line = json.dumps(result)
    if given.out:
        given.out.write_text(line + "\n")
    print(f"\n{line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
