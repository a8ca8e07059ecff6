"""How long twenty iterations of the EMT test world take, from an empty folder to the last report.

    python benchmarks/small_world.py [--quick] [--out FILE]

Prints a line per stage and, last, one JSON object: seconds, iterations, candidates, verified, seconds_per_iteration.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from flows.campaign import Campaign
from flows.turning import run
from loop.campaign_file import read_campaign
from loop.spec import CampaignSpec, as_json

WORLD = Path(__file__).parents[1] / "tests" / "campaigns" / "emt.yaml"


def main() -> None:
    """Turn the campaign and print where the time went."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="four iterations instead of twenty")
    parser.add_argument("--out", type=Path, help="also write the JSON object to this file")
    arguments = parser.parse_args()
    changes = {
        "stopping": {"iterations": 4 if arguments.quick else 20},
        "batch": {"proposals": 5, "verifications": 1},
        "acquisition": {"policy": "greedy", "audit_fraction": 0.25, "window": 0.3},
        "budget": {"verifications": 100},
        "relaxation": {"max_force": 0.2, "max_stress": 2.0, "max_steps": 60, "symmetry": "free"},
        "screening": {"early_rejection": None},
    }
    spec = CampaignSpec.model_validate({**as_json(read_campaign(WORLD)), **changes})
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        with Campaign.open(spec, folder=Path(folder), base=WORLD.parent) as campaign:
            run(campaign)
            counts = campaign.counts()
            stages = defaultdict(float)
            for (_, name), stage in campaign.state.stages.items():
                stages[name] += stage.seconds
        seconds = time.perf_counter() - began
    for name, spent in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"{name:<12}{spent:8.1f} s")
    figures = {
        "seconds": round(seconds, 1),
        "iterations": counts["iterations"],
        "candidates": counts["candidates"],
        "verified": counts["verified"],
        "seconds_per_iteration": round(seconds / counts["iterations"], 2),
    }
    line = json.dumps(figures)
    if arguments.out:
        arguments.out.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
