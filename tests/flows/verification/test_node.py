import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import bulk
from monty.json import MontyEncoder

from flows.verification import node
from flows.verification.node import run_request
from flows.verification.request import Request, read_request, read_result, write_request
from loop.crystal import Crystal
from loop.errors import VerificationError
from tests.flows.verification import jobs

COPPER = Crystal.from_atoms(bulk("Cu", "fcc", a=3.61))


def request_for(flow, request_id="request"):
    flow = json.loads(json.dumps(flow, cls=MontyEncoder))
    return Request(request_id=request_id, level="level", crystal=COPPER, identity={"kind": "test"}, flow=flow)


def settle(folder, flow):
    request = request_for(flow)
    write_request(folder, request)
    run_request(folder)
    return read_result(folder, request_digest=request.digest)


def test_answer_becomes_the_result(tmp_path):
    before = Path.cwd()
    result = settle(tmp_path / "r", jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5)))
    assert (result.request_id, result.crystal, result.energy_per_atom) == ("request", COPPER, -1.5)
    assert result.failure is None
    assert result.cost["cpu_seconds"] > 0
    assert Path.cwd() == before


def test_jobs_run_in_a_scratch_folder_that_is_removed(tmp_path):
    result = settle(tmp_path / "r", jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5, litter=3)))
    assert Path(result.properties["where"]).is_relative_to(tmp_path / "r")
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["lock", "request.json", "result.json"]


def test_request_is_read_as_it_was_written(tmp_path):
    request = request_for(jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5)))
    write_request(tmp_path, request)
    assert read_request(tmp_path) == request
    assert read_request(tmp_path).digest == request.digest


def test_failed_job_is_a_result_with_its_reason(tmp_path):
    broken = jobs.broken("no such orbital")
    result = settle(tmp_path, jobs.flow_of(broken, jobs.following(broken.output)))
    assert (result.crystal, result.energy_per_atom) == (None, None)
    assert (result.failure.stage, result.failure.reason) == ("verify", "calculation-error")
    assert result.failure.detail == "level, broken job: ValueError: no such orbital"
    assert result.cost["cpu_seconds"] > 0
    assert "no such orbital" in (tmp_path / "traceback.txt").read_text()


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_answer_that_is_not_finite_is_a_failure(tmp_path, number):
    result = settle(tmp_path, jobs.flow_of(jobs.answer(COPPER.to_dict(), number)))
    assert result.failure.reason == "not-finite"
    assert result.energy_per_atom is None


def test_settled_request_is_not_run_again(tmp_path):
    settle(tmp_path, jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5)))
    before = (tmp_path / "result.json").stat()
    run_request(tmp_path)
    after = (tmp_path / "result.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "of another request"])
def test_result_that_is_not_whole_is_computed_again(tmp_path, damage):
    flow = jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5))
    whole = settle(tmp_path, flow)
    path = tmp_path / "result.json"
    text = path.read_text()
    if damage == "of another request":
        other = request_for(flow, request_id="other")
        write_request(tmp_path / "other", other)
        run_request(tmp_path / "other")
        text = (tmp_path / "other" / "result.json").read_text()
    damaged = {"truncated": text[:-20], "altered": text.replace("-1.5", "-9.5"), "empty": ""}.get(
        damage, text
    )
    path.write_text(damaged)
    digest = read_request(tmp_path).digest
    assert read_result(tmp_path, request_digest=digest) is None
    run_request(tmp_path)
    again = read_result(tmp_path, request_digest=digest)
    assert (again.crystal, again.energy_per_atom) == (whole.crystal, whole.energy_per_atom)


def test_litter_of_a_dead_run_is_removed(tmp_path):
    (tmp_path / "scratch-dead" / "job_1").mkdir(parents=True)
    (tmp_path / "scratch-dead" / "job_1" / "WAVECAR").write_bytes(b"0" * 1000)
    settle(tmp_path, jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5)))
    assert not list(tmp_path.glob("scratch-*"))


@pytest.mark.parametrize("text", [None, "", '{"content": {}'])
def test_folder_without_a_whole_request_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "request.json").write_text(text)
    with pytest.raises(
        VerificationError, match=r"request\.json: missing or not whole; submit the request again"
    ):
        run_request(tmp_path)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(VerificationError, match="no such folder"):
        run_request(tmp_path / "nowhere")


def test_result_of_a_later_version_is_not_overwritten(tmp_path, monkeypatch):
    flow = jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5))
    with monkeypatch.context() as later:
        later.setattr("flows.verification.request.FORMAT", 2)
        settle(tmp_path, flow)
    with pytest.raises(VerificationError, match="format 2, this version of Motherlode reads format 1"):
        run_request(tmp_path)


def test_second_run_waits_for_the_first_and_finds_its_result(tmp_path):
    request = request_for(jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5)))
    write_request(tmp_path, request)
    with node._alone_in(tmp_path):
        process = multiprocessing.get_context("spawn").Process(target=run_request, args=(tmp_path,))
        process.start()
        process.join(timeout=3)
        assert process.is_alive()
        assert not (tmp_path / "result.json").exists()
    process.join(timeout=60)
    assert process.exitcode == 0
    assert read_result(tmp_path, request_digest=request.digest).energy_per_atom == -1.5


def test_full_disk_is_not_taken_for_a_result(tmp_path, monkeypatch):
    def full_disk(handle):
        raise OSError(28, "No space left on device")

    request = request_for(jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5)))
    write_request(tmp_path, request)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            run_request(tmp_path)
    assert read_result(tmp_path, request_digest=request.digest) is None
    run_request(tmp_path)
    assert read_result(tmp_path, request_digest=request.digest).energy_per_atom == -1.5


def test_runs_on_a_machine_that_has_only_the_folder(tmp_path):
    """As a batch system would: another process, another working folder, nothing but the path."""
    request = request_for(jobs.flow_of(jobs.answer(COPPER.to_dict(), -1.5)))
    write_request(tmp_path / "r", request)
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "flows.verification.node"]
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": path},
        "capture_output": True,
        "text": True,
    }
    ran = subprocess.run([*command, "r"], check=False, **options)
    assert ran.returncode == 0, ran.stderr
    assert read_result(tmp_path / "r", request_digest=request.digest).energy_per_atom == -1.5
    lost = subprocess.run([*command, "lost"], check=False, **options)
    assert lost.returncode == os.EX_CONFIG
    assert "no such folder" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_usage():
    assert node.main([]) == os.EX_USAGE
