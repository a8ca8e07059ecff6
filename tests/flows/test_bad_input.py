"""What a user sees when something is wrong: one clear error that names the field or file and the mend.

Each case is a real campaign file, or a real machine's trouble, given to the real command line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.command_line import main

GOOD: dict[str, Any] = {
    "name": "bad-input",
    "space": {"chemical_systems": ["Cu-Ni-Pt"], "number_of_elements": [2, 3], "atoms": [2, 6]},
    "potential": {"name": "emt"},
    "references": {"source": "prototypes", "options": {"max_elements": 1, "max_atoms": 2}},
    "generators": [{"name": "prototypes"}],
    "verification": [{"name": "emt-tight", "potential": {"name": "emt"}}],
    "batch": {"proposals": 4, "verifications": 1},
    "stopping": {"iterations": 1},
    "execution": {"workers": 1, "cache": None},
}
STAGE: dict[str, Any] = {"potential": {"name": "lennard_jones"}}
CUBE = """data_x
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{sites}
"""


def cif(*sites: str, a: float = 4.0) -> str:
    return CUBE.format(a=a, sites="\n".join(sites))


def campaign(folder: Path, **changes: Any) -> Path:
    """The good campaign with top-level settings changed, as a file."""
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command line says as it refuses."""
    old = sys.argv
    sys.argv = ["motherlode", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = old
    printed = capsys.readouterr()
    assert stop.value.code not in (0, None), printed.out
    assert "Traceback" not in printed.err
    return " ".join(printed.err.split())


WRONG_FILES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "misspelt key": ({"generatrs": []}, ["generatrs", "generators"]),
    "misspelt key within": ({"batch": {"propsals": 3}}, ["batch", "propsals", "proposals"]),
    "unknown element": ({"space": {"chemical_systems": ["Cu-Nii"]}}, ["Nii", "Ni"]),
    "an element twice": ({"space": {"elements": ["Cu", "Cu"]}}, ["space", "twice"]),
    "no space": ({"space": {}}, ["chemical_systems", "elements"]),
    "an empty space": (
        {"space": {"elements": ["Cu", "Ni"], "required_elements": ["Pt"]}},
        ["no chemical system", "Pt"],
    ),
    "atoms the wrong way round": (
        {"space": {"elements": ["Cu", "Ni"], "atoms": [9, 3]}},
        ["atoms", "9", "3"],
    ),
    "negative budget": ({"budget": {"verifications": -1}}, ["budget.verifications", "-1"]),
    "impossible budget": ({"budget": {"cpu_seconds": 0.001}}, ["budget.cpu_seconds", "raise"]),
    "unknown currency": ({"budget": {"gold": 3}}, ["budget.gold", "cpu_seconds"]),
    "seed below zero": ({"seed": -1}, ["seed", "-1"]),
    "not a name": ({"name": "My Campaign!"}, ["name", "My Campaign!"]),
    "unknown generator": ({"generators": [{"name": "prototype"}]}, ["prototype", "prototypes"]),
    "a generator's unknown option": (
        {"generators": [{"name": "prototypes", "options": {"temperatur": 2}}]},
        ["generators.prototypes.options", "temperatur"],
    ),
    "unknown potential": ({"potential": {"name": "chgnett"}}, ["chgnett", "chgnet"]),
    "missing weights": ({"potential": {"name": "chgnet", "model": "9.9.9"}}, ["9.9.9", "0.3.0"]),
    "missing model folder": ({"potential": {"name": "matgl", "model": "./no-such-model"}}, ["no-such-model"]),
    "a calculator that is not there": (
        {"potential": {"name": "ase", "calculator": "no_such_package:Calculator"}},
        ["no_such_package"],
    ),
    "an element the potential does not know": (
        {
            "space": {"chemical_systems": ["Cu-Ti"]},
            "references": {"source": "prototypes", "options": {"max_elements": 1}},
        },
        ["emt", "Ti"],
    ),
    "unknown reference source": (
        {"references": {"source": "prototype"}},
        ["references", "prototype", "prototypes"],
    ),
    "missing reference file": (
        {"references": {"source": "files", "options": {"path": "nowhere.json"}}},
        ["nowhere.json"],
    ),
    "unknown policy": ({"acquisition": {"policy": "gredy"}}, ["gredy", "greedy"]),
    "unknown verifier": (
        {"verification": [{"name": "dft", "verifier": "vaspp"}]},
        ["verification.dft", "vaspp"],
    ),
    "two levels of one name": (
        {"verification": [GOOD["verification"][0], GOOD["verification"][0]]},
        ["verification", "emt-tight", "twice"],
    ),
    "a level named like the screen": (
        {"verification": [{"name": "emt", "potential": {"name": "emt"}}]},
        ["verification", "emt", "name of its own"],
    ),
    "a stage that says what the first one says": (
        {"screening": {"stages": [{"potential": {"name": "emt"}}]}},
        ["screening.stages[0].potential", "emt", "share a hull"],
    ),
    "two further stages of one fidelity": (
        {"screening": {"stages": [STAGE, STAGE]}},
        ["screening.stages[1].potential", "lennard-jones", "screening.stages[0].potential"],
    ),
    "a stage that does not know an element": (
        {
            "space": {"chemical_systems": ["Cu-Ti"]},
            "potential": {"name": "lennard_jones"},
            "screening": {"stages": [{"potential": {"name": "emt"}}]},
        },
        ["screening.stages[0].potential", "emt", "Ti"],
    ),
    "a level named like a stage": (
        {
            "screening": {"stages": [STAGE]},
            "verification": [{"name": "lennard-jones", "potential": {"name": "lennard_jones"}}],
        },
        ["verification", "lennard-jones", "screening.stages[0].potential", "name of its own"],
    ),
    "a stage without a potential": (
        {"screening": {"stages": [{"admits_within": 0.1}]}},
        ["screening.stages[0]", "'potential' is missing"],
    ),
    "a stage's unknown potential": (
        {"screening": {"stages": [{"potential": {"name": "sevenet"}}]}},
        ["screening.stages[0].potential", "sevenet", "sevennet"],
    ),
    "a stage corrected where there is nothing to correct": (
        {"screening": {"stages": [{"potential": {"name": "lennard_jones", "corrections": "mp2020"}}]}},
        ["screening.stages[0].potential", "corrections"],
    ),
    "a stage that admits less than nothing": (
        {"screening": {"stages": [{**STAGE, "admits_within": -0.1}]}},
        ["screening.stages[0].admits_within", "-0.1", "at least 0"],
    ),
    "a stage's misspelt key": (
        {"screening": {"stages": [{**STAGE, "admit_within": 0.1}]}},
        ["screening.stages[0]", "admit_within", "admits_within"],
    ),
    "stages that are no list": ({"screening": {"stages": STAGE}}, ["screening.stages", "expected a list"]),
    "missing known phases": ({"known_phases": ["no-such-folder"]}, ["no-such-folder"]),
    "thresholds the wrong way round": (
        {"thresholds": {"stable": 0.2, "metastable": 0.1}},
        ["metastable", "stable"],
    ),
    "not a database": ({"ledger": "mysql://localhost/x"}, ["mysql", "sqlite", "postgresql"]),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_wrong_campaign_files(name, tmp_path, capsys):
    changes, words = WRONG_FILES[name]
    message = said(capsys, "run", campaign(tmp_path, **changes), "--folder", tmp_path / "c", "--no-prefect")
    assert message.startswith("motherlode: ")
    for word in words:
        assert word in message, message


BROKEN_REFERENCES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "empty folder": (lambda folder: None, ["refs", "no structures"]),
    "corrupt CIF": (
        lambda folder: (folder / "broken.cif").write_text("data_x\n_cell_length_a four\n"),
        ["broken.cif"],
    ),
    "overlapping atoms": (
        lambda folder: (folder / "overlap.cif").write_text(cif("Cu1 Cu 0 0 0 1", "Cu2 Cu 0 0 0.01 1")),
        ["overlap.cif"],
    ),
    "partial occupancy": (
        lambda folder: (folder / "partial.cif").write_text(cif("Cu1 Cu 0 0 0 0.5", "Ni1 Ni 0 0 0 0.5")),
        ["partial.cif", "occupancy"],
    ),
    "an element without a phase": (
        lambda folder: (folder / "copper.cif").write_text(cif("Cu1 Cu 0 0 0 1", a=2.5)),
        ["references", "Ni"],
    ),
    "not JSON": (lambda folder: (folder / "entries.json").write_text("{"), ["entries.json"]),
}


@pytest.mark.parametrize("name", BROKEN_REFERENCES)
def test_broken_reference_files(name, tmp_path, capsys):
    make, words = BROKEN_REFERENCES[name]
    folder = tmp_path / "refs"
    folder.mkdir()
    make(folder)
    file = campaign(tmp_path, references={"source": "files", "options": {"path": "refs"}})
    message = said(capsys, "run", file, "--folder", tmp_path / "c", "--no-prefect")
    for word in words:
        assert word in message, message


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert "nowhere.yaml" in said(capsys, "run", tmp_path / "nowhere.yaml", "--no-prefect")


def test_a_file_that_is_no_yaml(tmp_path, capsys):
    path = tmp_path / "x.yaml"
    path.write_text("name: [unclosed\nspace: {")
    message = said(capsys, "check", path)
    assert "x.yaml:2:" in message
    assert "brackets" in message


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    message = said(capsys, "run", campaign(tmp_path), "--folder", "/proc/no-campaign-here", "--no-prefect")
    assert "--folder /proc/no-campaign-here" in message
    assert "may write" in message


def test_a_folder_that_holds_another_campaign(tmp_path, capsys):
    folder = tmp_path / "c"
    old, sys.argv = (
        sys.argv,
        ["motherlode", "run", str(campaign(tmp_path)), "--folder", str(folder), "--no-prefect"],
    )
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = old
    assert stop.value.code == 0
    message = said(capsys, "run", campaign(tmp_path, seed=5), "--folder", folder, "--no-prefect")
    assert "another campaign" in message
    assert "seed" in message


@pytest.mark.parametrize("command", ["resume", "status", "report"])
def test_a_folder_without_a_campaign(command, tmp_path, capsys):
    message = said(capsys, command, "--folder", tmp_path)
    assert "no campaign was begun here" in message
    assert "motherlode run" in message


def test_a_dead_database(tmp_path, capsys):
    file = campaign(tmp_path, ledger="postgresql+psycopg://someone:secret@127.0.0.1:9/nothing")
    message = said(capsys, "run", file, "--folder", tmp_path / "c", "--no-prefect")
    assert "127.0.0.1" in message
    assert "secret" not in message


def test_a_dead_prefect_server(tmp_path):
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    command = [
        sys.executable,
        "-m",
        "flows.command_line",
        "run",
        str(campaign(tmp_path)),
        "--folder",
        str(tmp_path / "c"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "prefect server start" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "c" / "ledger.sqlite").exists()


def test_no_key_for_the_materials_project(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    file = campaign(tmp_path, references={"source": "materials_project"})
    message = said(capsys, "run", file, "--folder", tmp_path / "c", "--no-prefect")
    assert "MP_API_KEY" in message


def test_another_driver_is_at_work(turned, tmp_path, capsys):
    from flows.campaign import Campaign
    from loop.campaign_file import read_campaign

    file = campaign(tmp_path)
    folder = tmp_path / "c"
    with Campaign.open(read_campaign(file), folder=folder, base=tmp_path):
        message = said(capsys, "run", file, "--folder", folder, "--no-prefect")
    assert str(os.getpid()) in message
    assert "take-over" in message


def test_a_full_disk_loses_nothing(tmp_path):
    """The ledger on a file system of its own, too small for the campaign; enlarged, the campaign goes on."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small], capture_output=True, check=False
    ).returncode:
        pytest.skip("no tmpfs can be mounted here (that needs root)")
    try:
        file = campaign(tmp_path, batch={"proposals": 30, "verifications": 2})
        command = [
            sys.executable,
            "-m",
            "flows.command_line",
            "run",
            str(file),
            "--folder",
            str(small / "c"),
            "--no-prefect",
        ]
        full = subprocess.run(command, capture_output=True, text=True, check=False)
        assert full.returncode == 2, full.stderr
        assert "Traceback" not in full.stderr
        assert "full" in full.stderr
        subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
    finally:
        subprocess.run(["umount", small], check=True)


NOT_A_NUMBER = """
from ase.calculators.calculator import Calculator
import numpy as np


class NotANumber(Calculator):
    implemented_properties = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties or ["energy"], system_changes or [])
        from ase.calculators.emt import EMT

        real = atoms.copy()
        real.calc = EMT()
        self.results = {"energy": real.get_potential_energy(), "forces": real.get_forces(), "stress": real.get_stress()}
        if len(set(atoms.get_chemical_symbols())) > 1:
            self.results["energy"] = np.nan
"""


def test_energies_that_are_no_numbers_are_failures_in_the_ledger(tmp_path):
    (tmp_path / "not_a_number.py").write_text(NOT_A_NUMBER)
    file = campaign(tmp_path, potential={"name": "ase", "calculator": "not_a_number:NotANumber"})
    command = [
        sys.executable,
        "-m",
        "flows.command_line",
        "run",
        str(file),
        "--folder",
        str(tmp_path / "c"),
        "--no-prefect",
    ]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    status = [sys.executable, "-m", "flows.command_line", "status", "--folder", str(tmp_path / "c"), "--json"]
    now = json.loads(subprocess.run(status, capture_output=True, text=True, check=True).stdout)
    assert now["relaxed"] == 0
    assert now["failures"] == 4
