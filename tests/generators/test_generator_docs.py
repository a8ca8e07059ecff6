"""The plug-in of docs/generators.md works as printed, and every option is on the page."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from generators.registry import GENERATORS, load_generator
from loop.errors import GeneratorError
from loop.spec import GeneratorSpec
from tests.conformance.generator import GeneratorConformance

PAGE = (Path(__file__).parents[2] / "docs" / "generators.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The example as a package that is installed: its module, and the metadata that pip would write."""
    place = tmp_path_factory.mktemp("site")
    (place / "my_package").mkdir()
    (place / "my_package" / "__init__.py").write_text("")
    (place / "my_package" / "layers.py").write_text(blocks("python")[0], encoding="utf-8")
    metadata = place / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    group, line = re.search(r"entry-points\.\"(.+)\"\]\n(.*)", blocks("toml")[0]).groups()
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    yield place
    sys.path.remove(str(place))
    for name in ("my_package.layers", "my_package"):
        sys.modules.pop(name, None)


class TestTheExample(GeneratorConformance):
    @pytest.fixture
    def generator(self, package):
        return load_generator("layers", {})


def test_it_is_short():
    assert len(blocks("python")[0].splitlines()) < 60


def test_it_is_registered_and_its_options_are_checked(package):
    assert "layers" in GENERATORS.names()
    with pytest.raises(
        GeneratorError, match=r"generators\.layers\.options\.trys: unknown option; did you mean 'tries'"
    ):
        load_generator("layers", {"trys": 5})


def test_its_layers_are_close_packed(package):
    """Away from the seam of the stack every atom has twelve neighbours, all at one distance."""
    from my_package.layers import stack

    structure = stack(["Ni"] * 8, np.random.default_rng(0))
    for index in range(2, 6):
        assert len(structure.get_neighbors(structure[index], 1.001)) == 12
        assert len(structure.get_neighbors(structure[index], 0.999)) == 0


def test_the_campaign_file_on_the_page_is_valid():
    for entry in yaml.safe_load(blocks("yaml")[0])["generators"]:
        spec = GeneratorSpec.model_validate(entry)
        assert load_generator(spec.name, spec.options).name == spec.name


@pytest.mark.parametrize("name", ["prototypes", "substitution", "random_symmetric", "evolution"])
def test_every_option_is_on_the_page_with_its_default(name):
    section = re.search(rf"^## {name}\n(.*?)^## ", PAGE, flags=re.MULTILINE | re.DOTALL)[1]
    for field, value in load_generator(name, {}).settings.model_dump(mode="json").items():
        row = next(
            (line for line in section.splitlines() if line.startswith("|") and f"`{field}`" in line), None
        )
        assert row, f"{field} is missing"
        shown = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
        if field == "operations":
            assert all(f"{key} {weight:g}" in row for key, weight in value.items())
        elif value == []:
            assert "none" in row
        else:
            assert str(shown) in row
