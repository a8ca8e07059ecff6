"""Policies by name."""

import pytest

from loop.acquisition import registry
from loop.acquisition.policy import Policy
from loop.errors import AcquisitionError, CampaignFileError
from loop.spec import AcquisitionSpec, Thresholds


@pytest.mark.parametrize("name", registry.POLICIES.names())
def test_a_policy_bears_the_name_that_it_is_asked_by(name):
    policy = registry.load_policy(AcquisitionSpec(policy=name))
    assert isinstance(policy, Policy)
    assert policy.name == name


def test_options_and_thresholds_reach_the_policy():
    spec = AcquisitionSpec(policy="residual", options={"prior_deviation": 0.07})
    policy = registry.load_policy(spec, thresholds=Thresholds(metastable=0.03))
    assert policy.settings.prior_deviation == 0.07
    assert policy.thresholds.metastable == 0.03


def test_a_misspelt_name_is_answered_with_the_closest():
    with pytest.raises(
        AcquisitionError, match=r"acquisition\.policy: 'residul' is not registered; did you mean 'residual'"
    ):
        registry.load_policy(AcquisitionSpec(policy="residul"))


def test_a_wrong_option_names_its_field():
    with pytest.raises(CampaignFileError, match=r"acquisition\.options\.bta"):
        registry.load_policy(AcquisitionSpec(policy="upper_confidence_bound", options={"bta": 1}))
