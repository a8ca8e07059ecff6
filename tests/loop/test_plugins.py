"""Parts by name, brought by other packages."""

import sys
from typing import Protocol, runtime_checkable

import pytest

from loop.errors import GeneratorError
from loop.plugins import PluginKind


@runtime_checkable
class Greeter(Protocol):
    def greet(self) -> str: ...


GREETERS = PluginKind(group="motherlode.greeters", seam=Greeter, error=GeneratorError)


def plug_in(tmp_path, monkeypatch, *, code, value="plugged:Polite"):
    """Install a third party's distribution with one greeter, `plugged`."""
    (tmp_path / "plugged.py").write_text(code)
    metadata = tmp_path / "plugged-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[motherlode.greeters]\nplugged = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "plugged", raising=False)


POLITE = """
class Polite:
    def __init__(self, name, *, tone): self.name, self.tone = name, tone
    def greet(self): return f"{self.tone} {self.name}"
"""


def test_a_part_is_made_with_its_arguments(tmp_path, monkeypatch):
    plug_in(tmp_path, monkeypatch, code=POLITE)
    assert GREETERS.names() == ["plugged"]
    assert GREETERS.make("plugged", "world", field="greeter", tone="hello").greet() == "hello world"
    assert GREETERS.factory("plugged", field="greeter").__name__ == "Polite"


def test_a_misspelt_name_is_answered_with_the_closest_and_all(tmp_path, monkeypatch):
    plug_in(tmp_path, monkeypatch, code=POLITE)
    message = r"^greeter: 'pluged' is not registered; did you mean 'plugged'\? \(registered: plugged\)$"
    with pytest.raises(GeneratorError, match=message):
        GREETERS.make("pluged", field="greeter")


def test_an_installation_without_entry_points_says_so():
    with pytest.raises(
        GeneratorError, match=r"^greeter: nothing is registered as 'motherlode.greeters'; reinstall"
    ):
        GREETERS.make("plugged", field="greeter")


@pytest.mark.parametrize(
    ("code", "value", "message"),
    [
        (
            "class Polite:\n    pass\n",
            "plugged:Polite",
            r"'plugged:Polite', which made a Polite that lacks part of .*\.Greeter",
        ),
        ("", "plugged:Missing", r"'plugged:Missing', which cannot be imported .*; install or mend"),
        ("import no_such_package\n", "plugged:Polite", "no_such_package"),
    ],
)
def test_a_broken_part_is_named(tmp_path, monkeypatch, code, value, message):
    plug_in(tmp_path, monkeypatch, code=code, value=value)
    with pytest.raises(GeneratorError, match=f"^greeter: .*{message}"):
        GREETERS.make("plugged", field="greeter")
