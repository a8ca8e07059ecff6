"""The campaign file: what it means, and what a user sees where it is wrong."""
# ruff: noqa: E501 - messages stand here as the user sees them

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from loop.campaign_file import parse_campaign, read_campaign
from loop.elements import ELEMENT_SYMBOLS
from loop.errors import CampaignFileError
from loop.spec import CampaignSpec, Space, as_json

SMALLEST = "name: a\nspace:\n  chemical_systems: [Ni-Sn-Ti]\n"


def complaint(text: str) -> str:
    with pytest.raises(CampaignFileError) as caught:
        parse_campaign(text, name="c.yaml")
    return str(caught.value)


WRONG_FILES = {
    "empty": ("", "c.yaml: the file is empty; `motherlode init` writes one to start from"),
    "only comments": ("# name: a\n", "c.yaml: the file is empty; `motherlode init` writes one to start from"),
    "a list": (
        "- name: a\n",
        "c.yaml: the file holds a list, where a campaign file holds keys with values such as `name: my-campaign`",
    ),
    "plain text": (
        "name my-campaign\n",
        "c.yaml: the file holds plain text, where a campaign file holds keys with values such as `name: my-campaign`",
    ),
    "tab": (
        "name: a\nspace:\n\telements: [Ni]\n",
        "c.yaml:3:1: not valid YAML: a tab is used for indentation; use spaces",
    ),
    "open bracket": (
        "name: a\nspace: {elements: [Ni\n",
        "c.yaml:3:1: not valid YAML: the file ends inside a bracket or a quoted text that is not closed",
    ),
    "colon in text": (
        "name: a: b\n",
        "c.yaml:1:8: not valid YAML: a `:` stands where no key can be; check the indentation, and quote text that contains `: `",
    ),
    "two documents": (
        "name: a\n---\nname: b\n",
        "c.yaml:2:1: not valid YAML: a second document begins here (`---`); a campaign file holds one",
    ),
    "a tag": (
        "name: !!python/name:os.system\n",
        "c.yaml:1:7: not valid YAML: 'python/name:os.system' is a tag; a campaign file holds plain values only",
    ),
    "alias to itself": (
        "name: &a [*a]\n",
        "c.yaml:1:7: name[0]: an alias refers to the value that contains it",
    ),
    "duplicate key": (
        SMALLEST + "name: b\n",
        "c.yaml:4:1: key 'name' is given twice (first on line 1); keep one",
    ),
    "duplicate nested key": (
        SMALLEST + "  atoms: [2, 4]\n  atoms: [2, 8]\n",
        "c.yaml:5:3: space: key 'atoms' is given twice (first on line 4); keep one",
    ),
    "number as key": (
        SMALLEST + "budget: {3: 4}\n",
        "c.yaml:4:10: budget: key 3: a key must be a word, in quotes where it looks like a number",
    ),
    "misspelt key": (
        SMALLEST + "generatrs: []\n",
        "c.yaml:4:1: unknown key 'generatrs'; did you mean 'generators'?",
    ),
    "misspelt nested key": (
        SMALLEST + "verification:\n  - name: x\n    admit_within: 0.1\n",
        "c.yaml:6:5: verification[0]: unknown key 'admit_within'; did you mean 'admits_within'?",
    ),
    "unknown key like no other": (
        SMALLEST + "batch: {foo: 1}\n",
        "c.yaml:4:9: batch: unknown key 'foo'; the keys here are proposals, verifications",
    ),
    "no name": (
        "space: {elements: [Ni, Ti]}\n",
        "c.yaml:1:1: 'name' is missing; it says short name of lower-case letters, digits and hyphens",
    ),
    "bad name": (
        SMALLEST.replace("name: a", "name: My Campaign"),
        "c.yaml:1:1: name: found 'My Campaign', expected lower-case letters, digits and hyphens, at most 63, the first no hyphen",
    ),
    "unknown element": (
        "name: a\nspace:\n  elements: [Ni, Xx]\n",
        "c.yaml:3:3: space.elements: 'Xx' is not an element symbol; did you mean 'Xe'?",
    ),
    "lower-case element": (
        "name: a\nspace:\n  chemical_systems: [ni-Ti]\n",
        "c.yaml:3:3: space.chemical_systems: 'ni' is not an element symbol; did you mean 'Ni'?",
    ),
    "element listed twice": (
        "name: a\nspace: {elements: [Ni, Ni]}\n",
        "c.yaml:2:9: space.elements: an element is listed twice in ['Ni', 'Ni']; list each once",
    ),
    "text for a list": (
        "name: a\nspace: {chemical_systems: Ni-Ti}\n",
        "c.yaml:2:9: space.chemical_systems: found 'Ni-Ti', expected a list; write [Ni-Ti]",
    ),
    "both systems and elements": (
        SMALLEST + "  elements: [Ni, Ti]\n",
        "c.yaml:2:1: space: give either chemical_systems (e.g. [Ni-Sn-Ti]) or elements (e.g. [Ni, Sn, Ti]); one of them, not both",
    ),
    "range upside down": (
        SMALLEST + "  atoms: [9, 2]\n",
        "c.yaml:4:3: space.atoms: the smallest (9) is larger than the largest (2)",
    ),
    "half a range": (
        SMALLEST + "  atoms: [9]\n",
        "c.yaml:4:3: space.atoms: found [9], expected two numbers, smallest and largest, e.g. [2, 3]",
    ),
    "range of three": (
        SMALLEST + "  atoms: [1, 2, 3]\n",
        "c.yaml:4:3: space.atoms: found [1, 2, 3], expected 2 values",
    ),
    "no system left": (
        SMALLEST + "  excluded_elements: [Ni, Ti]\n",
        "c.yaml:2:1: space: no chemical system is left: ('Sn',) cannot make crystals of 2 to 3 elements that contain anything",
    ),
    "version without quotes": (
        SMALLEST + "potential: {name: chgnet, model: 0.3}\n",
        'c.yaml:4:27: potential.model: found 0.3, expected text; put it in quotes: "0.3"',
    ),
    "true for a number": (SMALLEST + "seed: true\n", "c.yaml:4:1: seed: found true, expected a whole number"),
    "fraction for a count": (
        SMALLEST + "batch: {proposals: 2.5}\n",
        "c.yaml:4:9: batch.proposals: found 2.5, expected a whole number",
    ),
    "quoted number": (
        SMALLEST + "budget: {cpu_seconds: '3'}\n",
        "c.yaml:4:10: budget.cpu_seconds: found '3', expected a number",
    ),
    "free budget": (
        SMALLEST + "budget: {cpu_seconds: 0}\n",
        "c.yaml:4:10: budget.cpu_seconds: found 0, expected more than 0",
    ),
    "budget not a number": (
        SMALLEST + "budget: {cpu_seconds: .nan}\n",
        "c.yaml:4:10: budget.cpu_seconds: found nan, expected a finite number",
    ),
    "negative budget": (
        SMALLEST + "budget: {cpu_seconds: -5}\n",
        "c.yaml:4:10: budget.cpu_seconds: found -5, expected more than 0",
    ),
    "fraction beyond one": (
        SMALLEST + "acquisition: {audit_fraction: 20}\n",
        "c.yaml:4:15: acquisition.audit_fraction: found 20, expected at most 1",
    ),
    "metastable below stable": (
        SMALLEST + "thresholds: {stable: 0.2}\n",
        "c.yaml:4:1: thresholds: metastable (0.1) must not lie below stable (0.2)",
    ),
    "unknown goal": (
        SMALLEST + "objectives: [{goal: minimize}]\n",
        "c.yaml:4:15: objectives[0].goal: found 'minimize', expected 'minimise', 'maximise' or 'target'",
    ),
    "goal without target": (
        SMALLEST + "objectives: [{goal: target}]\n",
        "c.yaml:4:14: objectives[0].target: give it when goal is 'target', and only then",
    ),
    "generator as a word": (
        SMALLEST + "generators: [prototypes]\n",
        "c.yaml:4:14: generators[0]: found 'prototypes', expected keys with values",
    ),
    "no generator": (
        SMALLEST + "generators: []\n",
        "c.yaml:4:1: generators: the list is empty; name at least one",
    ),
    "generator twice": (
        SMALLEST + "generators: [{name: x}, {name: x}]\n",
        "c.yaml:4:1: generators: ['x'] is named twice; give each its own name",
    ),
    "section left empty": (
        SMALLEST + "stopping:\n",
        "c.yaml:4:1: stopping: found nothing, expected keys with values",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_wrong_file_is_explained(text, message):
    assert complaint(text) == message


def test_all_problems_are_listed_at_once_in_the_order_of_the_file():
    text = "name: a\nspace:\n  elemnts: [Ni]\nseed: -1\nbatch: {proposals: 0}\n"
    assert complaint(text) == (
        "c.yaml: 3 problems\n"
        "c.yaml:3:3: space: unknown key 'elemnts'; did you mean 'elements'?\n"
        "c.yaml:4:1: seed: found -1, expected at least 0\n"
        "c.yaml:5:9: batch.proposals: found 0, expected more than 0"
    )


@pytest.mark.parametrize("name", sorted(WRONG_FILES))
def test_no_message_speaks_of_the_library_inside(name):
    message = complaint(WRONG_FILES[name][0]).lower()
    assert "pydantic" not in message
    assert "value error" not in message
    assert "http" not in message


class TestFiles:
    def test_missing(self, tmp_path):
        path = tmp_path / "no.yaml"
        with pytest.raises(CampaignFileError) as caught:
            read_campaign(path)
        assert (
            str(caught.value)
            == f"{path}: no such file; `motherlode init` writes a campaign file to start from"
        )

    def test_folder(self, tmp_path):
        (tmp_path / "quick.yaml").write_text(SMALLEST)
        with pytest.raises(CampaignFileError) as caught:
            read_campaign(tmp_path)
        assert str(caught.value) == f"{tmp_path}: this is a folder, not a campaign file; it holds quick.yaml"

    def test_binary(self, tmp_path):
        path = tmp_path / "ledger.sqlite"
        path.write_bytes(b"SQLite format 3\0\x10\0")
        with pytest.raises(CampaignFileError, match="a binary file; a campaign file is YAML text in UTF-8"):
            read_campaign(path)

    def test_other_encoding(self, tmp_path):
        path = tmp_path / "latin.yaml"
        path.write_bytes("name: a\n# Grüße\n".encode("latin-1"))
        with pytest.raises(CampaignFileError) as caught:
            read_campaign(path)
        assert str(caught.value) == f"{path}:2: byte 0xfc is not UTF-8 text; save the file as UTF-8"

    def test_huge(self, tmp_path):
        path = tmp_path / "huge.yaml"
        path.write_text("#" * 1_000_002)
        with pytest.raises(CampaignFileError, match="larger than 1,000,000 bytes"):
            read_campaign(path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_forbidden(self, tmp_path):
        path = tmp_path / "secret.yaml"
        path.write_text(SMALLEST)
        path.chmod(0)
        with pytest.raises(CampaignFileError, match="cannot be read"):
            read_campaign(path)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_good(self, tmp_path, encoding):
        path = tmp_path / "good.yaml"
        path.write_text(SMALLEST + "# Å, Γ\r\n", encoding=encoding)
        assert read_campaign(path) == CampaignSpec(name="a", space=Space(chemical_systems=("Ni-Sn-Ti",)))


class TestWords:
    def test_elements_that_other_readers_take_for_booleans(self):
        spec = parse_campaign("name: a\nspace: {elements: [N, Y, No, O], excluded_elements: [Os]}")
        assert spec.space.elements == ("N", "No", "O", "Y")

    @given(st.lists(st.sampled_from(sorted(ELEMENT_SYMBOLS)), min_size=2, max_size=8, unique=True))
    def test_every_element_survives_an_unquoted_list(self, symbols):
        spec = parse_campaign(f"name: a\nspace: {{elements: [{', '.join(symbols)}]}}")
        assert spec.space.elements == tuple(sorted(symbols))

    def test_numbers_as_people_write_them(self):
        spec = parse_campaign(
            SMALLEST + "thresholds: {stable: 1e-3, phonon_frequency: -.2}\nseed: 010\nbudget: {a: 1e3}\n"
        )
        assert spec.thresholds.stable == 0.001
        assert spec.thresholds.phonon_frequency == -0.2
        assert spec.seed == 10
        assert spec.budget == {"a": 1000.0}

    def test_text_that_looks_like_a_date_or_a_time(self):
        spec = parse_campaign(
            SMALLEST + "potential: {name: matgl, model: 2025-01-01}\nreferences: {options: {at: 12:30}}\n"
        )
        assert spec.potential.model == "2025-01-01"
        assert spec.references.options == {"at": "12:30"}

    def test_merged_anchors(self):
        spec = parse_campaign(
            SMALLEST + "potential: &p {name: sevennet, model: 7net-0}\nverification:\n"
            "  - {name: a, potential: {<<: *p, model: 7net-l3i5}}\n  - {name: b, potential: *p}\n"
        )
        assert [level.potential.model for level in spec.verification] == ["7net-l3i5", "7net-0"]

    def test_a_campaign_written_out_in_full_reads_back_the_same(self):
        spec = parse_campaign(SMALLEST + "ledger: postgresql+psycopg://u:p@h/d\nknown_phases: [a.cif]\n")
        assert parse_campaign(yaml.safe_dump(dict(as_json(spec)))) == spec


class TestSpace:
    def test_systems_of_an_element_set(self):
        space = Space(elements=("Ti", "Ni", "Sn", "O"), number_of_elements=(2, 3), required_elements=("O",))
        assert space.systems() == (("Ni", "O", "Sn"), ("Ni", "O", "Ti"), ("O", "Sn", "Ti"))

    def test_reasons(self):
        space = Space(chemical_systems=("Ni-Sn-Ti",), required_elements=("Ni",), atoms=(2, 8))
        assert space.reason_against({"Ni", "Ti"}, 4) is None
        assert space.reason_against({"Ni"}, 4) == "1 elements, the space asks for 2 to 3"
        assert space.reason_against({"Sn", "Ti"}, 4) == "lacks required Ni"
        assert space.reason_against({"Ni", "O"}, 4) == "Ni-O lies in none of the chemical systems"
        assert space.reason_against({"Ni", "Ti"}, 9) == "9 atoms, the space asks for 2 to 8"


def test_read_campaign_takes_text_paths(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(SMALLEST)
    assert read_campaign(str(path)) == read_campaign(Path(path))
