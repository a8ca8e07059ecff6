"""A campaign's crystals and tables for other programs: CIF, extended XYZ, pymatgen entries, Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loop.crystal import SYMMETRY_TOLERANCE, Crystal
from loop.elements import closest
from loop.errors import ExportError
from loop.ledger.ledger import Ledger
from loop.ledger.tables import Calculation, Row
from loop.metrics import Verified, is_within
from loop.report.view import View, best_calculations
from loop.state import CampaignState

if TYPE_CHECKING:
    import pandas as pd

ENERGIES_FROM: Final = "energies of one fidelity only; never mix the files of two fidelities on one hull"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A candidate to write: the crystal of its highest fidelity, and what is known of it."""

    candidate_id: str
    crystal: Crystal
    calculation: Calculation
    """That gave the crystal and its energy."""
    facts: Mapping[str, Any]
    """Plain values; every energy above hull beside its fidelity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every writer is given."""

    view: View
    chosen: Sequence[Exported]
    ledger: Ledger
    to: Path


def export(
    ledger: Ledger, campaign_id: str, *, to: Path, what: str = "all", which: str = "verified"
) -> dict[Path, int]:
    """Write a campaign for other programs.

    Args:
        ledger: where the campaign is written.
        campaign_id: which one.
        to: folder to write into; made where it does not exist.
        what: `cif` (a folder, one file per crystal), `extxyz` (one file), `entries` (pymatgen
            ComputedStructureEntry, one JSON file per fidelity, with the reference phases of that fidelity, so
            that a phase diagram of a file is the campaign's hull), `parquet` (every table, whole), or `all`.
        which: candidates to write: `all` that were judged, `verified`, `metastable`, `stable` (by the highest
            verifying fidelity) or `discoveries`. Tables are always whole.

    Returns:
        What was written: files, or the folder of CIFs, with the number of crystals or rows in each.

    Raises:
        ExportError: an unknown `what` or `which`, or a folder that cannot be written.
        LedgerError: no such campaign, or the ledger cannot be read.
    """
    formats = _formats(what)
    _check("which", which, FILTERS)
    view = View.of(CampaignState.rebuild(ledger, campaign_id), ledger.latest_spec(campaign_id))
    job = Job(view=view, chosen=_chosen(view, which), ledger=ledger, to=to)
    written: dict[Path, int] = {}
    try:
        to.mkdir(parents=True, exist_ok=True)
        for write in formats:
            written |= write(job)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(
            f"--to {to}: cannot be written ({reason}); give a folder that you may write"
        ) from error
    return written


def _judged(view: View) -> list[str]:
    return sorted({id_ for id_, _ in view.state.verdicts_in_force})


def _verified(view: View, condition: Callable[[Verified], bool]) -> list[str]:
    return sorted(v.candidate_id for v in view.verified if v.verified is not None and condition(v))


FILTERS: Final[Mapping[str, Callable[[View], list[str]]]] = {
    "all": _judged,
    "verified": lambda view: _verified(view, lambda _: True),
    "metastable": lambda view: _verified(view, lambda v: is_within(v, view.spec.thresholds.metastable)),
    "stable": lambda view: _verified(view, lambda v: is_within(v, view.spec.thresholds.stable)),
    "discoveries": lambda view: sorted(view.discoveries),
}


def _chosen(view: View, which: str) -> list[Exported]:
    ids = FILTERS[which](view)
    return [
        Exported(
            candidate_id=id_,
            crystal=view.state.crystals[calculation.result_crystal_key or ""],
            calculation=calculation,
            facts=_facts(view, id_, calculation),
        )
        for id_, calculation in best_calculations(view, ids).items()
    ]


def _facts(view: View, id_: str, calculation: Calculation) -> dict[str, Any]:
    """What is known of a candidate, as plain values."""
    state, candidate = view.state, view.state.candidates[id_]
    verdict = state.verdicts_in_force.get((id_, calculation.fidelity))
    screened = view.screened.get(id_)
    sent = next((v for v in view.verified if v.candidate_id == id_), None)
    facts: dict[str, Any] = {
        "candidate_id": id_,
        "formula": view.formula(id_),
        "generator": candidate.generator,
        "iteration": candidate.iteration,
        "discovery": id_ in view.discoveries,
        "fidelity": calculation.fidelity,
        "energy_above_hull": verdict.energy_above_hull if verdict else None,
        "formation_energy": verdict.formation_energy if verdict else None,
        "hull_version": verdict.hull_version if verdict else None,
        "screening_fidelity": screened.fidelity if screened else view.screening,
        "screened_energy_above_hull": screened.energy_above_hull if screened else None,
        "dynamically_stable": sent.dynamically_stable if sent else None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _write_cif(job: Job) -> dict[Path, int]:
    from pymatgen.io.cif import CifWriter

    folder = job.to / "cif"
    folder.mkdir(exist_ok=True)
    for item in job.chosen:
        structure = item.crystal.to_structure()
        said = "".join(f"# {key}: {value}\n" for key, value in item.facts.items())
        text = said + str(CifWriter(structure, symprec=SYMMETRY_TOLERANCE))
        name = f"{item.candidate_id}_{item.crystal.reduced_formula}.cif"
        (folder / name).write_text(text, encoding="utf-8")
    return {folder: len(job.chosen)}


def _write_extxyz(job: Job) -> dict[Path, int]:
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    path = job.to / "crystals.extxyz"
    images = []
    for item in job.chosen:
        atoms = item.crystal.to_atoms()
        atoms.info.update(item.facts)
        if item.calculation.energy_per_atom is not None:
            energy = item.calculation.energy_per_atom * len(atoms)
            atoms.calc = SinglePointCalculator(atoms, energy=energy)
        images.append(atoms)
    if images:
        write(path, images, format="extxyz")
    else:
        path.write_text("", encoding="utf-8")
    return {path: len(images)}


def _write_entries(job: Job) -> dict[Path, int]:
    from monty.json import MontyEncoder

    written, view = {}, job.view
    wanted = {item.candidate_id for item in job.chosen}
    for fidelity in dict.fromkeys((*view.screenings, *view.fidelities)):
        references = view.state.reference_calculations(fidelity)
        candidates = {id_: c for id_, c in view.state.judged(fidelity).items() if id_ in wanted}
        entries = [_entry(view, name, c, reference=True) for name, c in references.items()]
        entries += [_entry(view, id_, c, reference=False) for id_, c in candidates.items()]
        path = job.to / f"entries-{_file_name(fidelity)}.json"
        path.write_text(json.dumps(entries, cls=MontyEncoder), encoding="utf-8")
        written[path] = len(entries)
    return written


def _entry(view: View, name: str, calculation: Calculation, *, reference: bool) -> Any:
    """A phase as pymatgen's ComputedStructureEntry, its fidelity among the parameters."""
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    crystal = view.state.crystals[calculation.result_crystal_key or calculation.crystal_key]
    facts = {"reference": True} if reference else {"reference": False, **_facts(view, name, calculation)}
    return ComputedStructureEntry(
        crystal.to_structure(),
        (calculation.energy_per_atom or 0.0) * crystal.number_of_atoms,
        entry_id=name,
        parameters={
            "fidelity": calculation.fidelity,
            "code_version": calculation.code_version,
            "note": ENERGIES_FROM,
        },
        data=facts,
    )


def _write_parquet(job: Job) -> dict[Path, int]:
    folder = job.to / "tables"
    folder.mkdir(exist_ok=True)
    written = {}
    for table in sorted(Row.metadata.tables):
        frame = _own_rows(job.ledger.frame(table), table, job.view.state)
        for column in frame.columns:
            if frame[column].dtype == object and any(isinstance(v, (dict, list)) for v in frame[column]):
                # Parquet has no column of unlike records; JSON text is what every reader understands.
                frame[column] = frame[column].map(json.dumps)
        path = folder / f"{table}.parquet"
        frame.to_parquet(path, index=False)
        written[path] = len(frame)
    return written


def _own_rows(frame: pd.DataFrame, table: str, state: CampaignState) -> pd.DataFrame:
    """The rows of this campaign; crystals and calculations that its other rows refer to."""
    keys: Mapping[str, tuple[str, Iterable[str]]] = {
        "crystal": ("key", state.crystals),
        "calculation": ("key", state.calculations),
        "campaign": ("id", [state.campaign_id]),
    }
    column, wanted = keys.get(table, ("campaign_id", [state.campaign_id]))
    return frame[frame[column].isin(list(wanted))].reset_index(drop=True) if column in frame else frame


Writer = Callable[[Job], dict[Path, int]]
WRITERS: Final[Mapping[str, Writer]] = {
    "cif": _write_cif,
    "extxyz": _write_extxyz,
    "entries": _write_entries,
    "parquet": _write_parquet,
}


def _formats(what: str) -> list[Writer]:
    if what == "all":
        return list(WRITERS.values())
    _check("what", what, (*WRITERS, "all"))
    return [WRITERS[what]]


def _check(option: str, value: str, known: Iterable[str]) -> None:
    choices = list(known)
    if value not in choices:
        raise ExportError(
            f"--{option} {value}: did you mean {closest(value, choices)!r}? Choose from {', '.join(choices)}"
        )


def _file_name(fidelity: str) -> str:
    """A fidelity as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in fidelity)
