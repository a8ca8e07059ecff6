"""Small campaigns for tests of the whole loop."""

from __future__ import annotations

from pathlib import Path

from flows.observer import Silence
from loop.campaign_file import read_campaign
from loop.spec import CampaignSpec, as_json

EMT = Path(__file__).parents[1] / "campaigns" / "emt.yaml"
STAGED = EMT.with_name("staged.yaml")
TWENTY = {
    "stopping": {"iterations": 20},
    "batch": {"proposals": 5, "verifications": 1},
    "acquisition": {"policy": "greedy", "audit_fraction": 0.25, "window": 0.3},
    "budget": {"verifications": 100},
    "relaxation": {"max_force": 0.2, "max_stress": 2.0, "max_steps": 60, "symmetry": "free"},
    "screening": {"early_rejection": None},
}
"""Settings of a campaign that turns twenty times."""


class Killer(Silence):
    """Ends the driver as soon as `done` calculations of a kind are settled."""

    def __init__(self, label: str, *, done: int = 1) -> None:
        self.label, self.done = label, done

    def progress(self, label: str, *, done: int, total: int, share: float) -> None:
        if label == self.label and done >= self.done:
            raise KeyboardInterrupt


def emt_spec(**changes) -> CampaignSpec:
    """The EMT campaign with some top-level settings changed."""
    return CampaignSpec.model_validate({**as_json(read_campaign(EMT)), **changes})


def staged_spec(**changes) -> CampaignSpec:
    """The campaign whose screen has two stages, with some top-level settings changed."""
    return CampaignSpec.model_validate({**as_json(read_campaign(STAGED)), **changes})
