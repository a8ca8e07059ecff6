"""What is exported reads back the same in pymatgen, ASE and pandas."""

import json
import os
from pathlib import Path

import ase.io
import pandas as pd
import pytest
from monty.json import MontyDecoder
from pymatgen.analysis.phase_diagram import PhaseDiagram
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from loop.crystal import Crystal
from loop.errors import ExportError, LedgerError
from loop.export import FILTERS, export
from loop.ledger.ledger import Ledger
from loop.ledger.tables import Row, Verdict
from loop.state import CampaignState
from tests.loop.alloy_campaign import CAMPAIGN, World, alloys
from tests.loop.alloy_structures import SCREEN, VERIFY

__all__ = ["alloys"]


@pytest.fixture(scope="module")
def state(alloys) -> CampaignState:
    return CampaignState.rebuild(alloys, CAMPAIGN)


def verdicts(ledger: Ledger, fidelity: str) -> dict[str, Verdict]:
    rows = sorted(
        (v for v in ledger.rows(Verdict, CAMPAIGN) if v.fidelity == fidelity), key=lambda v: v.number
    )
    return {v.candidate_id: v for v in rows}


def test_cifs_hold_the_relaxed_crystals(alloys, state, tmp_path):
    written = export(alloys, CAMPAIGN, to=tmp_path, what="cif", which="verified")
    assert written == {tmp_path / "cif": 12}
    truth = state.judged(VERIFY)
    for path in (tmp_path / "cif").iterdir():
        id_, formula = path.stem.split("_")
        crystal = state.crystals[truth[id_].result_crystal_key]
        read = Structure.from_file(path)
        assert crystal.reduced_formula == formula == read.composition.reduced_formula
        assert StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1).fit(read, crystal.to_structure())
        assert read.volume / len(read) == pytest.approx(crystal.volume_per_atom, rel=1e-5)
        assert f"# fidelity: {VERIFY}\n" in path.read_text()


def test_extended_xyz_holds_energies_with_their_fidelity(alloys, state, tmp_path):
    (path,) = export(alloys, CAMPAIGN, to=tmp_path, what="extxyz", which="all")
    images = ase.io.read(path, index=":")
    screened, verified = verdicts(alloys, SCREEN), verdicts(alloys, VERIFY)
    assert {atoms.info["candidate_id"] for atoms in images} == set(screened)
    for atoms in images:
        id_, fidelity = atoms.info["candidate_id"], atoms.info["fidelity"]
        assert fidelity == (VERIFY if id_ in verified else SCREEN)
        truth = state.judged(fidelity)[id_]
        assert atoms.get_potential_energy() / len(atoms) == pytest.approx(truth.energy_per_atom)
        assert atoms.info["energy_above_hull"] == pytest.approx(
            (verified.get(id_) or screened[id_]).energy_above_hull
        )
        assert atoms.info["screened_energy_above_hull"] == pytest.approx(screened[id_].energy_above_hull)
        assert (
            Crystal.from_atoms(atoms).reduced_formula
            == state.crystals[truth.result_crystal_key].reduced_formula
        )


@pytest.mark.parametrize("fidelity", [SCREEN, VERIFY])
def test_a_phase_diagram_of_the_entries_is_the_campaign_s_hull(alloys, tmp_path, fidelity):
    export(alloys, CAMPAIGN, to=tmp_path, what="entries", which="all")
    entries = json.loads((tmp_path / f"entries-{fidelity}.json").read_text(), cls=MontyDecoder)
    assert {entry.parameters["fidelity"] for entry in entries} == {fidelity}
    diagram = PhaseDiagram(entries)
    truth = verdicts(alloys, fidelity)
    candidates = {entry.entry_id: entry for entry in entries if not entry.data["reference"]}
    assert set(candidates) == set(truth)
    for id_, entry in candidates.items():
        assert diagram.get_e_above_hull(entry) == pytest.approx(truth[id_].energy_above_hull, abs=1e-9)
        assert entry.data["energy_above_hull"] == truth[id_].energy_above_hull


def test_tables_read_back_in_pandas(alloys, state, tmp_path):
    written = export(alloys, CAMPAIGN, to=tmp_path, what="parquet", which="discoveries")
    assert {path.stem for path in written} == set(Row.metadata.tables)
    for path, number in written.items():
        frame = pd.read_parquet(path)
        assert len(frame) == number
        assert list(frame.columns) == [column.name for column in Row.metadata.tables[path.stem].columns]
    candidates = pd.read_parquet(tmp_path / "tables" / "candidate.parquet")
    assert len(candidates) == len(state.candidates)
    assert json.loads(candidates.loc[candidates.id == "0001-0001", "details"].item()) == {"prototype": "L10"}
    crystals = pd.read_parquet(tmp_path / "tables" / "crystal.parquet").set_index("key")
    for key, crystal in state.crystals.items():
        assert Crystal.from_dict(json.loads(crystals.data[key])) == crystal


def test_tables_hold_this_campaign_alone(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        for id_ in ("one", "two"):
            world = World(ledger, id=id_)
            world.begin()
        world.begin_references()
        written = export(ledger, "one", to=tmp_path / "out", what="parquet")
        assert written[tmp_path / "out" / "tables" / "campaign.parquet"] == 1
        assert written[tmp_path / "out" / "tables" / "calculation.parquet"] == 0
        assert (
            export(ledger, "two", to=tmp_path / "out", what="parquet")[
                tmp_path / "out" / "tables" / "calculation.parquet"
            ]
            == 6
        )


def test_filters_narrow_down(alloys, tmp_path):
    counts = {
        which: export(alloys, CAMPAIGN, to=tmp_path / which, what="extxyz", which=which) for which in FILTERS
    }
    numbers = {which: next(iter(written.values())) for which, written in counts.items()}
    verified = verdicts(alloys, VERIFY)
    assert numbers["all"] == len(verdicts(alloys, SCREEN))
    assert numbers["verified"] == len(verified)
    assert numbers["metastable"] == sum(v.energy_above_hull <= 0.1 for v in verified.values())
    assert numbers["stable"] == sum(v.energy_above_hull <= 0.001 for v in verified.values())
    assert (
        numbers["all"]
        > numbers["verified"]
        > numbers["metastable"]
        > numbers["discoveries"]
        > numbers["stable"]
        > 0
    )
    images = ase.io.read(tmp_path / "discoveries" / "crystals.extxyz", index=":")
    assert all(atoms.info["discovery"] for atoms in images)


def test_all_formats_at_once(alloys, tmp_path):
    written = export(alloys, CAMPAIGN, to=tmp_path / "deep" / "folder")
    assert {"cif", "crystals.extxyz", f"entries-{SCREEN}.json", f"entries-{VERIFY}.json"} <= {
        p.name for p in written
    }
    assert all(path.exists() for path in written)


def test_a_campaign_without_results_exports_nothing_but_tables(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        world = World(ledger)
        world.begin()
        written = export(ledger, world.id, to=tmp_path / "out")
    assert sum(number for path, number in written.items() if path.suffix != ".parquet") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": "cifs"}, "--what cifs: did you mean 'cif'? Choose from cif, extxyz, entries, parquet, all"),
        (
            {"which": "discovery"},
            "--which discovery: did you mean 'discoveries'? Choose from all, verified, metastable, stable, discoveries",
        ),
    ],
)
def test_misspelt_choices(alloys, tmp_path, options, message):
    with pytest.raises(ExportError) as caught:
        export(alloys, CAMPAIGN, to=tmp_path / "out", **options)
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way(alloys, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(
        ExportError, match=f"--to {tmp_path / 'out'}: cannot be written .*; give a folder that you may write"
    ):
        export(alloys, CAMPAIGN, to=tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(alloys, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ExportError, match="Permission denied"):
        export(alloys, CAMPAIGN, to=tmp_path / "out")


def test_an_unknown_campaign(alloys, tmp_path):
    with pytest.raises(LedgerError, match="holds no campaign"):
        export(alloys, "nothing", to=Path(tmp_path))
