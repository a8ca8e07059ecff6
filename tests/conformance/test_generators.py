"""The conformance suite over every registered generator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from generators.registry import GENERATORS, load_generator
from tests.conformance.generator import GeneratorConformance

ROOT = Path(__file__).parents[2]
DIGESTS = """
import hashlib
import numpy as np
from generators.registry import GENERATORS, load_generator
from tests.conformance.generator import CONDITIONS, GeneratorConformance
condition = CONDITIONS["charge neutral"]
for name in GENERATORS.names():
    generator = load_generator(name, {})
    records = GeneratorConformance().records_for(generator, condition)
    fitted = generator.fit(records, start=None, rng=np.random.default_rng(1))
    proposals = fitted.sample(8, condition=condition, rng=np.random.default_rng(2))
    text = repr([(p.structure.as_dict(), p.parents, p.details) for p in proposals])
    print(name, len(proposals), hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.fixture(params=GENERATORS.names())
def generator(request):
    return load_generator(request.param, {})


class TestRegistered(GeneratorConformance):
    @pytest.fixture
    def generator(self, generator):
        return generator


@pytest.mark.slow
def test_proposals_do_not_depend_on_the_process():
    """Hash seeds differ between processes; a set walked in its own order would change the proposals."""
    answers = []
    for seed in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }
        run = subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(run.stdout.splitlines())
    assert answers[0] == answers[1]
    assert {line.split()[0]: line.split()[1] for line in answers[0]} == dict.fromkeys(GENERATORS.names(), "8")
