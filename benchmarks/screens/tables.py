"""The JSON object as the Markdown tables of docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

GROUPS: Final = (
    ("chgnet", "CHGNet 0.3.0"),
    ("matgl", "TensorNet-MatPES-PBE"),
    ("sevennet", "SevenNet-0"),
)
MARKS: Final = ("<!-- screening -->\n", "<!-- /screening -->")
"""What stands around the tables on a page."""


def fill(page: Path, tables: str) -> None:
    """Put the tables between the marks of a page, in place of what stood there.

    Raises:
        ValueError: the page has no marks.
    """
    text = page.read_text()
    before, opening, rest = text.partition(MARKS[0])
    _, closing, after = rest.partition(MARKS[1])
    if not (opening and closing):
        raise ValueError(f"{page}: lacks {MARKS[0].strip()} or {MARKS[1]}; put both where the tables belong")
    page.write_text(f"{before}{opening}{tables.strip()}\n{closing}{after}")


def markdown(result: Mapping[str, Any]) -> str:
    """Every table that the result has figures for."""
    return "\n".join(_lines(result))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    for group, title in GROUPS:
        rows = {name: row for name, row in result["rows"].items() if row["group"] == group}
        if rows:
            yield from _relaxations(rows, title=title)
    for name, why in result["left_out"].items():
        yield f"Not run: {name}, for {why}."
    if result["left_out"]:
        yield ""
    for found in result["verdicts"].values():
        yield from _verdicts(found)


def _relaxations(rows: Mapping[str, Mapping[str, Any]], *, title: str) -> Iterator[str]:
    first = next(iter(rows.values()))
    yield f"{title}, {first['crystals']} crystals, differences to the first row:"
    yield ""
    yield from table(
        (
            "",
            "CPU-s a crystal",
            "ratio",
            "evaluations, mean (median)",
            "converged",
            "set aside",
            "before, CPU-s",
        ),
        (
            (
                row["title"],
                f"{row['seconds_per_structure']:.3f}",
                f"{first['seconds_per_structure'] / row['seconds_per_structure']:.1f}",
                f"{number(row['mean_evaluations'], '.1f')} ({number(row['median_evaluations'], '.0f')})",
                f"{row['converged']}",
                f"{row['set_aside']}",
                f"{row['preparation_seconds']:.0f}",
            )
            for row in rows.values()
        ),
    )
    others = [row for row in rows.values() if row is not first and row["compared"]]
    if not others:
        return
    yield "Energies in meV/atom; volumes and structures (pymatgen's StructureMatcher) of the relaxed crystals:"
    yield ""
    yield from table(
        (
            "", "compared", "higher by > 1", "> 5", "lower by > 1", "> 5", "mean", "median", "95th percentile",
            "highest", "volume, median / 95th", "same structure",
        ),
        (
            (
                row["title"],
                f"{row['compared']}",
                *(f"{row[f'{way}_by_{level}_mev']:.1%}" for way in ("higher", "lower") for level in (1, 5)),
                f"{row['mean_difference_mev']:+.1f}",
                f"{row['median_difference_mev']:+.2f}",
                f"{row['percentile_95_difference_mev']:+.1f}",
                f"{row['highest_difference_mev']:+.1f}",
                " / ".join(number(row[f"{at}_volume_difference"], ".2%") for at in ("median", "percentile_95")),
                number(row["same_structure"], ".1%"),
            )
            for row in others
        ),
    )  # fmt: skip


def _verdicts(found: Mapping[str, Any]) -> Iterator[str]:
    today, rule = found["today"], found["rule"]
    yield (
        f"{found['title']}: {found['candidates']} candidates, {found['references']} reference phases "
        f"({found['references_cpu_seconds']:.0f} CPU-s, not counted). Today: {today['stable']} stable, "
        f"{today['metastable']} metastable, {today['failed']} failed."
    )
    yield ""
    yield from table(
        (
            "", "CPU-s", "relax / duplicates / hull", "correct", "verdicts a CPU-s", "speedup",
            "by the lowest energy: correct", "speedup", "recall", "95 % interval", "agreement", "novel",
        ),
        (
            (
                "StructOptimizer, PhaseDiagram, StructureMatcher",
                f"{today['cpu_seconds']:.1f}",
                steps(today),
                f"{found['candidates'] - today['failed']}",
                f"{today['verdicts_per_cpu_second']:.3f}",
                "1",
                f"{today['correct_by_lowest']}",
                "1",
                "",
                "",
                "",
                f"{today['novel']}",
            ),
            *(
                (
                    f"Motherlode, {name}",
                    f"{way['cpu_seconds']:.2f}",
                    steps(way),
                    f"{way['correct']}",
                    f"{way['verdicts_per_cpu_second']:.2f}",
                    number(way["verdict_speedup"], ".1f"),
                    f"{way['correct_by_lowest']}",
                    number(way["verdict_speedup_by_lowest"], ".1f"),
                    f"{way['metastable_found']} of {way['metastable_of_theirs']}",
                    " to ".join(f"{edge:.1%}" for edge in way["metastable_recall_interval"]),
                    f"{way['agreement']:.1%}",
                    f"{way['novel']}",
                )
                for name, way in found["ways"].items()
            ),
        ),
    )  # fmt: skip
    yield (
        f"Rule at a stated rate of {rule['stated_rate']}: "
        + ("learned" if rule["learned"] else "none, the runs are too few for it; nothing is abandoned")
        + f"; {rule['learned_from']} other crystals, {rule['of_which_matter']} of which matter, "
        f"{rule['training_cpu_seconds']:.0f} CPU-s, not counted. It "
        f"saved {found['early_rejection_saved']:.1%} of the seconds of relaxing. "
        "What rules would do to these candidates:"
    )
    yield ""
    yield from table(
        ("stated rate", "abandoned", "lost of what matters", "evaluations saved"),
        (
            (
                f"{row['stated_rate']}",
                f"{row['abandoned']}",
                f"{row['lost']} of {row['matter']}",
                f"{row['evaluations_saved']:.1%}",
            )
            if row["learned"]
            else (f"{row['stated_rate']}", "no rule", "", "")
            for row in found["rehearsed"]
        ),
    )
    for name, way in found["ways"].items():
        lower = [row["lower"] for row in way["differ"]]
        yield (
            f"{name}: {len(lower)} verdicts differ; ours is lower in {lower.count('ours')}, theirs in "
            f"{lower.count('theirs')}, one has no energy in {lower.count('one has no energy')}. "
            f"Came about as: {', '.join(f'{how} {n}' for how, n in way['how'].items())}."
        )
        yield ""


def steps(way: Mapping[str, Any]) -> str:
    """CPU seconds of the three steps."""
    return " / ".join(f"{way['cpu_seconds_by_step'][step]:.2f}" for step in ("relax", "duplicates", "hull"))


def number(value: float | None, form: str) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table and an empty line."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
