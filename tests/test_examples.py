"""What is shown to users works: example campaigns make a plan, and YAML on the pages is valid."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from flows.plan import plan_of
from loop.campaign_file import parse_campaign, read_campaign
from loop.errors import ReferencePhaseError
from loop.spec import CampaignSpec

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LI_FE_O = ROOT / "examples" / "li-fe-o.yaml"

needs_data = pytest.mark.skipif(
    not os.environ.get("MOTHERLODE_DATA"), reason="MOTHERLODE_DATA names no folder of real entries"
)


def unset_variables(path):
    """Environment variables that the file names and that are not set."""
    return [name for name in re.findall(r"\$(\w+)", path.read_text()) if not os.environ.get(name)]


@cache
def planned(path):
    """The example and its plan, worked out once."""
    spec = read_campaign(path)
    return spec, plan_of(spec, base=path.parent)


def blocks():
    """YAML on the pages that is a campaign file or sections of one: page with a number, text."""
    for page in PAGES:
        found = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for number, text in enumerate(found, start=1):
            if yaml.safe_load(text).keys() & CampaignSpec.model_fields.keys():
                yield pytest.param(text, id=f"{page.name}-{number}")


def whole(text):
    """A whole campaign file of sections of one."""
    given = yaml.safe_load(text)
    lacking = {"name": "a-page", "space": "{chemical_systems: [Fe-Li-O]}"}
    return "".join(f"{key}: {value}\n" for key, value in lacking.items() if key not in given) + text


def test_there_are_examples_and_pages():
    assert {"quickstart", "li-fe-o"} <= {path.stem for path in EXAMPLES}
    pages = {parameter.id.rpartition("-")[0] for parameter in blocks()}
    assert {"README.md", "campaign-file.md", "references.md"} <= pages


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_makes_a_plan(path):
    assert read_campaign(path).name == path.stem, "an example's folder is called like its file"
    if unset := unset_variables(path):
        pytest.skip(f"{path.name} needs {', '.join(unset)}")
    spec, plan = planned(path)
    assert plan.systems == spec.space.systems()
    assert sum(plan.proposals.values()) == spec.batch.proposals
    assert plan.reference_phases >= len(spec.space.all_elements())
    assert bool(plan.known_phases) == bool(spec.known_phases)
    assert [level.name for level in plan.levels] == [level.name for level in spec.verification]
    # The budget carries the campaign to its last iteration.
    assert plan.affordable_iterations is None or plan.affordable_iterations >= spec.stopping.iterations


@needs_data
def test_li_fe_o_counts_the_phases_that_its_comment_promises():
    promised = re.search(r"# (\d+) of the (\d+) phases", LI_FE_O.read_text())
    spec, plan = planned(LI_FE_O)
    assert plan.reference_phases == int(promised[1])
    assert str(spec.references.options["path"]).endswith(f"_{promised[2]}.json.gz")


def test_li_fe_o_without_its_data_says_what_to_set(monkeypatch):
    monkeypatch.delenv("MOTHERLODE_DATA", raising=False)
    with pytest.raises(
        ReferencePhaseError, match="the environment variable MOTHERLODE_DATA is not set; set it"
    ):
        plan_of(read_campaign(LI_FE_O), base=LI_FE_O.parent)


@pytest.mark.parametrize("text", list(blocks()))
def test_yaml_on_the_pages_is_valid(text):
    parse_campaign(whole(text), name="block")
