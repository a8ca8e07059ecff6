"""What worker processes are asked to do, in this process and through the pool."""

import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from loop.crystal import Crystal
from loop.errors import PotentialError
from loop.records import Failure
from loop.spec import PotentialSpec, RelaxationSpec, as_json
from surrogates.registry import load_potential
from surrogates.relaxation import Relaxation, relax
from surrogates.tasks import describe_potential, outcome_from_dict, relax_task, relaxation_identity
from surrogates.workers import WorkerPool

LENNARD_JONES = PotentialSpec(name="lennard_jones")
# ASE's EMT has parameters for N and O, "just for fun": enough to see what is added to a settled energy.
CORRECTED = PotentialSpec(name="ase", calculator="ase.calculators.emt:EMT", corrections="mp2020")
SETTINGS = RelaxationSpec()
COMPOUND = Crystal.from_atoms(bulk("AlNi", "cesiumchloride", a=3.1))
OVERLAPPING = Crystal.from_atoms(bulk("Cu", "sc", a=1.2))


def ask(crystal, potential=LENNARD_JONES):
    (values,) = ask_together([crystal], potential)
    return values


def ask_together(crystals, potential=LENNARD_JONES):
    given = [crystal.to_dict() for crystal in crystals]
    return relax_task(as_json(potential), as_json(SETTINGS), given, str(Path.cwd()))


def test_the_task_is_the_relaxation_in_json():
    values = ask(COMPOUND)
    assert json.loads(json.dumps(values)) == values
    (direct,) = relax([COMPOUND], load_potential(LENNARD_JONES, base=Path.cwd()), SETTINGS)
    assert isinstance(direct, Relaxation)
    assert outcome_from_dict(values) == direct


def test_a_failure_travels_as_one():
    outcome = outcome_from_dict(json.loads(json.dumps(ask(OVERLAPPING))))
    assert isinstance(outcome, Failure)
    assert (outcome.stage, outcome.reason) == ("relaxation", "overlap")


def test_work_is_shared_out_by_atoms_and_evaluations():
    easy, hard = (Crystal.from_atoms(bulk("AlNi", "cesiumchloride", a=a)) for a in (2.8, 3.4))
    answers = ask_together([easy, OVERLAPPING, hard])
    assert sum(answer["share"] for answer in answers) == pytest.approx(1)
    assert outcome_from_dict(answers[1]).reason == "overlap"
    assert answers[1]["share"] < 0.1 < answers[0]["share"]
    steps = [outcome_from_dict(answers[i]).steps for i in (0, 2)]
    assert answers[0]["share"] / answers[2]["share"] == pytest.approx(steps[0] / steps[1])


def test_a_potential_that_cannot_be_used_is_raised():
    with pytest.raises(PotentialError, match="7net-nothing"):
        ask(COMPOUND, PotentialSpec(name="sevennet", model="7net-nothing"))


def test_workers_give_bit_for_bit_what_this_process_gives():
    crystals = {
        f"c{i}": Crystal.from_atoms(bulk("AlNi", "cesiumchloride", a=2.8 + 0.05 * i)) for i in range(6)
    }
    with WorkerPool(2) as pool:
        for task_id, crystal in crystals.items():
            arguments = (as_json(LENNARD_JONES), as_json(SETTINGS), [crystal.to_dict()], str(Path.cwd()))
            pool.submit(task_id, relax_task, *arguments, timeout=120)
        found = {}
        while len(found) < len(crystals):
            found |= {completed.task_id: completed for completed in pool.completed(wait=60)}
    for task_id, crystal in crystals.items():
        assert found[task_id].failure is None
        assert found[task_id].value == [ask(crystal)]
        assert found[task_id].cpu_seconds > 0


def test_missing_weights_reach_the_driver_as_the_users_to_mend(tmp_path):
    missing = PotentialSpec(name="sevennet", model="weights.pth")
    with WorkerPool(1) as pool:
        pool.submit(
            "c",
            relax_task,
            as_json(missing),
            as_json(SETTINGS),
            [COMPOUND.to_dict()],
            str(tmp_path),
            timeout=120,
        )
        with pytest.raises(PotentialError, match=r"weights\.pth"):
            pool.completed(wait=120)


def test_identity_holds_what_decides_and_not_what_does_not():
    description = describe_potential(LENNARD_JONES, Path.cwd())
    identity = relaxation_identity(description, SETTINGS)
    assert json.loads(json.dumps(identity)) == identity
    assert identity == relaxation_identity(description, RelaxationSpec(timeout=1.0))
    for other in (
        RelaxationSpec(max_force=0.1),
        RelaxationSpec(max_stress=1.0),
        RelaxationSpec(max_steps=10),
    ):
        assert identity != relaxation_identity(description, other)
    mixed = describe_potential(PotentialSpec(name="lennard_jones", arguments={"mixing": 0.3}), Path.cwd())
    assert identity != relaxation_identity(mixed, SETTINGS)
    assert identity["code_version"] >= 1


def test_a_corrected_energy_keeps_the_raw_one_and_the_parts_beside_it():
    values = ask(Crystal.from_atoms(bulk("NiO", "rocksalt", a=4.4)), CORRECTED)
    raw = ask(
        Crystal.from_atoms(bulk("NiO", "rocksalt", a=4.4)),
        CORRECTED.model_copy(update={"corrections": "none"}),
    )
    relaxed = outcome_from_dict(values)
    atoms = relaxed.crystal.to_atoms()
    atoms.calc = EMT()
    assert values["uncorrected_energy_per_atom"] == raw["energy_per_atom"]
    assert raw["energy_per_atom"] == pytest.approx(atoms.get_potential_energy() / len(atoms), abs=1e-5)
    assert values["corrections"] == pytest.approx({"oxide": -0.687 / 2, "Ni+U": -2.541 / 2})
    assert relaxed.energy_per_atom == pytest.approx(raw["energy_per_atom"] - (0.687 + 2.541) / 2)
    gained = values["starting_energy_per_atom"] - values["energy_per_atom"]
    assert gained == pytest.approx(raw["starting_energy_per_atom"] - raw["energy_per_atom"])
    assert "corrections" not in raw


def test_a_correction_that_cannot_be_decided_is_a_failure():
    atoms = bulk("AlN", "rocksalt", a=4.4, cubic=True)
    atoms.symbols[1] = "O"
    outcome = outcome_from_dict(ask(Crystal.from_atoms(atoms), CORRECTED))
    assert isinstance(outcome, Failure)
    assert (outcome.stage, outcome.reason) == ("relaxation", "correction-undecided")
    assert "whether to correct N beside O" in outcome.detail


def test_corrections_are_part_of_the_identity():
    raw, corrected = (
        relaxation_identity(
            describe_potential(CORRECTED.model_copy(update={"corrections": scheme}), Path.cwd()), SETTINGS
        )
        for scheme in ("none", "mp2020")
    )
    assert (raw["fidelity"], corrected["fidelity"]) == ("emt", "emt+mp2020")
    assert "mp2020 corrections 1, pymatgen-core" in corrected["potential_version"]
    assert "mp2020" not in raw["potential_version"]
