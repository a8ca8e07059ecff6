"""Corrected energies through the whole loop: screening, reference phases, verification, each beside its raw energy."""

from __future__ import annotations

import pytest

from flows.campaign import Campaign
from flows.turning import run
from loop.crystal import Crystal
from surrogates.corrections import correction_of
from tests.flows.worlds import EMT, emt_spec

pytestmark = pytest.mark.slow

# ASE's EMT also knows N and O, roughly: enough to see corrections of a settled energy, in seconds.
POTENTIAL = {"name": "ase", "calculator": "ase.calculators.emt:EMT", "corrections": "mp2020"}
WORLD = {
    "space": {"chemical_systems": ["Al-Ni-N"], "number_of_elements": [2, 3], "atoms": [2, 6]},
    "potential": POTENTIAL,
    "generators": [{"name": "prototypes", "weight": 1}],
    "acquisition": {"policy": "greedy", "window": 5.0},
    "batch": {"proposals": 6, "verifications": 2},
    "stopping": {"iterations": 1},
}


def level(name):
    options = {"max_force": 0.05, "max_stress": 0.5}
    return {
        "name": name,
        "verifier": "potential",
        "potential": POTENTIAL,
        "reference_window": 5.0,
        "options": options,
    }


@pytest.fixture(scope="module")
def calculations(tmp_path_factory):
    """Every settled calculation of one iteration with its relaxed crystal, and the verdicts' fidelities."""
    spec = emt_spec(**WORLD, verification=[level("emt-tight+mp2020")])
    with Campaign.open(spec, folder=tmp_path_factory.mktemp("corrected"), base=EMT.parent) as campaign:
        run(campaign)
        state = campaign.state
        done = [c for c in state.calculations.values() if c.outcome == "done"]
        verdicts = {v.fidelity for v in state.verdicts_in_force.values()}
        return [(c, state.crystals[c.result_crystal_key]) for c in done], verdicts


def test_every_energy_is_raw_plus_correction(calculations):
    settled, _ = calculations
    for calculation, crystal in settled:
        result = calculation.result
        expected = correction_of(crystal, "mp2020")
        assert result["corrections"] == pytest.approx(dict(expected.parts))
        assert calculation.energy_per_atom == pytest.approx(
            result["uncorrected_energy_per_atom"] + expected.energy_per_atom, abs=1e-12
        )


def test_candidates_and_references_are_corrected_at_every_fidelity(calculations):
    settled, verdicts = calculations
    corrected = {(c.kind, bool(c.result["corrections"])) for c, _ in settled}
    assert corrected >= {
        ("relaxation", True),
        ("relaxation", False),
        ("verification", True),
        ("verification", False),
    }
    assert {c.fidelity for c, _ in settled} == verdicts == {"emt+mp2020", "emt-tight+mp2020"}
    assert all("mp2020 corrections 1, pymatgen-core" in str((c.code_version, c.settings)) for c, _ in settled)


def test_elements_stay_as_they_are(calculations):
    elements = [(c, crystal) for c, crystal in calculations[0] if len(crystal.elements) == 1]
    assert {crystal.chemical_system for _, crystal in elements} == {"Al", "N", "Ni"}
    assert all(isinstance(crystal, Crystal) and c.result["corrections"] == {} for c, crystal in elements)
