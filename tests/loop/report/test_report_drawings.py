"""The drawings' geometry: crystals, plots, labels, numbers in words."""
# ruff: noqa: E501, RUF001 - what the page shows, as it shows it

import math
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from ase.build import bulk
from ase.data import covalent_radii
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loop.crystal import Crystal
from loop.report import svg, wording
from loop.report.artifacts import LARGEST, best_candidates, hull_png
from loop.report.contents import CurveStep, DecisionLine, HullDiagram, HullPoint, ParityPoint
from loop.report.curves import discovery_svg, parity_svg, prediction_svg, shares_svg
from loop.report.hull_diagram import hull_svg
from loop.report.structures import LARGEST as LARGEST_CELL
from loop.report.structures import palette, scene
from loop.state import CampaignState

ROCK_SALT = Crystal.from_atoms(bulk("NaCl", "rocksalt", a=5.64))


class TestScene:
    def test_rock_salt_is_shown_as_its_cube(self):
        drawn = scene(ROCK_SALT)
        assert drawn["lengths"] == [5.64, 5.64, 5.64]
        assert drawn["angles"] == [90, 90, 90]
        kinds = [drawn["elements"][atom[0]] for atom in drawn["atoms"]]
        assert sorted((kinds.count("Na"), kinds.count("Cl"))) == [13, 14], (
            "corners, faces, edges and the centre"
        )

    def test_bonds_join_neighbours_and_nothing_else(self):
        drawn = scene(ROCK_SALT)
        atoms = drawn["atoms"]
        lengths = [math.dist(atoms[i][1:], atoms[j][1:]) for i, j in drawn["bonds"]]
        assert lengths == pytest.approx([2.82] * 54, abs=2e-3)
        assert all(atoms[i][0] != atoms[j][0] for i, j in drawn["bonds"])

    def test_every_bond_is_shorter_than_its_limit_and_none_is_missed(self):
        drawn = scene(Crystal.from_atoms(bulk("ZnS", "wurtzite", a=3.82, c=6.26)))
        atoms = drawn["atoms"]
        radii = {"Zn": covalent_radii[30], "S": covalent_radii[16]}
        found = {tuple(pair) for pair in drawn["bonds"]}
        for i in range(len(atoms)):
            for j in range(i + 1, len(atoms)):
                limit = 1.15 * sum(radii[drawn["elements"][atoms[k][0]]] for k in (i, j))
                assert ((i, j) in found) == (math.dist(atoms[i][1:], atoms[j][1:]) < limit)

    def test_is_centred(self):
        positions = np.array([atom[1:] for atom in scene(ROCK_SALT)["atoms"]])
        assert (positions.min(axis=0) + positions.max(axis=0)) == pytest.approx([0, 0, 0], abs=2e-3)

    def test_a_large_cell_is_shown_primitive(self):
        rng = np.random.default_rng(0)
        atoms = bulk("Cu", cubic=True).repeat((3, 3, 2))
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        crystal = Crystal.from_atoms(atoms)
        assert crystal.number_of_atoms > LARGEST_CELL
        assert scene(crystal)["volume"] == pytest.approx(
            crystal.volume_per_atom * crystal.number_of_atoms, rel=1e-3
        )

    def test_colours_are_those_people_know(self):
        assert palette(["O", "C", "O"]) == {
            "C": {"colour": "#909090", "radius": 0.76},
            "O": {"colour": "#ff0d0d", "radius": 0.66},
        }


class TestPlots:
    @given(st.floats(-1e4, 1e4), st.floats(1e-6, 1e4))
    def test_ticks_are_round_and_inside(self, low, span):
        ticks = svg.ticks(low, low + span)
        assert all(low - 1e-6 * span <= t <= low + span * (1 + 1e-6) for t in ticks)
        assert ticks == sorted(ticks)
        assert len(ticks) <= 12

    def test_ticks_of_a_common_axis(self):
        assert svg.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
        assert svg.tick_text(-0.05, svg.ticks(-0.05, 0.02)) == "−0.05"

    def test_colours_go_from_blue_to_red_and_stay_at_the_ends(self):
        assert svg.colour(-1) == svg.colour(0) == "#1f6ad6"
        assert svg.colour(0.2) == svg.colour(5) == "#cd485a"
        assert svg.colour(0.05) == "#1ea094"

    @given(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 300)), min_size=1, max_size=40))
    def test_labels_never_overlap_and_stay_inside(self, points):
        labels = svg.Labels(600, 300)
        for x, y in points:
            labels.place(x, y, "Li5FeO4", length=7)
        boxes = labels.taken
        for n, (left, top, right, bottom) in enumerate(boxes):
            assert left >= 0
            assert top >= 0
            assert right <= 600
            assert bottom <= 300
            for other in boxes[n + 1 :]:
                assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom

    def test_titles_are_escaped(self):
        shape = svg.mark(0, 0, title="<b>&")
        assert ET.fromstring(shape)[0].text == "<b>&"

    @pytest.mark.parametrize("shape", ["circle", "square", "diamond", "star"])
    def test_shapes_lie_about_their_point(self, shape):
        drawn = ET.fromstring(svg.mark(50, 40, shape=shape, size=5))
        if shape == "circle":
            x, y = float(drawn.attrib["cx"]), float(drawn.attrib["cy"])
        elif shape == "square":
            x = float(drawn.attrib["x"]) + float(drawn.attrib["width"]) / 2
            y = float(drawn.attrib["y"]) + float(drawn.attrib["height"]) / 2
        else:
            corners = [tuple(map(float, pair.split(","))) for pair in drawn.attrib["points"].split()]
            x, y = np.mean(corners, axis=0)
        assert (x, y) == pytest.approx((50, 40), abs=0.06)

    def test_nothing_to_plot_is_none(self):
        assert discovery_svg([], fidelity="a") is None
        assert parity_svg([], screening="a", verifying="b", metastable=0.1) is None
        assert shares_svg([]) is None

    def test_one_point_is_enough(self):
        step = CurveStep(
            verifications=1,
            iteration=1,
            discoveries=0,
            metastable=0,
            audit=True,
            formula="NaCl",
            discovery=False,
        )
        assert (
            "0 discoveries among 1" in ET.fromstring(discovery_svg([step], fidelity="a")).attrib["aria-label"]
        )
        point = ParityPoint(
            candidate_id="1", formula="NaCl", screened=0.0, verified=9.0, audit=False, discovery=False
        )
        assert "beyond the axis" in parity_svg([point], screening="a", verifying="b", metastable=0.1)

    def test_an_unbounded_prediction_is_drawn(self):
        line = DecisionLine(
            iteration=1, candidate_id="1", formula="NaCl", role="chosen", rank=1, score=0, screened=0, screened_at="a", predicted_mean=0.05,
            predicted_deviation=math.inf, verified=None, cost="",
        )  # fmt: skip
        ET.fromstring(prediction_svg(line, low=-0.1, high=0.2))


def hull(*points: tuple[str, tuple[float, ...], float, float], elements: tuple[str, ...]) -> HullDiagram:
    return HullDiagram(
        elements=elements, fidelity="f", role="screening", tie_lines=(), stable=0.001,
        points=tuple(
            HullPoint(name=f, formula=f, fractions=x, formation_energy=e, energy_above_hull=above, kind="candidate") for f, x, e, above in points
        ),
    )  # fmt: skip


class TestHullDrawings:
    def test_a_triangle_puts_pure_elements_at_its_corners(self):
        drawn = hull(
            ("A", (1.0, 0.0, 0.0), 0, 0),
            ("B", (0.0, 1.0, 0.0), 0, 0),
            ("C", (0.0, 0.0, 1.0), 0, 0),
            elements=("A", "B", "C"),
        )
        root = ET.fromstring(hull_svg(drawn))
        circles = [c for c in root.iter("{http://www.w3.org/2000/svg}circle") if len(c)]
        at = {c[0].text[0]: np.array([float(c.attrib["cx"]), float(c.attrib["cy"])]) for c in circles}
        sides = [np.linalg.norm(at[a] - at[b]) for a, b in ("AB", "BC", "CA")]
        assert sides == pytest.approx([sides[0]] * 3, rel=1e-3)

    def test_a_composition_lies_where_its_fractions_say(self):
        drawn = hull(
            ("A", (1.0, 0.0, 0.0), 0, 0), ("B", (0.0, 1.0, 0.0), 0, 0), ("C", (0.0, 0.0, 1.0), 0, 0), ("Q", (0.2, 0.3, 0.5), -1, 0),
            elements=("A", "B", "C"),
        )  # fmt: skip
        circles = [
            c for c in ET.fromstring(hull_svg(drawn)).iter("{http://www.w3.org/2000/svg}circle") if len(c)
        ]
        at = {c[0].text[0]: np.array([float(c.attrib["cx"]), float(c.attrib["cy"])]) for c in circles}
        assert at["Q"] == pytest.approx(0.2 * at["A"] + 0.3 * at["B"] + 0.5 * at["C"], abs=0.2)

    def test_four_elements_have_no_drawing(self):
        assert hull_svg(hull(elements=("A", "B", "C", "D"))) is None

    @pytest.mark.parametrize("elements", [("A", "B"), ("A", "B", "C")])
    def test_no_phase_at_all(self, elements):
        ET.fromstring(hull_svg(hull(elements=elements)))


class TestArtifacts:
    def test_the_picture_is_a_small_png(self, alloys):
        import io

        picture = hull_png(alloys, "copper-gold-palladium-0f0f0f0f")
        assert len(picture) <= LARGEST
        with Image.open(io.BytesIO(picture)) as image:
            assert image.width > 600
            assert len(image.convert("RGB").getcolors(1 << 24)) > 50

    def test_the_table_is_plain_and_best_first(self, alloys):
        state = CampaignState.rebuild(alloys, "copper-gold-palladium-0f0f0f0f")
        rows = best_candidates(
            state, screening_fidelities=["emt"], verifying_fidelities=["emt-asap"], limit=5
        )
        assert len(rows) == 5
        assert all(isinstance(value, str) for row in rows for value in row.values())
        assert [int(row["emt-asap (meV/atom)"]) for row in rows] == sorted(
            int(row["emt-asap (meV/atom)"]) for row in rows
        )


class TestWords:
    def test_formulas(self):
        assert wording.formula_html("TiNi2Sn") == "TiNi<sub>2</sub>Sn"
        assert wording.formula_html("<Ni2>") == "&lt;Ni<sub>2</sub>&gt;"
        root = ET.fromstring(f"<text>{wording.formula_svg('Li5FeO4')}</text>")
        assert "".join(root.itertext()) == "Li5FeO4"

    def test_subscripts_return_to_the_line(self):
        root = ET.fromstring(f"<text>{wording.formula_svg('Li5FeO4F')}</text>")
        assert sum(float(part.attrib.get("dy", 0)) for part in root) == 0

    def test_phases(self):
        assert wording.phase_html("CuPd3 (0002-0003)") == "CuPd<sub>3</sub> <small>0002-0003</small>"
        assert wording.phase_html("mp-30 <x>") == "mp-30 &lt;x&gt;"

    def test_numbers(self):
        assert wording.number(-0.0001, 2) == "0.00"
        assert wording.number(-1.5, 1) == "−1.5"
        assert wording.number(None) == "–"
        assert wording.milli(0.0123) == "12"
        assert wording.amount(1234567) == "1\u202f234\u202f567"

    @pytest.mark.parametrize(
        ("seconds", "said"),
        [
            (0.04, "0.0 s"),
            (9.96, "10.0 s"),
            (59.6, "1 min 0 s"),
            (61, "1 min 1 s"),
            (3600, "1 h 0 min"),
            (200_000, "2 d 7 h"),
        ],
    )
    def test_durations(self, seconds, said):
        assert wording.duration(seconds) == said

    @pytest.mark.parametrize(
        ("number", "html"),
        [
            (225, 'Fm<span class="bar">3</span>m'),
            (62, "Pnma"),
            (194, "P6<sub>3</sub>/mmc"),
            (14, "P2<sub>1</sub>/c"),
            (6, "Pm"),
            (5, "C2"),
            (156, "P3m1"),
        ],
    )
    def test_space_groups(self, number, html):
        assert wording.space_group_html(number) == html
