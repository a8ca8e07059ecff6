"""The registry of generators, and what a user reads when a name or an option is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from generators.registry import GENERATORS, load_generator
from loop.errors import GeneratorError


def test_the_training_free_generators_are_registered():
    assert {"random_symmetric", "substitution", "prototypes", "evolution"} <= set(GENERATORS.names())


@pytest.mark.parametrize("name", ["random_symmetric", "substitution", "prototypes", "evolution"])
def test_loads_by_name(name):
    assert load_generator(name, {}).name == name


def test_unknown_name_lists_what_there_is():
    with pytest.raises(
        GeneratorError, match=r"'prototype' is not registered; did you mean 'prototypes'\?.*evolution"
    ):
        load_generator("prototype", {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "prototypes",
            {"exploraton": 0.2},
            "generators.prototypes.options.exploraton: unknown option; did you mean 'exploration'",
        ),
        ("prototypes", {"largest_share": 1.5}, "generators.prototypes.options.largest_share: found 1.5"),
        ("evolution", {"operations": {"heredty": 1}}, "generators.evolution.options.operations.heredty"),
        (
            "evolution",
            {"operations": {"heredity": 0, "mutation": 0, "permutation": 0}},
            "give at least one of them a weight",
        ),
        (
            "random_symmetric",
            {"space_groups": [5, 3]},
            "generators.random_symmetric.options.space_groups: found",
        ),
        ("random_symmetric", {"space_groups": [1, 231]}, "between 0 and 230"),
        ("random_symmetric", {"packing_fraction": [0.5, 1.2]}, "between 0 and 1"),
        ("substitution", {"temperature": 0}, "generators.substitution.options.temperature: found 0"),
        ("substitution", {"aflow": False}, "nothing to start from"),
    ],
)
def test_wrong_options_name_the_field(name, options, message):
    with pytest.raises(GeneratorError, match=re.escape(message)):
        load_generator(name, options)


def test_loading_reads_no_files(tmp_path):
    generator = load_generator("substitution", {"structures": [str(tmp_path / "missing.cif")]})
    assert generator.name == "substitution"


def test_registry_imports_nothing_heavy():
    heavy = ("torch", "pyxtal", "prefect", "botorch")
    code = f"import sys, generators.registry; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_paths_in_options_start_from_the_campaign_files_folder(tmp_path):
    generator = load_generator("substitution", {"structures": ["parents", "/abs/parents"]}, base=tmp_path)
    assert generator.options["structures"] == [str(tmp_path / "parents"), "/abs/parents"]


def test_paths_in_options_may_hold_environment_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("PARENTS_OF_MINE", str(tmp_path))
    generator = load_generator(
        "substitution", {"structures": ["$PARENTS_OF_MINE/a"]}, base=Path("/elsewhere")
    )
    assert generator.options["structures"] == [str(tmp_path / "a")]
    monkeypatch.delenv("PARENTS_OF_MINE")
    with pytest.raises(
        GeneratorError, match=r"generators.substitution.options: .*variable PARENTS_OF_MINE is not"
    ):
        load_generator("substitution", {"structures": ["$PARENTS_OF_MINE/a"]}, base=tmp_path)
