"""Reference sources by name."""

import pytest

from loop.errors import CampaignFileError, ReferencePhaseError
from loop.references.registry import SOURCES, load_source
from loop.references.source import ReferenceSource
from loop.spec import ReferenceSpec


def plug_in(tmp_path, monkeypatch, *, code, value="plugged:Source"):
    """Install a third party's distribution with one reference source, `plugged`."""
    (tmp_path / "plugged.py").write_text(code)
    metadata = tmp_path / "plugged-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[motherlode.references]\nplugged = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "plugged", raising=False)


def test_three_sources_are_registered():
    assert {"files", "materials_project", "prototypes"} <= set(SOURCES.names())


@pytest.mark.parametrize(
    ("name", "options"), [("prototypes", {}), ("files", {"path": "x.json"}), ("materials_project", {})]
)
def test_each_loads_without_touching_disk_or_network(name, options, tmp_path):
    source = load_source(ReferenceSpec(source=name, options=options), base=tmp_path)
    assert isinstance(source, ReferenceSource)
    assert list(tmp_path.iterdir()) == []


def test_unknown_name_lists_what_there_is_and_the_closest():
    with pytest.raises(
        ReferencePhaseError, match=r"references.source: 'prototype' .* did you mean 'prototypes'\?.*files"
    ):
        load_source(ReferenceSpec(source="prototype"), base=None)


def test_options_of_the_source_are_checked(tmp_path):
    with pytest.raises(CampaignFileError, match=r"references.options.path: give either path"):
        load_source(ReferenceSpec(source="files"), base=tmp_path)


def test_third_parties_plug_in(tmp_path, monkeypatch):
    code = (
        "class Source:\n"
        "    def __init__(self, options, *, base): self.options, self.base = options, base\n"
        "    def entries(self, chemical_system): return []\n"
        "    def describe(self): return dict(self.options)\n"
    )
    plug_in(tmp_path, monkeypatch, code=code)
    source = load_source(ReferenceSpec(source="plugged", options={"depth": 3}), base=tmp_path)
    assert source.describe() == {"depth": 3}
    assert source.base == tmp_path
