"""How far CHGNet agrees with the Materials Project's hull of Li-Fe-O, phase by phase.

The Materials Project's side: its entries with the MP2020 corrections of the installed pymatgen, on pymatgen's
PhaseDiagram of all entries. CHGNet's side: the reference phases of examples/li-fe-o.yaml, each relaxed by the
campaign machinery, on Motherlode's hull of them. Both are energies above hull in eV/atom.

Give the folder of a campaign that has relaxed its references to read them from its ledger; without one they
are relaxed in a temporary folder (and found in the machine's cache of reference phases where it has them).

Needs MOTHERLODE_DATA (hull/Li-Fe-O_375.json.gz).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from flows.campaign import Campaign
from flows.folder import ledger_url
from flows.observer import Silence
from flows.turning import run
from loop.campaign_file import read_campaign
from loop.errors import MotherlodeError
from loop.hull import HullPhase, HullSet
from loop.ledger.ledger import Ledger
from loop.references.reading import locate
from loop.screened import screening_fidelity
from loop.spec import CampaignSpec
from loop.state import CampaignState

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "li-fe-o.yaml"
ENTRIES = "$MOTHERLODE_DATA/hull/Li-Fe-O_375.json.gz"
NEAR = (0.0, 0.001, 0.025, 0.05)
"""Energies above CHGNet's hull within which the Materials Project's stable phases are looked for, eV/atom. A campaign
calls stable what lies within 0.001."""
METASTABLE = 0.1
WINDOWS = (0.1, 0.15, 0.2)
"""Screening windows, eV/atom."""
ROUNDING = 1e-6
QUICK_ATOMS = 9


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase of the Materials Project in both eyes."""

    name: str
    formula: str
    atoms: int
    """In the Materials Project's cell."""
    truth: float
    """Energy above the Materials Project's hull, eV/atom."""
    screened: float | None
    """Energy above CHGNet's hull; None where CHGNet has not relaxed it."""


@dataclass(frozen=True, kw_only=True)
class Relaxed:
    """What a campaign's references stage gave."""

    fidelity: str
    energies_above_hull: Mapping[str, float]
    failures: Mapping[str, str]
    cpu_seconds: float


def materials_project() -> dict[str, tuple[str, int, float]]:
    """Formula, atoms and energy above hull (eV/atom) of every entry, by its id."""
    from monty.json import MontyDecoder
    from pymatgen.analysis.phase_diagram import PhaseDiagram
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    path = locate(ENTRIES, base=Path())
    with gzip.open(path, "rt") as file:
        raw = json.load(file, cls=MontyDecoder)
    with warnings.catch_warnings():
        # Of a few superoxides and alloys no oxidation states can be guessed; the anion's correction still applies.
        warnings.filterwarnings("ignore", message="Failed to guess oxidation states")
        entries = MaterialsProject2020Compatibility().process_entries(raw, inplace=False)
    if len(entries) != len(raw):
        print(
            f"{len(raw) - len(entries)} entries have no MP2020 correction and are left out", file=sys.stderr
        )
    diagram = PhaseDiagram(entries)
    return {
        str(e.entry_id): (e.composition.reduced_formula, len(e.structure), float(diagram.get_e_above_hull(e)))
        for e in entries
    }


class Lines(Silence):
    """Progress on standard error, a line per chunk of references."""

    def progress(self, label: str, *, done: int, total: int) -> None:
        """Say how far the chunk has come once it is through."""
        if done == total:
            print(f"{label}: {total} through", file=sys.stderr)


def relaxed(spec: CampaignSpec, *, folder: Path | None) -> Relaxed:
    """The references of a campaign's folder; without one they are relaxed in a temporary folder."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with Campaign.open(spec, folder=folder, base=EXAMPLE.parent, observer=Lines()) as campaign:
                run(campaign, iterations=0)
        elif not (folder / "ledger.sqlite").is_file():
            raise MotherlodeError(
                f"{folder}: holds no ledger.sqlite; give a campaign's folder, or none at all"
            )
        ledger = stack.enter_context(Ledger.open(ledger_url(spec, folder=folder)))
        [row] = ledger.campaigns()
        state = CampaignState.rebuild(ledger, row.id)
    fidelity = screening_fidelity(state)
    if fidelity is None:
        raise MotherlodeError(
            f"{folder}: its references are not relaxed yet; turn it for one iteration first"
        )
    calculations = state.reference_calculations(fidelity)
    phases = [
        HullPhase(
            name,
            state.crystals[calculation.result_crystal_key].composition,
            energy_per_atom=calculation.energy_per_atom,
            fidelity=fidelity,
        )
        for name, calculation in sorted(calculations.items())
    ]
    hulls = HullSet(phases)
    above = {
        # A phase of the hull cannot lie below it, but by rounding.
        p.name: max(0.0, hulls.energy_above_hull(p.composition, p.energy_per_atom, fidelity=fidelity))
        for p in phases
    }
    return Relaxed(
        fidelity=fidelity,
        energies_above_hull=above,
        failures={f.subject: f.reason for f in state.failures.values() if f.stage == "references"},
        cpu_seconds=sum(c.cpu_seconds for c in calculations.values()),
    )


def compare(phases: Sequence[Phase]) -> dict[str, Any]:
    """The figures, over the phases that both sides know."""
    both = [p for p in phases if p.screened is not None]
    truth, screened = (np.array([getattr(p, side) for p in both]) for side in ("truth", "screened"))
    stable, metastable = truth <= ROUNDING, truth < METASTABLE
    difference = screened - truth
    return {
        "phases": len(both),
        "stable_at_mp": int(stable.sum()),
        "stable_at_mp_without_chgnet": [p.name for p in phases if p.truth <= ROUNDING and p.screened is None],
        "stable_at_chgnet": int((screened <= ROUNDING).sum()),
        "stable_at_mp_within": {str(e): int((stable & (screened <= e + ROUNDING)).sum()) for e in NEAR},
        "all_within": {str(e): int((screened <= e + ROUNDING).sum()) for e in NEAR},
        "metastable_at_mp": int(metastable.sum()),
        "metastable_at_mp_within_window": {
            str(w): int((metastable & (screened <= w)).sum()) for w in WINDOWS
        },
        "all_within_window": {str(w): int((screened <= w).sum()) for w in WINDOWS},
        "mean_absolute_difference": float(np.abs(difference[metastable]).mean()),
        "mean_difference": float(difference[metastable].mean()),
        "largest_difference": float(np.abs(difference[metastable]).max()),
    }


def table(phases: Sequence[Phase], title: str) -> None:
    """Print phases by formula."""
    print(f"\n{title}\n{'formula':<14}{'id':<14}{'atoms':>6}{'MP':>8}{'CHGNet':>8}  eV/atom above hull")
    for p in phases:
        screened = "-" if p.screened is None else f"{p.screened:.3f}"
        print(f"{p.formula:<14}{p.name:<14}{p.atoms:>6}{p.truth:>8.3f}{screened:>8}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and give the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="a campaign of examples/li-fe-o.yaml")
    parser.add_argument("--quick", action="store_true", help=f"only phases of at most {QUICK_ATOMS} atoms")
    parser.add_argument("--max-atoms", type=int, help="relax larger or only smaller phases than the example")
    parser.add_argument("--out", type=Path, help="file to write the JSON object to")
    given = parser.parse_args(arguments)
    most = QUICK_ATOMS if given.quick else given.max_atoms
    if given.folder and most:
        parser.error("--quick and --max-atoms relax phases anew; leave the folder out")
    spec = read_campaign(EXAMPLE)
    if most:
        options = {**spec.references.options, "max_atoms": most}
        references = spec.references.model_copy(update={"options": options})
        spec = spec.model_copy(update={"references": references})
    try:
        entries = materials_project()
        found = relaxed(spec, folder=given.folder)
    except MotherlodeError as error:
        print(error, file=sys.stderr)
        return 2
    phases = [
        Phase(name=name, formula=formula, atoms=n, truth=truth, screened=found.energies_above_hull.get(name))
        for name, (formula, n, truth) in entries.items()
    ]
    phases.sort(key=lambda p: (p.formula, p.name))
    result = compare(phases) | {
        "fidelity": found.fidelity,
        "failed": dict(found.failures),
        "cpu_seconds": found.cpu_seconds,
        "pymatgen": version("pymatgen"),
    }
    table([p for p in phases if p.truth <= ROUNDING], "Stable at the Materials Project")
    on_hull = [p for p in phases if p.screened is not None and p.screened <= ROUNDING]
    table(on_hull, f"Stable at {found.fidelity}")
    print(
        f"\n{result['phases']} phases relaxed in {result['cpu_seconds']:.0f} CPU-s, {len(found.failures)} failed"
    )
    for energy in NEAR:
        print(
            f"within {1000 * energy:3.0f} meV/atom of CHGNet's hull: {result['stable_at_mp_within'][str(energy)]} of "
            f"{result['stable_at_mp']} stable at MP, among {result['all_within'][str(energy)]} phases"
        )
    for window in WINDOWS:
        print(
            f"a window of {1000 * window:3.0f} meV/atom keeps {result['metastable_at_mp_within_window'][str(window)]} "
            f"of {result['metastable_at_mp']} phases within {1000 * METASTABLE:.0f} of MP's hull, among "
            f"{result['all_within_window'][str(window)]} phases"
        )
    print(
        f"CHGNet minus MP for those: mean {1000 * result['mean_difference']:+.0f}, mean absolute "
        f"{1000 * result['mean_absolute_difference']:.0f}, largest {1000 * result['largest_difference']:.0f} meV/atom"
    )
    line = json.dumps(result)
    if given.out:
        given.out.write_text(line + "\n")
    print(f"\n{line}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
