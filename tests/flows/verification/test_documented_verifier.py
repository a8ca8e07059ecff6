"""The verifier that docs/verification.md writes down, run as it stands there."""

import re
from pathlib import Path

import pytest
from ase.build import bulk

from loop.crystal import Crystal
from loop.spec import RelaxationSpec, Thresholds, VerificationLevel
from tests.conformance.verifier import VerifierConformance

PAGE = Path(__file__).parents[3] / "docs" / "verification.md"


@pytest.fixture
def documented():
    (code,) = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names["EffectiveMedium"]


class TestDocumented(VerifierConformance):
    crystal = Crystal.from_atoms(bulk("Cu", "fcc", a=3.65))
    hopeless = Crystal.from_atoms(bulk("Si", "diamond", a=5.43))

    @pytest.fixture
    def make(self, documented, dispatcher, tmp_path):
        return lambda: documented(
            VerificationLevel(name="emt", verifier="effective_medium"),
            thresholds=Thresholds(),
            relaxation=RelaxationSpec(),
            folder=tmp_path,
            dispatcher=dispatcher,
            base=tmp_path,
        )


@pytest.mark.parametrize("kind", ["potential", "phonons"])
def test_every_option_is_on_the_page(kind):
    from flows.verification.options import PhononOptions, PotentialOptions

    text = PAGE.read_text(encoding="utf-8")
    section = text.split(f"## `verifier: {kind}`")[1].split("\n## ")[0]
    for name in {"potential": PotentialOptions, "phonons": PhononOptions}[kind].model_fields:
        assert f"`{name}`" in section
