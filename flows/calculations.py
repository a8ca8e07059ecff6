"""Durable calculations: asked for by identity, run at most once, settled in the ledger as they end.

The one path by which relaxations, verifications and phonons of candidates and of reference phases are paid for:

    identity → settled already? → intent and declared cost → submit → collect → settled with its cost

A driver killed anywhere between two arrows starts again at the first and repeats nothing that was settled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.progress import Queue, work_of
from flows.verification.verifier import BatchVerifier, VerificationResult, Verifier
from loop.budget import total
from loop.crystal import Crystal
from loop.ledger.calculations import Settlement
from loop.ledger.rows import crystal_row
from loop.ledger.tables import Calculation, Cost

if TYPE_CHECKING:
    from flows.campaign import Campaign


def calculation_key(crystal: Crystal, identity: Mapping[str, Any]) -> str:
    """Hash of all that decides a calculation's result: the crystal, the kind, the fidelity, the settings, the code."""
    text = json.dumps({"crystal": crystal.key, **identity}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A calculation that somebody wants."""

    subject: str
    """A candidate's id or a reference phase's name."""
    crystal: Crystal


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a set of requests."""

    settled: Mapping[str, Calculation]
    """By subject, done or failed."""
    unaffordable: tuple[str, ...]
    """Subjects whose declared cost the remaining budget could not pay."""


def compute(
    campaign: Campaign,
    requests: Iterable[Request],
    *,
    by: Verifier,
    purpose: str,
    iteration: int,
    charge: Mapping[str, float],
    label: str,
    queue: Queue | None = None,
) -> Outcome:
    """Settle every request that is affordable, running only what was never settled before.

    Args:
        campaign: whose ledger and budget are used.
        requests: in the order in which the budget is to be spent; all that it pays for are in flight together, so
            whoever has thousands gives them a chunk at a time.
        by: what computes.
        purpose: `reference`, `screening`, or the name of a further stage or level, for the cost rows.
        iteration: the iteration that pays.
        charge: flat amounts per request besides what `by` declares, e.g. `{"verifications": 1}`.
        label: what a person sees beside the progress.
        queue: of which these requests are the next chunk, so that progress is that of all of them.
    """
    requests = list(requests)
    keys = {r.subject: calculation_key(r.crystal, by.identity(r.crystal)) for r in requests}
    crystals = {keys[r.subject]: r.crystal for r in requests}
    settled = campaign.settled(keys.values(), shared=purpose == "reference")
    _adopt(campaign, settled.values(), purpose=purpose, iteration=iteration, charge=charge)

    works = {key: work_of(crystal, by) for key, crystal in crystals.items()}
    queue = queue or Queue(total=len(crystals), work=sum(works.values()))
    _show(campaign, label, settled, works=works, queue=queue)
    batches = [[key for key in batch if key not in settled] for batch in _batches(crystals, by=by)]
    waiting = [batch for batch in batches if batch]
    while waiting:
        # What cannot be paid now is asked again when the rest has settled, which may cost less than was declared.
        handed, waiting = _affordable(campaign, waiting, crystals, by=by, charge=charge)
        declared = {key: cost for batch in handed for key, cost in batch.items()}
        if not declared:
            break
        campaign.ledger.intend_many(
            campaign.id, declared, token=campaign.token, purpose=purpose, iteration=iteration
        )
        for batch in handed:
            _submit({key: crystals[key] for key in batch}, by)
        running = set(declared)
        while running:
            results = by.collect()
            if not results:
                continue
            settlements = [
                _settlement(result, crystals[result.request_id], by, charge=charge) for result in results
            ]
            settled |= campaign.ledger.settle_many(
                campaign.id, settlements, token=campaign.token, purpose=purpose, iteration=iteration
            )
            running -= {result.request_id for result in results}
            _show(campaign, label, settled, works=works, queue=queue)
    queue.finish(count=len(crystals), work=sum(works.values()))
    if purpose == "reference":
        campaign.share(settled.values())
    return Outcome(
        settled={subject: settled[key] for subject, key in keys.items() if key in settled},
        unaffordable=tuple(subject for subject, key in keys.items() if key not in settled),
    )


def _show(
    campaign: Campaign, label: str, settled: Collection[str], *, works: Mapping[str, float], queue: Queue
) -> None:
    campaign.observer.progress(
        label,
        done=queue.done + len(settled),
        total=queue.total,
        share=queue.share(sum(works[key] for key in settled)),
    )


def _batches(crystals: Mapping[str, Crystal], *, by: Verifier) -> list[list[str]]:
    """Keys in the groups that are computed together: cut from all of them, so that a resumed campaign cuts alike."""
    keys = list(crystals)
    if not isinstance(by, BatchVerifier):
        return [[key] for key in keys]
    return [[keys[i] for i in batch] for batch in by.batches(list(crystals.values()))]


def _affordable(
    campaign: Campaign,
    waiting: Sequence[Sequence[str]],
    crystals: Mapping[str, Crystal],
    *,
    by: Verifier,
    charge: Mapping[str, float],
) -> tuple[list[dict[str, Mapping[str, float]]], list[list[str]]]:
    """What the remaining budget pays for, batch by batch with its declared costs, and what it does not."""
    handed, unpaid = [], []
    promised: Mapping[str, float] = {}
    for batch in waiting:
        paid: dict[str, Mapping[str, float]] = {}
        for key in batch:
            declared = total([by.declared_cost(crystals[key]), charge])
            more = campaign.undeclared(key, declared)
            if campaign.can_afford(more, beside=[promised]):
                paid[key] = declared
                promised = total([promised, more])
        handed.append(paid)
        unpaid.append([key for key in batch if key not in paid])
    return [batch for batch in handed if batch], [batch for batch in unpaid if batch]


def _submit(batch: Mapping[str, Crystal], by: Verifier) -> None:
    if isinstance(by, BatchVerifier):
        by.submit_batch(list(batch.items()))
        return
    for key, crystal in batch.items():
        by.submit(crystal, request_id=key)


def _adopt(
    campaign: Campaign,
    calculations: Iterable[Calculation],
    *,
    purpose: str,
    iteration: int,
    charge: Mapping[str, float],
) -> None:
    """Enter calculations that were settled elsewhere into this campaign's accounts: their seconds cost it nothing."""
    state = campaign.state
    rows = [
        Cost(
            campaign_id=campaign.id,
            calculation_key=calculation.key,
            currency=currency,
            kind="settled",
            purpose=purpose,
            iteration=iteration,
            amount=amount,
        )
        for calculation in calculations
        if calculation.key not in state.calculations
        for currency, amount in {"cpu_seconds": 0.0, **charge}.items()
    ]
    campaign.append(*rows, *(c for c in calculations if c.key not in state.calculations))


def _settlement(
    result: VerificationResult, crystal: Crystal, by: Verifier, *, charge: Mapping[str, float]
) -> Settlement:
    """A verifier's answer as the ledger takes it."""
    identity = dict(by.identity(crystal))
    failure, relaxed = result.failure, result.crystal
    calculation = Calculation(
        key=result.request_id,
        crystal_key=crystal.key,
        kind=identity.pop("kind"),
        fidelity=identity.pop("fidelity"),
        code_version=str(identity.pop("code_version")),
        settings=identity,
        outcome="failed" if failure else "done",
        energy_per_atom=result.energy_per_atom,
        result_crystal_key=relaxed.key if relaxed else None,
        result=dict(result.properties),
        failure_reason=failure.reason if failure else None,
        failure_detail=failure.detail if failure else None,
        cpu_seconds=float(result.cost.get("cpu_seconds", 0.0)),
    )
    crystals = [crystal_row(crystal), *([crystal_row(relaxed)] if relaxed else [])]
    return Settlement(calculation=calculation, crystals=crystals, costs=total([result.cost, charge]))
