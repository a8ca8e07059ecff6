"""Every potential in the registry against the common suite, and against its own package's calculator."""

import contextlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from loop.spec import PotentialSpec
from surrogates.registry import POTENTIALS, load_potential
from tests.conformance.potential import PotentialConformance, evaluate, pair_of_elements


def loaded(name, **fields):
    return load_potential(PotentialSpec(name=name, **fields), base=Path.cwd())


def matgl_folder(level):
    data = os.environ.get("MOTHERLODE_DATA")
    if not data:
        pytest.skip("MOTHERLODE_DATA is unset: matgl has no weights in its wheel")
    return str(
        Path(data).resolve() / "weights" / "matgl4_converted" / f"TensorNet-MatPES-{level}-v2025.1-PES"
    )


@contextlib.contextmanager
def silence():
    """The packages' own calculators chatter and warn; what they compute is what is compared."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def test_every_registered_potential_is_in_this_file():
    tested = {"chgnet", "sevennet", "matgl", "ase", "emt", "lennard_jones"}
    assert tested <= set(POTENTIALS.names())


class TestLennardJones(PotentialConformance):
    energy_noise = 1e-10
    derivative_noise = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls):
        return loaded("lennard_jones")


class TestEMT(PotentialConformance):
    energy_noise = 1e-9
    # Its neighbour lists end abruptly at the cutoff, so that finite differences see small steps.
    derivative_noise = 2e-3

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls):
        return loaded("emt")


class TestCalculatorByImportPath(PotentialConformance):
    energy_noise = 1e-9
    derivative_noise = 1e-3

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls):
        return loaded(
            "ase",
            calculator="ase.calculators.lj:LennardJones",
            arguments={"sigma": 2.2, "epsilon": 0.3, "rc": 6.0, "smooth": True},
        )


class NeuralConformance(PotentialConformance):
    """Adds agreement with the package's own calculator, from the fixture `calculator`."""

    def test_agrees_with_its_package(self, potential, samples, evaluated, calculator):
        start = 0
        for i, atoms in enumerate(samples):
            atoms.calc = calculator
            with silence():
                energy, forces, stress = (
                    atoms.get_potential_energy(),
                    atoms.get_forces(),
                    atoms.get_stress(voigt=False),
                )
            assert evaluated.energy[i] / len(atoms) == pytest.approx(
                float(np.squeeze(energy)) / len(atoms), abs=1e-5
            )
            np.testing.assert_allclose(evaluated.forces[start : start + len(atoms)], forces, atol=2e-4)
            np.testing.assert_allclose(evaluated.stress[i], (stress + stress.T) / 2, atol=2e-5)
            start += len(atoms)

    def test_knows_magnesium_oxide(self, potential):
        assert pair_of_elements(potential) == ("Mg", "O")
        oxide = bulk("MgO", "rocksalt", a=4.23)
        evaluation = evaluate(potential, oxide)
        low, high = self.magnesium_oxide
        assert low < evaluation.energy[0] / 2 < high
        np.testing.assert_allclose(evaluation.forces, 0, atol=1e-3)
        assert abs(np.trace(evaluation.stress[0]) / 3) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("potential", ["0.3.0", "0.2.0", "r2scan"], indirect=True, scope="class")
class TestCHGNet(NeuralConformance):
    magnesium_oxide = (-8.5, -5.9)

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls, request):
        return loaded("chgnet", model=request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def calculator(cls, potential):
        with silence():
            from chgnet.model.dynamics import CHGNetCalculator
            from chgnet.model.model import CHGNet

            model = CHGNet.load(
                model_name=potential.fidelity.removeprefix("chgnet-"), use_device="cpu", verbose=False
            )
            return CHGNetCalculator(model, use_device="cpu")


SEVENNET = {"7net-0": {}, "7net-l3i5": {}, "7net-mf-0": {"modal": "PBE"}}


@pytest.mark.slow
@pytest.mark.parametrize("potential", SEVENNET, indirect=True, scope="class")
class TestSevenNet(NeuralConformance):
    magnesium_oxide = (-6.2, -5.6)

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls, request):
        return loaded("sevennet", model=request.param, arguments=SEVENNET[request.param])

    @pytest.fixture(scope="class")
    @classmethod
    def calculator(cls, potential):
        with silence():
            from sevenn.calculator import SevenNetCalculator

            name = "7net-" + potential.fidelity.removeprefix("sevennet-").removesuffix("-pbe")
            return SevenNetCalculator(name, device="cpu", **SEVENNET[name])

    def test_says_which_elements_its_checkpoint_knows(self, potential):
        from ase.data import chemical_symbols

        assert potential.elements == {chemical_symbols[z] for z in potential._model.type_map}


@pytest.mark.slow
@pytest.mark.parametrize("potential", ["PBE", "r2SCAN"], indirect=True, scope="class")
class TestMatGL(NeuralConformance):
    magnesium_oxide = (-8.2, -5.7)

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls, request):
        return loaded("matgl", model=matgl_folder(request.param))

    @pytest.fixture(scope="class")
    @classmethod
    def calculator(cls, potential):
        with silence():
            import matgl
            from matgl.ext.ase import PESCalculator

            folder = matgl_folder("r2SCAN" if "r2scan" in potential.fidelity else "PBE")
            return PESCalculator(matgl.load_model(folder), stress_unit="eV/A3", use_voigt=True)
