"""What is generated from the campaign file's models is up to date and true."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, ValidationError

from loop.campaign_file import parse_campaign
from loop.campaign_problems import model_within
from loop.spec import CampaignSpec, as_json
from loop.spec_docs import (
    DOCS,
    SCHEMA_FILE,
    START,
    campaign_file_page,
    commented_campaign_file,
    json_schema,
    write_docs,
)


def models(model: type[BaseModel]):
    yield model
    for field in model.model_fields.values():
        if inner := model_within(field.annotation):
            yield from models(inner)


def uncommented(text: str) -> str:
    """Every setting that stands in the file as a comment, made active."""
    return re.sub(r"^(\s*)#(?! )", r"\1", text, flags=re.MULTILINE)


def test_the_docs_in_the_repository_are_up_to_date(tmp_path):
    write_docs(tmp_path)
    for name in ("campaign-file.md", SCHEMA_FILE):
        assert (DOCS / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8"), (
            f"docs/{name} is out of date: python -m loop.spec_docs"
        )


def test_every_field_has_a_description_and_stands_on_the_page():
    page = campaign_file_page()
    for model in models(CampaignSpec):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"
            assert f"| `{name}` |" in page
            assert " ".join(field.description.split()).replace("|", "\\|") in page


def test_every_link_on_the_page_leads_to_a_heading():
    page = campaign_file_page()
    anchors = {
        "".join(c for c in heading.lower() if c.isalnum() or c in "-_ ").strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    }
    links = set(re.findall(r"\]\(#([^)]*)\)", page))
    assert links
    assert links <= anchors


def test_the_yaml_on_the_page_is_a_campaign():
    for block in re.findall(r"```yaml\n(.*?)```", campaign_file_page(), flags=re.DOTALL):
        assert parse_campaign(block).space.chemical_systems


class TestSchema:
    def test_is_a_schema(self):
        jsonschema.Draft202012Validator.check_schema(json_schema())

    def test_accepts_what_the_reader_accepts(self):
        spec = CampaignSpec.model_validate(START)
        jsonschema.validate(yaml.safe_load(commented_campaign_file()), json_schema())
        jsonschema.validate(dict(as_json(spec)), json_schema())

    @pytest.mark.parametrize(
        "change",
        [
            {"generatrs": []},
            {"seed": 1.5},
            {"seed": -1},
            {"space": {"atoms": [1, 2, 3]}},
            {"batch": {"proposals": 0}},
            {"name": "A b"},
        ],
    )
    def test_refuses_what_the_reader_refuses(self, change):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**START, **change}, json_schema())

    def test_describes_every_field_for_the_editor(self):
        text = json.dumps(json_schema())
        for field in CampaignSpec.model_fields.values():
            assert json.dumps(field.description)[1:-1] in text


class TestStartingFile:
    def test_is_the_campaign_it_says(self):
        assert parse_campaign(commented_campaign_file()) == CampaignSpec.model_validate(START)

    def test_names_its_schema_first(self):
        assert commented_campaign_file().splitlines()[0] == f"# yaml-language-server: $schema={SCHEMA_FILE}"
        assert "$schema" not in commented_campaign_file(schema=None)

    def test_takes_overrides(self):
        text = commented_campaign_file(
            name="lithium", space={"elements": ["Li", "O", "No"]}, seed=7, acquisition={"policy": "greedy"}
        )
        spec = parse_campaign(text)
        assert (spec.name, spec.space.elements, spec.seed, spec.acquisition.policy) == (
            "lithium",
            ("Li", "No", "O"),
            7,
            "greedy",
        )

    def test_refuses_impossible_overrides(self):
        with pytest.raises(ValidationError):
            commented_campaign_file(seed=-1)

    def test_commented_settings_stand_at_their_defaults(self):
        """Taking every `#` away changes nothing: what the file says of the defaults is true."""
        text = uncommented(commented_campaign_file())
        assert set(yaml.safe_load(text)) == set(CampaignSpec.model_fields)
        assert parse_campaign(text) == CampaignSpec.model_validate(START)

    def test_lines_fit_a_screen(self):
        assert max(map(len, commented_campaign_file().splitlines())) <= 130


def test_docs_folder_is_the_repository_s():
    assert Path(__file__).parents[2] / "docs" == DOCS
