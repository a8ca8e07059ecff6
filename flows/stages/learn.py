"""Learn: what the iteration taught is fitted, tested on what it has not seen, and promoted only where it is better."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows import early_rejection
from flows.stages.select import observations
from generators.protocol import Generator
from loop.acquisition.options import ModelOptions
from loop.acquisition.quality import leave_one_out, promote
from loop.ledger.tables import ModelVersion, Row
from loop.outcomes import discoveries

if TYPE_CHECKING:
    from flows.campaign import Campaign


def learn(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Fit the acquisition's model, the rule of early rejection and the preferences; write a version of each."""
    rows: list[Row] = []
    summary: dict[str, Any] = {}
    seen = observations(campaign)
    settings = getattr(campaign.resources.policy, "settings", None)
    settings = settings if isinstance(settings, ModelOptions) else ModelOptions()  # baselines have no model
    quality = leave_one_out(seen, options=settings)
    if quality is not None:
        promoted = len(seen) >= settings.minimum_observations and promote(quality)
        rows.append(
            _version(
                campaign,
                iteration,
                kind="acquisition",
                name="residual",
                state={},  # refitted from the ledger's observations whenever it is asked
                metrics=quality.to_json(),
                promoted=promoted,
                trained_on={"observations": [o.candidate_id for o in seen]},
            )
        )
        summary["residual_model"] = "promoted" if promoted else "not promoted"
    lesson = early_rejection.learn(campaign)
    if lesson is not None:
        rows.append(
            _version(
                campaign,
                iteration,
                kind=early_rejection.KIND,
                name=early_rejection.NAME,
                state=lesson.rule.to_dict(),
                metrics=lesson.metrics,
                promoted=lesson.promoted,
                trained_on={"relaxations": lesson.runs},
                version=lesson.rule.version,  # by which the relaxations run under it name it
            )
        )
        in_force = lesson.promoted and bool(lesson.rule.scales)
        summary["early_rejection"] = "promoted" if in_force else "not promoted"
    records = campaign.records()
    for name, generator in campaign.resources.generators.items():
        fitted: Generator = generator.fit(
            records,
            start=campaign.promoted_state("generator", name),
            rng=campaign.stream("learn", name, iteration),
        )
        state = dict(fitted.state())
        if not state:
            continue
        rows.append(
            _version(
                campaign,
                iteration,
                kind="generator",
                name=name,
                state=state,
                metrics=_yield(campaign, name),
                promoted=True,  # a preference's floor keeps every choice open, so it cannot shut out what it underrates
                trained_on={"records": len(records)},
            )
        )
    summary["generators"] = [
        row.name for row in rows if isinstance(row, ModelVersion) and row.kind == "generator"
    ]
    return rows, summary


def _yield(campaign: Campaign, name: str) -> dict[str, Any]:
    """What a generator's proposals came to so far: counts."""
    state, spec = campaign.state, campaign.spec
    own = {id_ for id_, candidate in state.candidates.items() if candidate.generator == name}
    screened = [v for v in state.verdicts_at(campaign.screening_fidelities[-1]) if v.candidate_id in own]
    return {
        "proposed": len(own),
        "kept": len(own - state.rejections.keys()),
        "screened_metastable": sum(1 for v in screened if v.energy_above_hull <= spec.thresholds.metastable),
        "discoveries": sum(1 for v in discoveries(state, spec) if v.candidate_id in own),
    }


def _version(
    campaign: Campaign,
    iteration: int,
    *,
    kind: str,
    name: str,
    state: dict[str, Any],
    metrics: Mapping[str, Any],
    promoted: bool,
    trained_on: dict[str, Any],
    version: str | None = None,
) -> ModelVersion:
    before = campaign.state.promoted(kind, name)
    content = json.dumps([kind, name, state, trained_on], sort_keys=True)
    return ModelVersion(
        campaign_id=campaign.id,
        kind=kind,
        name=name,
        iteration=iteration,
        version=version or hashlib.sha256(content.encode()).hexdigest()[:16],
        parent=before.version if before else None,
        trained_on=trained_on,
        metrics=dict(metrics),
        promoted=promoted,
        state=state,
    )
