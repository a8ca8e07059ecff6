"""A small kit for plots in plain SVG: axes, marks with hover titles, labels that keep clear of one another.

Colours of text and lines are CSS variables with fall-backs, so that a plot follows the page's light or dark
theme and is still right when it stands alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup, escape

INK: Final = "var(--ink, #1c2430)"
FAINT: Final = "var(--ink-faint, #68717f)"
LINE: Final = "var(--line, #d9dde3)"
PAPER: Final = "var(--paper, #ffffff)"
GOLD: Final = "var(--gold, #b7791f)"
CHOSEN: Final = "var(--blue, #2364c4)"
AUDIT: Final = "var(--rose, #b8456b)"

SCALE: Final = ((0.0, (31, 106, 214)), (0.05, (30, 160, 148)), (0.1, (222, 166, 20)), (0.2, (205, 72, 90)))
"""Energy above hull (eV/atom) to colour: blue on the hull, teal and amber while metastable, red beyond. The
steps differ in lightness too, so that they are told apart without colour vision."""

FONT: Final = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


def colour(energy_above_hull: float) -> str:
    """Colour of an energy above hull (eV/atom), clipped to the ends of `SCALE`."""
    value = min(max(energy_above_hull, SCALE[0][0]), SCALE[-1][0])
    for (low, first), (high, second) in itertools.pairwise(SCALE):
        if value <= high:
            share = (value - low) / (high - low)
            return "#" + "".join(
                f"{round(a + share * (b - a)):02x}" for a, b in zip(first, second, strict=True)
            )
    raise AssertionError("the value was clipped to the scale")


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers within [low, high], about as many as asked for."""
    if not high > low:
        return [low]
    raw = (high - low) / max(about, 1)
    power = 10 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def whole_ticks(high: int) -> list[float]:
    """Round whole numbers from 0 to `high`."""
    return [t for t in ticks(0, max(high, 1)) if float(t).is_integer()]


def svg(width: float, height: float, content: Iterable[str], *, label: str) -> Markup:
    """The whole picture, scaling with its container.

    Args:
        width: of the drawing, in its own units (1 unit is a pixel at natural size).
        height: likewise.
        content: SVG elements.
        label: what the picture shows, for those who do not see it.
    """
    return Markup(  # noqa: S704 - the pieces escape what is not theirs
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}" '
        f'style="max-width:{width:g}px;width:100%;height:auto;{FONT};font-size:12px">'
        + "".join(content)
        + "</svg>"
    )


def text(
    x: float,
    y: float,
    content: str | Markup,
    *,
    anchor: str = "start",
    fill: str = INK,
    size: float | None = None,
    weight: str | None = None,
    rotate: float | None = None,
    halo: bool = False,
) -> str:
    """A line of text; anything but Markup is escaped. With a halo it stays readable across lines."""
    more = f' font-size="{size:g}"' if size else ""
    more += f' font-weight="{weight}"' if weight else ""
    more += f' transform="rotate({rotate:g} {x:.1f} {y:.1f})"' if rotate is not None else ""
    around = f";paint-order:stroke;stroke:{PAPER};stroke-width:3.5px;stroke-linejoin:round" if halo else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} style="fill:{fill}{around}"{more}>{escape(content)}</text>'


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    *,
    stroke: str = LINE,
    width: float = 1,
    dash: str | None = None,
) -> str:
    """A straight line."""
    more = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'style="stroke:{stroke};stroke-width:{width:g}"{more}/>'
    )


def path(
    points: Sequence[tuple[float, float]], *, stroke: str = INK, width: float = 1.5, dash: str | None = None
) -> str:
    """An open line through points."""
    if len(points) < 2:
        return ""
    more = f' stroke-dasharray="{dash}"' if dash else ""
    d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    style = f"fill:none;stroke:{stroke};stroke-width:{width:g};stroke-linejoin:round"
    return f'<path d="{d}" style="{style}"{more}/>'


def mark(
    x: float,
    y: float,
    *,
    shape: str = "circle",
    size: float = 4.5,
    fill: str = INK,
    stroke: str = PAPER,
    width: float = 1,
    title: str | None = None,
) -> str:
    """A point of a plot.

    Args:
        x: its centre.
        y: its centre.
        shape: `circle`, `square`, `diamond` or `star`.
        size: half its extent.
        fill: CSS colour.
        stroke: CSS colour of the outline.
        width: of the outline.
        title: what a pointer resting on it tells.
    """
    style = f'style="fill:{fill};stroke:{stroke};stroke-width:{width:g}"'
    if shape == "circle":
        start = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {style}'
    elif shape == "square":
        side = size * 0.9
        box = f'x="{x - side:.1f}" y="{y - side:.1f}" width="{2 * side:.1f}" height="{2 * side:.1f}"'
        start = f"<rect {box} {style}"
    else:
        corners, inner = (5, 0.45) if shape == "star" else (2, 1.0)
        radii = [size * 1.35 * (1 if i % 2 == 0 else inner) for i in range(2 * corners)]
        at = [
            (x + r * math.sin(math.pi * i / corners), y - r * math.cos(math.pi * i / corners))
            for i, r in enumerate(radii)
        ]
        start = f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in at)}" {style}'
    return f"{start}><title>{escape(title)}</title></{_tag(start)}>" if title else f"{start}/>"


def _tag(start: str) -> str:
    return start[1:].split(" ", 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """A frame with two linear axes."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the data lies in the drawing."""
        fraction_x = (x - self.x[0]) / (self.x[1] - self.x[0])
        fraction_y = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + fraction_x * self.width, self.top + (1 - fraction_y) * self.height

    def frame(
        self,
        *,
        x_label: str,
        y_label: str,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        x_text: Sequence[str | Markup] | None = None,
        y_text: Sequence[str] | None = None,
    ) -> list[str]:
        """Grid, tick labels and axis titles."""
        bottom, right = self.top + self.height, self.left + self.width
        parts = []
        for value, shown in zip(y_ticks, y_text or [tick_text(t, y_ticks) for t in y_ticks], strict=True):
            _, y = self.at(self.x[0], value)
            parts += [
                line(self.left, y, right, y),
                text(self.left - 7, y + 4, shown, anchor="end", fill=FAINT, size=11),
            ]
        for value, shown in zip(x_ticks, x_text or [tick_text(t, x_ticks) for t in x_ticks], strict=True):
            x, _ = self.at(value, self.y[0])
            parts += [
                line(x, bottom, x, bottom + 4, stroke=FAINT),
                text(x, bottom + 17, shown, anchor="middle", fill=FAINT, size=11),
            ]
        parts += [
            line(self.left, bottom, right, bottom, stroke=FAINT),
            text(self.left + self.width / 2, bottom + 35, x_label, anchor="middle", fill=FAINT),
            text(13, self.top + self.height / 2, y_label, anchor="middle", fill=FAINT, rotate=-90),
        ]
        return parts


def tick_text(value: float, among: Sequence[float]) -> str:
    """A tick's label with as many decimals as its neighbours need."""
    step = min((abs(b - a) for a, b in itertools.pairwise(among)), default=abs(value) or 1)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    if round(step, decimals) != round(step, decimals + 1):
        decimals += 1
    return f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
_PLACES: Final = (
    (0.0, 1.0, "middle"), (0.0, -1.0, "middle"), (1.0, 0.0, "start"), (-1.0, 0.0, "end"),
    (0.8, 0.8, "start"), (-0.8, 0.8, "end"), (0.8, -0.8, "start"), (-0.8, -0.8, "end"),
)  # fmt: skip
"""Where a label may stand about its point, the best first."""


@dataclass(slots=True)
class Labels:
    """Places labels beside points so that they cover neither points nor one another."""

    width: float
    height: float
    taken: list[Box] = field(default_factory=list)
    spared: list[Box] = field(default_factory=list)

    def avoid(self, x: float, y: float, size: float = 5) -> None:
        """Keep clear of a point."""
        self.taken.append((x - size, y - size, x + size, y + size))

    def spare(self, x: float, y: float, size: float = 4) -> None:
        """Keep clear of a point where there is a choice."""
        self.spared.append((x - size, y - size, x + size, y + size))

    def place(
        self, x: float, y: float, content: str | Markup, *, length: int, distance: float = 9
    ) -> str | None:
        """The label of a point, or None where there is no room for it.

        Args:
            x: the point.
            y: the point.
            content: the label.
            length: about how many characters wide it is.
            distance: from the point.
        """
        wide, high = 6.6 * length, 13.0
        for avoided, (dx, dy, anchor) in itertools.product((self.taken + self.spared, self.taken), _PLACES):
            at_x, at_y = x + dx * distance, y + 4 + dy * (distance + (5 if dy > 0 else 0))
            left = at_x - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
            box = (left, at_y - high + 2, left + wide, at_y + 4)
            if box[0] < 0 or box[1] < 0 or box[2] > self.width or box[3] > self.height:
                continue
            if not any(_overlap(box, other) for other in avoided):
                self.taken.append(box)
                return text(at_x, at_y, content, anchor=anchor, weight="600", halo=True)
        return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
