"""Candidates to verdicts, by what is used today and by Motherlode, on one hull."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from flows.memory import SAME_MINIMUM
from loop import identity
from loop.crystal import Crystal
from loop.hull import HullSet
from loop.identity import IdentityIndex
from loop.spec import RelaxationSpec
from loop.verdicts import CandidateEnergy, judge_all
from screens.outcomes import Outcome
from screens.references import References
from surrogates.early_rejection import REASON, Rule
from surrogates.potential import Potential
from surrogates.relaxation import Relaxation, relax

Kind = Literal["stable", "metastable", "not", "none"]
STABLE: Final = 1e-3
"""eV/atom above the hull."""
METASTABLE: Final = 0.1
"""eV/atom above the hull."""
ABANDONED: Final = "abandoned"
REFERENCE: Final = "reference "
"""What names of reference phases begin with where candidates have numbers."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of one candidate."""

    above: float | None = None
    """eV/atom above the hull of the reference phases; negative below it; None where it has no energy."""
    how: str = "relaxed"
    """`relaxed`, `twin of a reference`, `twin of a candidate`, `abandoned`, or why it failed."""
    novel: bool | None = None
    """Whether it is neither a reference phase nor an earlier candidate; None where that was not asked."""

    @property
    def kind(self) -> Kind:
        """Three ways, and `none` where it failed."""
        if self.above is None:
            return "not" if self.how == ABANDONED else "none"
        return "stable" if self.above <= STABLE else "metastable" if self.above <= METASTABLE else "not"


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Of all candidates, in order, and what they cost."""

    verdicts: list[Verdict]
    seconds: Mapping[str, float]
    """CPU seconds by step."""
    relaxations: list[Relaxation | None] = field(default_factory=list)
    """Ours, for what was relaxed to its end."""

    @property
    def total(self) -> float:
        """CPU seconds."""
        return sum(self.seconds.values())


class _Clock:
    """CPU seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - began


def by_hand(outcomes: Sequence[Outcome], references: References, *, relax_seconds: float) -> Verdicts:
    """What users run today: a relaxation of each candidate, then pymatgen for the hull and for duplicates.

    A relaxation that ran out of steps is judged by where it ended, as it would be by whoever does not look.

    Args:
        outcomes: each candidate relaxed by CHGNet's own optimiser.
        references: the hull.
        relax_seconds: what that took.
    """
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.analysis.structure_matcher import StructureMatcher

    clock = _Clock()
    structures = {n: found.crystal.to_structure() for n, found in references.relaxed.items()}
    entries = [
        PDEntry(s.composition, references.relaxed[name].energy_per_atom * len(s), name=name)
        for name, s in structures.items()
    ]
    above: list[float | None] = []
    with clock.step("hull"):
        diagrams: dict[frozenset[str], PhaseDiagram] = {}
        for outcome in outcomes:
            if outcome.structure is None or not np.isfinite(outcome.energy):
                above.append(None)
                continue
            composition = outcome.structure.composition
            system = frozenset(e.symbol for e in composition.elements)
            if system not in diagrams:
                diagrams[system] = PhaseDiagram(
                    [e for e in entries if system.issuperset(x.symbol for x in e.composition.elements)]
                )
            entry = PDEntry(composition, outcome.energy * len(outcome.structure))
            found = diagrams[system].get_e_above_hull(entry, allow_negative=True)
            above.append(None if found is None else float(found))
    novel: list[bool | None] = []
    with clock.step("duplicates"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matcher = StructureMatcher()
        met = defaultdict(list)
        for structure in structures.values():
            met[structure.composition.reduced_formula].append(structure)
        for outcome in outcomes:
            if outcome.structure is None:
                novel.append(None)
                continue
            alike = met[outcome.structure.composition.reduced_formula]
            is_new = not any(matcher.fit(outcome.structure, other) for other in alike)
            novel.append(is_new)
            if is_new:
                alike.append(outcome.structure)
    return Verdicts(
        verdicts=[
            Verdict(above=a, how="relaxed" if a is not None else o.note or "failed", novel=n)
            for a, n, o in zip(above, novel, outcomes, strict=True)
        ],
        seconds={"relax": relax_seconds, **clock.seconds},
    )


def by_motherlode(
    crystals: Sequence[Crystal],
    references: References,
    potential: Potential,
    settings: RelaxationSpec,
    *,
    deduplicate: bool,
    rule: Rule | None,
) -> Verdicts:
    """What a campaign does between proposing and selecting.

    A proposal that is the same as a relaxed reference phase or as an earlier proposal is set aside and shares that
    one's verdict. What is left is relaxed in batches, abandoned where the rule says so, compared with what was met
    before, and judged.

    Args:
        crystals: the candidates.
        references: the hull.
        potential: that which relaxed the references.
        settings: when a relaxation ends.
        deduplicate: whether duplicates are set aside before relaxing; all are relaxed otherwise.
        rule: abandons relaxations; None lets all run to their end.
    """
    clock = _Clock()
    _forget()
    with clock.step("duplicates"):
        met = _Met(references)
        twins = met.twins(crystals) if deduplicate else {}
    chosen = [i for i in range(len(crystals)) if i not in twins]
    with clock.step("hull"):
        hulls = HullSet(references.phases)
        ceilings = (
            [ceiling(crystals[i], hulls, fidelity=references.fidelity) for i in chosen] if rule else None
        )
    with clock.step("relax"):
        ended = relax([crystals[i] for i in chosen], potential, settings, rule=rule, ceilings=ceilings)
    relaxed = {i: r for i, r in zip(chosen, ended, strict=True) if isinstance(r, Relaxation)}
    with clock.step("duplicates"):
        repeated = met.repeated(relaxed)
    with clock.step("hull"):
        above = _above(relaxed, references)
    verdicts: list[Verdict] = [Verdict()] * len(crystals)
    for i, outcome in zip(chosen, ended, strict=True):
        if isinstance(outcome, Relaxation):
            verdicts[i] = Verdict(above=above[i], novel=i not in repeated)
        else:
            how = ABANDONED if outcome.reason == REASON else f"{outcome.reason}: {outcome.detail}"
            verdicts[i] = Verdict(how=how)
    for i, twin in twins.items():
        verdicts[i] = _shared(twin, verdicts, references)
    return Verdicts(
        verdicts=verdicts,
        seconds=clock.seconds,
        relaxations=[relaxed.get(i) for i in range(len(crystals))],
    )


class _Met:
    """The crystals met so far, as a campaign remembers them (flows/memory.py)."""

    def __init__(self, references: References) -> None:
        self._relaxed, self._proposed = IdentityIndex(), IdentityIndex()
        self._energies = {f"{REFERENCE}{n}": r.energy_per_atom for n, r in references.relaxed.items()}
        for name, found in references.relaxed.items():
            self._relaxed.add(f"{REFERENCE}{name}", found.crystal)

    def twins(self, crystals: Sequence[Crystal]) -> dict[int, str]:
        """Proposals that only repeat what was met before, and what that is."""
        twins: dict[int, str] = {}
        for i, crystal in enumerate(crystals):
            twin = self._relaxed.find(crystal) or self._proposed.find(crystal)
            if twin is None:
                self._proposed.add(str(i), crystal)
            else:
                twins[i] = twin
        return twins

    def repeated(self, relaxed: Mapping[int, Relaxation]) -> frozenset[int]:
        """Relaxed candidates that have come to rest where something else already is."""
        repeated = set()
        for i, relaxation in relaxed.items():
            twin = self._relaxed.find(relaxation.crystal)
            if twin is not None and relaxation.energy_per_atom > self._energies[twin] - SAME_MINIMUM:
                repeated.add(i)
                continue
            self._relaxed.add(str(i), relaxation.crystal)
            self._energies[str(i)] = relaxation.energy_per_atom
        return frozenset(repeated)


def _above(relaxed: Mapping[int, Relaxation], references: References) -> dict[int, float]:
    """Energies above the references' hull, eV/atom, by all that a campaign's judgement says."""
    ruling = judge_all(
        references.phases,
        [
            CandidateEnergy(
                candidate_id=f"candidate {i}",
                composition=relaxation.crystal.composition,
                energy_per_atom=relaxation.energy_per_atom,
            )
            for i, relaxation in relaxed.items()
        ],
        fidelity=references.fidelity,
        in_force={},
    )
    return {i: ruling.judgements[f"candidate {i}"].distance_to_references for i in relaxed}


def _shared(twin: str, verdicts: Sequence[Verdict], references: References) -> Verdict:
    """The verdict of a duplicate."""
    if twin.startswith(REFERENCE):
        known = references.relaxed[twin.removeprefix(REFERENCE)]
        above = references.hulls.energy_above_hull(
            known.crystal.composition, known.energy_per_atom, fidelity=references.fidelity
        )
        return Verdict(above=above, how="twin of a reference", novel=False)
    first = verdicts[int(twin)]
    how = ABANDONED if first.how == ABANDONED else "twin of a candidate"
    return Verdict(above=first.above, how=how, novel=False)


def _forget() -> None:
    """Empty what comparing crystals keeps, so that no way profits from what came before it."""
    for value in vars(identity).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def ceiling(crystal: Crystal, hulls: HullSet, *, fidelity: str) -> float:
    """Energy up to which a candidate is metastable, eV/atom."""
    return METASTABLE - hulls.energy_above_hull(crystal.composition, 0.0, fidelity=fidelity)
