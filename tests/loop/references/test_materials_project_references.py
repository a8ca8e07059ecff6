"""The Materials Project source: its real client against a service on loopback."""

import gzip
import json
import socket
import subprocess
import sys

import pytest

from loop.errors import CampaignFileError, ReferencePhaseError
from loop.references.materials_project import MaterialsProjectReferences
from loop.references.source import ReferenceSource
from tests.loop.references.materials_project_service import DOCUMENTS, KEY, Service, cubic, document, running

pytestmark = pytest.mark.filterwarnings("ignore::mp_api.client.core.exceptions.MPRestWarning")


@pytest.fixture
def service():
    with running(Service()) as running_service:
        yield running_service


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)


def source(tmp_path, service=None, **options):
    given = {"api_key": KEY, "cache": "cache", "pause": 0, **options}
    if service is not None:
        given["endpoint"] = service.endpoint
    return MaterialsProjectReferences(given, base=tmp_path)


def test_gives_the_phases_of_the_system_and_of_those_inside_it(service, tmp_path):
    references = source(tmp_path, service)
    assert isinstance(references, ReferenceSource)
    phases = {p.name: p for p in references.entries(["Ti", "Ni"])}
    assert set(phases) == {"mp-1", "mp-2", "mp-3", "mp-4"}
    assert phases["mp-3"].crystal.space_group_number == 221
    assert phases["mp-3"].crystal.volume_per_atom == pytest.approx(27 / 2)
    assert phases["mp-3"].details == {
        "source_energy_per_atom": -3.0,
        "source_energy_above_hull": 0.0,
        "source_fidelity": "Materials Project GGA/GGA+U/r2SCAN, corrected",
        "theoretical": False,
        "icsd": ["icsd-3"],
        "database_version": "2026.10.01",
    }
    assert phases["mp-4"].details["theoretical"] is True


def test_asks_only_for_what_is_wanted(service, tmp_path):
    source(tmp_path, service, max_energy_above_hull=0.02, max_atoms=7).entries(["Ti", "Ni"])
    [query] = service.queries
    assert query["chemsys"] == "Ni,Ti,Ni-Ti"
    assert float(query["energy_above_hull_max"]) == 0.02
    assert query["nsites_max"] == "7"
    assert query["deprecated"] == "False"
    assert query["batch_id_not_eq"] == "gnome_r2scan_statics"
    assert "theoretical" not in query
    assert set(query["_fields"].split(",")) >= {"structure", "theoretical", "database_IDs"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"max_energy_above_hull": 0.5}, {"mp-1", "mp-2", "mp-3", "mp-4", "mp-5"}),
        ({"max_energy_above_hull": 0.01}, {"mp-1", "mp-2", "mp-3"}),
        ({"max_atoms": 2}, {"mp-1", "mp-2", "mp-3"}),
        ({"include_theoretical": False, "max_energy_above_hull": 1}, {"mp-1", "mp-2", "mp-3"}),
    ],
)
def test_options_narrow_the_search(service, tmp_path, options, names):
    assert {p.name for p in source(tmp_path, service, **options).entries(["Ni", "Ti"])} == names


@pytest.mark.slow
def test_many_pages_are_all_read(tmp_path):
    many = [document(f"mp-{i}", cubic("Ni", a=2.3 + i / 10000)) for i in range(1, 1203)]
    with running(Service(many)) as service:
        phases = source(tmp_path, service).entries(["Ni"])
    assert len({p.name for p in phases}) == 1202
    assert len(service.queries) == 2


def test_an_answer_is_kept_for_a_resume_without_network(service, tmp_path):
    first = source(tmp_path, service).entries(["Ni", "Ti"])
    asked = len(service.queries)
    again = source(tmp_path, service, api_key=None)
    assert [(p.name, p.crystal.key, p.details) for p in again.entries(["Ti", "Ni"])] == [
        (p.name, p.crystal.key, p.details) for p in first
    ]
    assert len(service.queries) == asked
    assert again.describe()["database_versions"] == ["2026.10.01"]
    [kept] = (tmp_path / "cache").iterdir()
    assert kept.name.startswith("Ni-Ti_")
    assert kept.name.endswith("_2026.10.01.json.gz")


def test_other_options_are_another_answer(service, tmp_path):
    source(tmp_path, service).entries(["Ni"])
    source(tmp_path, service, max_atoms=5).entries(["Ni"])
    assert len(service.queries) == 2


def test_refresh_asks_again(tmp_path):
    with running(Service()) as service:
        source(tmp_path, service).entries(["Ni"])
        service.documents.append(document("mp-9", cubic("Ni", a=2.9)))
        assert {p.name for p in source(tmp_path, service).entries(["Ni"])} == {"mp-1"}
        assert {p.name for p in source(tmp_path, service, refresh=True).entries(["Ni"])} == {"mp-1", "mp-9"}


def test_cache_can_be_turned_off(service, tmp_path):
    source(tmp_path, service, cache=None).entries(["Ni"])
    source(tmp_path, service, cache=None).entries(["Ni"])
    assert len(service.queries) == 2
    assert list(tmp_path.iterdir()) == []


def test_key_comes_from_the_environment(service, tmp_path, monkeypatch):
    monkeypatch.setenv("MP_API_KEY", KEY)
    assert source(tmp_path, service, api_key=None).entries(["Ni"])


def test_key_is_never_shown_nor_kept(service, tmp_path):
    references = source(tmp_path, service)
    references.entries(["Ni"])
    assert KEY not in json.dumps(dict(references.describe()))
    assert KEY not in repr(vars(references))
    [kept] = (tmp_path / "cache").iterdir()
    assert KEY.encode() not in gzip.decompress(kept.read_bytes())
    service.failures = [(400 + 22, {"detail": f"bad key {KEY}"})]
    with pytest.raises(ReferencePhaseError) as caught:
        source(tmp_path, service).entries(["Ti"])
    assert KEY not in str(caught.value)


def test_failures_that_pass_are_waited_out(service, tmp_path):
    service.failures = [(500, {"detail": "busy"}), (503, {"detail": "busy"})]
    assert source(tmp_path, service).entries(["Ni"])
    assert len(service.queries) == 3


def test_a_dead_heartbeat_is_waited_out(service, tmp_path):
    service.heartbeat_failures = [502]
    assert source(tmp_path, service).entries(["Ni"])


def test_failures_that_stay_are_given_up_on(service, tmp_path):
    service.failures = [(500, {"detail": "down"})] * 50
    with pytest.raises(ReferencePhaseError, match=r"is failing \(HTTP 500\); resume later \(tried 3 times\)"):
        source(tmp_path, service, attempts=3).entries(["Ni"])
    assert len(service.queries) == 3


def test_wrong_key_is_said_at_once(service, tmp_path):
    with pytest.raises(ReferencePhaseError, match=r"the key was refused \(HTTP 401\); copy it again"):
        source(tmp_path, service, api_key="f" * 32).entries(["Ni"])
    assert len(service.queries) == 1


def test_forbidden_key_is_said_at_once(service, tmp_path):
    service.failures = [(403, {"message": "Forbidden"})] * 50
    with pytest.raises(ReferencePhaseError, match=r"the key was refused \(HTTP 403\)"):
        source(tmp_path, service).entries(["Ni"])


def test_rate_limit_is_named(service, tmp_path):
    service.failures = [(429, {"message": "slow down"})] * 50
    with pytest.raises(
        ReferencePhaseError, match=r"too many requests \(HTTP 429\); wait some minutes and resume"
    ):
        source(tmp_path, service, attempts=2).entries(["Ni"])


def test_question_not_understood(service, tmp_path):
    service.failures = [(422, {"detail": [{"loc": ["query", "chemsys"], "msg": "no such field"}]})] * 9
    with pytest.raises(
        ReferencePhaseError, match=r"does not understand the question \(HTTP 422.*update mp-api"
    ):
        source(tmp_path, service).entries(["Ni"])


def test_answer_that_is_no_document(service, tmp_path):
    service.failures = [(200, {"data": [{"material_id": "mp-1", "structure": 7}], "meta": {"total_doc": 1}})]
    with pytest.raises(ReferencePhaseError, match=r"cannot be read .*update mp-api"):
        source(tmp_path, service).entries(["Ni"])


def test_no_network(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    with pytest.raises(
        ReferencePhaseError, match=r"cannot be reached; check the network, or use .*`prototypes`"
    ):
        source(tmp_path, endpoint=endpoint, attempts=2).entries(["Ni"])


def test_no_key(tmp_path, service):
    with pytest.raises(
        ReferencePhaseError, match=r"no key; set the environment variable MP_API_KEY .*`prototypes`"
    ):
        source(tmp_path, service, api_key=None).entries(["Ni"])
    assert service.queries == []


@pytest.mark.parametrize("place", ["option", "environment"])
def test_cut_key(tmp_path, service, monkeypatch, place):
    monkeypatch.setenv("MP_API_KEY", "abc")
    api_key, name = ("abc", "references.options.api_key") if place == "option" else (None, "MP_API_KEY")
    with pytest.raises(ReferencePhaseError, match=f"{name} has 3 characters, a key 32; copy it whole"):
        source(tmp_path, service, api_key=api_key).entries(["Ni"])


def test_element_without_a_phase(service, tmp_path):
    service.documents = [d for d in DOCUMENTS if d["chemsys"] != "Ti"]
    with pytest.raises(
        ReferencePhaseError, match=r"phases of Ni-Ti but none of Ti; raise references.options.max_atoms"
    ):
        source(tmp_path, service).entries(["Ni", "Ti"])


def test_broken_cache_is_named(service, tmp_path):
    source(tmp_path, service).entries(["Ni"])
    [kept] = (tmp_path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:40])
    with pytest.raises(ReferencePhaseError, match=r"json.gz: this kept answer .* is broken .*; delete it"):
        source(tmp_path, service).entries(["Ni"])


def test_cache_that_cannot_be_written_is_named(service, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(ReferencePhaseError, match=r"cannot be kept there .*references.options.cache"):
        source(tmp_path, service).entries(["Ni"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_energy_above_hull": -0.1},
            "references.options.max_energy_above_hull: found -0.1, expected at least 0",
        ),
        ({"api_kye": "x"}, "references.options: unknown key 'api_kye'; did you mean 'api_key'"),
        ({"attempts": 11}, "references.options.attempts: found 11, expected at most 10"),
    ],
)
def test_wrong_options_are_named(options, message, tmp_path):
    with pytest.raises(CampaignFileError, match=message):
        MaterialsProjectReferences(options, base=tmp_path)


def test_the_client_is_imported_only_when_asked():
    code = "import sys, loop.references.materials_project; print('mp_api' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
