"""Policies by name, through the entry points `motherlode.acquisition`.

A policy's class is called with its options and, by keyword, the campaign's thresholds: `Greedy({},
thresholds=…)`.
"""

from __future__ import annotations

from typing import Final

from loop.acquisition.policy import Policy
from loop.errors import AcquisitionError
from loop.plugins import PluginKind
from loop.spec import AcquisitionSpec, Thresholds

POLICIES: Final = PluginKind(group="motherlode.acquisition", seam=Policy, error=AcquisitionError)


def load_policy(spec: AcquisitionSpec, *, thresholds: Thresholds | None = None) -> Policy:
    """The policy that a campaign file asks for.

    Args:
        spec: its name and options.
        thresholds: what the campaign calls stable and metastable; the defaults of `Thresholds` where None.

    Raises:
        CampaignFileError: the policy refuses its options.
        AcquisitionError: no policy of that name is installed, or what is installed under it is none.
    """
    return POLICIES.make(
        spec.policy, spec.options, field="acquisition.policy", thresholds=thresholds or Thresholds()
    )
