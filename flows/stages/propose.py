"""Propose and standardise: generators draw; what is no new, valid crystal of the space is set aside with a reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from generators.protocol import Condition, Generator, Proposal
from loop.crystal import Crystal
from loop.errors import CrystalError, GeneratorError, MotherlodeError
from loop.ledger.rows import crystal_row
from loop.ledger.tables import Candidate, FailureRow, Rejection, Row
from loop.validity import first_reason_against

if TYPE_CHECKING:
    from flows.campaign import Campaign

ROUNDS = 2
"""Times that the share of generators that fell short is offered to the others."""


def propose(campaign: Campaign, iteration: int) -> tuple[list[Row], dict[str, Any]]:
    """Draw an iteration's candidates and judge each before anything is spent on it."""
    proposals, rows = _draw(campaign, iteration)
    kept = 0
    reasons: Counter[str] = Counter()
    for ordinal, (generator, proposal) in enumerate(proposals, start=1):
        candidate_id = f"{iteration:04d}-{ordinal:04d}"
        crystal, rejection = _admit(campaign, candidate_id, proposal)
        if crystal is not None:
            rows.append(crystal_row(crystal))
        rows.append(
            Candidate(
                campaign_id=campaign.id,
                id=candidate_id,
                iteration=iteration,
                ordinal=ordinal,
                generator=generator.name,
                generator_version=generator.version,
                crystal_key=crystal.key if crystal else None,
                parents=list(proposal.parents),
                details=dict(proposal.details),
            )
        )
        if rejection is None:
            kept += 1
            continue
        reason, detail = rejection
        reasons[reason] += 1
        rows.append(
            Rejection(
                campaign_id=campaign.id,
                candidate_id=candidate_id,
                iteration=iteration,
                stage="propose",
                reason=reason,
                detail=detail,
            )
        )
    return rows, {"proposed": len(proposals), "kept": kept, "rejected": dict(sorted(reasons.items()))}


def shares(weights: dict[str, float], total: int) -> dict[str, int]:
    """`total` proposals divided by weight, by largest remainder."""
    if not weights:
        return {}
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    whole = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_remainder[: total - sum(whole.values())]:
        whole[name] += 1
    return whole


def _draw(campaign: Campaign, iteration: int) -> tuple[list[tuple[Generator, Proposal]], list[Row]]:
    """Proposals of every generator by its weight; what one cannot give is offered to the others."""
    records = campaign.records()
    condition = Condition(space=campaign.spec.space)
    weights = {g.name: g.weight for g in campaign.spec.generators}
    drawn: list[tuple[Generator, Proposal]] = []
    failures: list[Row] = []
    fitted: dict[str, Generator] = {}
    for turn in range(ROUNDS):
        missing = campaign.spec.batch.proposals - len(drawn)
        willing = dict(weights)
        for name, share in shares(willing, missing).items():
            try:
                if name not in fitted:
                    fitted[name] = campaign.resources.generators[name].fit(
                        records,
                        start=campaign.promoted_state("generator", name),
                        rng=campaign.stream("fit", name, iteration),
                    )
                proposals = fitted[name].sample(
                    share, condition=condition, rng=campaign.stream("propose", name, iteration, turn)
                )
            except MotherlodeError as error:
                weights.pop(name)
                failures.append(_failure(campaign, iteration, name, "cannot-propose", str(error)))
                continue
            except Exception as error:  # noqa: BLE001 - a plug-in's fault is recorded and must not end a month's campaign
                weights.pop(name)
                failures.append(_failure(campaign, iteration, name, type(error).__name__, str(error)))
                continue
            if len(proposals) < share:
                weights.pop(name)
            drawn += [(fitted[name], proposal) for proposal in proposals]
        if len(drawn) >= campaign.spec.batch.proposals or not weights:
            break
    if not drawn and len(failures) == len(campaign.spec.generators):
        details = "; ".join(f"{f.subject}: {f.detail}" for f in failures if isinstance(f, FailureRow))
        raise GeneratorError(f"no generator can propose anything in iteration {iteration}: {details}")
    return drawn, failures


def _admit(
    campaign: Campaign, candidate_id: str, proposal: Proposal
) -> tuple[Crystal | None, tuple[str, str] | None]:
    """The proposal as a crystal, and why it is set aside, if it is."""
    try:
        crystal = Crystal.from_structure(proposal.structure)
    except CrystalError as error:
        return None, ("not-a-crystal", str(error))
    outside = campaign.spec.space.reason_against(crystal.elements, crystal.number_of_atoms)
    if outside is not None:
        return crystal, ("outside-space", outside)
    invalid = first_reason_against(crystal, charge_neutral=campaign.spec.space.charge_neutral)
    if invalid is not None:
        return crystal, (invalid.reason, invalid.detail)
    twin = campaign.memory.twin(crystal)
    if twin is not None:
        return crystal, ("duplicate", f"the same crystal as {twin}")
    campaign.memory.proposed.add(candidate_id, crystal)
    return crystal, None


def _failure(campaign: Campaign, iteration: int, subject: str, reason: str, detail: str) -> FailureRow:
    return FailureRow(
        campaign_id=campaign.id,
        subject=subject,
        stage="propose",
        iteration=iteration,
        reason=reason,
        detail=detail,
    )
