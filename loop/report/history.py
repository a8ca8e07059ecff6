"""How the campaign went: its turns, decisions, models, costs and failures, line by line."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, cast

from loop.ledger.tables import Cost
from loop.metrics import cost_per_discovery, is_discovery, is_within
from loop.outcomes import finished_iterations
from loop.report.contents import (
    CostLine,
    CountLine,
    CurveStep,
    DecisionLine,
    GeneratorLine,
    HullMoveLine,
    IterationLine,
    ModelLine,
    ParityPoint,
)
from loop.report.view import View
from loop.report.wording import amount, number, words


def curve(view: View) -> tuple[CurveStep, ...]:
    """What had been found after each verification."""
    steps: list[CurveStep] = []
    discoveries = metastable = 0
    for count, sent in enumerate(view.verified, start=1):
        found = is_discovery(sent, view.spec.thresholds)
        discoveries += found
        metastable += is_within(sent, view.spec.thresholds.metastable)
        steps.append(
            CurveStep(
                verifications=count,
                iteration=sent.iteration,
                discoveries=discoveries,
                metastable=metastable,
                audit=sent.role == "audit",
                formula=view.formula(sent.candidate_id),
                discovery=found,
            )
        )
    return tuple(steps)


def parity(view: View) -> tuple[ParityPoint, ...]:
    """Screened and verified energy above hull of every candidate that the last stage of the screen judged."""
    return tuple(
        ParityPoint(
            candidate_id=sent.candidate_id,
            formula=view.formula(sent.candidate_id),
            screened=sent.screened,
            verified=sent.verified,
            audit=sent.role == "audit",
            discovery=is_discovery(sent, view.spec.thresholds),
        )
        for sent in view.verified
        if sent.verified is not None and sent.screened_at == view.screenings[-1]
    )


def decisions(view: View) -> tuple[DecisionLine, ...]:
    """What was sent to verification and why, the latest iteration first."""
    verified = {sent.candidate_id: sent.verified for sent in view.verified}
    lines = [
        DecisionLine(
            iteration=row.iteration,
            candidate_id=row.candidate_id,
            formula=view.formula(row.candidate_id),
            role=row.role,
            rank=row.rank,
            score=row.score,
            screened=verdict.energy_above_hull if verdict else None,
            screened_at=verdict.fidelity if verdict else None,
            predicted_mean=row.predicted_mean,
            predicted_deviation=row.predicted_deviation,
            verified=verified.get(row.candidate_id),
            cost=", ".join(_price(c, a) for c, a in sorted(row.declared_cost.items())),
        )
        for row in view.state.decisions.values()
        if row.role != "passed over"
        for verdict in (view.screened.get(row.candidate_id),)
    ]
    return tuple(sorted(lines, key=lambda line: (-line.iteration, line.role != "chosen", line.rank)))


def _price(currency: str, value: float) -> str:
    return f"{amount(value)} {words(currency).removesuffix('s') if value == 1 else words(currency)}"


def turns(view: View) -> tuple[IterationLine, ...]:
    """What each iteration did, unfinished ones included."""
    state = view.state
    last = max((iteration for iteration, _ in state.stages), default=0)
    relaxed = _relaxed(view)
    lines = []
    for iteration in range(1, last + 1):
        own = {id_ for id_, c in state.candidates.items() if c.iteration == iteration}
        roles = Counter(row.role for (at, _), row in state.decisions.items() if at == iteration)
        sent = [v for v in view.verified if v.iteration == iteration]
        lines.append(
            IterationLine(
                iteration=iteration,
                proposed=len(own),
                kept=sum(1 for id_ in own if not _set_aside_at(view, id_, "propose")),
                relaxed=len(own & relaxed),
                options=sum(roles.values()),
                chosen=roles["chosen"],
                audits=roles["audit"],
                verified=sum(1 for v in sent if v.verified is not None),
                discoveries=sum(1 for v in sent if is_discovery(v, view.spec.thresholds)),
                seconds=sum(stage.seconds for (at, _), stage in state.stages.items() if at == iteration),
            )
        )
    return tuple(lines)


def _set_aside_at(view: View, candidate_id: str, stage: str) -> bool:
    rejection = view.state.rejections.get(candidate_id)
    return rejection is not None and rejection.stage == stage


def _relaxed(view: View) -> frozenset[str]:
    """Candidates whose screening relaxation is done."""
    done = {
        c.crystal_key
        for c in view.state.calculations.values()
        if c.outcome == "done" and c.fidelity == view.screening and c.kind == "relaxation"
    }
    return frozenset(
        id_
        for id_, c in view.state.candidates.items()
        if c.crystal_key in done and not _set_aside_at(view, id_, "propose")
    )


def counted(view: View) -> dict[str, int]:
    """How many candidates came how far."""
    screened = view.state.verdicts_at(view.screening)
    thresholds = view.spec.thresholds
    return {
        "proposed": len(view.state.candidates),
        "kept": sum(1 for id_ in view.state.candidates if not _set_aside_at(view, id_, "propose")),
        "relaxed": len(_relaxed(view)),
        "screened": len(screened),
        "screened_metastable": sum(1 for v in screened if v.energy_above_hull <= thresholds.metastable),
        **_counted_again(view),
        "verified": sum(1 for v in view.verified if v.verified is not None),
        "verified_metastable": sum(1 for v in view.verified if is_within(v, thresholds.metastable)),
        "verified_stable": sum(1 for v in view.verified if is_within(v, thresholds.stable)),
        "discoveries": len(view.discoveries),
    }


def _counted_again(view: View) -> dict[str, int]:
    """How many candidates each further stage of the screen judged, and put within the metastable threshold."""
    counts: dict[str, int] = {}
    for fidelity in view.screenings[1:]:
        energies = [v.energy_above_hull for v in view.state.verdicts_at(fidelity)]
        near = sum(energy <= view.spec.thresholds.metastable for energy in energies)
        counts |= {f"screened at {fidelity}": len(energies), f"screened_metastable at {fidelity}": near}
    return counts


def models(view: View) -> tuple[ModelLine, ...]:
    """Every version of everything that learns, the latest first."""
    lines = [
        ModelLine(
            iteration=iteration,
            kind=kind,
            name=words(name),
            version=row.version,
            promoted=row.promoted,
            trained_on=_figures({k: len(v) if isinstance(v, list) else v for k, v in row.trained_on.items()}),
            metrics=_figures(row.metrics),
        )
        for (kind, name), history in view.state.model_versions.items()
        for iteration, row in history.items()
    ]
    return tuple(sorted(lines, key=lambda line: (-line.iteration, line.kind, line.name)))


def _figures(values: Mapping[str, Any]) -> str:
    """Numbers and words, one level of nesting deep; what lies deeper is left to the ledger."""
    shown = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = _figures({k: v for k, v in value.items() if not isinstance(v, Mapping)})
            shown += [f"{words(key)}: {inner}"] if inner else []
        elif isinstance(value, float):
            shown.append(f"{words(key)} {number(value, 4)}")
        elif isinstance(value, (int, str)):
            shown.append(f"{words(key)} {value}")
    separator = "; " if any(isinstance(value, Mapping) for value in values.values()) else ", "
    return separator.join(shown)


def generators(view: View) -> tuple[GeneratorLine, ...]:
    """What each generator gave, in the campaign file's order."""
    state, thresholds = view.state, view.spec.thresholds
    relaxed = _relaxed(view)
    near = {
        v.candidate_id
        for v in state.verdicts_at(view.screenings[-1])
        if v.energy_above_hull <= thresholds.metastable
    }
    names = list(
        dict.fromkeys(
            [*(g.name for g in view.spec.generators), *(c.generator for c in state.candidates.values())]
        )
    )
    proposals = Counter((c.iteration, c.generator) for c in state.candidates.values())
    totals = Counter(c.iteration for c in state.candidates.values())
    last = max(totals, default=0)
    lines = []
    for name in names:
        own = {id_ for id_, c in state.candidates.items() if c.generator == name}
        sent = [v for v in view.verified if v.candidate_id in own]
        lines.append(
            GeneratorLine(
                name=name,
                proposed=len(own),
                kept=sum(1 for id_ in own if not _set_aside_at(view, id_, "propose")),
                relaxed=len(own & relaxed),
                metastable=len(own & near),
                verified=sum(1 for v in sent if v.verified is not None),
                sun=sum(1 for v in sent if is_within(v, thresholds.metastable) and v.unique and v.novel),
                discoveries=len(view.discoveries & own),
                share_by_iteration=tuple(
                    proposals[turn, name] / totals[turn] if totals[turn] else 0.0
                    for turn in range(1, last + 1)
                ),
            )
        )
    return tuple(lines)


def costs(view: View) -> tuple[CostLine, ...]:
    """What was declared and what was settled, by currency and purpose."""
    rows = cast("Iterable[Cost]", view.state.held[Cost].values())
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    purposes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        sums[row.currency][row.kind] += row.amount
        if row.kind == "settled":
            purposes[row.currency][row.purpose] += row.amount
    settled = view.state.spent
    each = cost_per_discovery(settled, discoveries=len(view.discoveries))
    return tuple(
        CostLine(
            currency=currency,
            budget=view.spec.budget.get(currency),
            declared=sums[currency]["declared"],
            settled=settled.get(currency, 0.0),
            by_purpose=tuple(sorted(purposes[currency].items(), key=lambda item: -item[1])),
            per_discovery=each.get(currency),
        )
        for currency in sorted({*sums, *view.spec.budget})
    )


def failures(view: View) -> tuple[CountLine, ...]:
    """Failures by stage and reason, the most frequent first."""
    rows = view.state.failures.values()
    return _counts((row.stage, row.reason, f"{row.subject}: {row.detail}") for row in rows)


def rejections(view: View) -> tuple[CountLine, ...]:
    """Candidates set aside by stage and reason, the most frequent first."""
    rows = view.state.rejections.values()
    return _counts((row.stage, row.reason, f"{row.candidate_id}: {row.detail}") for row in rows)


def _counts(items: Iterable[tuple[str, str, str]]) -> tuple[CountLine, ...]:
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for stage, reason, example in items:
        grouped[stage, reason].append(example)
    lines = [
        CountLine(stage=stage, reason=words(reason), count=len(examples), example=examples[0])
        for (stage, reason), examples in grouped.items()
    ]
    return tuple(sorted(lines, key=lambda line: (-line.count, line.stage, line.reason)))


def hull_moves(view: View) -> tuple[HullMoveLine, ...]:
    """Every hull with other phases on it than the one before, with what joined and what fell off."""

    def named(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{view.formula(n)} ({n})" if n in view.state.candidates else n for n in names)

    lines = []
    for fidelity, history in view.state.hulls.items():
        before: frozenset[str] = frozenset()
        for row in history.values():
            joined = [name for name in row.finds if name not in before]
            if joined or row.fell_off:
                lines.append(
                    HullMoveLine(
                        fidelity=fidelity,
                        number=row.number,
                        iteration=row.iteration,
                        finds=len(row.finds),
                        joined=named(joined),
                        fell_off=named(row.fell_off),
                    )
                )
            before = frozenset(row.finds)
    return tuple(lines)


def seconds(view: View) -> float:
    """Wall seconds spent in stages."""
    return sum(stage.seconds for stage in view.state.stages.values())


def iterations(view: View) -> int:
    """Finished iterations."""
    return len(finished_iterations(view.state))
