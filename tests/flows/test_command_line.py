"""The command line as a user types it."""

from __future__ import annotations

import json
import sys

import pytest
from pymatgen.core import Structure

from flows.command_line import main
from loop.campaign_file import read_campaign
from tests.flows.worlds import EMT


def typed(capsys, *arguments) -> str:
    """What a command prints; it must succeed."""
    old = sys.argv
    sys.argv = ["motherlode", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = old
    printed = capsys.readouterr()
    assert stop.value.code == 0, printed.err
    return printed.out


def test_init_writes_a_file_that_check_accepts(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    assert "mine.yaml" in typed(capsys, "init", file, "--system", "Ti-O-Ca")
    assert read_campaign(file).space.chemical_systems == ("Ca-O-Ti",)
    schema = json.loads((tmp_path / "campaign.schema.json").read_text())
    assert "space" in schema["properties"]


def test_check_says_what_a_campaign_would_do_and_cost(capsys):
    printed = " ".join(typed(capsys, "check", EMT).split())
    for words in (
        "Cu-Ni-Pt",
        "12 per iteration",
        "emt-tight",
        "cpu seconds",
        "100 verifications",
        "valid campaign",
    ):
        assert words in printed, printed


def test_status_is_one_json_object(turned, capsys):
    now = json.loads(typed(capsys, "status", "--folder", turned, "--json"))
    wanted = {"iterations", "candidates", "relaxed", "verified", "discoveries", "failures", "seconds", "cost"}
    assert wanted <= now.keys()
    assert now["iterations"] == 4
    assert now["cost"]["verifications"] == 12


def test_status_for_people(turned, capsys):
    printed = typed(capsys, "status", "--folder", turned)
    assert "discoveries" in printed
    assert "emt-world" in printed


def test_report_is_self_contained(turned, tmp_path, capsys):
    page = tmp_path / "page.html"
    typed(capsys, "report", "--folder", turned, "--to", page)
    html = page.read_text()
    assert "emt-world" in html
    assert "stable at" in html
    assert 'src="http' not in html
    assert 'href="http' not in html


def test_export_for_other_programs(turned, tmp_path, capsys):
    typed(capsys, "export", "--folder", turned, "--to", tmp_path, "--which", "verified")
    cifs = sorted(tmp_path.rglob("*.cif"))
    assert cifs
    assert Structure.from_file(cifs[0]).is_ordered
    assert list(tmp_path.rglob("*.parquet"))
    assert list(tmp_path.rglob("*.extxyz")) or list(tmp_path.rglob("*.xyz"))
    assert list(tmp_path.rglob("*.json"))


def test_resume_of_a_finished_campaign_says_so_and_runs_nothing(turned, capsys):
    before = json.loads(typed(capsys, "status", "--folder", turned, "--json"))
    assert "stopping.iterations" in typed(capsys, "resume", "--folder", turned, "--no-prefect")
    after = json.loads(typed(capsys, "status", "--folder", turned, "--json"))
    assert after == before


def test_doctor_finds_weights_and_packages(capsys):
    found = json.loads(typed(capsys, "doctor", "--json"))
    by_name = {finding["name"]: finding for finding in found}
    assert by_name["CHGNet"]["state"] == "ready"
    assert "l3i5" in by_name["SevenNet"]["found"]
    assert all(finding["mend"] for finding in found if finding["state"] != "ready")
