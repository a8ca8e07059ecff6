"""Compiling C sources: found again, shared, rebuilt when they change, and errors that say what to do."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loop.errors import PotentialError
from surrogates import native

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def source(folder, value=3):
    path = folder / "three.c"
    path.write_text(f"int three(void) {{ return {value}; }}\n")
    return path


def built(tmp_path):
    return sorted((tmp_path / "cache" / "motherlode" / "native").iterdir())


def test_a_source_is_compiled_once_and_again_when_it_changes(tmp_path):
    assert native.library(source(tmp_path)).three() == 3
    (first,) = built(tmp_path)
    before = first.stat().st_mtime_ns
    native.library.cache_clear()
    assert native.library(source(tmp_path)).three() == 3
    assert [first] == built(tmp_path)
    assert first.stat().st_mtime_ns == before
    native.library.cache_clear()
    assert native.library(source(tmp_path, value=4)).three() == 4
    assert len(built(tmp_path)) == 2


def test_processes_that_compile_at_once_do_not_disturb_one_another(tmp_path):
    script = (
        "import sys; from pathlib import Path; from surrogates.native import library; "
        "print(library(Path(sys.argv[1])).three())"
    )
    command = [sys.executable, "-c", script, str(source(tmp_path))]
    running = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        for _ in range(4)
    ]
    assert [process.communicate()[0].strip() for process in running] == [b"3"] * 4
    assert len(built(tmp_path)) == 1


def test_another_processor_gets_a_library_of_its_own(tmp_path, monkeypatch):
    native.library(source(tmp_path))
    native.library.cache_clear()
    monkeypatch.setattr(native, "_processor", lambda: "another")
    native.library(source(tmp_path))
    assert len(built(tmp_path)) == 2


def test_without_a_compiler_the_error_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert native.compiler() is None
    with pytest.raises(PotentialError, match=r"three\.c cannot be compiled: no C compiler .*apt install gcc"):
        native.library(source(tmp_path))


def test_the_compiler_that_cc_names_is_used_and_its_complaint_shown(tmp_path, monkeypatch):
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'three.c: no such header' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(PotentialError, match=r"broken-cc cannot compile three\.c: .*no such header"):
        native.library(source(tmp_path))
    assert built(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(
        PotentialError, match=r"three\.c cannot be compiled into .*motherlode/native .*XDG_CACHE_HOME"
    ):
        native.library(source(tmp_path))


def test_a_damaged_library_is_compiled_anew(tmp_path):
    native.library(source(tmp_path))
    (library,) = built(tmp_path)
    library.unlink()  # what is loaded stays loaded as long as its file's inode does
    library.write_bytes(b"not a library")
    native.library.cache_clear()
    assert native.library(source(tmp_path)).three() == 3


def test_flags_can_be_given(tmp_path):
    target = tmp_path / "out" / "three.so"
    native.build(source(tmp_path), target, command=native.compiler(), flags=("-O0", "-fPIC", "-shared"))
    assert ctypes.CDLL(str(target)).three() == 3
