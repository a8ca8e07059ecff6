"""How numbers, formulas and space groups are written in the report."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from markupsafe import Markup, escape

MINUS: Final = "\N{MINUS SIGN}"
NOTHING: Final = "\N{EN DASH}"


def formula_html(formula: str) -> Markup:
    """A formula with its numbers as subscripts, for HTML."""
    return Markup(re.sub(r"(\d+(?:\.\d+)?)", r"<sub>\1</sub>", str(escape(formula))))  # noqa: S704 - escaped first


def phase_html(name: str) -> Markup:
    """A phase as `formula (candidate id)` with subscripts in the formula; any other name as it is."""
    match = re.fullmatch(r"(\S+) \((\d+-\d+)\)", name)
    if not match:
        return escape(name)
    return Markup("{} <small>{}</small>").format(formula_html(match[1]), match[2])


def formula_svg(formula: str) -> Markup:
    """A formula with its numbers as subscripts, as the inside of an SVG `text`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", formula)
    text, lowered = "", False
    for index, part in enumerate(parts):
        if not part:
            continue
        number = index % 2 == 1
        shift = ' dy="3"' if number and not lowered else ' dy="-3"' if lowered and not number else ""
        size = ' font-size="72%"' if number else ""
        text += f"<tspan{shift}{size}>{escape(part)}</tspan>"
        lowered = number
    return Markup(text)  # noqa: S704 - every part was escaped


def number(value: float | None, digits: int = 3) -> str:
    """A number with a true minus sign, or a dash where there is none."""
    if value is None:
        return NOTHING
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def milli(value: float | None) -> str:
    """eV/atom written as whole meV/atom."""
    return NOTHING if value is None else number(1000 * value, 0)


def amount(value: float) -> str:
    """A cost: as many digits as are worth reading, with thin spaces between thousands."""
    digits = 0 if abs(value) >= 100 or float(value).is_integer() else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", MINUS)


def duration(seconds: float) -> str:
    """A span of time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def percent(share: float | None) -> str:
    """A share of one."""
    return NOTHING if share is None else f"{100 * share:.0f} %"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """`1 phase`, `2 phases`."""
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def words(name: str) -> str:
    """A registry name or reason as words."""
    return name.replace("_", " ").replace("-", " ")


@cache
def space_group(number: int) -> str:
    """Short international symbol of a space group, e.g. `Fm-3m`, `P2_1/c`."""
    from pymatgen.symmetry.groups import sg_symbol_from_int_number

    symbol = str(sg_symbol_from_int_number(number))
    # pymatgen writes monoclinic groups in full, with the two axes that have no symmetry.
    return re.sub(r"^([A-Z])1(.+)1$", r"\1\2", symbol) if 3 <= number <= 15 else symbol


def space_group_html(number: int) -> Markup:
    """International symbol with bars over and screw axes below, for HTML."""
    text = str(escape(space_group(number)))
    text = re.sub(r"-(\d)", r'<span class="bar">\1</span>', text)
    return Markup(re.sub(r"_(\d)", r"<sub>\1</sub>", text))  # noqa: S704 - escaped first
