"""What the report says of a campaign, against the ledger's rows and pymatgen."""
# ruff: noqa: RUF001 - what the page shows, as it shows it

from pathlib import Path

import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

from loop.errors import LedgerError
from loop.ledger.ledger import Ledger
from loop.ledger.tables import Candidate, Cost, Rejection, Stage, Verdict
from loop.report import build, write_report
from loop.report.caveats import caveats
from loop.report.contents import Report
from loop.report.history import _figures
from loop.report.hulls import diagram
from loop.report.view import View
from loop.state import CampaignState
from tests.loop.alloy_campaign import CAMPAIGN, World
from tests.loop.alloy_structures import ELEMENTS, PHONONS, SCREEN, VERIFY, proposals, spec


@pytest.fixture(scope="module")
def report(alloys) -> Report:
    return build(alloys, CAMPAIGN, folder=Path())


@pytest.fixture(scope="module")
def view(alloys) -> View:
    return View.of(CampaignState.rebuild(alloys, CAMPAIGN), alloys.latest_spec(CAMPAIGN))


def in_force(ledger: Ledger, fidelity: str) -> dict[str, Verdict]:
    verdicts = sorted(
        (v for v in ledger.rows(Verdict, CAMPAIGN) if v.fidelity == fidelity), key=lambda v: v.number
    )
    return {v.candidate_id: v for v in verdicts}


def test_counts_are_the_ledger_s(report, alloys):
    counts = {step.label: step.count for step in report.steps}
    rejected = [r for r in alloys.rows(Rejection, CAMPAIGN) if r.stage == "propose"]
    assert (
        counts["proposed"]
        == sum(len(batch) for batch in proposals())
        == len(alloys.rows(Candidate, CAMPAIGN))
    )
    assert counts["kept"] == counts["proposed"] - len(rejected)
    assert counts["(meta)stable"] == sum(
        v.energy_above_hull <= 0.1 for v in in_force(alloys, SCREEN).values()
    )
    assert counts["verified"] == len(in_force(alloys, VERIFY))
    assert (
        counts["proposed"] > counts["kept"] > counts["relaxed"] >= counts["(meta)stable"] > counts["verified"]
    )
    assert counts["verified"] > counts["discoveries"] > 0


def test_every_step_names_its_fidelity(report):
    notes = {step.label: step.note for step in report.steps}
    assert notes["relaxed"].endswith(SCREEN)
    assert notes["(meta)stable"].endswith(f"at {SCREEN}")
    assert notes["verified"] == f"at {VERIFY}"
    assert f"at {VERIFY}" in notes["discoveries"]


def test_energies_are_the_verdicts_in_force(report, alloys):
    screened, verified = in_force(alloys, SCREEN), in_force(alloys, VERIFY)
    for finding in report.findings:
        assert finding.screened == screened[finding.candidate_id].energy_above_hull
        if finding.candidate_id in verified:
            assert finding.verified == verified[finding.candidate_id].energy_above_hull
            assert finding.verified_at == VERIFY
        else:
            assert finding.verified is None
            assert finding.standing == "waiting"


def test_every_verdict_reads_with_its_fidelity(report):
    for finding in report.findings:
        assert VERIFY in finding.verdict or SCREEN in finding.verdict
        if finding.standing in {"stable", "metastable"}:
            assert finding.verdict == f"{finding.standing} at {VERIFY}"


def test_discoveries_are_verified_near_the_hull_and_not_soft(report):
    assert len(report.discoveries) == next(s.count for s in report.steps if s.label == "discoveries")
    for finding in report.discoveries:
        assert finding.verified <= 0.1
        assert finding.minimum_frequency is None or finding.minimum_frequency >= -0.1
    soft = [f for f in report.findings if f.dynamically_stable is False]
    assert soft, "the campaign holds a phase with imaginary modes"
    for finding in soft:
        assert not finding.discovery
        assert (
            finding.phonons == f"imaginary modes, lowest −{-finding.minimum_frequency:.2f} THz at {PHONONS}"
        )


def test_the_best_come_first(report):
    discoveries = [f.discovery for f in report.findings]
    assert discoveries == sorted(discoveries, reverse=True)
    energies = [f.verified for f in report.discoveries]
    assert energies == sorted(energies)


@pytest.mark.parametrize("fidelity", [SCREEN, VERIFY])
@pytest.mark.parametrize("elements", [ELEMENTS, ("Au", "Cu"), ("Cu", "Pd"), ("Au", "Pd")])
def test_hull_diagrams_agree_with_pymatgen(view, fidelity, elements):
    drawn = diagram(view, elements, fidelity=fidelity, role="screening")
    calculations = {
        **view.state.reference_calculations(fidelity),
        **view.state.judged(fidelity),
    }
    entries = {}
    for name, calculation in calculations.items():
        crystal = view.state.crystals[calculation.result_crystal_key]
        if crystal.elements <= set(elements):
            energy = calculation.energy_per_atom * crystal.number_of_atoms
            entries[name] = PDEntry(crystal.composition, energy, name=name)
    truth = PhaseDiagram(list(entries.values()))
    assert {p.name for p in drawn.points} == set(entries)
    for point in drawn.points:
        assert point.energy_above_hull == pytest.approx(truth.get_e_above_hull(entries[point.name]), abs=1e-9)
        assert point.formation_energy == pytest.approx(
            truth.get_form_energy_per_atom(entries[point.name]), abs=1e-9
        )
    lines = {frozenset((drawn.points[i].name, drawn.points[j].name)) for i, j in drawn.tie_lines}
    corners = [[truth.qhull_entries[i].name for i in facet] for facet in truth.facets]
    assert lines == {frozenset((a, b)) for facet in corners for a in facet for b in facet if a < b}


def test_no_diagram_without_a_reference_for_every_element(view):
    assert diagram(view, ("Au", "Ni"), fidelity=SCREEN) is None


def test_systems_searched_come_with_both_fidelities(report):
    assert report.hulls[0].elements == ELEMENTS
    assert [(h.fidelity, h.role) for h in report.hulls if h.elements == ELEMENTS] == [
        (SCREEN, "screening"),
        (VERIFY, "verifying"),
    ]


def test_costs_are_sums_of_the_ledger_s(report, alloys):
    rows = alloys.rows(Cost, CAMPAIGN)
    for line in report.costs:
        own = [row for row in rows if row.currency == line.currency]
        assert line.settled == pytest.approx(sum(row.amount for row in own if row.kind == "settled"))
        assert line.declared == pytest.approx(sum(row.amount for row in own if row.kind == "declared"))
        assert sum(a for _, a in line.by_purpose) == pytest.approx(line.settled)
        assert line.per_discovery == pytest.approx(line.settled / len(report.discoveries))
    assert {line.currency: line.budget for line in report.costs} == {"cpu_seconds": 600, "verifications": 12}


def test_the_curve_counts_up_to_the_totals(report):
    assert [step.verifications for step in report.curve] == list(range(1, 13))
    assert report.curve[-1].discoveries == len(report.discoveries)
    assert sum(step.audit for step in report.curve) == 3


def test_decisions_show_what_came_of_them(report, alloys):
    verified = in_force(alloys, VERIFY)
    assert len(report.decisions) == 12
    assert {d.role for d in report.decisions} == {"chosen", "audit"}
    assert all(d.verified == verified[d.candidate_id].energy_above_hull for d in report.decisions)
    assert report.decisions[0].cost == "1 verification"


def test_hull_moves_name_what_joined_and_what_fell_off(report):
    moves = [m for m in report.hull_moves if m.fidelity == SCREEN]
    assert [m.number for m in moves] == [1, 2], "the third hull has the same phases as the second"
    assert moves[1].fell_off == ("CuPd (0001-0002)",)
    assert all(name not in moves[0].joined for name in moves[1].joined)


def test_generators_and_iterations_add_up(report):
    assert sum(g.proposed for g in report.generators) == sum(t.proposed for t in report.turns) == 27 - 1
    assert (
        sum(g.discoveries for g in report.generators)
        == sum(t.discoveries for t in report.turns)
        == len(report.discoveries)
    )
    for turn in range(3):
        assert sum(g.share_by_iteration[turn] for g in report.generators) == pytest.approx(1)


def test_failures_and_rejections_are_counted_by_reason(report):
    assert [(f.stage, f.reason, f.count) for f in report.failures] == [("relax", "not converged", 1)]
    assert report.failures[0].example == "0001-0010: largest force above 0.05 eV/Å after 25 steps"
    assert {r.reason for r in report.rejections} == {
        "duplicate",
        "outside space",
        "duplicate after relaxation",
    }


def test_models_say_whether_they_were_promoted(report):
    assert [(m.iteration, m.promoted) for m in report.models] == [(3, True), (2, False), (1, True)]


def test_measurements_of_models_are_written_out():
    measured = {
        "n": 12,
        "plain": {"mean_absolute_error": 0.0024},
        "empty": {},
        "note": "held out",
        "states": [1, 2],
    }
    assert _figures(measured) == "n 12; plain: mean absolute error 0.0024; note held out"
    assert _figures({"proposed": 9, "ok": 0.5}) == "proposed 9, ok 0.5000"


def test_the_end_and_its_reason(report):
    assert report.state == "finished"
    assert report.reason == "3 iterations were made; stopping.iterations asks for 3"
    assert report.iterations == 3


def test_caveats_say_what_the_fidelities_are_worth():
    said = " ".join(
        caveats(
            screening=["chgnet-0.3.0"], verifying=["sevennet-l3i5"], phonon_levels=["sevennet-l3i5-phonons"],
            reference_source="prototypes", reference_phases=300, known_phases=0, metastable=0.1,
        )
    )  # fmt: skip
    assert "precision 0.51" in said
    assert "softens phonons" in said
    assert "here sevennet-l3i5" in said
    assert "not a database" in said
    assert "known_phases is empty" in said


def test_known_phases_label_a_rediscovery(alloys, tmp_path, view):
    """CuAu written as a CIF with a citation, the campaign's find rattled to other lattice constants."""
    find = next(
        f
        for f in build(alloys, CAMPAIGN, folder=tmp_path).findings
        if f.formula == "CuAu" and f.space_group == 123
    )
    assert find.known is None
    calculation = view.state.judged(VERIFY)[find.candidate_id]
    structure = view.state.crystals[calculation.result_crystal_key].to_structure()
    structure.apply_strain(0.02)
    structure.to(str(tmp_path / "CuAu_L10.cif"))
    changed = spec(known_phases=["CuAu_L10.cif"])
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        world = World(ledger, spec=changed)
        world.begin()
        world.begin_references()
        world.turn(1, proposals()[0][:4])
        report = build(ledger, CAMPAIGN, folder=tmp_path)
        labels = {f.formula: f.known for f in report.findings}
        assert labels["CuAu"] is not None
        assert "CuAu" in labels["CuAu"]
        assert labels["CuPd"] is None
        elsewhere = build(ledger, CAMPAIGN, folder=tmp_path / "elsewhere")
        assert {f.known for f in elsewhere.findings} == {None}
        assert elsewhere.caveats[-1].startswith("The known phases could not be read here")


def test_an_unknown_campaign_is_an_error(alloys):
    with pytest.raises(LedgerError, match="holds no campaign 'nothing'"):
        build(alloys, "nothing", folder=Path())


class TestUnfinished:
    """Reports of campaigns that have hardly begun say so and do not fail."""

    @pytest.fixture
    def world(self, tmp_path) -> World:
        with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
            world = World(ledger)
            world.begin()
            yield world

    def html(self, world: World, tmp_path: Path) -> str:
        return write_report(world.ledger, world.id, to=tmp_path / "report.html", base=tmp_path).read_text()

    def test_nothing_at_all(self, world, tmp_path):
        html = self.html(world, tmp_path)
        assert "Nothing has been judged on a hull yet." in html
        assert "Nothing has been verified yet." in html
        assert "Nothing has been paid yet." not in html, "the budget stands there"

    def test_references_only(self, world, tmp_path):
        world.begin_references()
        html = self.html(world, tmp_path)
        assert "Au-Cu-Pd" in html
        assert "Nothing has been judged on a hull yet." in html

    def test_only_failures(self, world, tmp_path):
        world.begin_references()
        structures = [
            p for batch in proposals() for p in batch if p[0] == "random_symmetric" and len(p[1]) == 4
        ]
        for _, atoms, *_ in structures:
            atoms.positions += 0.8 * (atoms.positions - atoms.positions.mean(axis=0))
        kept = world.propose(1, structures[1:2])
        assert kept == []
        html = self.html(world, tmp_path)
        assert "not converged" in html
        assert "running" in html

    def test_screened_but_not_verified(self, world, tmp_path):
        world.begin_references()
        world.propose(1, proposals()[0][:3])
        world.judge(SCREEN, iteration=1)
        world.append(Stage(campaign_id=world.id, iteration=1, name="screen", seconds=0.1, summary={}))
        html = self.html(world, tmp_path)
        assert "No discoveries yet" in html
        assert "not verified; screened" in html
        report = build(world.ledger, world.id, folder=tmp_path)
        assert report.curve == ()
        assert report.sun is None
