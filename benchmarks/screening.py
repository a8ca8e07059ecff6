"""What it costs to relax crystals and to judge them, by what is used for it today and by Motherlode.

    python benchmarks/screening.py [--quick] [--out FILE] [--store FILE] [--rows NAME,...]
    python benchmarks/screening.py --tables FILE [--into docs/performance.md]

Half of the crystals are Materials Project structures of 2 to 20 atoms, displaced at random by 0.1 Å and strained
by 3 %; half are the published samples of DiffCSP. Every row relaxes positions and cell with the same weights as
those it is compared with, on one thread, in this process, taking turns by portions so that a busy machine slows all
rows alike. Times are CPU seconds; what is read and compiled before stands apart.

Everything ends at the same largest force. ASE's cell filter compares the same number with the virial per atom;
Motherlode compares the stress itself, with 10 GPa per eV/Å, which is the same at 16 Å3 per atom.

Verdicts: candidates come to be called stable, metastable or neither on one hull of CHGNet's energies, by CHGNet's own
optimiser with pymatgen's PhaseDiagram and StructureMatcher, and by Motherlode. Relaxed reference phases are kept under
/tmp and not counted. The rule of early rejection learns from other crystals than those judged.

`--store FILE` keeps every portion at once, and takes from it what another run has measured with the same versions,
sources, crystals and largest force. `--tables FILE` prints the tables of a JSON object written by `--out`, or puts
them between the marks of a page.

Needs MOTHERLODE_DATA. The last line is one JSON object.
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

import numpy as np
from screens.measuring import Store
from screens.running import QUICK, VERDICTS, Run, Size, chosen, groups, result_of
from screens.tables import fill, markdown


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    full = Size()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK.crystals} crystals of at most {QUICK.largest} atoms"
    )
    parser.add_argument("--out", type=Path, help="file to write the JSON object to")
    parser.add_argument("--store", type=Path, help="file that portions are kept in and resumed from")
    parser.add_argument("--tables", type=Path, help="print the tables of this JSON object and end")
    parser.add_argument("--into", type=Path, help="page to put those tables on")
    parser.add_argument(
        "--rows", help="only these, by the names of the JSON object, and verdicts-mixed, verdicts-li-fe-o"
    )
    parser.add_argument("--crystals", type=int, help=f"mixed crystals; {full.crystals} by default")
    parser.add_argument("--every", type=int, help=f"matgl and SevenNet relax one in {full.every} of them")
    parser.add_argument(
        "--teaching", type=int, help=f"others that teach the rule; {full.teaching} by default"
    )
    parser.add_argument("--proposals", type=int, help=f"candidates of Li-Fe-O; {full.proposals} by default")
    parser.add_argument(
        "--teaching-proposals",
        type=int,
        help=f"others that teach the rule there; {full.teaching_proposals} by default",
    )
    parser.add_argument(
        "--rate", type=float, default=0.01, help="stated rate of early rejection; 0.01 by default"
    )
    parser.add_argument(
        "--symmetry",
        choices=("free", "kept", "released"),
        default="free",
        help="of Motherlode's relaxations before verdicts; free by default, which breaks no symmetry as today's way",
    )
    parser.add_argument("--eager", action="store_true", help="give verdicts without compiled loops")
    parser.add_argument("--max-force", type=float, default=0.05, help="eV/Å; CHGNet's own default is 0.1")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and give the figures as JSON."""
    given = parse(arguments)
    if given.tables:
        tables = markdown(json.loads(given.tables.read_text().splitlines()[-1]))
        if given.into:
            fill(given.into, tables)
        else:
            print(tables)
        return 0
    if "MOTHERLODE_DATA" not in os.environ:
        print("MOTHERLODE_DATA is not set; it names the folder that holds structures/", file=sys.stderr)
        return 2
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    size = QUICK if given.quick else Size()
    asked = {
        name: getattr(given, name)
        for name in ("crystals", "every", "teaching", "proposals", "teaching_proposals")
    }
    began = time.process_time()
    run = Run(
        size=replace(size, **{name: value for name, value in asked.items() if value is not None}),
        max_force=given.max_force,
        rate=given.rate,
        symmetry=given.symmetry,
        eager=given.eager,
        store=Store(given.store),
        data=Path(os.environ["MOTHERLODE_DATA"]),
    )
    rows = groups(run)
    names = {*VERDICTS, *(row.name for group in rows.values() for row in group)}
    wanted = frozenset(given.rows.split(",")) if given.rows else None
    if wanted is not None and wanted - names:
        print(
            f"--rows: {', '.join(sorted(wanted - names))}: none of {', '.join(sorted(names))}",
            file=sys.stderr,
        )
        return 2
    for group, all_rows in rows.items():
        some = chosen(all_rows, wanted)
        if some:
            run.add(group, run.relax(group, some, run.mixed if group == "chgnet" else run.few))
    package = rows["chgnet"][0]
    for name, judge in zip(VERDICTS, (run.judge_mixed, run.judge_proposals), strict=True):
        if wanted is None or name in wanted:
            judge(package)
    result = result_of(run) | {"cpu_seconds": time.process_time() - began}
    atoms = [crystal.number_of_atoms for crystal in run.mixed]
    print(f"{len(atoms)} crystals of {min(atoms)} to {max(atoms)} atoms (mean {np.mean(atoms):.1f})\n")
    print(markdown(result))
    line = json.dumps(result)
    if given.out:
        given.out.write_text(line + "\n")
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
