"""The ledger's tables: one immutable row per thing that happened.

Rows of many kinds were chosen over one event table with projections: each kind is queryable with plain SQL at
once, the database's own keys forbid the duplicates that must not be (a calculation settled twice, a stage
finished twice), and nothing has to be projected before it can be read. Rows are only ever inserted; triggers
in the database refuse UPDATE and DELETE.

Crystals and calculations belong to no campaign: campaigns that share a database share what was computed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

KEY_LENGTH = 40
NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def now() -> datetime:
    """The present moment, UTC, without a time zone mark (the same in SQLite and PostgreSQL)."""
    return datetime.now(UTC).replace(tzinfo=None)


class Row(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """Base of every row of the ledger."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, str: String(255)}  # noqa: RUF012 - SQLAlchemy's own form


class Campaign(Row):
    """A campaign, or a later revision of its file in what alters nothing already decided, e.g. the budget."""

    __tablename__ = "campaign"
    id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    versions: Mapped[dict[str, Any]]
    """Versions of Motherlode and of the packages that decide results."""
    created_at: Mapped[datetime] = mapped_column(default_factory=now)


class Lease(Row):
    """A driver's right to write.

    The highest token of a campaign is in force; writers with a lower one are refused.
    """

    __tablename__ = "lease"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    token: Mapped[int] = mapped_column(primary_key=True)
    host: Mapped[str]
    process_id: Mapped[int]
    process_started: Mapped[float]
    """Start time of the process, seconds since the epoch: tells a living owner from a reused process id."""
    released: Mapped[bool] = mapped_column(default=False)
    """A released lease is written as a new row with a higher token."""
    acquired_at: Mapped[datetime] = mapped_column(default_factory=now)


class CrystalRow(Row):
    """A crystal in standardised form."""

    __tablename__ = "crystal"
    key: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    reduced_formula: Mapped[str] = mapped_column(index=True)
    chemical_system: Mapped[str] = mapped_column(index=True)
    number_of_atoms: Mapped[int]
    space_group_number: Mapped[int]
    data: Mapped[dict[str, Any]]
    """`Crystal.to_dict()`: lattice (Å), fractional coordinates, atomic numbers."""


class Candidate(Row):
    """A crystal that a generator proposed, with its provenance, whether or not it was kept."""

    __tablename__ = "candidate"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """`<iteration>-<ordinal>`, e.g. `0003-0017`: the same in every run of the same file and seed."""
    iteration: Mapped[int] = mapped_column(index=True)
    ordinal: Mapped[int]
    generator: Mapped[str]
    generator_version: Mapped[str]
    crystal_key: Mapped[str | None] = mapped_column(ForeignKey("crystal.key"))
    """None where the proposal was no crystal; then a rejection says why."""
    parents: Mapped[list[Any]]
    """Ids of the candidates it descends from."""
    details: Mapped[dict[str, Any]]
    """The generator's own account: prototype, substitution, operation, condition."""


class Rejection(Row):
    """A candidate that was set aside and why: duplicate, overlap, outside the space."""

    __tablename__ = "rejection"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    candidate_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    iteration: Mapped[int]
    stage: Mapped[str]
    reason: Mapped[str]
    detail: Mapped[str] = mapped_column(Text)


class Calculation(Row):
    """A settled calculation, done or failed.

    Its key hashes all that decides the result, so it is never run twice.
    """

    __tablename__ = "calculation"
    key: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    crystal_key: Mapped[str] = mapped_column(ForeignKey("crystal.key"), index=True)
    kind: Mapped[str]
    """`relaxation`, `verification`, `phonons`, …"""
    fidelity: Mapped[str] = mapped_column(index=True)
    settings: Mapped[dict[str, Any]]
    code_version: Mapped[str]
    outcome: Mapped[str]
    """`done` or `failed`."""
    energy_per_atom: Mapped[float | None]
    """eV/atom at `fidelity`."""
    result_crystal_key: Mapped[str | None] = mapped_column(ForeignKey("crystal.key"))
    result: Mapped[dict[str, Any]]
    failure_reason: Mapped[str | None]
    failure_detail: Mapped[str | None] = mapped_column(Text)
    cpu_seconds: Mapped[float]
    settled_at: Mapped[datetime] = mapped_column(default_factory=now)


class Attempt(Row):
    """The intent to run a calculation, written before it starts."""

    __tablename__ = "attempt"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    calculation_key: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    lease_token: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(default_factory=now)


class Cost(Row):
    """An amount declared before a calculation, or settled after it."""

    __tablename__ = "cost"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    calculation_key: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    currency: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    """`declared` or `settled`."""
    purpose: Mapped[str]
    """`reference`, `screening`, the fidelity of a further stage of the screen, or the name of a verification level."""
    iteration: Mapped[int]
    amount: Mapped[float]


class ReferenceSet(Row):
    """A version of the reference phases at one fidelity. The version hashes members and energies."""

    __tablename__ = "reference_set"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    version: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    fidelity: Mapped[str]
    source: Mapped[dict[str, Any]]
    number_of_phases: Mapped[int]
    iteration: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default_factory=now)


class ReferencePhaseRow(Row):
    """One phase of a reference set."""

    __tablename__ = "reference_phase"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    reference_version: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    """The source's own identifier, e.g. `mp-1234` or `AB_cP2_221_b_a NiTi`."""
    calculation_key: Mapped[str] = mapped_column(ForeignKey("calculation.key"))


class HullRow(Row):
    """A convex hull: a reference set and the campaign's own finds that lie on it."""

    __tablename__ = "hull"
    __table_args__ = (UniqueConstraint("campaign_id", "fidelity", "number"),)
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    version: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    fidelity: Mapped[str]
    number: Mapped[int]
    """1 for the first hull of this fidelity; the highest number is in force."""
    reference_version: Mapped[str]
    iteration: Mapped[int]
    finds: Mapped[list[Any]]
    """Ids of the campaign's candidates that lie on the hull."""
    fell_off: Mapped[list[Any]]
    """Names of reference phases and ids of candidates that were on the hull before and are not any more."""
    created_at: Mapped[datetime] = mapped_column(default_factory=now)


class Verdict(Row):
    """A candidate's energy above one hull. Superseded by a later verdict, never edited."""

    __tablename__ = "verdict"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    candidate_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    fidelity: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    """1 for the first verdict at this fidelity; a higher number supersedes every lower one."""
    hull_version: Mapped[str] = mapped_column(String(KEY_LENGTH))
    calculation_key: Mapped[str] = mapped_column(ForeignKey("calculation.key"))
    iteration: Mapped[int]
    formation_energy: Mapped[float]
    """eV/atom (survey eq. 36)."""
    energy_above_hull: Mapped[float]
    """eV/atom above the hull that includes the campaign's own finds; 0 on it."""
    distance_to_references: Mapped[float]
    """eV/atom to the hull of the reference phases alone; negative for a new phase below it."""
    decomposition: Mapped[dict[str, Any]]
    """Names of the phases it would decompose into, with their fractions by atoms."""


class Decision(Row):
    """What the acquisition made of a candidate in one iteration, with its reasons."""

    __tablename__ = "decision"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    candidate_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    role: Mapped[str]
    """`chosen`, `audit` (a randomly drawn reject) or `passed over`."""
    policy: Mapped[str]
    rank: Mapped[int]
    score: Mapped[float]
    predicted_mean: Mapped[float]
    """Predicted verified energy above hull, eV/atom."""
    predicted_deviation: Mapped[float]
    """Standard deviation of that prediction, eV/atom."""
    declared_cost: Mapped[dict[str, Any]]
    reasons: Mapped[dict[str, Any]]


class Verification(Row):
    """The answer of one verification level about one candidate."""

    __tablename__ = "verification"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    candidate_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    level: Mapped[str] = mapped_column(primary_key=True)
    iteration: Mapped[int]
    calculation_key: Mapped[str] = mapped_column(ForeignKey("calculation.key"))
    outcome: Mapped[str]
    """`done` or `failed`."""
    dynamically_stable: Mapped[bool | None]
    """None where the level says nothing about it."""
    summary: Mapped[dict[str, Any]]


class FailureRow(Row):
    """A computation that failed: a result of its own, counted and shown."""

    __tablename__ = "failure"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    """A candidate's id, a reference phase's name, or a generator's."""
    stage: Mapped[str] = mapped_column(primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    reason: Mapped[str]
    detail: Mapped[str] = mapped_column(Text)


class ModelVersion(Row):
    """A version of something that learns (acquisition, generator preference, potential), promoted or not."""

    __tablename__ = "model_version"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(String(KEY_LENGTH))
    parent: Mapped[str | None] = mapped_column(String(KEY_LENGTH))
    trained_on: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    promoted: Mapped[bool]
    state: Mapped[dict[str, Any]]
    """What is needed to use it again (weights of preferences, hyperparameters), or where it lies."""


class Stage(Row):
    """A stage of an iteration that is finished. Written in one transaction with the last of its rows."""

    __tablename__ = "stage"
    campaign_id: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    seconds: Mapped[float]
    summary: Mapped[dict[str, Any]]
    finished_at: Mapped[datetime] = mapped_column(default_factory=now)
