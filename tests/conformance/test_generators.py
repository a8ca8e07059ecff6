"""The conformance suite over every registered generator."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from generators.registry import available, load_generator
from tests.conformance.generator import GeneratorConformance

ROOT = Path(__file__).parents[2]
DIGEST = """
import hashlib, sys
import numpy as np
from generators.registry import load_generator
from tests.conformance.generator import CONDITIONS, GeneratorConformance
suite, generator = GeneratorConformance(), load_generator(sys.argv[1], {})
condition = CONDITIONS["charge neutral"]
fitted = generator.fit(suite.records_for(generator, condition), start=None, rng=np.random.default_rng(1))
proposals = fitted.sample(8, condition=condition, rng=np.random.default_rng(2))
text = repr([(p.structure.as_dict(), p.parents, p.details) for p in proposals])
print(len(proposals), hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.fixture(params=available())
def generator(request):
    return load_generator(request.param, {})


class TestRegistered(GeneratorConformance):
    @pytest.fixture
    def generator(self, generator):
        return generator


@pytest.mark.slow
@pytest.mark.parametrize("name", available())
def test_proposals_do_not_depend_on_the_process(name):
    """Hash seeds differ between processes; a set walked in its own order would change the proposals."""
    answers = []
    for seed in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }
        run = subprocess.run(
            [sys.executable, "-c", DIGEST, name],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(run.stdout.strip())
    assert answers[0] == answers[1]
    assert answers[0].split()[0] == "8"
    assert answers[0].split()[1] != hashlib.sha256(b"[]").hexdigest()
