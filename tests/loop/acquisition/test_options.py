"""The options and their page agree."""

from pathlib import Path

import pytest

from loop.acquisition.features import FEATURE_NAMES
from loop.acquisition.options import ConfidenceOptions, ResidualOptions

PAGE = (Path(__file__).parents[3] / "docs" / "acquisition.md").read_text()


@pytest.mark.parametrize("model", [ResidualOptions, ConfidenceOptions], ids=lambda m: m.__name__)
def test_every_option_stands_on_the_page_with_its_default(model):
    for name, field in model.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert f"| `{name}` | {default} |" in PAGE


def test_the_page_counts_the_features():
    assert f"{len(FEATURE_NAMES)} physical features" in PAGE
