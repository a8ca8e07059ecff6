"""The plug-in that docs/potentials.md shows passes the suite that it is told to pass."""

import re
from pathlib import Path

import pytest

from loop.spec import PotentialSpec
from tests.conformance.potential import PotentialConformance

DOCUMENT = Path(__file__).parents[2] / "docs" / "potentials.md"


class TestDocumentedPlugIn(PotentialConformance):
    energy_noise = 1e-9
    derivative_noise = 2e-3

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls):
        (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
        namespace = {"__name__": "documented_plug_in"}
        exec(compile(code, str(DOCUMENT), "exec"), namespace)
        return namespace["load"](PotentialSpec(name="morse"), base=Path.cwd())
