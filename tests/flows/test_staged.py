"""A screen of two stages: each on its own hull, its own reference phases, and what is read of which."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

from flows.campaign import Campaign
from flows.relaxer import Relaxer
from flows.stages.rescreen import awaiting
from flows.stages.select import observations
from flows.turning import run
from flows.verification.verifier import VerificationResult
from loop.campaign_file import read_campaign
from loop.export import export
from loop.hull import HullSet
from loop.ledger.ledger import Ledger
from loop.outcomes import counts, verified_candidates
from loop.report import build, render
from loop.screened import screened, screening_fidelities
from loop.spec import CampaignSpec, as_json
from loop.state import CampaignState
from tests.flows.ledgers import content, run_again
from tests.flows.worlds import STAGED, Killer, staged_spec

FIRST, SECOND, LEVEL = "emt", "lennard-jones", "lennard-jones-tight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of a finished campaign of three iterations. Read only."""
    folder = tmp_path_factory.mktemp("staged") / "campaign"
    with Campaign.open(read_campaign(STAGED), folder=folder, base=STAGED.parent) as campaign:
        run(campaign)
    return folder


@pytest.fixture(scope="module")
def ledger(folder):
    with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite'}") as ledger:
        yield ledger


@pytest.fixture(scope="module")
def state(ledger):
    return CampaignState.rebuild(ledger, ledger.campaigns()[0].id)


@pytest.fixture(scope="module")
def spec(ledger):
    return ledger.latest_spec(ledger.campaigns()[0].id)


def again(folder: Path, to: Path) -> Campaign:
    """The finished campaign, opened anew from a copy."""
    shutil.copytree(folder, to)
    return Campaign.open(read_campaign(STAGED), folder=to, base=STAGED.parent)


def duplicates(state: CampaignState, stage: str) -> set[str]:
    return {id_ for id_, rejection in state.rejections.items() if rejection.stage == stage}


class TestSurvivors:
    def test_they_are_what_the_first_stage_put_within_reach_and_they_alone(self, state):
        """By the verdict of the iteration in which the second stage ran."""
        first = {
            id_: history[1].energy_above_hull for (id_, at), history in state.verdicts.items() if at == FIRST
        }
        admitted = {id_ for id_, energy in first.items() if energy <= 0.4}
        taken = {v.candidate_id for v in state.verdicts_at(SECOND)} | duplicates(state, SECOND)
        assert taken == admitted
        assert set(first) - admitted, "nothing was left behind; the campaign is too tame for this test"

    def test_they_are_relaxed_again_from_where_the_first_stage_left_them(self, state):
        for verdict in state.verdicts_at(SECOND):
            calculation = state.calculations[verdict.calculation_key]
            before = state.calculations[state.verdict(verdict.candidate_id, FIRST).calculation_key]
            assert (calculation.kind, calculation.fidelity) == ("relaxation", SECOND)
            assert calculation.crystal_key == before.result_crystal_key
            assert calculation.result["steps"] > 1

    def test_what_becomes_the_same_crystal_is_set_aside_and_stays_on_the_first_hull(self, state):
        ids = duplicates(state, SECOND)
        details = " ".join(state.rejections[id_].detail for id_ in ids)
        references = state.reference_calculations(SECOND)
        assert ids, "nothing became the same; the campaign is too tame for this test"
        assert any(name in details for name in references), details
        assert SECOND in details
        for id_ in ids:
            assert state.verdict(id_, FIRST) is not None
            assert state.verdict(id_, SECOND) is None
            assert id_ not in screened(state, (FIRST, SECOND))
            assert not any(
                at == id_ and row.role != "passed over" for (_, at), row in state.decisions.items()
            )


class TestHulls:
    def test_reference_phases_near_the_first_hull_are_relaxed_again(self, state):
        first, second = state.reference_calculations(FIRST), state.reference_calculations(SECOND)
        assert {c.fidelity for c in second.values()} == {SECOND}
        assert set(second) < set(first)
        assert all(second[name].crystal_key == first[name].result_crystal_key for name in second)
        reached = [
            state.crystals[state.candidates[v.candidate_id].crystal_key].elements
            for v in state.verdicts_at(SECOND)
        ]
        hulls = HullSet(phases(state, first))
        for phase in phases(state, first):
            above = hulls.energy_above_hull(phase.composition, phase.energy_per_atom, fidelity=FIRST)
            near = above <= 0.3 and any(set(phase.elements) <= system for system in reached)
            assert (phase.name in second) == near, phase.name

    @pytest.mark.parametrize("fidelity", [FIRST, SECOND])
    def test_each_is_that_of_its_own_energies(self, state, fidelity):
        """Against pymatgen, given nothing but this fidelity's energies."""
        everything = {**state.reference_calculations(fidelity), **state.judged(fidelity)}
        entries = {
            name: PDEntry(state.crystals[c.result_crystal_key].composition, total_energy(state, c))
            for name, c in everything.items()
        }
        diagram = PhaseDiagram(list(entries.values()))
        for verdict in state.verdicts_at(fidelity):
            expected = diagram.get_e_above_hull(entries[verdict.candidate_id])
            assert verdict.energy_above_hull == pytest.approx(expected, abs=1e-6)

    def test_energies_never_mix(self, state):
        assert {f for _, f in state.verdicts_in_force} == {FIRST, SECOND, LEVEL}
        for verdict in state.verdicts_in_force.values():
            calculation = state.calculations[verdict.calculation_key]
            hull = state.hull(verdict.fidelity)
            assert calculation.fidelity == verdict.fidelity
            assert set(hull.finds) <= set(state.judged(verdict.fidelity))
            assert state.reference_sets[hull.reference_version].fidelity == verdict.fidelity


class TestWhatIsReadOfWhich:
    def test_the_acquisition_is_offered_what_the_last_stage_judged(self, state):
        for (iteration, id_), decision in state.decisions.items():
            if not decision.reasons.get("outside_window"):
                verdict = state.verdicts[id_, SECOND][1]
                assert verdict.iteration <= iteration
                assert verdict.energy_above_hull <= 0.3

    def test_rejects_of_either_stage_are_audited(self, state, spec):
        audits = [v for v in verified_candidates(state, spec) if v.role == "audit"]
        assert Counter(v.screened_at for v in audits).keys() == {FIRST, SECOND}
        for v in audits:
            assert v.screened == state.verdict(v.candidate_id, v.screened_at).energy_above_hull
            if v.screened_at == FIRST:
                assert state.verdict(v.candidate_id, SECOND) is None

    def test_observations_are_of_the_last_stage(self, folder, tmp_path):
        """The last stage and the level are one potential, so that the errors seen are those of convergence alone."""
        with again(folder, tmp_path / "copy") as campaign:
            seen = observations(campaign)
            verified = verified_candidates(campaign.state, campaign.spec)
        assert {o.candidate_id for o in seen} == {v.candidate_id for v in verified if v.screened_at == SECOND}
        assert sorted(abs(o.verified - o.screened) for o in seen)[len(seen) // 2] < 0.001
        # The screen's energies in the features are of one fidelity: formation energy, energy above hull, energy.
        state = campaign.state
        for o in seen:
            verdict = state.verdict(o.candidate_id, SECOND)
            energy = state.calculations[verdict.calculation_key].energy_per_atom
            assert o.features[-3:] == pytest.approx(
                [verdict.formation_energy, verdict.energy_above_hull, energy]
            )

    def test_verification_starts_from_the_last_stage(self, state):
        for (id_, _), verification in state.verifications.items():
            start = state.calculations[verification.calculation_key].crystal_key
            last = screened(state, (FIRST, SECOND))[id_]
            assert start == state.calculations[last.calculation_key].result_crystal_key

    def test_learners_read_the_last_verdict_with_its_fidelity(self, state):
        records = state.records(screening_fidelities=(FIRST, SECOND), verification_levels=[LEVEL])
        assert {r.screened_at for r in records} == {FIRST, SECOND, None}
        for record in records:
            if record.screened_at is not None:
                verdict = state.verdict(record.candidate_id, record.screened_at)
                assert record.screened_energy_above_hull == verdict.energy_above_hull
                assert record.relaxed.key == state.calculations[verdict.calculation_key].result_crystal_key
            elif record.failure is None:
                raise AssertionError(record)

    def test_relaxations_of_both_stages_are_charged(self, state):
        relaxed = [c for c in state.calculations.values() if c.kind == "relaxation"]
        references = {c.key for f in (FIRST, SECOND) for c in state.reference_calculations(f).values()}
        assert state.spent["relaxations"] == sum(c.key not in references for c in relaxed)


class TestReading:
    def test_status_names_the_fidelity_of_every_count(self, state, spec):
        now = counts(state, spec)
        assert list(now["judged_at"]) == [FIRST, SECOND, LEVEL]
        for name, limit in (("metastable_at", 0.1), ("stable_at", 0.001)):
            for fidelity, number in now[name].items():
                near = [v for v in state.verdicts_at(fidelity) if v.energy_above_hull <= limit]
                assert number == len(near)
        assert screening_fidelities(state) == (FIRST, SECOND)

    def test_the_report_names_the_fidelity_of_every_number(self, ledger, state, folder):
        report = build(ledger, state.campaign_id, folder=folder)
        assert report.screening_fidelities == (FIRST, SECOND)
        assert {d.fidelity for d in report.hulls} == {FIRST, SECOND, LEVEL}
        assert {f.screened_at for f in report.findings} == {FIRST, SECOND}
        for finding in report.findings:
            assert (
                finding.screened == state.verdict(finding.candidate_id, finding.screened_at).energy_above_hull
            )
            if finding.standing == "waiting":
                assert finding.screened_at in finding.verdict
        (step,) = [s for s in report.steps if s.label == "(meta)stable again"]
        assert f"of {len(state.verdicts_at(SECOND))} screened again" in step.note
        assert SECOND in step.note
        ((earlier, error),) = report.earlier_errors
        assert (earlier, error.n) == (FIRST, report.errors.n)
        assert error.mean_absolute > report.errors.mean_absolute
        assert report.errors.n == len(report.parity)
        page = render(report)
        assert f"the same candidates at {FIRST}" in page
        assert f"<small>{SECOND}</small>" in page

    def test_export_keeps_the_fidelities_apart(self, ledger, state, tmp_path):
        written = export(ledger, state.campaign_id, to=tmp_path, what="entries", which="all")
        assert {path.name for path in written} == {f"entries-{f}.json" for f in (FIRST, SECOND, LEVEL)}


def phases(state, calculations):
    from loop.hull import HullPhase

    return [
        HullPhase(
            name,
            state.crystals[c.result_crystal_key].composition,
            energy_per_atom=c.energy_per_atom,
            fidelity=c.fidelity,
        )
        for name, c in calculations.items()
    ]


def total_energy(state, calculation):
    return calculation.energy_per_atom * state.crystals[calculation.result_crystal_key].number_of_atoms


class Beam(Relaxer):
    """A relaxer that also needs an hour of beam for every crystal."""

    def declared_cost(self, crystal):
        return {**super().declared_cost(crystal), "beam_hours": 1.0}

    def collect(self):
        return [
            VerificationResult(
                request_id=r.request_id,
                crystal=r.crystal,
                energy_per_atom=r.energy_per_atom,
                properties=r.properties,
                failure=r.failure,
                cost={**r.cost, "beam_hours": 1.0},
            )
            for r in super().collect()
        ]


def test_killed_within_the_second_stage_it_ends_like_one_that_never_was(folder, tmp_path):
    """Killed among its reference phases, and after its first chunk of survivors in every iteration."""
    among_references, among_survivors = f"reference phases at {SECOND}", f"relaxing again with {SECOND}"
    for moment in (among_references, among_survivors, among_survivors, among_survivors):
        killed = Campaign.open(
            read_campaign(STAGED), folder=tmp_path, base=STAGED.parent, observer=Killer(moment)
        )
        with killed, pytest.raises(KeyboardInterrupt):
            run(killed)
        with Campaign.open(read_campaign(STAGED), folder=tmp_path, base=STAGED.parent) as campaign:
            iteration = campaign.next_iteration
            assert campaign.state.finished(iteration, "screen")
            assert not campaign.state.finished(iteration, "screen-2")
            if moment == among_survivors:
                run(campaign, iterations=1)
    with Campaign.open(read_campaign(STAGED), folder=tmp_path, base=STAGED.parent) as campaign:
        run(campaign)
    assert run_again(tmp_path) == []
    ours, theirs = content(tmp_path), content(folder)
    for table in theirs:
        assert ours[table] == theirs[table], table


QUICK = {
    "generators": [{"name": "prototypes", "weight": 1}],
    "batch": {"proposals": 8, "verifications": 2},
    "references": {"source": "prototypes", "options": {"max_elements": 1, "max_atoms": 2}},
    "acquisition": {"policy": "greedy", "window": 0.5, "audit_fraction": 0.0},
}
ELEMENTS_ALONE = {
    "early_rejection": None,
    "stages": [{"potential": {"name": "lennard_jones"}, "admits_within": 0.4, "reference_window": 0.0}],
}
BEAM_TIME = {**as_json(read_campaign(STAGED))["verification"][0], "cost": {"beam_hours": 0}}


def opened(folder: Path, **changes) -> Campaign:
    """A small campaign whose second stage needs beam time."""
    spec = staged_spec(**{**QUICK, "screening": ELEMENTS_ALONE, "verification": [BEAM_TIME], **changes})
    campaign = Campaign.open(spec, folder=folder, base=STAGED.parent)
    stage = spec.screening.stages[0]
    beam = Beam(stage.potential, spec.relaxation, base=STAGED.parent, pool=lambda: campaign.resources.pool)
    campaign.resources.__dict__["further_relaxers"] = (beam,)
    return campaign


class TestBudget:
    @pytest.mark.parametrize(("hours", "left"), [(2, "reference phases"), (5, "candidates")])
    def test_what_is_not_paid_for_waits_for_a_larger_budget(self, tmp_path, hours, left):
        """Three elements' references and some candidates cost an hour each."""
        small = {"verifications": 100, "beam_hours": hours}
        with opened(tmp_path, budget=small, stopping={"iterations": 1}) as campaign:
            run(campaign)
            state = campaign.state
            waiting = awaiting(campaign, 2)
            judged = {v.candidate_id for v in state.verdicts_at(SECOND)}
            summary = state.stages[1, "screen-2"].summary
            assert summary["unaffordable"] == len(waiting) > 0
            assert bool(judged) == (left == "candidates")
            assert not set(waiting) & {id_ for _, id_ in state.decisions}
            assert state.spent["beam_hours"] <= hours
            if judged:  # the budget went to what the first stage put lowest
                energies = {v.candidate_id: v.energy_above_hull for v in state.verdicts_at(FIRST)}
                assert max(energies[id_] for id_ in judged) <= min(energies[id_] for id_ in waiting)

        large = {"verifications": 100, "beam_hours": 1000}
        with opened(tmp_path, budget=large, stopping={"iterations": 2}) as campaign:
            run(campaign)
            state = campaign.state
            assert awaiting(campaign, 2) == []
            now = {v.candidate_id for v in state.verdicts_at(SECOND)} | duplicates(state, SECOND)
            assert set(waiting) <= now
        assert run_again(tmp_path) == []

    def test_a_campaign_that_cannot_pay_the_second_stage_ends_and_says_so(self, tmp_path):
        budget = {"verifications": 100, "beam_hours": 0.5}
        with opened(tmp_path, budget=budget, stopping={"iterations": 30}) as campaign:
            reason = run(campaign)
            assert campaign.counts()["iterations"] == 1
        assert reason == "the budget is exhausted: 0.5 beam_hours are left, the next step costs 1"


def test_a_candidate_is_not_judged_on_a_hull_that_lacks_its_phases(tmp_path):
    """Platinum fails at the second stage: what decomposes into it is a reject with the first stage's verdict."""
    potential = {"name": "ase", "calculator": "tests.flows.verification.troubled_calculators:WithoutPlatinum"}
    stage = {"potential": potential, "admits_within": 0.4, "reference_window": 0.0}
    changes = {
        **QUICK,
        "screening": {"early_rejection": None, "stages": [stage]},
        "stopping": {"iterations": 2},
    }
    with Campaign.open(staged_spec(**changes), folder=tmp_path, base=STAGED.parent) as campaign:
        run(campaign)
        state, (first, second) = campaign.state, campaign.screening_fidelities
        elements = {
            id_: state.crystals[candidate.crystal_key].elements for id_, candidate in state.candidates.items()
        }
        judged = {v.candidate_id for v in state.verdicts_at(second)}
        lost = {f.subject for f in state.failures.values() if f.stage == second and f.subject in elements}
        assert lost
        assert all("Pt" in elements[id_] for id_ in lost)
        assert not any("Pt" in elements[id_] for id_ in judged)
        assert all(screened(state, (first, second))[id_].fidelity == first for id_ in lost)
        assert awaiting(campaign, 2) == [], "what failed is not tried again"
        assert not any(id_ in lost for _, id_ in state.decisions), "what was not judged is no option"
    assert run_again(tmp_path) == []


def test_a_third_stage_takes_what_the_second_admits(tmp_path):
    third = {"name": "lennard_jones", "arguments": {"mixing": 0.05}}
    stages = [
        {"potential": {"name": "lennard_jones"}, "admits_within": 0.6, "reference_window": 0.0},
        {"potential": third, "admits_within": 0.1, "reference_window": 0.0},
    ]
    screening = {"early_rejection": None, "stages": stages}
    spec = staged_spec(**QUICK, screening=screening, stopping={"iterations": 1})
    with Campaign.open(spec, folder=tmp_path, base=STAGED.parent) as campaign:
        run(campaign)
        state, (first, second, last) = campaign.state, campaign.screening_fidelities
        assert screening_fidelities(state) == (first, second, last)
        assert {name for _, name in state.stages} >= {"screen", "screen-2", "screen-3"}
        admitted = {v.candidate_id for v in state.verdicts_at(second) if v.energy_above_hull <= 0.1}
        judged = {v.candidate_id: v for v in state.verdicts_at(last)}
        assert set(judged) | duplicates(state, last) == admitted
        assert len(judged) < len(state.verdicts_at(second)) <= len(state.verdicts_at(first))
        for id_, verdict in judged.items():
            start = state.calculations[verdict.calculation_key].crystal_key
            before = state.verdict(id_, second).calculation_key
            assert start == state.calculations[before].result_crystal_key
        options = {id_ for _, id_ in state.decisions}
        assert options == {id_ for id_, v in judged.items() if v.energy_above_hull <= 0.5}


def test_a_campaign_without_further_stages_is_written_as_before():
    plain = as_json(CampaignSpec.model_validate({"name": "x", "space": {"elements": ["Cu", "Ni"]}}))
    assert set(plain["screening"]) == {"early_rejection"}
    staged = read_campaign(STAGED)
    assert CampaignSpec.model_validate(as_json(staged)) == staged
    assert staged.matters_within == 0.4
    assert staged_spec(screening={"stages": []}).matters_within == staged.acquisition.window
