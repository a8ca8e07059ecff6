"""Reference phases from files, written by pymatgen and ASE themselves."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import ase.db
import ase.io
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

from loop.crystal import Crystal
from loop.errors import CampaignFileError, ReferencePhaseError
from loop.references.files import FileReferences
from loop.references.reading import locate, read_structures

FCC = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def fcc(symbol, a):
    return Structure(Lattice([[a * x for x in row] for row in FCC]), [symbol], [[0, 0, 0]])


def alloy():
    return Structure(Lattice.cubic(3.74), ["Au", "Cu", "Cu", "Cu"], [[0, 0, 0], *FCC])


ALL = {"gold": fcc("Au", 4.08), "copper": fcc("Cu", 3.61), "AuCu3": alloy()}


def entry(name, structure, energy=-3.0):
    return ComputedStructureEntry(
        structure,
        energy * len(structure),
        entry_id=name,
        parameters={"run_type": "GGA"},
        data={"icsd_ids": [7]},
    )


def write_entries(path):
    content = json.dumps([entry(name, structure).as_dict() for name, structure in ALL.items()]).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_entries_mapping(path):
    path.write_text(json.dumps({"entries": [entry(n, s).as_dict() for n, s in ALL.items()]}))


def write_structures(path):
    path.write_text(json.dumps([structure.as_dict() for structure in ALL.values()]))


def write_database(path):
    with ase.db.connect(path) as database:
        for name, structure in ALL.items():
            atoms = structure.to_ase_atoms()
            atoms.calc = EMT()
            atoms.get_potential_energy()
            database.write(atoms, name=name)


def write_xyz(path):
    frames = []
    for name, structure in ALL.items():
        atoms = structure.to_ase_atoms()
        atoms.calc = EMT()
        atoms.get_potential_energy()
        atoms.info["name"] = name
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")


def write_cifs(path):
    path.mkdir()
    for name, structure in ALL.items():
        structure.to(str(path / f"{name}.cif"), fmt="cif")
    (path / "notes.txt").write_text("not a structure")


def write_poscars(path):
    path.mkdir()
    for name, structure in ALL.items():
        structure.to(str(path / f"POSCAR-{name}"), fmt="poscar")


KINDS = {
    "entries.json": write_entries,
    "entries.json.gz": write_entries,
    "mapping.json": write_entries_mapping,
    "structures.json": write_structures,
    "phases.db": write_database,
    "phases-ase.json": write_database,
    "phases.extxyz": write_xyz,
    "cifs": write_cifs,
    "poscars": write_poscars,
}


def source(tmp_path, **options):
    return FileReferences(options, base=tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_gives_the_same_crystals(name, tmp_path):
    KINDS[name](tmp_path / name)
    phases = source(tmp_path, path=name).entries(["Cu", "Au"])
    assert {p.crystal.reduced_formula for p in phases} == {"Au", "Cu", "Cu3Au"}
    expected = {Crystal.from_structure(s).reduced_formula: s for s in ALL.values()}
    for phase in phases:
        structure = expected[phase.crystal.reduced_formula]
        assert phase.crystal.space_group_number == Crystal.from_structure(structure).space_group_number
        assert phase.crystal.volume_per_atom == pytest.approx(structure.volume / len(structure), rel=1e-5)
        assert phase.details["file"].startswith((name.split(".")[0], "POSCAR", "gold", "copper", "AuCu3"))


def test_own_identifiers_and_details_are_kept(tmp_path):
    write_entries(tmp_path / "entries.json")
    phases = {p.name: p for p in source(tmp_path, path="entries.json").entries(["Au", "Cu"])}
    assert set(phases) == set(ALL)
    assert phases["AuCu3"].details == {
        "file": "entries.json",
        "icsd_ids": [7],
        "source_energy_per_atom": -3.0,
        "source_fidelity": "GGA, uncorrected",
    }


@pytest.mark.parametrize("name", ["phases.db", "phases.extxyz"])
def test_energies_are_kept_per_atom(name, tmp_path):
    KINDS[name](tmp_path / name)
    atoms = bulk("Cu", "fcc", a=3.61)
    atoms.calc = EMT()
    phases = {p.name: p for p in source(tmp_path, path=name).entries(["Au", "Cu"])}
    energy = phases["copper"].details["source_energy_per_atom"]
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


def test_only_the_chemical_system_is_taken(tmp_path):
    write_entries(tmp_path / "entries.json")
    assert [p.name for p in source(tmp_path, path="entries.json").entries(["Cu"])] == ["copper"]


def test_several_files_and_equal_names(tmp_path):
    write_entries(tmp_path / "a.json")
    write_entries(tmp_path / "b.json")
    names = [p.name for p in source(tmp_path, paths=["a.json", "b.json"]).entries(["Cu"])]
    assert names == ["copper", "copper (2)"]


def test_larger_phases_are_left_out_and_counted(tmp_path):
    write_entries(tmp_path / "entries.json")
    references = source(tmp_path, path="entries.json", max_atoms=3)
    assert {p.name for p in references.entries(["Au", "Cu"])} == {"gold", "copper"}
    described = references.describe()
    assert described["structures"] == 3
    assert described["left_out"]["Au-Cu"]["larger than max_atoms"] == 1
    assert len(described["sha256"]["entries.json"]) == 64


def test_size_is_judged_by_the_primitive_cell(tmp_path):
    supercell = fcc("Cu", 3.61) * (2, 2, 2)
    (tmp_path / "big.json").write_text(json.dumps([entry("copper", supercell).as_dict()]))
    [phase] = source(tmp_path, path="big.json", max_atoms=1).entries(["Cu"])
    assert phase.crystal.number_of_atoms == 1


def test_oxidation_states_do_not_matter(tmp_path):
    structure = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    structure.add_oxidation_state_by_element({"Mg": 2, "O": -2})
    items = [
        entry(n, s).as_dict() for n, s in (("oxide", structure), ("Mg", fcc("Mg", 4.5)), ("O", fcc("O", 3)))
    ]
    (tmp_path / "oxide.json").write_text(json.dumps(items))
    assert "oxide" in {p.name for p in source(tmp_path, path="oxide.json").entries(["Mg", "O"])}


def test_missing_elements_can_come_from_prototypes(tmp_path):
    (tmp_path / "alloy.json").write_text(json.dumps([entry("AuCu3", alloy()).as_dict()]))
    phases = source(tmp_path, path="alloy.json", elements_from_prototypes=True).entries(["Au", "Cu"])
    assert Counter(p.crystal.chemical_system for p in phases)["Au-Cu"] == 1
    assert {"Au", "Cu"} <= {p.crystal.chemical_system for p in phases}
    assert "A_cF4_225_a-001 Au" in {p.name for p in phases}


def disordered():
    return Structure(Lattice.cubic(3.8), [{"Au": 0.5, "Cu": 0.5}], [[0, 0, 0]])


def test_disordered_structures_are_refused_unless_skipped(tmp_path):
    write_cifs(tmp_path / "cifs")
    disordered().to(str(tmp_path / "cifs" / "solution.cif"), fmt="cif")
    with pytest.raises(ReferencePhaseError, match=r"solution.cif: solution: .*partial occupancy"):
        source(tmp_path, path="cifs").entries(["Au", "Cu"])
    skipping = source(tmp_path, path="cifs", skip_disordered=True)
    assert len(skipping.entries(["Au", "Cu"])) == 3
    assert skipping.describe()["left_out"]["Au-Cu"]["partial occupancy"] == 1


def test_cif_citations_are_read(tmp_path):
    write_cifs(tmp_path / "cifs")
    cif = tmp_path / "cifs" / "AuCu3.cif"
    tags = "_journal_name_full 'Annalen der Physik'\n_journal_volume ?\n_database_code_ICSD 56269\n"
    cif.write_text(cif.read_text().replace("_cell_length_a", tags + "_cell_length_a"))
    [found] = read_structures(cif)
    assert found.details["journal"] == "Annalen der Physik"
    assert found.details["icsd"] == "56269"
    assert "volume" not in found.details


def test_several_structures_in_one_cif(tmp_path):
    write_cifs(tmp_path / "cifs")
    both = "\n".join((tmp_path / "cifs" / f"{n}.cif").read_text() for n in ("gold", "copper"))
    (tmp_path / "both.cif").write_text(both)
    assert [s.structure.composition.reduced_formula for s in read_structures(tmp_path / "both.cif")] == [
        "Au",
        "Cu",
    ]


def nothing(path):
    del path


def broken_cif(path):
    path.mkdir()
    fcc("Cu", 3.61).to(str(path / "copper.cif"), fmt="cif")
    text = (path / "copper.cif").read_text()
    (path / "gold.cif").write_text(text[: len(text) // 2])


WRONG = {
    "missing path": ("gone.json", nothing, r"gone.json: no such file or folder; relative paths start from"),
    "truncated JSON": (
        "x.json",
        lambda p: p.write_text('[{"energy": 1'),
        r"x.json: corrupt, or not what its name says",
    ),
    "not gzip": ("x.json.gz", lambda p: p.write_text("[]"), r"x.json.gz: cannot be read"),
    "not UTF-8 JSON": ("x.json", lambda p: p.write_bytes(b"\xff\xfe\x00"), r"x.json: corrupt"),
    "empty JSON list": ("x.json", lambda p: p.write_text("[]"), r"x.json: holds no structures"),
    "list of numbers": ("x.json", lambda p: p.write_text("[1, 2]"), r"x-1: a int, expected a pymatgen entry"),
    "entry without a structure": (
        "x.json",
        lambda p: p.write_text(json.dumps([ComputedEntry("Cu", -3.0, entry_id="mp-30").as_dict()])),
        r"mp-30: an entry without a structure; save ComputedStructureEntry",
    ),
    "energy that is not a number": (
        "x.json",
        lambda p: p.write_text(json.dumps([entry("Cu", fcc("Cu", 3.6)).as_dict() | {"energy": "nan"}])),
        r"x.json: Cu: its energy is nan",
    ),
    "corrupt CIF": (
        "cifs",
        broken_cif,
        r"cifs/gold.cif: corrupt, or not what its name says .*; mend or remove it",
    ),
    "empty CIF": ("x.cif", lambda p: p.write_text(""), r"x.cif: holds no structures"),
    "folder without structures": (
        "folder",
        lambda p: p.mkdir(),
        r"folder: the folder holds no structures; it may hold",
    ),
    "unknown kind": (
        "x.pdf",
        lambda p: p.write_text("%PDF"),
        r"x.pdf: not a kind of file that is read here; give",
    ),
    "not a database": (
        "x.db",
        lambda p: p.write_text("no database at all, but long enough"),
        r"x.db: not an ASE database",
    ),
    "database without rows": ("x.db", lambda p: ase.db.connect(p).count(), r"x.db: "),
    "molecule": (
        "x.xyz",
        lambda p: p.write_text("1\n\nCu 0 0 0\n"),
        r"x.xyz: x-1: not periodic in three directions",
    ),
    "broken xyz": ("x.xyz", lambda p: p.write_text("3\n\nCu 0 0 0\n"), r"x.xyz: cannot be read .*whole"),
    "overlapping atoms": (
        "x.json",
        lambda p: p.write_text(
            json.dumps([Structure(Lattice.cubic(4), ["Cu", "Cu"], [[0, 0, 0], [0.001, 0, 0]]).as_dict()])
        ),
        r"x.json: x-1: Cu: .* on top of one another",
    ),
    "element without a phase": (
        "x.json",
        lambda p: p.write_text(json.dumps([entry("AuCu3", alloy()).as_dict()])),
        r"x.json: no phase of Au and Cu among 1 structures .*elements_from_prototypes",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_named_with_the_mend(case, tmp_path):
    name, write, message = WRONG[case]
    write(tmp_path / name)
    with pytest.raises(ReferencePhaseError, match=message):
        source(tmp_path, path=name).entries(["Au", "Cu"])


def test_unreadable_file(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("the superuser reads every file")
    write_entries(tmp_path / "x.json")
    (tmp_path / "x.json").chmod(0)
    with pytest.raises(ReferencePhaseError, match=r"x.json: cannot be read .*permissions"):
        source(tmp_path, path="x.json").entries(["Cu"])


@pytest.mark.parametrize("given", ["$PHASES_OF_MINE/x.json", "${PHASES_OF_MINE}/x.json", "~/x.json"])
def test_paths_may_hold_variables_and_the_home_folder(given, tmp_path, monkeypatch):
    monkeypatch.setenv("PHASES_OF_MINE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    write_entries(tmp_path / "x.json")
    files = FileReferences({"path": given}, base=Path("/elsewhere"))
    assert len(files.entries(["Au", "Cu"])) == 3
    assert files.describe()["paths"] == [given]


@pytest.mark.parametrize("given", ["$PHASES_OF_MINE/x.json", "data/${PHASES_OF_MINE}.json"])
@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_is_named(given, value, tmp_path, monkeypatch):
    monkeypatch.delenv("PHASES_OF_MINE", raising=False)
    if value is not None:
        monkeypatch.setenv("PHASES_OF_MINE", value)
    with pytest.raises(
        ReferencePhaseError, match=r"x?.json: the environment variable PHASES_OF_MINE is not set"
    ):
        source(tmp_path, path=given)


def test_a_user_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ReferencePhaseError, match=r"~no-such-user/x.json: no such user"):
        locate("~no-such-user/x.json", base=tmp_path)


@pytest.mark.parametrize("plain", ["a$/b", "price-5$", "$1"])
def test_a_dollar_that_begins_no_name_is_part_of_the_path(plain, tmp_path):
    assert locate(plain, base=tmp_path) == tmp_path / plain


def test_the_value_of_a_variable_is_not_expanded_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PHASES_OF_MINE", "$PHASES_OF_MINE")
    assert locate("$PHASES_OF_MINE", base=tmp_path) == tmp_path / "$PHASES_OF_MINE"


@pytest.mark.parametrize("options", [{}, {"path": "a", "paths": ["b"]}])
def test_exactly_one_of_path_and_paths(options, tmp_path):
    with pytest.raises(
        CampaignFileError, match=r"references.options.path: give either path \(a file or folder\) or paths"
    ):
        source(tmp_path, **options)


@pytest.mark.slow
@pytest.mark.skipif(
    "MOTHERLODE_DATA" not in os.environ, reason="MOTHERLODE_DATA names no folder of real entries"
)
def test_real_materials_project_entries_of_li_fe_o():
    path = Path(os.environ["MOTHERLODE_DATA"]) / "hull" / "Li-Fe-O_375.json.gz"
    references = FileReferences({"path": str(path)}, base=Path("/nowhere"))
    phases = references.entries(["Fe", "Li", "O"])
    assert len(phases) == 375
    assert len({p.name for p in phases}) == 375
    assert all(p.name.startswith("mp-") for p in phases)
    stored = {e["entry_id"]: e for e in json.loads(gzip.decompress(path.read_bytes()))}
    for phase in phases[::25]:
        item = stored[phase.name]
        structure = Structure.from_dict(item["structure"])
        assert phase.crystal.reduced_formula == structure.composition.reduced_formula
        assert phase.details["source_energy_per_atom"] == pytest.approx(item["energy"] / len(structure))
    small = FileReferences({"path": str(path), "max_atoms": 40}, base=Path("/nowhere"))
    assert (
        len(small.entries(["Fe", "Li", "O"]))
        == 375 - small.describe()["left_out"]["Fe-Li-O"]["larger than max_atoms"]
    )
