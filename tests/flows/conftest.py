"""What tests of the whole loop share."""

from __future__ import annotations

import pytest

from flows.campaign import Campaign
from loop.campaign_file import read_campaign
from tests.flows.worlds import EMT


@pytest.fixture(scope="session")
def turned(tmp_path_factory):
    """Folder of a finished EMT campaign of four iterations. Read only."""
    from flows.turning import run

    folder = tmp_path_factory.mktemp("turned") / "campaign"
    with Campaign.open(read_campaign(EMT), folder=folder, base=EMT.parent) as campaign:
        run(campaign)
    (folder / "campaign.yaml").write_text(EMT.read_text())
    return folder
