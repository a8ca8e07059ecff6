"""Early rejection in a campaign: the rule in force, the ceilings it works under, its audit, and its learning.

Ceilings are those of the hull as the stage finds it and audits are drawn from a named stream, so that a campaign that
was killed and resumed abandons and audits the same candidates. Only relaxations that were run without a ceiling teach:
those before the first rule, and the audits. What a rule let through would teach that no relaxation falls far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flows.relaxer import EARLY_REJECTION, EarlyRejection
from flows.stages.judging import phases_of, references_at
from loop.early_rejection import SUMMARY, audit_of
from loop.hull import HullSet
from loop.ledger.tables import Calculation, Candidate
from loop.spec import EarlyRejectionSpec
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
class Plan:
    """What a relax stage may abandon."""

    rejection: EarlyRejection
    audited: Mapping[str, float]
    """Ceilings of the candidates that are relaxed to the end whatever the rule says, eV/atom by id."""

    def summary(self, settled: Mapping[str, Calculation], *, abandoned: int) -> dict[str, Any]:
        """What came of it, for the stage's row: `loop.early_rejection` adds these up.

        Args:
            settled: the stage's calculations by candidate.
            abandoned: how many of them the rule ended.
        """
        rule = self.rejection.rule
        runs = {
            id_: run_of(c, ceiling=self.audited[id_]) for id_, c in settled.items() if id_ in self.audited
        }
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
    settings = settings_of(campaign)
    state = campaign.promoted_state(KIND, NAME)
    rule = Rule.from_dict(state) if state is not None else None
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
    audited: dict[str, float] = {}
    for candidate in candidates:
        is_audited = bool(rng.random() < settings.audit_fraction)
        if candidate.crystal_key is None:
            continue
        composition = campaign.state.crystals[candidate.crystal_key].composition
        hull = -hulls.energy_above_hull(composition, 0.0, fidelity=fidelity)
        if is_audited:
            audited[candidate.id] = round(hull + window, DIGITS)
        else:
            ceilings[candidate.crystal_key] = round(hull + window, DIGITS)
    return Plan(rejection=EarlyRejection(rule=rule, ceilings=ceilings), audited=audited)


def settings_of(campaign: Campaign) -> EarlyRejectionSpec | None:
    """The campaign file's settings; None where it asks for none, or corrects energies.

    A correction follows from the relaxed crystal, so that a ceiling cannot be compared with what stands on the way.
    """
    if campaign.spec.potential.corrections != "none":
        return None
    return campaign.spec.screening.early_rejection


def learn(campaign: Campaign) -> Lesson | None:
    """Fit a rule to all that was relaxed to its end so far; None where that is too little.

    A rule in force that what has come since does not bear out gives way to one that abandons nothing.
    """
    settings = settings_of(campaign)
    if settings is None:
        return None
    rate = settings.false_negative_rate
    runs, beside = runs_of(campaign), reference_runs_of(campaign)
    rule = fit_rule(runs, beside=beside, false_negative_rate=rate)
    trial = try_rule(runs, beside=beside, false_negative_rate=rate)
    if rule is None or trial is None:
        return None
    passed = trial.passes(rate)
    before = campaign.promoted_state(KIND, NAME)
    audit = audit_of(campaign.state)
    metrics: dict[str, Any] = {"stated_rate": rate, "quantile": rule.quantile, **trial.to_json()}
    if audit is not None:
        metrics["audit"] = {
            "lost": audit.rate.successes,
            "matter": audit.rate.trials,
            "high": audit.rate.high,
        }
    if passed or before is None:
        return Lesson(rule=rule, metrics=metrics, promoted=passed, runs=len(runs))
    return Lesson(rule=idle_rule(rate), metrics=metrics, promoted=True, runs=len(runs))


def runs_of(campaign: Campaign) -> list[Run]:
    """Judged candidates that were relaxed to the end whatever any rule said, in order of proposal.

    They matter or not by the hull as it stands now.
    """
    window = campaign.spec.matters_within
    runs = []
    for verdict in campaign.state.verdicts_at(campaign.screening_fidelity):
        calculation = campaign.state.calculations[verdict.calculation_key]
        energy = calculation.energy_per_atom
        if EARLY_REJECTION in calculation.settings or energy is None:
            continue
        run = run_of(calculation, ceiling=energy - verdict.energy_above_hull + window)
        if run is not None:
            runs.append(run)
    return runs


def reference_runs_of(campaign: Campaign) -> list[Run]:
    """Relaxations of the reference phases; their ceilings mean nothing."""
    calculations = campaign.state.reference_calculations(campaign.screening_fidelity)
    runs = (run_of(calculation, ceiling=0.0) for _, calculation in sorted(calculations.items()))
    return [run for run in runs if run is not None]


def run_of(calculation: Calculation, *, ceiling: float) -> Run | None:
    """A calculation as a run; None where it failed or kept no trace."""
    trace = calculation.result.get("trace")
    if calculation.energy_per_atom is None or trace is None:
        return None
    return Run(
        trace=tuple(Checkpoint.from_list(checkpoint) for checkpoint in trace),
        energy_per_atom=calculation.energy_per_atom,
        evaluations=int(calculation.result["steps"]),
        ceiling=ceiling,
    )
