"""What it costs to relax a mixture of crystals with CHGNet, by its own optimiser, by ASE's, and by Motherlode.

    python benchmarks/screening.py [--quick] [--out FILE] [--crystals N] [--max-force F]

Half of the crystals are Materials Project structures of 2 to 20 atoms, displaced at random by 0.1 Å and strained
by 3 %; half are the published samples of DiffCSP. Every row relaxes positions and cell of the same crystals with
the same weights (0.3.0), on one thread, in this process, taking turns by portions so that a busy machine slows
all rows alike. Times are CPU seconds; the compilation that comes before the compiled row is given apart.

Everything ends at the same largest force. ASE's cell filter compares the same number with the virial per atom;
Motherlode compares the stress itself, with 10 GPa per eV/Å, which is the same at 16 Å3 per atom.

Needs MOTHERLODE_DATA (structures/mp_structures.csv.gz and generated/DiffCSP_mp_20_10000.pt). The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms

from loop.crystal import Crystal
from loop.errors import CrystalError
from loop.spec import PotentialSpec, RelaxationSpec
from surrogates.potential import Batch, Potential
from surrogates.registry import load_potential
from surrogates.relaxation import Relaxation, relax

PACKAGE, ASE, EAGER, RELEASED, COMPILED = (
    "CHGNet StructOptimizer",
    "ASE FIRE + FrechetCellFilter",
    "Motherlode, eager",
    "Motherlode, eager, released",
    "Motherlode, compiled",
)
STEPS: Final = 500
PORTION: Final = 30
"""Crystals that one row relaxes before the next has its turn."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One crystal relaxed by one row."""

    energy: float
    """eV/atom."""
    volume: float
    """Å3/atom."""
    evaluations: int
    converged: bool


Relaxer = Callable[[Sequence[Crystal]], list[Outcome]]


def rattled_real(folder: Path, *, rng: np.random.Generator, largest: int) -> Iterator[Crystal]:
    """Materials Project structures, displaced and strained."""
    from pymatgen.core import Structure

    with gzip.open(folder / "structures" / "mp_structures.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    for row in rng.permutation(len(rows)):
        atoms = Structure.from_str(rows[row]["cif"], fmt="cif").to_ase_atoms()
        if 2 <= len(atoms) <= largest:
            atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
            yield Crystal.from_atoms(atoms)


def generated(folder: Path, *, rng: np.random.Generator, largest: int) -> Iterator[Crystal]:
    """DiffCSP's published samples; those that are no crystals are passed over."""
    import torch
    from pymatgen.core import Lattice, Structure

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


def crystals_to_relax(folder: Path, *, count: int, largest: int, potential: Potential) -> list[Crystal]:
    """Real and generated crystals in turn, of elements that the potential knows."""
    rng = np.random.default_rng(0)
    both = zip(
        rattled_real(folder, rng=rng, largest=largest),
        generated(folder, rng=rng, largest=largest),
        strict=False,
    )
    known = potential.elements or frozenset()
    return list(islice((c for c in chain.from_iterable(both) if c.elements <= known), count))


def by_package(*, max_force: float) -> Relaxer:
    """CHGNet's own optimiser, as its README shows it."""
    from chgnet.model import StructOptimizer

    optimiser = StructOptimizer(use_device="cpu")

    def run(crystals: Sequence[Crystal]) -> list[Outcome]:
        outcomes = []
        for crystal in crystals:
            found = optimiser.relax(crystal.to_structure(), fmax=max_force, steps=STEPS, verbose=False)
            trajectory, final = found["trajectory"], found["final_structure"]
            outcomes.append(
                Outcome(
                    energy=float(np.squeeze(trajectory.energies[-1])) / len(final),
                    volume=final.volume / len(final),
                    evaluations=len(trajectory) - 1,
                    converged=len(trajectory) - 1 <= STEPS,
                )
            )
        return outcomes

    return run


def by_ase(*, max_force: float) -> Relaxer:
    """The same calculator in ASE's hands, without the package's trajectory and magnetic moments."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from chgnet.model.dynamics import CHGNetCalculator

    calculator = CHGNetCalculator(use_device="cpu")

    def run(crystals: Sequence[Crystal]) -> list[Outcome]:
        outcomes = []
        for crystal in crystals:
            atoms: Atoms = crystal.to_atoms()
            atoms.calc = calculator
            with FIRE(FrechetCellFilter(atoms), logfile=None) as optimiser:
                converged = bool(optimiser.run(fmax=max_force, steps=STEPS))
                steps = int(optimiser.nsteps)
            outcomes.append(
                Outcome(
                    energy=float(np.squeeze(atoms.get_potential_energy())) / len(atoms),
                    volume=atoms.get_volume() / len(atoms),
                    evaluations=steps + 1,
                    converged=converged,
                )
            )
        return outcomes

    return run


def by_motherlode(potential: Potential, *, max_force: float, symmetry: str = "free") -> Relaxer:
    """Ours. A failure counts as not converged, and is printed.

    The other rows break no symmetry on purpose, so neither does ours, but for one row that holds every space group and
    then lets it go (`relaxation.symmetry: released`): more work, and lower minima.
    """
    settings = RelaxationSpec.model_validate(
        {"max_force": max_force, "max_stress": 10 * max_force, "max_steps": STEPS, "symmetry": symmetry}
    )

    def run(crystals: Sequence[Crystal]) -> list[Outcome]:
        outcomes = []
        for crystal, found in zip(crystals, relax(crystals, potential, settings), strict=True):
            if isinstance(found, Relaxation):
                volume = found.crystal.to_structure().volume / found.crystal.number_of_atoms
                energy, evaluations = found.energy_per_atom, found.steps
            else:
                print(f"{crystal.reduced_formula}: {found.reason}: {found.detail}", file=sys.stderr)
                volume = energy = float("nan")
                evaluations = 0
            outcomes.append(
                Outcome(
                    energy=energy,
                    volume=volume,
                    evaluations=evaluations,
                    converged=isinstance(found, Relaxation),
                )
            )
        return outcomes

    return run


def figures(found: Sequence[Outcome], reference: Sequence[Outcome], *, seconds: float) -> dict[str, Any]:
    """One row: cost, and differences to the reference where both converged."""
    both = [(a, b) for a, b in zip(found, reference, strict=True) if a.converged and b.converged]
    higher = np.array([a.energy - b.energy for a, b in both]) * 1e3
    volumes = np.array([abs(a.volume / b.volume - 1) for a, b in both])
    return {
        "seconds_per_structure": seconds / len(found),
        "converged": sum(outcome.converged for outcome in found),
        "mean_evaluations": float(np.mean([o.evaluations for o in found if o.converged])),
        "median_evaluations": float(np.median([o.evaluations for o in found if o.converged])),
        "compared": len(both),
        "higher_by_1_mev": float(np.mean(higher > 1)),
        "higher_by_5_mev": float(np.mean(higher > 5)),
        "lower_by_1_mev": float(np.mean(higher < -1)),
        "lower_by_5_mev": float(np.mean(higher < -5)),
        "mean_difference_mev": float(np.mean(higher)),
        "highest_difference_mev": float(np.max(higher)),
        "median_volume_difference": float(np.median(volumes)),
    }


def measure(
    rows: dict[str, Relaxer], crystals: Sequence[Crystal], *, portion: int = PORTION
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Figures and CPU seconds of every row."""
    seconds = dict.fromkeys(rows, 0.0)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in rows}
    for start in range(0, len(crystals), portion):
        part = crystals[start : start + portion]
        for name, run in rows.items():
            began = time.process_time()
            outcomes[name] += run(part)
            seconds[name] += time.process_time() - began
    reference = outcomes[next(iter(rows))]
    return (
        {name: figures(found, reference, seconds=seconds[name]) for name, found in outcomes.items()},
        seconds,
    )


def show(table: dict[str, dict[str, Any]], *, first: str) -> None:
    """Print the rows."""
    print(
        f"{'':<30}{'CPU-s':>8}{'times':>8}{'evaluations':>15}{'converged':>11}"
        f"{'> +1 meV':>10}{'> +5':>7}{'< -1':>7}{'< -5':>7}{'mean':>8}"
    )
    for name, row in table.items():
        times = table[first]["seconds_per_structure"] / row["seconds_per_structure"]
        evaluations = f"{row['mean_evaluations']:.1f} ({row['median_evaluations']:.0f})"
        print(
            f"{name:<30}{row['seconds_per_structure']:>8.3f}{times:>8.1f}{evaluations:>15}{row['converged']:>11}"
            f"{row['higher_by_1_mev']:>10.1%}{row['higher_by_5_mev']:>7.1%}{row['lower_by_1_mev']:>7.1%}"
            f"{row['lower_by_5_mev']:>7.1%}{row['mean_difference_mev']:>+8.2f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="8 crystals of at most 6 atoms, nothing compiled"
    )
    parser.add_argument("--out", type=Path, help="file to write the JSON object to")
    parser.add_argument("--crystals", type=int, default=200, help="how many; 200 by default")
    parser.add_argument(
        "--max-force", type=float, default=0.05, help="eV/Å; the package's own default is 0.1"
    )
    given = parser.parse_args(arguments)
    if "MOTHERLODE_DATA" not in os.environ:
        print("MOTHERLODE_DATA is not set; it names the folder that holds structures/", file=sys.stderr)
        return 2
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    eager, compiled = (
        load_potential(PotentialSpec(name="chgnet", arguments=options), base=Path.cwd())
        for options in ({}, {"compiled": True})
    )
    count, largest = (8, 6) if given.quick else (given.crystals, 20)
    crystals = crystals_to_relax(
        Path(os.environ["MOTHERLODE_DATA"]), count=count, largest=largest, potential=eager
    )
    rows: dict[str, Relaxer] = {
        PACKAGE: by_package(max_force=given.max_force),
        ASE: by_ase(max_force=given.max_force),
        EAGER: by_motherlode(eager, max_force=given.max_force),
        RELEASED: by_motherlode(eager, max_force=given.max_force, symmetry="released"),
    }
    began = time.process_time()
    if not given.quick:
        rows[COMPILED] = by_motherlode(compiled, max_force=given.max_force)
        for size in (8, 16):
            compiled.evaluate(Batch.from_atoms([c.to_atoms() for c in crystals[:size]]))
    compilation = time.process_time() - began
    # The first call of each row reads weights and warms caches.
    for run in rows.values():
        run(crystals[:1])
    table, _ = measure(rows, crystals)
    atoms = [crystal.number_of_atoms for crystal in crystals]
    print(f"{len(crystals)} crystals of {min(atoms)} to {max(atoms)} atoms (mean {np.mean(atoms):.1f})")
    show(table, first=PACKAGE)
    if not given.quick:
        print(f"compilation, once: {compilation:.0f} CPU-s")

    def speedup(name: str) -> float | None:
        if name not in table:
            return None
        return table[PACKAGE]["seconds_per_structure"] / table[name]["seconds_per_structure"]

    result = {
        "crystals": len(crystals),
        "max_force": given.max_force,
        "speedup_eager": speedup(EAGER),
        "speedup_compiled": speedup(COMPILED),
        "speedup_released": speedup(RELEASED),
        "compilation_seconds": None if given.quick else compilation,
        "higher_energy_share": table[EAGER]["higher_by_1_mev"],
        "rows": table,
    }
    line = json.dumps(result)
    if given.out:
        given.out.write_text(line + "\n")
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
