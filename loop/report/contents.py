"""What a report says, before it is written: frozen values, each energy with its fidelity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from loop.early_rejection import Audit
from loop.metrics import Enrichment, ErrorStatistics, SunCounts

Kind = Literal["reference", "candidate", "discovery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the way from proposal to discovery."""

    label: str
    count: int
    note: str
    """By which fidelity, or why the others stayed behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A candidate that is worth a row: verified, or among the best of the screen."""

    candidate_id: str
    formula: str
    space_group: int
    prototype: str | None
    number_of_atoms: int
    generator: str
    generator_details: str
    iteration: int
    parents: tuple[str, ...]
    role: str | None
    """`chosen` or `audit`; None where it was never sent to verification."""
    screened: float | None
    """Energy above hull at `screened_at`, eV/atom."""
    screened_at: str | None
    """The fidelity of the last stage of the screen that judged it."""
    verified: float | None
    """Energy above hull at `verified_at`, eV/atom."""
    verified_at: str | None
    """The highest fidelity that judged it."""
    distance_to_references: float | None
    """At the highest fidelity, eV/atom; negative below the hull of the reference phases."""
    formation_energy: float | None
    """At the highest fidelity, eV/atom."""
    decomposition: tuple[tuple[str, float], ...]
    """Phases that it would decompose into, with their fractions by atoms."""
    verdict: str
    """In words, with its fidelity: `stable at sevennet-l3i5`."""
    standing: Literal["stable", "metastable", "unstable", "failed", "waiting"]
    phonons: str
    """In words: `none imaginary (min 0.02 THz)`, `not asked`, …"""
    dynamically_stable: bool | None
    minimum_frequency: float | None
    """THz."""
    phonons_at: str | None
    """The level that computed the phonons."""
    known: str | None
    """The known phase it matches, with its citation."""
    discovery: bool
    failure: str | None
    scene: Mapping[str, Any] | None
    """For the viewer (loop.report.structures)."""
    shown_as: str | None
    """Which relaxation the viewer shows: a fidelity, or `as proposed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HullPoint:
    """One phase of a hull diagram."""

    name: str
    """The reference's own identifier or the candidate's id."""
    formula: str
    fractions: tuple[float, ...]
    """Atomic fraction of each element of the diagram."""
    formation_energy: float
    """eV/atom."""
    energy_above_hull: float
    """eV/atom."""
    kind: Kind

    @property
    def label(self) -> str:
        """Its formula; for an element the bare symbol, where a formula would say O2."""
        return re.sub(r"\d", "", self.formula) if max(self.fractions) > 1 - 1e-9 else self.formula


@dataclass(frozen=True, slots=True, kw_only=True)
class HullDiagram:
    """The phases of one chemical system at one fidelity."""

    elements: tuple[str, ...]
    fidelity: str
    role: str
    """`screening` or `verifying`."""
    points: tuple[HullPoint, ...]
    tie_lines: tuple[tuple[int, int], ...]
    """Pairs of indices into `points`: stable phases that coexist."""
    stable: float
    """Energy above hull up to which a phase is called stable, eV/atom."""

    @property
    def system(self) -> str:
        """The chemical system, e.g. `Ni-Sn-Ti`."""
        return "-".join(self.elements)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveStep:
    """The count after one more verification."""

    verifications: int
    iteration: int
    discoveries: int
    metastable: int
    audit: bool
    """Whether this verification was an audit."""
    formula: str
    discovery: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityPoint:
    """A candidate with its energy above hull by the last stage of the screen and as verified, eV/atom."""

    candidate_id: str
    formula: str
    screened: float
    verified: float
    audit: bool
    discovery: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLine:
    """What the acquisition expected of a candidate, and what came of it."""

    iteration: int
    candidate_id: str
    formula: str
    role: str
    rank: int
    score: float
    screened: float | None
    screened_at: str | None
    """The fidelity of the screened energy above hull."""
    predicted_mean: float
    predicted_deviation: float
    verified: float | None
    cost: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationLine:
    """What one iteration did."""

    iteration: int
    proposed: int
    kept: int
    relaxed: int
    options: int
    chosen: int
    audits: int
    verified: int
    discoveries: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """A version of something that learns."""

    iteration: int
    kind: str
    name: str
    version: str
    promoted: bool
    trained_on: str
    metrics: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorLine:
    """What one generator gave."""

    name: str
    proposed: int
    kept: int
    relaxed: int
    metastable: int
    """Within the metastable threshold at the last screening fidelity."""
    verified: int
    sun: int
    """Metastable, unique and novel at the verifying fidelity."""
    discoveries: int
    share_by_iteration: tuple[float, ...]
    """Its share of each iteration's proposals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One currency."""

    currency: str
    budget: float | None
    declared: float
    settled: float
    by_purpose: tuple[tuple[str, float], ...]
    """Settled, by purpose."""
    per_discovery: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLine:
    """How often something failed or was set aside, with one example."""

    stage: str
    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HullMoveLine:
    """A hull that came into force with other phases on it than the one before."""

    fidelity: str
    number: int
    iteration: int
    finds: int
    """Candidates on it."""
    joined: tuple[str, ...]
    fell_off: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a report says."""

    name: str
    campaign_id: str
    searched: str
    state: str
    """`finished` or `running`."""
    reason: str | None
    """Why it finished."""
    iterations: int
    began: datetime | None
    latest: datetime | None
    seconds: float
    """Spent in stages."""
    screening_fidelities: tuple[str, ...]
    """Of the screen's stages, first to last; at least one."""
    verifying_fidelities: tuple[str, ...]
    """Those that give energies, lowest first."""
    stable: float
    metastable: float
    phonon_tolerance: float
    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    findings_in_all: int
    hulls: tuple[HullDiagram, ...]
    hulls_left_out: int
    curve: tuple[CurveStep, ...]
    parity: tuple[ParityPoint, ...]
    errors: ErrorStatistics | None
    """Of the last stage of the screen, over what it judged."""
    earlier_errors: tuple[tuple[str, ErrorStatistics], ...]
    """Of the stages before, over the same candidates, by fidelity."""
    sun: SunCounts | None
    enrichment: Enrichment | None
    decisions: tuple[DecisionLine, ...]
    turns: tuple[IterationLine, ...]
    models: tuple[ModelLine, ...]
    generators: tuple[GeneratorLine, ...]
    costs: tuple[CostLine, ...]
    failures: tuple[CountLine, ...]
    rejections: tuple[CountLine, ...]
    early_rejection: Audit | None
    """None where no relaxation could be abandoned."""
    hull_moves: tuple[HullMoveLine, ...]
    provenance: tuple[tuple[str, str], ...]
    spec: str
    """The campaign file as it ran, YAML."""
    caveats: tuple[str, ...]
    known_phases_given: int
    palette: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def discoveries(self) -> tuple[Finding, ...]:
        """The discoveries among the findings."""
        return tuple(finding for finding in self.findings if finding.discovery)
