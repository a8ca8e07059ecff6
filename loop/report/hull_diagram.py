"""Convex hulls to look at: energy against composition for two elements, a triangle for three."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Final

from markupsafe import Markup

from loop.report import svg
from loop.report.contents import HullDiagram, HullPoint
from loop.report.wording import formula_svg, milli, number

WIDTH: Final = 620.0
MOST: Final = 400
"""Phases drawn that lie above the hull, the lowest first: more only thicken the cloud."""
HEIGHT_SHOWN: Final = 0.35
"""eV/atom above the hull up to which a binary diagram's axis reaches for the sake of unstable phases."""

SHAPES: Final = {"reference": "square", "candidate": "circle", "discovery": "star"}
WORDS: Final = {"reference": "reference phase", "candidate": "candidate", "discovery": "discovery"}


def hull_svg(diagram: HullDiagram) -> Markup | None:
    """The diagram as SVG, or None where there are more than three elements or fewer than two."""
    return {2: binary_svg, 3: ternary_svg}.get(len(diagram.elements), lambda _: None)(diagram)


def binary_svg(diagram: HullDiagram) -> Markup:
    """Formation energy against the fraction of the second element."""
    first, second = diagram.elements
    floor = min((p.formation_energy for p in diagram.points), default=0.0)
    points = drawn_points(diagram, within=HEIGHT_SHOWN)
    top = max((p.formation_energy for p in points), default=0.0)
    depth = max(-floor, 0.05)
    low, high = floor - 0.14 * depth, max(0.12 * depth, min(top, 0.6 * depth + 0.05) + 0.05 * depth)
    axes = svg.Axes(left=64, top=18, width=WIDTH - 84, height=300, x=(0.0, 1.0), y=(low, high))
    x_ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    names: list[str | Markup] = [first, "0.25", "0.50", "0.75", second]
    parts = axes.frame(
        x_label=f"atomic fraction of {second}",
        y_label="formation energy (eV/atom)",
        x_ticks=x_ticks,
        y_ticks=svg.ticks(low, high, about=5),
        x_text=names,
    )
    parts.append(svg.line(*axes.at(0, 0), *axes.at(1, 0), stroke=svg.FAINT, dash="2 3"))
    for i, j in diagram.tie_lines:
        a, b = diagram.points[i], diagram.points[j]
        start, end = axes.at(a.fractions[1], a.formation_energy), axes.at(b.fractions[1], b.formation_energy)
        parts.append(svg.line(*start, *end, stroke=svg.INK, width=1.6))
    inside = [p for p in points if low <= p.formation_energy <= high]
    parts += _marks(
        diagram, [(p, axes.at(p.fractions[1], p.formation_energy)) for p in inside], width=WIDTH, height=376
    )
    height = 376.0
    parts += _legend(WIDTH, height, points=inside, stable=diagram.stable)
    return svg.svg(WIDTH, height + 34, parts, label=_spoken(diagram))


def ternary_svg(diagram: HullDiagram) -> Markup:
    """The composition triangle: stable phases, tie-lines, candidates coloured by energy above hull."""
    side = WIDTH - 120
    left, top = 60.0, 34.0
    tall = side * math.sqrt(3) / 2

    def at(fractions: tuple[float, ...]) -> tuple[float, float]:
        _, second, third = fractions
        return left + side * (second + third / 2), top + tall * (1 - third)

    corners = [at((1, 0, 0)), at((0, 1, 0)), at((0, 0, 1))]
    parts: list[str] = []
    for share, axis in itertools.product((0.25, 0.5, 0.75), range(3)):
        ends = [[0.0] * 3, [0.0] * 3]
        for index, other in enumerate({0, 1, 2} - {axis}):
            ends[index][axis], ends[index][other] = share, 1 - share
        parts.append(svg.line(*at(tuple(ends[0])), *at(tuple(ends[1])), dash="2 4"))
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        parts.append(svg.line(*start, *end, stroke=svg.FAINT, width=1.2))
    for i, j in diagram.tie_lines:
        a, b = diagram.points[i], diagram.points[j]
        parts.append(svg.line(*at(a.fractions), *at(b.fractions), stroke=svg.INK, width=1.3))
    height = top + tall + 40
    shown = [(p, at(p.fractions)) for p in lowest_points(drawn_points(diagram, within=math.inf))]
    parts += _marks(diagram, shown, width=WIDTH, height=height, elements=True)
    parts += _legend(WIDTH, height, points=[p for p, _ in shown], stable=diagram.stable)
    return svg.svg(WIDTH, height + 34, parts, label=_spoken(diagram))


def drawn_points(diagram: HullDiagram, *, within: float) -> list[HullPoint]:
    """What is drawn: every stable phase, and the lowest of the rest."""
    stable = [p for p in diagram.points if p.energy_above_hull <= diagram.stable or p.kind == "discovery"]
    rest = [p for p in diagram.points if p not in stable and p.energy_above_hull <= within]
    return stable + sorted(rest, key=lambda p: p.energy_above_hull)[:MOST]


def lowest_points(points: Iterable[HullPoint]) -> list[HullPoint]:
    """The lowest phase of each kind at each composition: a triangle shows no heights."""
    best: dict[tuple[object, ...], HullPoint] = {}
    for point in points:
        key = (point.kind == "reference", *(round(x, 4) for x in point.fractions))
        if key not in best or point.energy_above_hull < best[key].energy_above_hull:
            best[key] = point
    return list(best.values())


def _marks(
    diagram: HullDiagram,
    placed: list[tuple[HullPoint, tuple[float, float]]],
    *,
    width: float,
    height: float,
    elements: bool = False,
) -> list[str]:
    """Points from the worst to the best, so that the best lie on top, then labels."""
    parts: list[str] = []
    labels = svg.Labels(width, height)
    placed = sorted(placed, key=lambda item: (item[0].kind == "discovery", -item[0].energy_above_hull))
    for point, (x, y) in placed:
        stable = point.energy_above_hull <= diagram.stable
        parts.append(_mark(diagram, point, x, y))
        if stable or point.kind == "discovery":
            labels.avoid(x, y, 8 if point.kind == "discovery" else 5)
        else:
            labels.spare(x, y)
    wanted = [(p, xy) for p, xy in placed if p.energy_above_hull <= diagram.stable or p.kind == "discovery"]
    done: set[str] = set()
    for point, (x, y) in sorted(
        wanted, key=lambda item: (max(item[0].fractions) < 0.999, item[0].kind == "reference")
    ):
        pure = max(point.fractions) > 0.999
        if point.formula in done or (pure and not elements):
            continue
        away = 14.0 if pure else 12.0 if point.kind == "discovery" else 9.0
        label = labels.place(x, y, formula_svg(point.label), length=len(point.label), distance=away)
        if label:
            done.add(point.formula)
            parts.append(label)
    return parts


def _mark(diagram: HullDiagram, point: HullPoint, x: float, y: float) -> str:
    title = (
        f"{point.formula}: {WORDS[point.kind]} {point.name}\n"
        f"{milli(point.energy_above_hull)} meV/atom above the hull at {diagram.fidelity}\n"
        f"formation energy {number(point.formation_energy)} eV/atom"
    )
    stable = point.energy_above_hull <= diagram.stable
    shade = svg.colour(point.energy_above_hull)
    if point.kind == "reference":
        fill = svg.INK if stable else svg.PAPER
        return svg.mark(
            x,
            y,
            shape="square",
            size=4.6 if stable else 3.2,
            fill=fill,
            stroke=svg.PAPER if stable else svg.FAINT,
            title=title,
        )
    if point.kind == "discovery":
        return svg.mark(x, y, shape="star", size=7.5, fill=shade, stroke=svg.INK, width=1.2, title=title)
    return svg.mark(
        x, y, size=4.8 if stable else 3.8, fill=shade, stroke=svg.INK if stable else svg.PAPER, title=title
    )


def _legend(width: float, height: float, *, points: list[HullPoint], stable: float) -> list[str]:
    """The shapes that occur and the colour scale, in one line below the drawing."""
    kinds = {p.kind for p in points}
    y = height + 16
    x = 24.0
    parts: list[str] = []
    if "reference" in kinds:
        parts += [
            svg.mark(x, y - 4, shape="square", size=4.6),
            svg.text(x + 10, y, "reference, stable", fill=svg.FAINT, size=11),
        ]
        x += 118
    if any(p.kind == "reference" and p.energy_above_hull > stable for p in points):
        parts += [
            svg.mark(x, y - 4, shape="square", size=3.2, fill=svg.PAPER, stroke=svg.FAINT),
            svg.text(x + 9, y, "not stable", fill=svg.FAINT, size=11),
        ]
        x += 82
    if "candidate" in kinds:
        parts += [
            svg.mark(x, y - 4, size=4.5, fill=svg.colour(0.05)),
            svg.text(x + 10, y, "candidate", fill=svg.FAINT, size=11),
        ]
        x += 86
    if "discovery" in kinds:
        parts += [
            svg.mark(x, y - 4, shape="star", size=6.5, fill=svg.colour(0), stroke=svg.INK),
            svg.text(x + 12, y, "discovery", fill=svg.FAINT, size=11),
        ]
    if kinds - {"reference"}:
        parts += _scale(width - 206, y)
    return parts


def _scale(x: float, y: float) -> list[str]:
    """The colours of the energy above hull, in meV/atom."""
    steps, wide = 40, 104.0
    cells = [
        f'<rect x="{x + i * wide / steps:.1f}" y="{y - 9:.1f}" width="{wide / steps + 0.4:.2f}" height="9" '
        f'style="fill:{svg.colour(0.2 * i / (steps - 1))}"/>'
        for i in range(steps)
    ]
    marks = [
        svg.text(x + share * wide, y + 12, shown, anchor="middle", fill=svg.FAINT, size=10)
        for share, shown in ((0, "0"), (0.25, "50"), (0.5, "100"), (1, "≥ 200"))
    ]
    return [*cells, *marks, svg.text(x + wide + 8, y, "meV above hull", fill=svg.FAINT, size=11)]


def _spoken(diagram: HullDiagram) -> str:
    stable = sorted({p.formula for p in diagram.points if p.energy_above_hull <= diagram.stable})
    return f"Phases of {diagram.system}, stable at {diagram.fidelity}: {', '.join(stable) or 'none'}"
