"""Policies by name, through the entry points `motherlode.acquisition`.

A policy's class is called with its options and, by keyword, the campaign's thresholds: `Greedy({},
thresholds=…)`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from loop.acquisition.policy import Policy
from loop.elements import closest
from loop.errors import AcquisitionError, CampaignFileError
from loop.spec import AcquisitionSpec, Thresholds

GROUP: Final = "motherlode.acquisition"


def policy_names() -> tuple[str, ...]:
    """The names of all installed policies, alphabetical."""
    return tuple(sorted(_entries()))


def load_policy(spec: AcquisitionSpec, *, thresholds: Thresholds | None = None) -> Policy:
    """The policy that a campaign file asks for.

    Args:
        spec: its name and options.
        thresholds: what the campaign calls stable and metastable; the defaults of `Thresholds` where None.

    Raises:
        CampaignFileError: no policy of that name is installed, or it refuses its options.
        AcquisitionError: what is installed under the name is no policy.
    """
    entries = _entries()
    if spec.policy not in entries:
        raise CampaignFileError(
            f"acquisition.policy: no policy is called {spec.policy!r}; did you mean "
            f"{closest(spec.policy, entries)!r}? Installed are {', '.join(sorted(entries)) or 'none'}"
        )
    policy = entries[spec.policy].load()(spec.options, thresholds=thresholds or Thresholds())
    if not isinstance(policy, Policy):
        raise AcquisitionError(
            f"acquisition.policy: {spec.policy!r} ({entries[spec.policy].value}) has no name or no `choose`; "
            "it must satisfy loop.acquisition.policy.Policy"
        )
    return policy


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
