"""The arithmetic of benchmarks/screening.py; what it measures is for whoever runs it."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from screens.comparing import compare, lowest
from screens.measuring import Store, measure
from screens.outcomes import SET_ASIDE, Outcome, Row, figures
from screens.tables import fill, table
from screens.verdicts import ABANDONED, Verdict, Verdicts

from loop.crystal import Crystal


def copper(edge):
    return Structure(Lattice.cubic(edge), ["Cu"], [[0, 0, 0]])


def outcome(energy, *, edge=2.5):
    return Outcome(energy=energy, evaluations=10, converged=True, structure=copper(edge))


def test_differences_count_what_lies_higher_and_lower():
    reference = [outcome(-1.0), outcome(-2.0), outcome(-3.0), outcome(-4.0)]
    found = [outcome(-0.998), outcome(-2.010), outcome(-3.0), Outcome(note=SET_ASIDE)]
    row = figures(found, reference, seconds=8.0)
    assert row["seconds_per_structure"] == 2.0
    assert (row["converged"], row["set_aside"], row["not_converged"], row["compared"]) == (3, 1, 0, 3)
    assert (row["higher_by_1_mev"], row["higher_by_5_mev"]) == pytest.approx((1 / 3, 0))
    assert (row["lower_by_1_mev"], row["lower_by_5_mev"]) == pytest.approx((1 / 3, 1 / 3))
    assert row["highest_difference_mev"] == pytest.approx(2.0)
    assert row["same_structure"] == 1.0


def test_volumes_are_compared_by_atom():
    one, two = outcome(-1.0), outcome(-1.0)
    two = replace(two, structure=copper(2.5) * (2, 1, 1))
    assert figures([two], [one], seconds=1.0)["median_volume_difference"] == pytest.approx(0.0, abs=1e-12)


def test_an_outcome_survives_its_json():
    found = outcome(-3.5)
    again = Outcome.from_json(found.to_json())
    assert again == found
    failed = Outcome.from_json(Outcome(note="overlap").to_json())
    assert np.isnan(failed.energy)
    assert failed.note == "overlap"


def test_what_was_stored_is_not_measured_again(tmp_path):
    calls = []

    def prepare():
        def run(crystals):
            calls.append(len(crystals))
            return [outcome(-1.0) for _ in crystals]

        return run

    def unable():
        raise ImportError("no such package")

    crystals = [Crystal.from_structure(copper(edge)) for edge in (2.4, 2.5, 2.6)]
    rows = [
        Row(name="one", title="One", version="1", prepare=prepare),
        Row(name="two", title="Two", version="1", prepare=unable),
    ]
    left_out = {}
    options = {"portion": 2, "max_force": 0.05, "left_out": left_out}
    first = measure(rows, crystals, store=Store(tmp_path / "store"), **options)
    assert calls == [1, 2, 1]
    assert left_out == {"two": "no such package"}
    with (tmp_path / "store").open("a") as file:
        file.write('{"key": "cut sho')
    again = measure(rows, crystals, store=Store(tmp_path / "store"), **options)
    assert calls == [1, 2, 1]
    assert again["one"].resumed == 3
    assert again["one"].outcomes == first["one"].outcomes
    measure([replace(rows[0], version="2")], crystals, store=Store(tmp_path / "store"), **options)
    assert calls == [1, 2, 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (Verdict(above=-0.2), "stable"),
        (Verdict(above=0.001), "stable"),
        (Verdict(above=0.1), "metastable"),
        (Verdict(above=0.11), "not"),
        (Verdict(how=ABANDONED), "not"),
        (Verdict(how="overlap: two atoms"), "none"),
    ],
)
def test_verdicts_are_three_ways_and_a_failure_is_none(verdict, kind):
    assert verdict.kind == kind


def test_speed_counts_right_verdicts_alone():
    theirs = Verdicts(
        verdicts=[Verdict(above=0.0), Verdict(above=0.05), Verdict(above=0.5), Verdict(above=0.5)],
        seconds={"relax": 80.0},
    )
    ours = Verdicts(
        verdicts=[
            Verdict(above=0.0),
            Verdict(how=ABANDONED),
            Verdict(how=ABANDONED),
            Verdict(how="overlap: two atoms"),
        ],
        seconds={"relax": 2.0},
    )
    found = compare(
        theirs, ours, crystals=[Crystal.from_structure(copper(2.5))] * 4, best=lowest([theirs, ours])
    )
    assert found["correct"] == 2
    assert found["verdict_speedup"] == pytest.approx((2 / 2) / (4 / 80))
    assert (found["metastable_found"], found["metastable_of_theirs"]) == (1, 2)
    assert found["agreement"] == 0.5
    assert [row["candidate"] for row in found["differ"]] == [1, 3]


def test_tables_go_between_the_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- screening -->\nold\n<!-- /screening -->\nafter\n")
    fill(page, "\n".join(table(("a", "b"), [("1", "2")])))
    assert page.read_text() == (
        "before\n<!-- screening -->\n| a | b |\n|---|---|\n| 1 | 2 |\n<!-- /screening -->\nafter\n"
    )
