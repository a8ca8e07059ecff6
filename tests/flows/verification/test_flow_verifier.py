"""From submission to a settled result, through real workers, with the troubles of real calculations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.optimize import minimize_scalar

from flows.verification.dispatch import Ended, LocalDispatcher
from loop.crystal import Crystal
from loop.errors import PotentialError, VerificationError
from loop.spec import PotentialSpec, RelaxationSpec, Thresholds

COPPER = Crystal.from_atoms(bulk("Cu", "fcc", a=3.7))
SILICON = Crystal.from_atoms(bulk("Si", "diamond", a=5.43))
CALCULATORS = "tests.flows.verification.troubled_calculators"
PATIENCE = 120.0


def settle(verifier, crystal, request_id="r1"):
    verifier.submit(crystal, request_id=request_id)
    (result,) = collect(verifier, 1)
    return result


def collect(verifier, number):
    results, deadline = [], time.monotonic() + PATIENCE
    while len(results) < number:
        assert time.monotonic() < deadline, f"{len(results)} of {number} results after {PATIENCE} s"
        results += verifier.collect()
    return results


def troubled(name, **arguments):
    return PotentialSpec(name="ase", calculator=f"{CALCULATORS}:{name}", arguments=arguments)


class NoDispatcher:
    """Where nothing may be run."""

    def submit(self, folder, *, timeout):
        raise AssertionError(f"{folder} was run again")

    def poll(self, folders, *, wait):
        raise AssertionError("nothing was submitted")

    def close(self):
        pass


class DryDispatcher:
    """Runs nothing: every submission ends at once with what the test says of it."""

    def __init__(self, *, failure=None):
        self.failure, self.submitted = failure, []

    def submit(self, folder, *, timeout):
        self.submitted.append(folder)

    def poll(self, folders, *, wait):
        return [Ended(folder=folder, failure=self.failure, cpu_seconds=1.5) for folder in folders]

    def close(self):
        pass


def equilibrium_of_copper():
    """Energy (eV/atom) and lattice parameter (Å) of face-centred cubic copper by a search over EMT itself."""

    def energy(a):
        atoms = bulk("Cu", "fcc", a=a)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    found = minimize_scalar(energy, bounds=(3.4, 3.8), method="bounded", options={"xatol": 1e-6})
    return found.fun, found.x


def test_relaxed_energy_and_crystal(verifier):
    relaxation = RelaxationSpec(max_force=0.001, max_stress=0.001)
    result = settle(verifier(relaxation=relaxation), COPPER)
    energy, side = equilibrium_of_copper()
    assert result.failure is None
    assert result.energy_per_atom == pytest.approx(energy, abs=1e-6)
    assert (4 * result.crystal.volume_per_atom) ** (1 / 3) == pytest.approx(side, abs=1e-4)
    assert result.crystal.space_group_number == 225
    assert result.properties["largest_stress"] <= 0.001
    assert result.properties["steps"] >= 2


def corrected():
    """ASE's EMT also knows O and N, roughly."""
    return PotentialSpec(name="ase", calculator="ase.calculators.emt:EMT", corrections="mp2020")


def test_corrected_energy_keeps_the_raw_one_beside_it(verifier):
    level = verifier(name="emt+mp2020", potential=corrected())
    result = settle(level, Crystal.from_atoms(bulk("NiO", "rocksalt", a=4.4)))
    atoms = result.crystal.to_atoms()
    atoms.calc = EMT()
    raw = result.properties["uncorrected_energy_per_atom"]
    assert raw == pytest.approx(atoms.get_potential_energy() / 2, abs=1e-6)
    assert result.properties["corrections"] == pytest.approx({"oxide": -0.687 / 2, "Ni+U": -2.541 / 2})
    assert result.energy_per_atom == pytest.approx(raw - (0.687 + 2.541) / 2)
    assert "mp2020 corrections 1, pymatgen-core" in level.identity(COPPER)["code_version"]


def test_undecided_correction_is_a_failure(verifier):
    atoms = bulk("AlN", "rocksalt", a=4.4, cubic=True)
    atoms.symbols[1] = "O"
    result = settle(verifier(name="emt+mp2020", potential=corrected()), Crystal.from_atoms(atoms))
    assert (result.failure.reason, result.energy_per_atom) == ("correction-undecided", None)


def test_level_whose_name_hides_its_corrections_is_refused(verifier):
    with pytest.raises(
        VerificationError, match=r"verification\.emt-tight\.name: .* call it 'emt-tight\+mp2020'"
    ):
        verifier(name="emt-tight", potential=corrected())


def test_cost_is_measured_and_flat_currencies_are_charged(verifier):
    level = verifier(cost={"core_hours": 2.0, "cpu_seconds": 999.0})
    assert level.declared_cost(COPPER) == {"core_hours": 2.0, "cpu_seconds": 999.0}
    cost = settle(level, COPPER).cost
    assert cost["core_hours"] == 2.0
    assert 0 < cost["cpu_seconds"] < 100


def test_several_at_once_each_settle_once(verifier):
    level = verifier()
    metals = {f"r-{m}": Crystal.from_atoms(bulk(m)) for m in ("Ag", "Al", "Au", "Ni", "Pd", "Pt")}
    for request_id, crystal in metals.items():
        level.submit(crystal, request_id=request_id)
        level.submit(crystal, request_id=request_id)
    results = collect(level, len(metals))
    assert sorted(r.request_id for r in results) == sorted(metals)
    assert all(r.crystal.elements == metals[r.request_id].elements for r in results)
    assert level.collect() == []


def test_finished_request_is_adopted_and_nothing_is_run(verifier):
    first = settle(verifier(), COPPER)
    again = verifier(dispatcher=NoDispatcher())
    again.submit(COPPER, request_id="r1")
    assert again.collect() == [first]
    assert again.collect() == []


@pytest.mark.parametrize(
    "damage", ["result truncated", "result removed", "request truncated", "scratch left"]
)
def test_half_written_folder_is_done_again(verifier, tmp_path, damage):
    first = settle(verifier(), COPPER)
    folder = tmp_path / "verification" / "r1"
    if damage in ("result truncated", "request truncated"):
        path = folder / f"{damage.split()[0]}.json"
        path.write_bytes(path.read_bytes()[:100])
    if damage == "scratch left":
        (folder / "scratch-x").mkdir()
    if damage != "result truncated":
        (folder / "result.json").unlink()
    again = settle(verifier(), COPPER)
    assert (again.crystal, again.energy_per_atom) == (first.crystal, first.energy_per_atom)
    assert not list(folder.glob("scratch-*"))


def test_one_id_names_one_calculation(verifier):
    settle(verifier(), COPPER)
    with pytest.raises(
        VerificationError, match=r"holds a request for another crystal \(Cu at emt-potential\)"
    ):
        verifier().submit(SILICON, request_id="r1")
    with pytest.raises(VerificationError, match="holds a request"):
        verifier(options={"max_force": 0.01}).submit(COPPER, request_id="r1")


@pytest.mark.parametrize("request_id", ["", "../r1", "a/b", ".hidden", "x" * 200, "a b"])
def test_id_that_cannot_name_a_folder_is_refused(verifier, request_id):
    with pytest.raises(VerificationError, match="request id"):
        verifier(dispatcher=NoDispatcher()).submit(COPPER, request_id=request_id)


@pytest.mark.parametrize(
    ("crystal", "level", "reason", "detail"),
    [
        (SILICON, {}, "unknown-element", "emt-potential, relaxation: emt does not know Si"),
        (COPPER, {"options": {"max_steps": 2, "max_stress": 1e-6}}, "not-converged", "largest stress"),
        (COPPER, {"potential": troubled("NotFinite")}, "not-finite", "not finite"),
        (
            COPPER,
            {"potential": troubled("Raising")},
            "refused",
            "convergence NOT achieved after 100",
        ),
        (COPPER, {"verifier": "phonons", "options": {"max_atoms": 20}}, "too-large", "max_atoms is 20"),
    ],
    ids=["unknown element", "not converged", "not finite", "calculator raises", "too large"],
)
def test_failed_calculation_is_a_result_that_is_charged(verifier, crystal, level, reason, detail):
    result = settle(verifier(**level), crystal)
    assert (result.failure.stage, result.failure.reason) == ("verify", reason)
    assert detail in result.failure.detail
    assert (result.crystal, result.energy_per_atom) == (None, None)
    assert result.cost["cpu_seconds"] > 0
    again = verifier(**level, dispatcher=NoDispatcher())
    again.submit(crystal, request_id="r1")
    assert again.collect() == [result]


def test_unusable_potential_stops_the_campaign_instead_of_failing_crystals(verifier):
    with pytest.raises(PotentialError, match="no_such_package"):
        verifier(potential=PotentialSpec(name="ase", calculator="no_such_package:Calculator")).submit(
            COPPER, request_id="r1"
        )


def test_run_that_leaves_nothing_is_repeated_once(verifier):
    dry = DryDispatcher()
    level = verifier(dispatcher=dry)
    level.submit(COPPER, request_id="r1")
    assert level.collect() == []
    (result,) = level.collect()
    assert (result.failure.reason, len(dry.submitted)) == ("no-result", 2)
    assert result.cost["cpu_seconds"] == 1.5
    assert level.collect() == []


@pytest.mark.slow
def test_calculation_over_time_is_ended_and_not_run_again(verifier, tmp_path):
    with_pool = LocalDispatcher(workers=1)
    level = {
        "potential": troubled("Sleeping", log=str(tmp_path / "log"), seconds=60.0),
        "options": {"timeout": 12.0},
    }
    result = settle(verifier(dispatcher=with_pool, **level), COPPER)
    with_pool.close()
    assert result.failure.reason == "timeout"
    assert 5 < result.cost["cpu_seconds"] < 30
    again = verifier(dispatcher=NoDispatcher(), **level)
    again.submit(COPPER, request_id="r1")
    assert again.collect() == [result]


@pytest.mark.slow
def test_dead_worker_is_a_failure_and_the_next_calculation_runs(verifier, tmp_path):
    with_pool = LocalDispatcher(workers=1)
    dying = verifier(
        dispatcher=with_pool, potential=troubled("Dying", log=str(tmp_path / "log")), name="dying"
    )
    result = settle(dying, COPPER)
    assert result.failure.reason == "worker-died"
    assert result.cost["cpu_seconds"] > 0
    assert settle(verifier(dispatcher=with_pool), COPPER, request_id="r2").failure is None
    with_pool.close()


DRIVER = """
import sys
from pathlib import Path
from ase.build import bulk
from flows.verification.dispatch import LocalDispatcher
from flows.verification.registry import load_verifier
from loop.crystal import Crystal
from loop.spec import *

folder = Path(sys.argv[1])
arguments = {"log": str(folder / "log"), "seconds": 0.5}
calculator = "tests.flows.verification.troubled_calculators:Sleeping"
potential = PotentialSpec(name="ase", calculator=calculator, arguments=arguments)
verifier = load_verifier(
    VerificationLevel(name="slow", verifier="potential", potential=potential),
    thresholds=Thresholds(),
    relaxation=RelaxationSpec(),
    folder=folder,
    base=folder,
    dispatcher=LocalDispatcher(),
)
verifier.submit(Crystal.from_atoms(bulk("Cu", "fcc", a=3.7)), request_id="r1")
results = []
while not results:
    results = verifier.collect()
print(results[0].energy_per_atom)
"""


@pytest.mark.slow
def test_driver_killed_in_the_middle_and_started_again(tmp_path):
    path = os.pathsep.join(filter(None, sys.path))
    options = {"env": {**os.environ, "PYTHONPATH": path}, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    log, folder = tmp_path / "log", tmp_path / "verification" / "r1"

    with subprocess.Popen(command, **options) as driver:
        deadline = time.monotonic() + PATIENCE
        while not log.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        driver.send_signal(signal.SIGKILL)
    time.sleep(1.5)
    calculations = log.read_text().count("\n")
    time.sleep(1.5)
    assert log.read_text().count("\n") == calculations, "its worker lives on"
    assert not (folder / "result.json").exists()

    energy, _ = equilibrium_of_copper()
    finished = subprocess.run(command, check=True, **options)
    assert float(finished.stdout) == pytest.approx(energy, abs=1e-3)
    assert not list(folder.glob("scratch-*"))
    calculations = log.read_text().count("\n")
    adopted = subprocess.run(command, check=True, **options)
    assert adopted.stdout == finished.stdout
    assert log.read_text().count("\n") == calculations, "what was settled was computed again"


def test_identity_is_json_and_tells_levels_apart(verifier):
    one, same = verifier(), verifier()
    assert json.loads(json.dumps(one.identity(COPPER))) == one.identity(COPPER) == same.identity(SILICON)
    assert one.identity(COPPER)["kind"] == "verification"
    assert one.identity(COPPER)["fidelity"] == "emt-potential"
    assert "EMT" in one.identity(COPPER)["code_version"]
    others = [
        verifier(name="other"),
        verifier(options={"max_force": 0.01}),
        verifier(options={"fix_symmetry": True}),
        verifier(relaxation=RelaxationSpec(max_stress=0.1)),
        verifier(potential=PotentialSpec(name="lennard_jones")),
        verifier("phonons"),
        verifier("phonons", thresholds=Thresholds(phonon_frequency=-0.5)),
    ]
    identities = [json.dumps(v.identity(COPPER), sort_keys=True) for v in (one, *others)]
    assert len(set(identities)) == len(identities)


def test_time_limits_decide_no_result(verifier):
    assert verifier(options={"timeout": 5.0}).identity(COPPER) == verifier().identity(COPPER)
    assert verifier("phonons", options={"timeout": 5.0}).identity(COPPER) == verifier("phonons").identity(
        COPPER
    )


def test_making_a_verifier_touches_nothing(verifier, tmp_path):
    verifier(dispatcher=LocalDispatcher(), folder=tmp_path / "campaign").declared_cost(COPPER)
    assert list(tmp_path.iterdir()) == []


def test_importing_verifiers_is_light():
    modules = " ".join(f"flows.verification.{m}" for m in ("registry", "potential", "phonons", "node"))
    heavy = "{'torch', 'atomate2', 'jobflow', 'phonopy', 'sevenn', 'chgnet', 'matgl', 'prefect'}"
    code = f"import sys; [__import__(m) for m in '{modules}'.split()]; print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
