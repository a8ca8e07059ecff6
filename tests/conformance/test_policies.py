"""The conformance suite over every registered acquisition policy."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from loop.acquisition.registry import POLICIES, load_policy
from loop.spec import AcquisitionSpec
from tests.conformance.policy import PolicyConformance, content, small_problem

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import numpy as np
from loop.acquisition.registry import load_policy
from loop.spec import AcquisitionSpec
from tests.conformance.policy import content, small_problem
policy = load_policy(AcquisitionSpec(policy=sys.argv[1]))
options, observations = small_problem()
print(content(policy.choose(options, observations, batch_size=3, budget=9.0, rng=np.random.default_rng(3))))
"""


@pytest.fixture(scope="module", params=POLICIES.names())
def registered(request):
    return load_policy(AcquisitionSpec(policy=request.param))


class TestRegistered(PolicyConformance):
    @pytest.fixture
    def policy(self, registered):
        return registered


def test_the_four_policies_of_the_campaign_file_are_registered():
    assert set(POLICIES.names()) >= {"residual", "upper_confidence_bound", "greedy", "random"}


@pytest.mark.slow
def test_another_process_with_other_threads_and_hashes_decides_the_same(registered):
    options, observations = small_problem()
    here = content(
        registered.choose(options, observations, batch_size=3, budget=9.0, rng=np.random.default_rng(3))
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM, registered.name],
        capture_output=True, text=True, check=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert there.stdout.strip() == str(here)
