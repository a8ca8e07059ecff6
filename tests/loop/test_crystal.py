"""Crystals: standardisation against spglib and StructureMatcher, disguises, round trips, refusals."""

from __future__ import annotations

import json
import os
import random
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spglib
from ase import Atoms
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import DummySpecies, Lattice, Structure

from loop.crystal import Crystal
from loop.errors import CrystalError
from tests.loop.strategies import decorated_types, disguises, random_cells

MATCHER = StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5)
SALT = Structure.from_spacegroup(225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
DATA = os.environ.get("MOTHERLODE_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MOTHERLODE_DATA is unset: no real structures to read")


def real_structures(number: int) -> list[Structure]:
    frame = pd.read_csv(Path(str(DATA)) / "structures" / "mp_structures.csv.gz", keep_default_na=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [Structure.from_str(cif, fmt="cif") for cif in frame.sample(number, random_state=3).cif]


def agreement_with_spglib(structures: list[Structure]) -> tuple[int, int]:
    """How many structures spglib can standardise, and of how many it finds group and size alike."""
    judged = agreed = 0
    for structure in structures:
        cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
        dataset = spglib.get_symmetry_dataset(cell, symprec=0.01)
        primitive = spglib.standardize_cell(cell, to_primitive=True, symprec=0.01)
        if dataset is None or primitive is None:
            continue
        crystal = Crystal.from_structure(structure)
        judged += 1
        agreed += (dataset.number, len(primitive[2])) == (crystal.space_group_number, crystal.number_of_atoms)
    return judged, agreed


def test_agrees_with_spglib_on_every_aflow_prototype() -> None:
    structures = [entry["snl"].structure for entry in AFLOW_PROTOTYPE_LIBRARY]
    small = [s for s in structures if len(s) <= 30]
    judged, agreed = agreement_with_spglib(small)
    assert judged > 200
    assert agreed >= 0.99 * judged


@needs_data
def test_agrees_with_spglib_on_real_structures() -> None:
    structures = real_structures(80)
    judged, agreed = agreement_with_spglib(structures)
    assert judged >= 78
    assert agreed >= judged - 1
    for structure in structures[:40]:
        assert MATCHER.fit(structure, Crystal.from_structure(structure).to_structure())


@needs_data
@pytest.mark.slow
def test_agrees_with_spglib_on_many_real_structures() -> None:
    judged, agreed = agreement_with_spglib(real_structures(500))
    assert agreed >= 0.99 * judged


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_disguised_crystal_is_the_same_crystal(data: st.DataObject) -> None:
    structure = data.draw(st.one_of(decorated_types(), random_cells()))
    plain = Crystal.from_structure(structure)
    disguised = Crystal.from_structure(data.draw(disguises(structure)))
    assert disguised.space_group_number == plain.space_group_number
    assert disguised.number_of_atoms == plain.number_of_atoms
    assert disguised.composition == plain.composition
    assert disguised.volume_per_atom == pytest.approx(plain.volume_per_atom, rel=1e-6)
    assert MATCHER.fit(plain.to_structure(), disguised.to_structure())


@given(st.one_of(decorated_types(), random_cells()))
@settings(max_examples=25, deadline=None)
def test_standardising_again_changes_nothing_that_matters(structure: Structure) -> None:
    once = Crystal.from_structure(structure)
    twice = Crystal.from_structure(once.to_structure())
    assert (twice.space_group_number, twice.atomic_numbers) == (once.space_group_number, once.atomic_numbers)
    assert np.allclose(
        np.sort(np.ravel(Lattice(twice.lattice).abc)), np.sort(Lattice(once.lattice).abc), atol=1e-5
    )
    assert MATCHER.fit(once.to_structure(), twice.to_structure())


@given(st.one_of(decorated_types(), random_cells()))
@settings(max_examples=40, deadline=None)
def test_json_round_trip_is_exact(structure: Structure) -> None:
    crystal = Crystal.from_structure(structure)
    again = Crystal.from_dict(json.loads(json.dumps(crystal.to_dict())))
    assert again == crystal
    assert again.key == crystal.key
    assert all(0 <= x < 1 for row in crystal.fractional_coordinates for x in row)
    assert list(crystal.atomic_numbers) == sorted(crystal.atomic_numbers)


def test_a_crystal_is_what_it_was_made_from() -> None:
    crystal = Crystal.from_structure(SALT)
    assert crystal.space_group_number == 225
    assert crystal.number_of_atoms == 2
    assert crystal.reduced_formula == "NaCl"
    assert crystal.chemical_system == "Cl-Na"
    assert crystal.volume_per_atom == pytest.approx(5.64**3 / 8)
    assert crystal.to_atoms().get_chemical_formula() == "ClNa"


def test_ase_and_pymatgen_give_the_same_crystal() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    assert Crystal.from_atoms(atoms) == Crystal.from_structure(SALT)


def test_a_left_handed_cell_is_the_same_crystal() -> None:
    quartz = Structure.from_spacegroup(
        152, Lattice.hexagonal(4.91, 5.4), ["Si", "O"], [[0.47, 0, 1 / 3], [0.413, 0.267, 0.119 + 1 / 3]]
    )
    swapped = Structure(
        Lattice(quartz.lattice.matrix[[1, 0, 2]]), quartz.species, quartz.frac_coords[:, [1, 0, 2]]
    )
    assert np.linalg.det(swapped.lattice.matrix) < 0
    assert (
        Crystal.from_structure(swapped).space_group_number
        == Crystal.from_structure(quartz).space_group_number
        == 152
    )


def test_oxidation_states_and_site_properties_are_dropped() -> None:
    dressed = SALT.copy()
    dressed.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    dressed.add_site_property("magmom", [0.5] * len(dressed))
    crystal = Crystal.from_structure(dressed)
    assert crystal == Crystal.from_structure(SALT)
    assert crystal.to_structure().site_properties == {}


def test_a_loose_tolerance_never_merges_atoms() -> None:
    """At 1 Å the hydrogen molecule's atoms are images of one another by a translation that does not exist."""
    hydrogen = Structure(Lattice.cubic(3.6), ["H", "H"], [[0, 0, 0], [0.2, 0, 0]])
    for tolerance in (0.01, 0.1, 0.5, 1.0, 2.0):
        crystal = Crystal.from_structure(hydrogen, symmetry_tolerance=tolerance)
        assert crystal.number_of_atoms == 2
        assert crystal.volume_per_atom == pytest.approx(3.6**3 / 2, rel=0.05)


def altered(**changes: object) -> Structure:
    structure = SALT.copy()
    for name, value in changes.items():
        setattr(structure, name, value)
    return structure


REFUSED = {
    "empty": (Structure(Lattice.cubic(4), [], []), "no atoms"),
    "partial occupancy": (
        Structure(Lattice.cubic(4), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]]),
        "partial occupancy",
    ),
    "vacancy": (Structure(Lattice.cubic(4), [{"Fe": 0.5}], [[0, 0, 0]]), "partial occupancy"),
    "NaN coordinate": (Structure(Lattice.cubic(4), ["Fe"], [[np.nan, 0, 0]]), "not finite"),
    "NaN lattice": (
        Structure(Lattice([[np.nan, 0, 0], [0, 4, 0], [0, 0, 4]]), ["Fe"], [[0, 0, 0]]),
        "not finite",
    ),
    "infinite coordinate": (Structure(Lattice.cubic(4), ["Fe"], [[np.inf, 0, 0]]), "not finite"),
    "flat cell": (Structure(Lattice([[4, 0, 0], [0, 4, 0], [4, 4, 0]]), ["Fe"], [[0, 0, 0]]), "flat"),
    "collapsed cell": (Structure(Lattice.cubic(0.9), ["Fe"], [[0, 0, 0]]), "collapsed"),
    "same place": (
        Structure(Lattice.cubic(4), ["Na", "Na", "Cl"], [[0, 0, 0], [0, 0, 0], [0.5] * 3]),
        "on top of",
    ),
    "same place, other element": (
        Structure(Lattice.cubic(4), ["Na", "K"], [[0, 0, 0], [0, 0, 0]]),
        "Na .* K .*on top of",
    ),
    "same place over the edge": (
        Structure(Lattice.cubic(4), ["Na", "Na"], [[0.999, 0, 0], [0.001, 0, 0]]),
        "on top of",
    ),
    "a layer": (Structure(Lattice.cubic(4, pbc=(True, True, False)), ["Fe"], [[0, 0, 0]]), "not periodic"),
    "no element": (Structure(Lattice.cubic(4), [DummySpecies("X")], [[0, 0, 0]]), "not an element"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_structures_are_named(name: str) -> None:
    structure, message = REFUSED[name]
    with pytest.raises(CrystalError, match=message):
        Crystal.from_structure(structure)


REFUSED_ATOMS = {
    "molecule": (Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]), "not periodic"),
    "slab": (Atoms("Fe", [[0, 0, 0]], cell=[3, 3, 3], pbc=[True, True, False]), "not periodic"),
    "two vectors": (Atoms("Fe", [[0, 0, 0]], cell=[3, 3, 0], pbc=True), "not periodic"),
    "NaN": (Atoms("Fe", [[np.nan, 0, 0]], cell=[3, 3, 3], pbc=True), "not finite"),
    "empty": (Atoms(cell=[3, 3, 3], pbc=True), "no atoms"),
    "ghost": (Atoms("X", [[0, 0, 0]], cell=[3, 3, 3], pbc=True), "not an element"),
}


@pytest.mark.parametrize("name", REFUSED_ATOMS)
def test_refused_ase_structures_are_named(name: str) -> None:
    atoms, message = REFUSED_ATOMS[name]
    with pytest.raises(CrystalError, match=message):
        Crystal.from_atoms(atoms)


@given(random_cells(max_atoms=4), st.floats(0, 0.09), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_no_two_atoms_within_a_tenth_of_an_angstrom_pass(
    structure: Structure, distance: float, seed: int
) -> None:
    direction = np.random.default_rng(seed).normal(size=3)
    twin = structure[0].coords + distance * direction / np.linalg.norm(direction)
    structure.append("Mg", twin, coords_are_cartesian=True)
    with pytest.raises(CrystalError, match="on top of one another"):
        Crystal.from_structure(structure)


@pytest.mark.parametrize("suffix", [".cif", ".vasp", ".json"])
def test_reads_what_pymatgen_writes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"salt{suffix}"
    SALT.to(filename=str(path))
    crystal = Crystal.from_file(path)
    assert (crystal.space_group_number, crystal.number_of_atoms, crystal.reduced_formula) == (225, 2, "NaCl")


def test_reading_a_rough_cif_warns_of_nothing(tmp_path: Path) -> None:
    wurtzite = Structure.from_spacegroup(
        186, Lattice.hexagonal(3.25, 5.2), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
    )
    path = tmp_path / "ZnO.cif"
    path.write_text(wurtzite.to(fmt="cif", symprec=0.01).replace("0.33333333", "0.3333"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Crystal.from_file(path).space_group_number == 186


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CrystalError, match=r"nowhere\.cif: there is no such file"):
        Crystal.from_file(tmp_path / "nowhere.cif")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"not a cif at all", "cannot be read"),
        (b"\xff\xfe\x00\x01binary", "cannot be read"),
        (b"data_x\n_cell_length_a 4\n", "cannot be read"),
        (SALT.to(fmt="cif").replace("  Na+", "  Qq").replace("Na  Na", "Qq  Qq").encode(), "not an element"),
        (SALT.to(fmt="cif").replace("5.64", "?").encode(), "cannot be read"),
        (
            Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]]).to(fmt="cif").encode(),
            "partial occupancy",
        ),
    ],
    ids=["empty", "text", "binary", "no atoms", "no element", "no cell", "disordered"],
)
def test_a_corrupt_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.cif"
    path.write_bytes(content)
    with pytest.raises(CrystalError, match=rf"broken\.cif: .*{message}"):
        Crystal.from_file(path)


@pytest.mark.parametrize("suffix", ["cif", "vasp"])
def test_a_mangled_file_gives_a_crystal_or_its_error(tmp_path: Path, suffix: str) -> None:
    """Nothing but CrystalError may come out of a damaged file."""
    original = SALT.to(fmt="cif" if suffix == "cif" else "poscar")
    chance = random.Random(5)
    path = tmp_path / f"mangled.{suffix}"
    read = 0
    for _ in range(150):
        text = list(original)
        for _ in range(chance.randint(1, 4)):
            text[chance.randrange(len(text))] = chance.choice("0 9\n.-x?_'(")
        end = chance.choice([len(text), chance.randrange(len(text))])
        path.write_text("".join(text[:end]))
        with suppress(CrystalError):
            Crystal.from_file(path)
            read += 1
    assert 0 < read < 130


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lattice": None}, "malformed"),
        ({"lattice": [[1, 0, 0], [0, 1, 0]]}, "malformed"),
        ({"fractional_coordinates": [[0, 0]]}, "malformed"),
        ({"fractional_coordinates": [[0, 0, 0]]}, "1 positions for 2 atoms"),
        ({"atomic_numbers": ["Na", "Cl"]}, "malformed"),
    ],
)
def test_a_malformed_stored_crystal_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(CrystalError, match=message):
        Crystal.from_dict({**Crystal.from_structure(SALT).to_dict(), **change})


def test_a_stored_crystal_without_lattice_is_refused() -> None:
    data = Crystal.from_structure(SALT).to_dict()
    del data["lattice"]
    with pytest.raises(CrystalError, match="lacks 'lattice'"):
        Crystal.from_dict(data)
