"""One run of `benchmarks/screening.py`: its rows, its verdicts and its JSON object."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from loop.crystal import Crystal
from screens import crystals as source
from screens import ours, peers
from screens.judging import ALL, HEADLINE, Candidates, judge
from screens.measuring import Measured, Store, measure
from screens.outcomes import Row, figures, own_version
from screens.references import References, relaxed_references
from surrogates.potential import Batch, Potential

VERDICTS: Final = ("verdicts-mixed", "verdicts-li-fe-o")
"""Names of the two sets of candidates in `--rows`."""
PORTIONS: Final = {"chgnet": 50, "matgl": 20, "sevennet": 20}
"""Crystals that one row relaxes before the next has its turn."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    crystals: int = 200
    every: int = 5
    """Of the crystals, for the rows of matgl and SevenNet."""
    teaching: int = 200
    """Mixed crystals beside those judged."""
    proposals: int = 200
    teaching_proposals: int = 1200
    """Few proposals end near the hull, and a rate of 0.01 takes a hundred that do."""
    largest: int = 20
    largest_reference: int | None = None


QUICK: Final = Size(
    crystals=4, every=2, teaching=4, proposals=2, teaching_proposals=4, largest=5, largest_reference=5
)


@dataclass(kw_only=True)
class Run:
    """One run of the benchmark: what was asked for, and what has come of it."""

    size: Size
    max_force: float
    rate: float
    symmetry: str
    """Of the relaxations of candidates to be judged; reference phases are relaxed `free`."""
    eager: bool
    """Whether verdicts are given without compiled loops; otherwise by what CHGNet is by default."""
    store: Store
    data: Path
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Draw the crystals."""
        known = ours.chgnet().elements or frozenset()
        self.mixed, self.teaching = source.mixed_crystals(
            self.data,
            count=self.size.crystals,
            others=self.size.teaching,
            largest=self.size.largest,
            known=known,
        )
        self.few = self.mixed[:: self.size.every]
        self.potential = cache(self._potential)

    def _potential(self) -> Potential:
        """CHGNet for verdicts and their hull, ready to go."""
        potential = ours.chgnet(compiled=False) if self.eager else ours.chgnet()
        potential.evaluate(Batch.from_atoms([crystal.to_atoms() for crystal in self.mixed[:8]]))
        return potential

    def references(self, crystals: Sequence[Crystal]) -> References:
        """Relaxed phases around some crystals."""
        phases = source.phases_around(self.data, crystals, largest=self.size.largest_reference)
        return relaxed_references(phases, self.potential(), ours.settings(max_force=self.max_force))

    def relax(self, group: str, rows: Sequence[Row], crystals: Sequence[Crystal]) -> Mapping[str, Measured]:
        """Measure rows in turns."""
        return measure(
            rows,
            crystals,
            store=self.store,
            portion=PORTIONS[group],
            max_force=self.max_force,
            left_out=self.left_out,
        )

    def add(self, group: str, measured: Mapping[str, Measured]) -> None:
        """Figures of a group of rows, beside its first."""
        reference = next(iter(measured.values()))
        for name, row in measured.items():
            self.rows[name] = {
                "group": group,
                "title": row.title,
                "preparation_seconds": row.preparation,
                "resumed": row.resumed,
                **figures(row.outcomes, reference.outcomes, seconds=row.seconds),
            }

    def judge_mixed(self, package: Row) -> None:
        """Verdicts of the mixed crystals; their relaxations by CHGNet's own optimiser are the row's."""
        relaxed = self.relax("chgnet", [package], self.mixed)[package.name]
        candidates = Candidates(
            title=f"Mixed crystals ({len(self.mixed)})",
            judged=self.mixed,
            relaxed_by_package=relaxed.outcomes,
            package_seconds=relaxed.seconds,
            teaching=self.teaching,
            references=self.references(self.mixed),
            teaching_references=self.references(self.teaching),
        )
        self._judge("mixed", candidates)

    def judge_proposals(self, package: Row) -> None:
        """Verdicts of what generators propose for Li-Fe-O."""
        judged, teaching = source.proposed_crystals(
            count=self.size.proposals, others=self.size.teaching_proposals, largest=self.size.largest
        )
        relaxed = self.relax("chgnet", [package], judged)[package.name]
        phases = source.phases_of_li_fe_o(largest=self.size.largest_reference)
        references = relaxed_references(phases, self.potential(), ours.settings(max_force=self.max_force))
        candidates = Candidates(
            title=f"Proposals for Li-Fe-O ({len(judged)})",
            judged=judged,
            relaxed_by_package=relaxed.outcomes,
            package_seconds=relaxed.seconds,
            teaching=teaching,
            references=references,
            teaching_references=references,
        )
        self._judge("li-fe-o", candidates)

    def _judge(self, name: str, candidates: Candidates) -> None:
        self.verdicts[name] = judge(
            candidates,
            self.potential(),
            ours.settings(max_force=self.max_force, symmetry=self.symmetry),
            rate=self.rate,
        )


def groups(run: Run) -> dict[str, list[Row]]:
    """Every row by the potential that it and its neighbours relax with; the first is what others are compared to."""
    force, own = run.max_force, own_version()
    chgnet = peers.versions("chgnet", "ase", "torch")
    sevennet = peers.versions("sevenn", "ase", "torch")
    by = ours.by_motherlode

    def row(name: str, title: str, *, of: str, by: Callable[[], Any]) -> Row:
        return Row(name=name, title=title, version=f"{of}, Python {platform.python_version()}", prepare=by)

    eager, compiled = (partial(ours.chgnet, compiled=choice) for choice in (False, True))

    return {
        "chgnet": [
            row(
                "chgnet-package",
                "CHGNet's StructOptimizer",
                of=chgnet,
                by=peers.chgnet_optimiser(max_force=force),
            ),
            row(
                "chgnet-ase",
                "ASE FIRE with FrechetCellFilter",
                of=chgnet,
                by=peers.by_ase(peers.chgnet_calculator, max_force=force),
            ),
            row("eager", "Motherlode, not compiled", of=own, by=by(eager, max_force=force)),
            row(
                "compiled",
                "Motherlode, `compiled`",
                of=own,
                by=by(compiled, max_force=force, warm=run.mixed[:16]),
            ),
            row(
                "kept",
                "Motherlode by default, symmetry kept",
                of=own,
                by=by(ours.chgnet, max_force=force, symmetry="kept"),
            ),
            row(
                "released",
                "Motherlode by default, symmetry released",
                of=own,
                by=by(ours.chgnet, max_force=force, symmetry="released"),
            ),
        ],
        "matgl": [
            row(
                "matgl-package",
                "matgl's Relaxer",
                of=peers.versions("matgl", "ase", "torch"),
                by=peers.matgl_relaxer(max_force=force),
            ),
            row(
                "matgl",
                "Motherlode",
                of=f"{own}, matgl {version('matgl')}",
                by=by(ours.matgl, max_force=force),
            ),
        ],
        "sevennet": [
            row(
                "sevennet-ase",
                "SevenNet's calculator, ASE FIRE with FrechetCellFilter",
                of=sevennet,
                by=peers.by_ase(peers.sevennet_calculator, max_force=force),
            ),
            row(
                "torch-sim-fire", "torch-sim, FIRE", of=sevennet, by=peers.torch_sim("fire", max_force=force)
            ),
            row(
                "torch-sim-lbfgs",
                "torch-sim, L-BFGS",
                of=sevennet,
                by=peers.torch_sim("lbfgs", max_force=force),
            ),
            row("sevennet", "Motherlode", of=f"{own}, {sevennet}", by=by(ours.sevennet, max_force=force)),
            row(
                "staged",
                "Motherlode, staged: CHGNet, then SevenNet-0 within 0.1 eV/atom",
                of=f"{own}, {sevennet}, eager {run.eager}",
                by=ours.staged(run.potential, references=lambda: run.references(run.few), max_force=force),
            ),
        ],
    }


def chosen(rows: Sequence[Row], wanted: frozenset[str] | None) -> list[Row]:
    """The rows asked for, with the first of their group, that they are compared with."""
    if wanted is None:
        return list(rows)
    some = [row for row in rows if row.name in wanted]
    return [rows[0], *(row for row in some if row is not rows[0])] if some else []


def result_of(run: Run) -> dict[str, Any]:
    """The JSON object."""

    def speedup(name: str, *, over: str = "chgnet-package") -> float | None:
        if name not in run.rows or over not in run.rows:
            return None
        ratio: float = run.rows[over]["seconds_per_structure"] / run.rows[name]["seconds_per_structure"]
        return ratio

    def verdict(which: str, figure: str, *, way: str = HEADLINE) -> Any:
        return run.verdicts[which]["ways"][way][figure] if which in run.verdicts else None

    return {
        "crystals": len(run.mixed),
        "max_force": run.max_force,
        "verdict_symmetry": run.symmetry,
        "python": platform.python_version(),
        "speedup_eager": speedup("eager"),
        "speedup_compiled": speedup("compiled"),
        "speedup_kept": speedup("kept"),
        "speedup_released": speedup("released"),
        "speedup_matgl": speedup("matgl", over="matgl-package"),
        "speedup_sevennet": speedup("sevennet", over="sevennet-ase"),
        "speedup_staged": speedup("staged", over="sevennet-ase"),
        "speedup_over_torch_sim": speedup("sevennet", over="torch-sim-lbfgs"),
        "higher_energy_share": run.rows.get("eager", {}).get("higher_by_1_mev"),
        "verdict_speedup": verdict("mixed", "verdict_speedup"),
        "verdict_speedup_all_relaxed": verdict("mixed", "verdict_speedup", way=ALL),
        "metastable_recall": verdict("mixed", "metastable_recall"),
        "metastable_recall_interval": verdict("mixed", "metastable_recall_interval"),
        "early_rejection_saved": run.verdicts.get("mixed", {}).get("early_rejection_saved"),
        "early_rejection_saved_li_fe_o": run.verdicts.get("li-fe-o", {}).get("early_rejection_saved"),
        "verdict_speedup_li_fe_o": verdict("li-fe-o", "verdict_speedup"),
        "verdict_speedup_li_fe_o_all_relaxed": verdict("li-fe-o", "verdict_speedup", way=ALL),
        "metastable_recall_li_fe_o": verdict("li-fe-o", "metastable_recall"),
        "rows": run.rows,
        "left_out": run.left_out,
        "verdicts": run.verdicts,
    }
