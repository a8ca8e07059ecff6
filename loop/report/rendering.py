"""Writes a report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loop.report import svg, wording
from loop.report.contents import HullDiagram, Report
from loop.report.curves import discovery_svg, parity_svg, prediction_svg, said, shares_svg, spread
from loop.report.hull_diagram import hull_svg

TEMPLATES: Final = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The report as HTML."""
    ends = spread(report.decisions)
    deciding = report.verifying_fidelities[-1] if report.verifying_fidelities else ""
    return (
        _environment()
        .get_template("report.html")
        .render(
            r=report,
            style=_plain_text("style.css"),
            viewer=_plain_text("viewer.js"),
            table=_plain_text("table.js"),
            scenes={
                "palette": report.palette,
                "scenes": {f.candidate_id: f.scene for f in report.findings if f.scene},
            },
            systems=_side_by_side(report.hulls),
            ids={f.candidate_id for f in report.findings},
            spread=ends,
            curve_svg=discovery_svg(report.curve, fidelity=deciding),
            parity_svg=parity_svg(
                report.parity,
                screening=report.screening_fidelities[-1],
                verifying=deciding,
                metastable=report.metastable,
            ),
            shares_svg=shares_svg(report.generators),
        )
    )


@cache
def _environment() -> Environment:
    """The templates' environment; a campaign writes its report after every iteration and compiles them once."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    filters: dict[str, Any] = {
        "amount": wording.amount,
        "colour": svg.colour,
        "duration": wording.duration,
        "formula": wording.formula_html,
        "hull_svg": hull_svg,
        "milli": wording.milli,
        "number": wording.number,
        "percent": wording.percent,
        "phase": wording.phase_html,
        "plural": wording.plural,
        "predicted": said,
        "prediction_svg": prediction_svg,
        "spacegroup": wording.space_group_html,
        "words": wording.words,
    }
    environment.filters.update(filters)
    return environment


def _plain_text(name: str) -> Markup:
    """A file of ours, put into the page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file, nothing of the campaign's


def _side_by_side(hulls: tuple[HullDiagram, ...]) -> list[tuple[str, list[HullDiagram]]]:
    """Diagrams by chemical system, in their order."""
    grouped: dict[str, list[HullDiagram]] = {}
    for diagram in hulls:
        grouped.setdefault(diagram.system, []).append(diagram)
    return list(grouped.items())
