"""Loading by name, and every wrong way to ask."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
from pathlib import Path

import pytest

from loop.errors import PotentialError
from loop.spec import PotentialSpec
from surrogates.potentials import matgl_hub
from surrogates.registry import PotentialDescription, describe_potential, load_potential


def loaded(base=None, **fields):
    return load_potential(PotentialSpec(**fields), base=base or Path.cwd())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": "chgnett"}, r"potential name: 'chgnett' is not registered; did you mean 'chgnet'\?"),
        ({"name": "chgnet", "model": "0.3"}, r"model '0\.3' is not in its wheel; did you mean '0\.3\.0'"),
        ({"name": "chgnet", "calculator": "a.b:C"}, "calculator is 'a.b:C', but this potential takes none"),
        ({"name": "chgnet", "arguments": {"device": "cuda"}}, "argument 'device' is not understood"),
        ({"name": "sevennet", "model": "7net-l3i55"}, "did you mean '7net-l3i5'"),
        ({"name": "sevennet", "model": "7net-omni"}, "downloaded from the SevenNet releases by you"),
        ({"name": "sevennet", "arguments": {"model": "PBE"}}, r"argument 'model' .*did you mean 'modal'"),
        ({"name": "sevennet", "model": "7net-0", "arguments": {"modal": "PBE"}}, "has one fidelity"),
        (
            {"name": "sevennet", "model": "7net-mf-0"},
            "7net-mf-0 takes one of PBE, R2SCAN",
        ),
        ({"name": "sevennet", "model": "7net-mf-0", "arguments": {"modal": "B3LYP"}}, "'B3LYP'"),
        ({"name": "matgl"}, "model is missing"),
        ({"name": "matgl", "model": "no/such/folder/at/all"}, "not a folder .* and not a hub name either"),
        ({"name": "ase"}, "calculator is missing"),
        ({"name": "ase", "calculator": "ase.calculators.emt"}, "not an import path"),
        ({"name": "ase", "calculator": "no_such_package.calc:X"}, "no_such_package"),
        ({"name": "ase", "calculator": "ase.calculators.emt:ETM"}, r"no 'ETM'; did you mean 'EMT'\?"),
        ({"name": "ase", "calculator": "ase.calculators.emt:beta"}, "is a float, not a class or function"),
        ({"name": "ase", "calculator": "ase.build:bulk", "arguments": {"nam": "Cu"}}, "cannot be built with"),
        ({"name": "ase", "calculator": "ase.build:bulk", "arguments": {"name": "Cu"}}, "gives a Atoms"),
        ({"name": "ase", "calculator": "ase.calculators.tip3p:TIP3P"}, "computes no stress"),
        ({"name": "emt", "model": "x"}, "model is 'x', but this potential takes none"),
        ({"name": "lennard_jones", "model": "x"}, "model is 'x'"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_wrong_requests_are_refused_in_words(fields, named):
    with pytest.raises(PotentialError, match=named):
        loaded(**fields)


@pytest.mark.parametrize(
    ("fields", "fidelity"),
    [
        ({"name": "chgnet"}, "chgnet-0.3.0"),
        ({"name": "chgnet", "model": "r2scan"}, "chgnet-r2scan"),
        ({"name": "sevennet"}, "sevennet-0"),
        ({"name": "sevennet", "model": "7net-l3i5"}, "sevennet-l3i5"),
        ({"name": "sevennet", "model": "SevenNet-l3i5"}, "sevennet-l3i5"),
        ({"name": "sevennet", "model": "7net-mf-0", "arguments": {"modal": "pbe"}}, "sevennet-mf-0-pbe"),
        ({"name": "emt"}, "emt"),
        ({"name": "ase", "calculator": "ase.calculators.emt:EMT"}, "emt"),
        ({"name": "lennard_jones"}, "lennard-jones"),
    ],
)
def test_fidelities_have_their_names(fields, fidelity):
    description = describe_potential(PotentialSpec(**fields), Path.cwd())
    assert isinstance(description, PotentialDescription)
    assert description.fidelity == fidelity


def test_versions_tell_weights_and_arguments_apart():
    versions = {
        describe_potential(PotentialSpec(**fields), Path.cwd()).version
        for fields in (
            {"name": "chgnet"},
            {"name": "chgnet", "model": "0.2.0"},
            {"name": "sevennet"},
            {"name": "sevennet", "model": "7net-0_22may2024"},
            {"name": "ase", "calculator": "ase.calculators.lj:LennardJones"},
            {"name": "ase", "calculator": "ase.calculators.lj:LennardJones", "arguments": {"sigma": 2.0}},
            {"name": "lennard_jones"},
            {"name": "lennard_jones", "arguments": {"mixing": 0.2}},
        )
    }
    assert len(versions) == 8


def test_describing_loads_no_model():
    code = """
import sys
from pathlib import Path
from loop.spec import PotentialSpec
from surrogates.registry import describe_potential
for name in ("chgnet", "sevennet", "emt", "lennard_jones"):
    describe_potential(PotentialSpec(name=name), Path.cwd())
print(sorted({"torch", "chgnet", "sevenn", "matgl", "e3nn"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def model_folder(path, *, kind="Potential", elements=("Mg", "O")):
    path.mkdir()
    description = {"@class": kind, "kwargs": {"model": {"init_args": {"element_types": list(elements)}}}}
    (path / "model.json").write_text(json.dumps(description))
    for file in ("model.pt", "state.pt"):
        (path / file).write_bytes(b"not a model")
    return path


def test_a_matgl_folder_is_found_from_the_base_and_named_by_itself(tmp_path):
    model_folder(tmp_path / "My-Model-PES")
    potential = loaded(tmp_path, name="matgl", model="My-Model-PES")
    assert potential.fidelity == "my-model"
    assert potential.elements == {"Mg", "O"}


def test_a_matgl_folder_that_lacks_a_file_says_which(tmp_path):
    (model_folder(tmp_path / "model") / "state.pt").unlink()
    with pytest.raises(PotentialError, match=r"lacks state\.pt"):
        loaded(tmp_path, name="matgl", model="model")


def test_a_property_model_is_not_taken_for_a_potential(tmp_path):
    model_folder(tmp_path / "model", kind="MEGNet")
    with pytest.raises(PotentialError, match="is a MEGNet, which predicts a property"):
        loaded(tmp_path, name="matgl", model="model")


def test_a_corrupt_description_is_named(tmp_path):
    (model_folder(tmp_path / "model") / "model.json").write_text("{")
    with pytest.raises(PotentialError, match=r"model\.json is not a matgl model description"):
        loaded(tmp_path, name="matgl", model="model")


@pytest.fixture
def empty_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


@pytest.mark.usefixtures("empty_hub_cache")
def test_a_hub_model_offline_by_choice_is_refused_at_once(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    started = time.monotonic()
    with pytest.raises(
        PotentialError, match=r"HF_HUB_OFFLINE forbids the hub; download model\.pt.*TensorNet-X"
    ):
        loaded(name="matgl", model="TensorNet-X")
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("empty_hub_cache")
def test_a_hub_out_of_reach_is_refused_soon(monkeypatch):
    from huggingface_hub import constants

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(PotentialError, match=rf"the hub http://127.0.0.1:{port} cannot be reached; download"):
        loaded(name="matgl", model="materialyze/TensorNet-X")
    assert time.monotonic() - started < matgl_hub.PROBE_SECONDS + 5


def test_a_hub_that_answers_with_an_error_is_reached(monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 405, "no HEAD here", {}, None)

    monkeypatch.setattr(matgl_hub.urllib.request, "urlopen", refuse)
    assert matgl_hub._answers("https://hub.invalid")


@pytest.mark.slow
def test_weights_that_load_but_are_wrong_are_caught(tmp_path):
    import os

    data = os.environ.get("MOTHERLODE_DATA")
    if not data:
        pytest.skip("MOTHERLODE_DATA is unset: matgl has no weights in its wheel")
    import torch
    from ase.build import bulk

    from surrogates.potential import Batch

    source = Path(data) / "weights" / "matgl4_converted" / "TensorNet-MatPES-PBE-v2025.1-PES"
    folder = tmp_path / "Spoilt-PES"
    shutil.copytree(source, folder)
    weights = torch.load(folder / "state.pt", weights_only=True)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and "linear" in name:
            weights[name] = tensor + 0.3 * torch.randn(tensor.shape, generator=generator)
    torch.save(weights, folder / "state.pt")
    potential = loaded(tmp_path, name="matgl", model="Spoilt-PES")
    with pytest.raises(PotentialError, match=r"rock-salt MgO .* saved by an older matgl"):
        potential.evaluate(Batch.from_atoms([bulk("Cu")]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["matgl", "sevennet"])
def test_files_that_are_not_models_are_named(name, tmp_path):
    from ase.build import bulk

    from surrogates.potential import Batch

    model_folder(tmp_path / "model")
    model = "model" if name == "matgl" else "model/model.pt"
    with pytest.raises(PotentialError, match=str(tmp_path / "model")):
        loaded(tmp_path, name=name, model=model).evaluate(Batch.from_atoms([bulk("MgO", "rocksalt", a=4.2)]))
