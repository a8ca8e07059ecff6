"""Early rejection in a campaign: the rule in force, the ceilings it works under, its audit, and its learning.

Ceilings are those of the hull as the stage finds it and audits are drawn from a named stream, so that a campaign that
was killed and resumed abandons and audits the same candidates. Only relaxations that were run without a ceiling teach:
those before the first rule, and the audits. What a rule let through would teach that no relaxation falls far.

Rules, traces and ceilings are in the potential's own energies. Where these are corrected, a correction is known only of
the relaxed crystal: its ceiling allows for the lowest that any crystal of its composition could get.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flows.relaxer import EarlyRejection
from flows.stages.judging import phases_of, references_at
from loop.early_rejection import SUMMARY, audit_of
from loop.errors import CorrectionError
from loop.hull import HullSet
from loop.ledger.tables import Calculation, Candidate
from surrogates.corrections import lowest_correction
from surrogates.early_rejection import Checkpoint, Rule
from surrogates.early_rejection_learning import Run, fit_rule, idle_rule, try_rule

if TYPE_CHECKING:
    from flows.campaign import Campaign

KIND: Final = "early_rejection"
"""Of the model versions that hold a rule."""
NAME: Final = "relaxation"
DIGITS: Final = 6
"""Of a ceiling in eV/atom: it is part of a calculation's identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The highest energy of a crystal that may still matter."""

    energy_per_atom: float
    """eV/atom before any correction: what matters, minus the lowest correction that its composition could get."""
    lowest_correction: float
    """eV/atom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a relax stage may abandon."""

    rejection: EarlyRejection
    audited: Mapping[str, Ceiling]
    """Of the candidates that are relaxed to the end whatever the rule says, by id."""

    def summary(self, settled: Mapping[str, Calculation], *, abandoned: int) -> dict[str, Any]:
        """What came of it, for the stage's row: `loop.early_rejection` adds these up.

        Args:
            settled: the stage's calculations by candidate.
            abandoned: how many of them the rule ended.
        """
        rule = self.rejection.rule
        runs = {id_: run_of(c, self.audited[id_]) for id_, c in settled.items() if id_ in self.audited}
        whole = {id_: run for id_, run in runs.items() if run is not None}
        ended = {id_ for id_, run in whole.items() if rule.first_abandoned(run.trace, ceiling=run.ceiling)}
        matter = {id_ for id_, run in whole.items() if run.matters}
        return {
            SUMMARY: {
                "rule": rule.version,
                "abandoned": abandoned,
                "audited": len(whole),
                "would_abandon": len(ended),
                "matter": len(matter),
                "would_be_lost": sorted(matter & ended),
            }
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A rule that was fitted, and what is known of it."""

    rule: Rule
    metrics: Mapping[str, Any]
    promoted: bool
    runs: int


def plan(campaign: Campaign, candidates: Sequence[Candidate], *, iteration: int) -> Plan | None:
    """Which of an iteration's candidates may be abandoned; None where no rule is in force."""
    settings = campaign.spec.screening.early_rejection
    rule = rule_of(campaign)
    if settings is None or rule is None or not rule.scales:
        return None
    fidelity = campaign.screening_fidelity
    calculations = {
        **references_at(campaign, fidelity).calculations,
        **campaign.state.judged(fidelity),
    }
    hulls = HullSet(phases_of(campaign, calculations, fidelity=fidelity))
    window = campaign.spec.matters_within
    rng = campaign.stream("relax audit", iteration)
    ceilings: dict[str, float] = {}
    audited: dict[str, Ceiling] = {}
    for candidate in candidates:
        is_audited = bool(rng.random() < settings.audit_fraction)
        if candidate.crystal_key is None:
            continue
        composition = campaign.state.crystals[candidate.crystal_key].composition
        hull = -hulls.energy_above_hull(composition, 0.0, fidelity=fidelity)
        try:
            ceiling = _ceiling(campaign, composition, highest=hull + window)
        except CorrectionError:
            continue  # it has no ceiling, is run to its end, and fails there with this for its reason
        if is_audited:
            audited[candidate.id] = ceiling
        else:
            ceilings[candidate.crystal_key] = ceiling.energy_per_atom
    return Plan(rejection=EarlyRejection(rule=rule, ceilings=ceilings), audited=audited)


def rule_of(campaign: Campaign) -> Rule | None:
    """The rule in force; None before the first, and where it was learned from relaxations that were run otherwise."""
    state = campaign.promoted_state(KIND, NAME)
    rule = Rule.from_dict(state) if state is not None else None
    return rule if rule is not None and rule.learned_under == learned_under(campaign) else None


def learned_under(campaign: Campaign) -> str:
    """Names potential, settings and code of this campaign's relaxations: what a rule was learned under must agree."""
    text = json.dumps(dict(campaign.resources.relaxer.teaches), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def learn(campaign: Campaign) -> Lesson | None:
    """Fit a rule to all that was relaxed to its end so far; None where that is too little.

    A rule in force that what has come since does not bear out gives way to one that abandons nothing.
    """
    settings = campaign.spec.screening.early_rejection
    if settings is None:
        return None
    rate, under = settings.false_negative_rate, learned_under(campaign)
    runs, beside = runs_of(campaign), reference_runs_of(campaign)
    rule = fit_rule(runs, beside=beside, false_negative_rate=rate, learned_under=under)
    trial = try_rule(runs, beside=beside, false_negative_rate=rate)
    if rule is None or trial is None:
        return None
    passed = trial.passes(rate)
    audit = audit_of(campaign.state)
    metrics: dict[str, Any] = {"stated_rate": rate, "quantile": rule.quantile, **trial.to_json()}
    if audit is not None:
        metrics["audit"] = {
            "lost": audit.rate.successes,
            "matter": audit.rate.trials,
            "high": audit.rate.high,
        }
    if passed or rule_of(campaign) is None:
        return Lesson(rule=rule, metrics=metrics, promoted=passed, runs=len(runs))
    idle = idle_rule(rate, learned_under=under)
    return Lesson(rule=idle, metrics=metrics, promoted=True, runs=len(runs))


def runs_of(campaign: Campaign) -> list[Run]:
    """Judged candidates that were relaxed to the end whatever any rule said, in order of proposal.

    They matter or not by the hull as it stands now. Those of an older version of the code, or of other settings, do
    not teach.
    """
    window = campaign.spec.matters_within
    runs = []
    for verdict in campaign.state.verdicts_at(campaign.screening_fidelity):
        calculation = campaign.state.calculations[verdict.calculation_key]
        energy = calculation.energy_per_atom
        if energy is None or not _is_alike(campaign, calculation):
            continue
        composition = campaign.state.crystals[calculation.crystal_key].composition
        highest = energy - verdict.energy_above_hull + window
        run = run_of(calculation, _ceiling(campaign, composition, highest=highest))
        if run is not None:
            runs.append(run)
    return runs


def reference_runs_of(campaign: Campaign) -> list[Run]:
    """Relaxations of the reference phases; their ceilings mean nothing."""
    calculations = campaign.state.reference_calculations(campaign.screening_fidelity)
    nowhere = Ceiling(energy_per_atom=0.0, lowest_correction=0.0)
    runs = (
        run_of(calculation, nowhere)
        for _, calculation in sorted(calculations.items())
        if _is_alike(campaign, calculation)
    )
    return [run for run in runs if run is not None]


def run_of(calculation: Calculation, ceiling: Ceiling) -> Run | None:
    """A calculation as a run, in energies before any correction; None where it failed or kept no trace."""
    result = calculation.result
    trace = result.get("trace")
    if calculation.energy_per_atom is None or trace is None:
        return None
    correction = math.fsum(result.get("corrections", {}).values())
    return Run(
        trace=tuple(Checkpoint.from_list(checkpoint) for checkpoint in trace),
        energy_per_atom=result.get("uncorrected_energy_per_atom", calculation.energy_per_atom),
        evaluations=int(result["steps"]),
        ceiling=ceiling.energy_per_atom,
        slack=max(correction - ceiling.lowest_correction, 0.0),
    )


def _ceiling(campaign: Campaign, composition: Mapping[str, float], *, highest: float) -> Ceiling:
    """The ceiling of a crystal whose energy, corrected where energies are, matters up to `highest` eV/atom.

    Its own correction follows from where it ends, so the lowest is allowed for that its composition could get.
    """
    lowest = lowest_correction(composition, campaign.spec.potential.corrections)
    return Ceiling(energy_per_atom=round(highest - lowest, DIGITS), lowest_correction=lowest)


def _is_alike(campaign: Campaign, calculation: Calculation) -> bool:
    """Whether it was run to its end as this campaign's relaxations are."""
    ran = {
        "kind": calculation.kind,
        "fidelity": calculation.fidelity,
        "code_version": calculation.code_version,
        **calculation.settings,
    }
    teaches = dict(campaign.resources.relaxer.teaches)
    return ran == {**teaches, "code_version": str(teaches["code_version"])}
