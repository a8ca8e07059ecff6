"""docs/references.md says what the option models say."""

import re
from pathlib import Path

import pytest
import yaml

from loop.references.files import FileOptions
from loop.references.materials_project import MaterialsProjectOptions
from loop.references.prototypes import PrototypeOptions
from loop.references.registry import load_source
from loop.spec import ReferenceSpec

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "references.md").read_text()
MODELS = {"prototypes": PrototypeOptions, "files": FileOptions, "materials_project": MaterialsProjectOptions}


def rows(model):
    """The option table of a model: key, default as it stands in YAML, meaning."""
    for name, field in model.model_fields.items():
        value = list(field.default) if isinstance(field.default, tuple) else field.default
        default = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
        yield f"| `{name}` | `{default}` | {' '.join(field.description.split())} |"


@pytest.mark.parametrize("name", MODELS)
def test_option_tables_are_up_to_date(name):
    section = PAGE.split(f"## `{name}`")[1].split("\n## ")[0]
    table = section.split("| key | default | meaning |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    assert table.splitlines() == list(rows(MODELS[name]))


def test_every_example_is_a_valid_reference_section(tmp_path):
    examples = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)]
    assert len(examples) >= 3
    for example in examples:
        load_source(ReferenceSpec.model_validate(example["references"]), base=tmp_path)
