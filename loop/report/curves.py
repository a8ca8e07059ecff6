"""Plots of how the campaign went: discoveries, screening against verification, shares of generators."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

from loop.report import svg
from loop.report.contents import CurveStep, DecisionLine, GeneratorLine, ParityPoint
from loop.report.wording import milli, number, words

WIDTH: Final = 620.0
HEIGHT: Final = 330.0
SERIES: Final = (
    "var(--blue, #2364c4)", "var(--gold, #b7791f)", "var(--teal, #138a7c)", "var(--rose, #b8456b)",
    "var(--violet, #6d51c4)", "var(--ink-faint, #68717f)",
)  # fmt: skip


def discovery_svg(steps: Sequence[CurveStep], *, fidelity: str) -> Markup | None:
    """Cumulative discoveries and (meta)stable phases over verifications; None where nothing was verified."""
    if not steps:
        return None
    total = steps[-1].verifications
    most = max(steps[-1].metastable, steps[-1].discoveries, 1)
    axes = svg.Axes(left=54, top=16, width=WIDTH - 74, height=HEIGHT - 92, x=(0, total), y=(0, most * 1.08))
    parts = axes.frame(
        x_label="candidates verified",
        y_label="found so far",
        x_ticks=svg.whole_ticks(total),
        y_ticks=svg.whole_ticks(most),
    )
    for before, step in itertools.pairwise(steps):
        if step.iteration != before.iteration:
            x, _ = axes.at(before.verifications, 0)
            parts.append(svg.line(x, axes.top, x, axes.top + axes.height, dash="1 4"))
    for field, colour in (("metastable", svg.CHOSEN), ("discoveries", svg.GOLD)):
        corners = [axes.at(0, 0)]
        for step in steps:
            x, y = axes.at(step.verifications, getattr(step, field))
            corners += [(x, corners[-1][1]), (x, y)]
        parts.append(svg.path(corners, stroke=colour, width=2.2))
    for step in steps:
        x, base = axes.at(step.verifications, 0)
        if step.audit:
            parts.append(
                svg.mark(
                    x,
                    base,
                    shape="diamond",
                    size=3.4,
                    fill=svg.AUDIT,
                    title=f"{step.formula}: random audit of a reject",
                )
            )
        if step.discovery:
            _, y = axes.at(step.verifications, step.discoveries)
            parts.append(
                svg.mark(
                    x,
                    y,
                    shape="star",
                    size=6,
                    fill=svg.GOLD,
                    title=f"{step.formula}: discovery {step.discoveries}",
                )
            )
    parts += _key(
        54,
        HEIGHT - 10,
        [
            ("line", svg.CHOSEN, "within the metastable threshold"),
            ("line", svg.GOLD, "discoveries"),
            ("diamond", svg.AUDIT, "audit of a reject"),
        ],
    )
    label = (
        f"{steps[-1].discoveries} discoveries among {total} candidates verified at {fidelity}, "
        f"{steps[-1].metastable} within the metastable threshold"
    )
    return svg.svg(WIDTH, HEIGHT, parts, label=label)


def parity_svg(
    points: Sequence[ParityPoint], *, screening: str, verifying: str, metastable: float
) -> Markup | None:
    """Verified against screened energy above hull; None where nothing was verified."""
    if not points:
        return None
    larger = sorted(max(p.screened, p.verified) for p in points)
    high = max(1.6 * metastable, min(0.5, 1.08 * larger[int(0.9 * (len(larger) - 1))]))
    low = min(-0.04 * high, min(min(p.screened, p.verified) for p in points) * 1.1)
    size = 300.0
    axes = svg.Axes(left=64, top=16, width=size + 90, height=size - 34, x=(low, high), y=(low, high))
    marks = svg.ticks(low, high, about=5)
    shown = [milli(t) for t in marks]
    parts = axes.frame(
        x_label=f"screened at {screening} (meV/atom above hull)",
        y_label="verified (meV/atom)",
        x_ticks=marks,
        y_ticks=marks,
        x_text=shown,
        y_text=shown,
    )
    x0, y0 = axes.at(low, metastable)
    x1, y1 = axes.at(high, low)
    parts.insert(
        0,
        f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" '
        f'style="fill:{svg.CHOSEN};opacity:0.08"/>',
    )
    parts.append(svg.text(x1 - 6, y0 + 14, "metastable", anchor="end", fill=svg.FAINT, size=11))
    parts.append(svg.line(*axes.at(low, low), *axes.at(high, high), stroke=svg.FAINT, dash="4 3"))
    for point in sorted(points, key=lambda p: p.discovery):
        beyond = max(point.screened, point.verified) > high
        x, y = axes.at(min(point.screened, high), min(point.verified, high))
        title = (
            f"{point.formula} ({point.candidate_id}): screened {milli(point.screened)}, "
            f"verified {milli(point.verified)} meV/atom{', beyond the axis' if beyond else ''}"
        )
        if point.discovery:
            parts.append(svg.mark(x, y, shape="star", size=6.5, fill=svg.GOLD, title=title))
        else:
            shape, shade = ("diamond", svg.AUDIT) if point.audit else ("circle", svg.CHOSEN)
            fill, stroke = (svg.PAPER, shade) if beyond else (shade, svg.PAPER)
            parts.append(
                svg.mark(x, y, shape=shape, size=4.2, fill=fill, stroke=stroke, width=1.4, title=title)
            )
    if any(max(p.screened, p.verified) > high for p in points):
        parts.append(
            svg.text(64 + axes.width, 12, "hollow: beyond the axes", anchor="end", fill=svg.FAINT, size=11)
        )
    kinds = [
        ("star", svg.GOLD, "discovery"),
        ("circle", svg.CHOSEN, "chosen"),
        ("diamond", svg.AUDIT, "audit"),
    ]
    parts += _key(64, size + 40, kinds)
    return svg.svg(
        size + 190,
        size + 50,
        parts,
        label=f"{len(points)} candidates, energy above hull at {screening} and {verifying}",
    )


def prediction_svg(line: DecisionLine, *, low: float, high: float) -> Markup:
    """One decision as a strip: predicted mean ± deviation, the screened value, and what was verified.

    Args:
        line: the decision.
        low: the strip's left end, eV/atom.
        high: its right end, eV/atom.
    """
    wide, tall = 170.0, 18.0

    def at(value: float) -> float:
        return 4 + (wide - 8) * (min(max(value, low), high) - low) / (high - low)

    middle = tall / 2
    parts = [
        svg.line(4, middle, wide - 4, middle),
        svg.line(at(0), 2, at(0), tall - 2, stroke=svg.FAINT, dash="2 2"),
    ]
    if math.isfinite(line.predicted_deviation):
        parts.append(
            svg.line(
                at(line.predicted_mean - line.predicted_deviation), middle,
                at(line.predicted_mean + line.predicted_deviation), middle,
                stroke=svg.CHOSEN, width=4,
            )
        )  # fmt: skip
    parts.append(svg.mark(at(line.predicted_mean), middle, size=3.6, fill=svg.CHOSEN, title="predicted"))
    if line.verified is not None:
        parts.append(
            svg.mark(at(line.verified), middle, shape="diamond", size=4, fill=svg.GOLD, title="verified")
        )
    spoken = f"predicted {milli(line.predicted_mean)} ± {milli(line.predicted_deviation)}"
    spoken += f", verified {milli(line.verified)} meV/atom" if line.verified is not None else " meV/atom"
    return svg.svg(wide, tall, parts, label=spoken)


def shares_svg(generators: Sequence[GeneratorLine]) -> Markup | None:
    """Share of each generator in each iteration's proposals, stacked; None before the first iteration."""
    turns = max((len(g.share_by_iteration) for g in generators), default=0)
    if turns == 0:
        return None
    axes = svg.Axes(left=54, top=12, width=WIDTH - 74, height=150, x=(0.5, turns + 0.5), y=(0, 1))
    marks = [t for t in svg.ticks(1, max(turns, 2), about=8) if float(t).is_integer() and t <= turns]
    parts = axes.frame(
        x_label="iteration",
        y_label="share of proposals",
        x_ticks=marks,
        y_ticks=[0, 0.5, 1],
        y_text=["0", "50 %", "100 %"],
    )
    wide = axes.width / turns
    base = [0.0] * turns
    for index, generator in enumerate(generators):
        for turn, share in enumerate(generator.share_by_iteration):
            if share <= 0:
                continue
            x, top = axes.at(turn + 0.5, base[turn] + share)
            tall = share * axes.height
            base[turn] += share
            title = f"{words(generator.name)}: {100 * share:.0f} % of iteration {turn + 1}"
            parts.append(
                f'<rect x="{x + 0.08 * wide:.1f}" y="{top:.1f}" width="{0.84 * wide:.1f}" '
                f'height="{max(tall - 1, 0.5):.1f}" '
                f'rx="1.5" style="fill:{SERIES[index % len(SERIES)]}"><title>{escape(title)}</title></rect>'
            )
    parts += _key(
        54, 222, [("square", SERIES[i % len(SERIES)], words(g.name)) for i, g in enumerate(generators)]
    )
    return svg.svg(WIDTH, 232, parts, label="Share of each generator in each iteration's proposals")


def _key(x: float, y: float, entries: Sequence[tuple[str, str, str]]) -> list[str]:
    """A line of marks with their meanings."""
    parts = []
    for shape, colour, meaning in entries:
        if shape == "line":
            parts.append(svg.line(x, y - 4, x + 18, y - 4, stroke=colour, width=2.4))
            x += 24
        else:
            parts.append(svg.mark(x + 6, y - 4, shape=shape, size=4.5, fill=colour))
            x += 16
        parts.append(svg.text(x, y, meaning, fill=svg.FAINT, size=11))
        x += 6.1 * len(meaning) + 20
    return parts


def spread(lines: Sequence[DecisionLine]) -> tuple[float, float]:
    """Common ends of the strips of `prediction_svg`, eV/atom."""
    values = [0.0, 0.1]
    for line in lines:
        values += [
            line.predicted_mean - line.predicted_deviation,
            line.predicted_mean + line.predicted_deviation,
        ]
        values += [line.verified] if line.verified is not None else []
    finite = [v for v in values if math.isfinite(v)]
    return max(min(finite), -0.1), min(max(finite), 0.25)


def said(line: DecisionLine) -> str:
    """A prediction in figures, meV/atom."""
    if not math.isfinite(line.predicted_deviation):
        return milli(line.predicted_mean)
    return f"{milli(line.predicted_mean)} ± {number(1000 * line.predicted_deviation, 0)}"
