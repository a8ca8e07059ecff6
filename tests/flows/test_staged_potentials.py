"""CHGNet's survivors screened again by corrected SevenNet-0, on oxides of lithium and iron."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from flows.campaign import Campaign
from flows.turning import run
from loop.spec import CampaignSpec
from surrogates.corrections import correction_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "MOTHERLODE_DATA" not in os.environ, reason="MOTHERLODE_DATA names no folder of real entries"
    ),
]
PHASES = {"mp-51", "mp-13", "mp-12957", "mp-1960", "mp-715262", "mp-19770"}
"""Li, Fe, O2, Li2O, FeO and Fe2O3 of the Materials Project."""
FIRST, SECOND = "chgnet-0.3.0", "sevennet-0+mp2020"
POTENTIAL = {"name": "sevennet", "model": "7net-0", "corrections": "mp2020"}
CAMPAIGN = {
    "name": "staged-oxides",
    "space": {
        "chemical_systems": ["Fe-Li-O"],
        "number_of_elements": [3, 3],
        "atoms": [4, 6],
        "charge_neutral": True,
    },
    "generators": [{"name": "prototypes"}],
    "screening": {"early_rejection": None, "stages": [{"potential": POTENTIAL, "admits_within": 0.4}]},
    "relaxation": {"max_force": 0.1, "max_stress": 1.0, "symmetry": "free"},
    "references": {"source": "files", "options": {"path": "phases.json"}},
    "acquisition": {"policy": "greedy", "audit_fraction": 0.0},
    "verification": [{"name": "sevennet-0-again+mp2020", "potential": POTENTIAL, "reference_window": 0.0}],
    "batch": {"proposals": 8, "verifications": 1},
    "stopping": {"iterations": 1},
    "execution": {"cache": None},
    "seed": 2,
}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oxides")
    file = Path(os.environ["MOTHERLODE_DATA"]) / "hull" / "Li-Fe-O_375.json.gz"
    entries = [e for e in json.loads(gzip.decompress(file.read_bytes())) if e["entry_id"] in PHASES]
    (folder / "phases.json").write_text(json.dumps(entries))
    spec = CampaignSpec.model_validate(CAMPAIGN)
    with Campaign.open(spec, folder=folder / "campaign", base=folder) as campaign:
        run(campaign)
        return campaign.state


def test_survivors_are_judged_at_the_corrected_fidelity(state):
    survivors = {v.candidate_id for v in state.verdicts_at(FIRST) if v.energy_above_hull <= 0.4}
    judged = {v.candidate_id for v in state.verdicts_at(SECOND)}
    assert len(judged) > 2
    assert judged <= survivors
    assert len(survivors) < len(state.verdicts_at(FIRST))
    assert {fidelity for _, fidelity in state.verdicts_in_force} >= {FIRST, SECOND}


def test_candidates_and_reference_phases_are_corrected_alike(state):
    calculations = {**state.reference_calculations(SECOND), **state.judged(SECOND)}
    for calculation in calculations.values():
        crystal = state.crystals[calculation.result_crystal_key]
        correction = correction_of(crystal, "mp2020")
        raw = calculation.result["uncorrected_energy_per_atom"]
        assert calculation.energy_per_atom == pytest.approx(raw + correction.energy_per_atom, abs=1e-9)
        assert bool(calculation.result["corrections"]) == (
            "O" in crystal.elements and len(crystal.elements) > 1
        )


def test_the_corrected_second_stage_agrees_with_chgnet_as_its_training_data_do(state):
    """CHGNet learned corrected energies; SevenNet's own lie higher by the correction, some 0.9 eV/atom here."""
    for verdict in state.verdicts_at(SECOND):
        before = state.verdict(verdict.candidate_id, FIRST)
        corrections = state.calculations[verdict.calculation_key].result["corrections"]
        assert sum(corrections.values()) < -0.8
        assert verdict.formation_energy == pytest.approx(before.formation_energy, abs=0.25)
