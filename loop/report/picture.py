"""A hull diagram drawn by matplotlib, for pages that show pictures but no SVG."""

from __future__ import annotations

import math
from typing import Any

from loop.report.contents import HullDiagram, HullPoint
from loop.report.hull_diagram import drawn_points, lowest_points
from loop.report.svg import SCALE, colour

INK, FAINT, GRID = "#1c2430", "#68717f", "#d9dde3"
MARKERS = {"reference": "s", "candidate": "o", "discovery": "*"}
SIZES = {"reference": 26, "candidate": 22, "discovery": 130}


def draw(axes: Any, diagram: HullDiagram) -> None:
    """Draw a system of two or three elements.

    Args:
        axes: matplotlib axes.
        diagram: what to draw.
    """
    axes.set_title(f"{diagram.system} at {diagram.fidelity}", fontsize=10, color=INK)
    (_binary if len(diagram.elements) == 2 else _ternary)(axes, diagram)


def _binary(axes: Any, diagram: HullDiagram) -> None:
    def at(point: HullPoint) -> tuple[float, float]:
        return point.fractions[1], point.formation_energy

    points = drawn_points(diagram, within=0.2)
    _lines_and_marks(axes, diagram, points, at=at)
    axes.axhline(0, color=FAINT, linewidth=0.7, linestyle=":")
    axes.set_xlabel(f"atomic fraction of {diagram.elements[1]}", color=FAINT, fontsize=9)
    axes.set_ylabel("formation energy (eV/atom)", color=FAINT, fontsize=9)
    axes.tick_params(colors=FAINT, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _ternary(axes: Any, diagram: HullDiagram) -> None:
    def at(point: HullPoint) -> tuple[float, float]:
        _, second, third = point.fractions
        return second + third / 2, third * math.sqrt(3) / 2

    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.margins(0.08)
    axes.plot([0, 1, 0.5, 0], [0, 0, math.sqrt(3) / 2, 0], color=FAINT, linewidth=0.8, zorder=1)
    _lines_and_marks(axes, diagram, lowest_points(drawn_points(diagram, within=math.inf)), at=at)


def _lines_and_marks(axes: Any, diagram: HullDiagram, points: list[HullPoint], *, at: Any) -> None:
    """Tie-lines, points from the worst to the best, and the names of the stable ones."""
    from matplotlib.patheffects import withStroke

    for i, j in diagram.tie_lines:
        (x1, y1), (x2, y2) = at(diagram.points[i]), at(diagram.points[j])
        axes.plot([x1, x2], [y1, y2], color=INK, linewidth=1, zorder=2)
    named: set[str] = set()
    for point in sorted(points, key=lambda p: (p.kind == "discovery", -p.energy_above_hull)):
        stable = point.energy_above_hull <= diagram.stable
        shade = colour(min(point.energy_above_hull, SCALE[-1][0]))
        reference = point.kind == "reference"
        axes.scatter(
            *at(point),
            marker=MARKERS[point.kind],
            s=SIZES[point.kind],
            color=(INK if stable else "white") if reference else shade,
            edgecolors=FAINT if reference and not stable else INK if stable else "white",
            linewidths=0.7,
            zorder=4 if stable else 3,
        )
        if (stable or point.kind == "discovery") and point.formula not in named:
            named.add(point.formula)
            axes.annotate(
                _formula(point.label),
                at(point),
                xytext=(0, -13),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
                zorder=5,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )


def _formula(formula: str) -> str:
    """A formula with subscripts in matplotlib's mathematical text."""
    text = "".join(f"$_{{{c}}}$" if c.isdigit() else c for c in formula)
    return text.replace("}$$_{", "")
