"""Crystals whose dynamical stability is known."""

import time

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from flows.verification.phonons import expected_displacements
from loop.crystal import Crystal
from loop.spec import PotentialSpec

NARROW = {"min_length": 7.0}
"""Wide enough for metals in effective medium theory, whose forces end at 6 Å, and quick."""


def settle(verifier, crystal, *, request_id="r1", patience=300.0):
    verifier.submit(crystal, request_id=request_id)
    results, deadline = [], time.monotonic() + patience
    while not results:
        assert time.monotonic() < deadline
        results = verifier.collect()
    (result,) = results
    return result


@pytest.mark.parametrize(("metal", "highest"), [("Cu", 7.25), ("Al", 9.69)])
def test_close_packed_metals_are_stable(verifier, metal, highest):
    """Effective medium theory was made for them; neutrons give the longitudinal frequency at X.

    Svensson et al., Phys. Rev. 155, 619 (1967); Stedman and Nilsson, Phys. Rev. 145, 492 (1966).
    """
    result = settle(verifier("phonons", options=NARROW), Crystal.from_atoms(bulk(metal, "fcc")))
    assert result.failure is None
    assert result.energy_per_atom is None
    assert result.properties["dynamically_stable"] is True
    assert result.properties["minimum_frequency"] > 0
    assert result.properties["maximum_frequency"] == pytest.approx(highest, rel=0.25)
    assert ("Γ", "X") in {(s["start"], s["end"]) for s in result.properties["bands"]}


@pytest.mark.parametrize(("metal", "structure", "side"), [("Cu", "bcc", 2.87), ("Al", "sc", 2.7)])
def test_open_structures_of_close_packed_metals_are_unstable(verifier, metal, structure, side):
    """Body-centred copper shears along the Bain path; simple cubic metals have no stiffness."""
    result = settle(verifier("phonons", options=NARROW), Crystal.from_atoms(bulk(metal, structure, a=side)))
    assert result.failure is None
    assert result.properties["dynamically_stable"] is False
    assert result.properties["minimum_frequency"] < -0.5
    assert result.properties["minimum_frequency_commensurate"] < -0.5
    assert result.properties["displacements"] == 1


def test_ordered_alloy_with_free_energy(verifier):
    """L1_2 Cu3Au: two kinds of atoms, stable; classical at 600 K, so 3 k_B an atom within a few per cent."""
    structure = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.75), ["Au", "Cu"], [[0, 0, 0], [0.5, 0.5, 0]]
    )
    result = settle(verifier("phonons", options={"temperatures": [600.0]}), Crystal.from_structure(structure))
    assert result.properties["dynamically_stable"] is True
    assert result.properties["space_group_number"] == 221
    assert result.properties["supercell_length"] >= 10.0
    assert result.properties["thermal"]["heat_capacity"][0] == pytest.approx(3.0, rel=0.03)


def test_frequencies_against_ases_own_phonons(verifier, tmp_path):
    """Another implementation, at every wave vector that the supercell holds exactly."""
    from ase.calculators.emt import EMT
    from ase.phonons import Phonons
    from ase.units import _e, _hplanck

    level = verifier("phonons", options={"min_length": 10.0, "max_force": 1e-4, "max_stress": 1e-3})
    result = settle(level, Crystal.from_atoms(bulk("Cu", "fcc")))
    assert result.properties["supercell_matrix"] == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    phonons = Phonons(
        result.crystal.to_atoms(), EMT(), supercell=(4, 4, 4), delta=0.01, name=tmp_path / "phonons"
    )
    phonons.run()
    phonons.read(acoustic=True)
    exact = np.array([q for q in np.ndindex(4, 4, 4) if any(q)]) / 4
    energies = phonons.band_structure(exact, verbose=False)
    frequencies = energies * _e / _hplanck * 1e-12
    assert result.properties["minimum_frequency_commensurate"] == pytest.approx(frequencies.min(), abs=0.005)
    assert result.properties["maximum_frequency"] == pytest.approx(frequencies.max(), abs=0.02)


def test_strained_crystal_is_relaxed_first(verifier):
    level = verifier("phonons", options=NARROW)
    given, strained = (
        settle(level, Crystal.from_atoms(bulk("Cu", "fcc", a=a)), request_id=f"r-{a}").properties
        for a in (3.61, 3.75)
    )
    assert strained["largest_stress"] <= 0.1
    assert strained["maximum_frequency"] == pytest.approx(given["maximum_frequency"], rel=0.01)


CRYSTALS = {
    "Cu": bulk("Cu", "fcc", a=3.61),
    "rock salt": bulk("MgO", "rocksalt", a=4.21),
    "wurtzite": bulk("ZnO", "wurtzite", a=3.25, c=5.2),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_expected_displacements_bound_the_estimate(name):
    """phonopy's own count, within a factor of two either way."""
    from phonopy import Phonopy
    from pymatgen.io.phonopy import get_phonopy_structure

    crystal = Crystal.from_atoms(CRYSTALS[name])
    phonon = Phonopy(get_phonopy_structure(crystal.to_structure()), [2, 2, 2], primitive_matrix="auto")
    phonon.generate_displacements()
    needed = len(phonon.supercells_with_displacements)
    assert needed / 2 <= expected_displacements(crystal) <= needed * 2


def test_larger_crystals_are_declared_dearer(verifier):
    level = verifier("phonons")
    small, large = Crystal.from_atoms(bulk("Cu", "fcc")), Crystal.from_atoms(bulk("Cu", "hcp", a=2.5, c=4.1))
    assert level.declared_cost(large)["cpu_seconds"] > level.declared_cost(small)["cpu_seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "potential", [PotentialSpec(name="chgnet"), PotentialSpec(name="sevennet", model="7net-0")]
)
def test_magnesium_oxide_is_no_false_alarm(verifier, potential):
    """Stable beyond doubt, and called unstable where noise beside Γ is taken for a soft mode."""
    level = verifier("phonons", potential=potential)
    result = settle(level, Crystal.from_atoms(bulk("MgO", "rocksalt", a=4.23)))
    assert result.failure is None, result.failure
    assert result.properties["dynamically_stable"] is True
    assert result.properties["minimum_frequency"] > 0.5
    # The top of the longitudinal optical branch without its splitting at Γ; 17.4 to 18 THz by other codes.
    assert result.properties["maximum_frequency"] == pytest.approx(17.5, abs=1.0)


@pytest.mark.slow
def test_half_heusler_with_sevennet(verifier):
    """TiNiSn, known to experiment (F-43m, 5.92 Å): relaxed, its energy finite, and dynamically stable."""
    structure = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(6.0), ["Sn", "Ni", "Ti"], [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5]]
    )
    potential = PotentialSpec(name="sevennet", model="7net-0")
    energies = verifier(potential=potential, name="sevennet-0")
    result = settle(energies, Crystal.from_structure(structure))
    assert result.failure is None, result.failure
    assert (12 * result.crystal.volume_per_atom) ** (1 / 3) == pytest.approx(5.92, rel=0.01)
    assert result.energy_per_atom == pytest.approx(-6.40, abs=0.05)
    level = verifier("phonons", potential=potential, name="sevennet-0-phonons")
    phonons = settle(level, result.crystal, request_id="r2")
    assert phonons.properties["dynamically_stable"] is True
    assert "7net-0" in energies.identity(result.crystal)["code_version"]


@pytest.mark.slow
def test_layered_crystal_is_no_false_alarm(verifier):
    """GeS, known to experiment: interpolation between Γ and the first exact wave vector gives -0.5 THz here."""
    structure = Structure.from_spacegroup(
        "Pnma",
        Lattice.orthorhombic(10.47, 3.64, 4.30),
        ["Ge", "S"],
        [[0.1221, 0.25, 0.1063], [0.8507, 0.25, 0.5024]],
    )
    level = verifier("phonons", potential=PotentialSpec(name="sevennet", model="7net-0"))
    result = settle(level, Crystal.from_structure(structure))
    assert result.properties["dynamically_stable"] is True
    assert result.properties["displacements"] == 8
    narrow = verifier(
        "phonons", potential=PotentialSpec(name="sevennet", model="7net-0"), options={"gamma_radius": 0.05}
    )
    credulous = settle(narrow, Crystal.from_structure(structure), request_id="r2")
    assert (
        credulous.properties["minimum_frequency"]
        < -0.1
        < credulous.properties["minimum_frequency_commensurate"]
    )
