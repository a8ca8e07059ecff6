"""When a campaign ends, and what it says then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.spec import CampaignSpec, Space, Stopping
from loop.stopping import Facts, iterations_since_discovery, reason_to_stop


def reason(facts, **stopping):
    campaign = CampaignSpec(
        name="test", space=Space(chemical_systems=("Ni-Ti",)), stopping=Stopping(**stopping)
    )
    return reason_to_stop(campaign, Facts(**{"iterations": 0, "discoveries": (), "remaining": {}, **facts}))


@pytest.mark.parametrize(
    ("facts", "stopping", "words"),
    [
        ({"iterations": 3, "discoveries": (1, 1, 1)}, {"iterations": 3}, "stopping.iterations asks for 3"),
        ({"iterations": 2, "discoveries": (2, 3)}, {"discoveries": 5}, "5 discoveries"),
        ({"iterations": 4, "discoveries": (1, 0, 0, 0)}, {"iterations_without_discovery": 3}, "3 iterations"),
        ({"remaining": {"cpu_seconds": 0.0}}, {}, "nothing is left of cpu_seconds"),
        ({"remaining": {"cpu_seconds": 4.0}, "cheapest": {"cpu_seconds": 5.0}}, {}, "4 cpu_seconds are left"),
        ({"nothing_left": True}, {}, "nothing is left to propose"),
    ],
)  # fmt: skip
def test_each_reason_is_given_in_words(facts, stopping, words):
    assert words in reason(facts, **stopping)


@pytest.mark.parametrize(
    ("facts", "stopping"),
    [
        ({"iterations": 2, "discoveries": (1, 1)}, {"iterations": 3}),
        ({"iterations": 2, "discoveries": (2, 2)}, {"discoveries": 5}),
        ({"iterations": 4, "discoveries": (1, 0, 1, 0)}, {"iterations_without_discovery": 2}),
        ({"remaining": {"cpu_seconds": 5.0}, "cheapest": {"cpu_seconds": 5.0, "unbudgeted": 9.0}}, {}),
        ({"iterations": 9, "discoveries": (0,) * 9}, {}),
    ],
)
def test_otherwise_the_campaign_goes_on(facts, stopping):
    assert reason(facts, **stopping) is None


def test_success_is_told_before_exhaustion():
    facts = {"iterations": 3, "discoveries": (1, 1, 1), "remaining": {"cpu_seconds": 0.0}}
    assert "3 discoveries" in reason(facts, discoveries=3, iterations=3)


@given(before=st.lists(st.integers(0, 3)), barren=st.integers(0, 5))
def test_iterations_since_discovery_counts_the_tail(before, barren):
    assert iterations_since_discovery([*before, 1, *[0] * barren]) == barren
