"""The campaign file: one YAML document, read into frozen models that forbid unknown keys.

Every field's description is what `docs/campaign-file.md` and the JSON Schema show, so it is written for the
person who edits the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from loop.model import JsonObject, Model, NonNegative, Number, Positive, PositiveInt
from loop.space import Space

__all__ = [
    "AcquisitionSpec", "Batch", "CampaignSpec", "CorrectionScheme", "EarlyRejectionSpec", "Execution", "GeneratorSpec",
    "JsonObject", "Model", "NonNegative", "Number", "Objective", "Positive", "PositiveInt", "PotentialSpec",
    "ReferenceSpec", "RelaxationSpec", "ScreeningSpec", "ScreeningStage", "Space", "Stopping", "Thresholds",
    "VerificationLevel", "as_json",
]  # fmt: skip
CorrectionScheme = Literal["none", "mp2020"]


class Objective(Model):
    """What is sought. Stability is served now; further properties are read and kept for models to come."""

    property: Literal[
        "energy_above_hull", "bulk_modulus", "shear_modulus", "band_gap", "formation_energy", "density"
    ] = "energy_above_hull"
    """The property. Only `energy_above_hull` steers the search today."""
    goal: Literal["minimise", "maximise", "target"] = "minimise"
    """Direction of improvement."""
    target: Number | None = None
    """The value sought when `goal` is `target` (eV/atom, GPa, eV or g/cm3, by property)."""

    @model_validator(mode="after")
    def _target_is_given(self) -> Self:
        if (self.goal == "target") != (self.target is not None):
            raise ValueError("target: give it when goal is 'target', and only then")
        return self


class GeneratorSpec(Model):
    """One generator and its share of the proposals."""

    name: str
    """Registry name, e.g. `prototypes`, `substitution`, `random_symmetric`, `evolution`."""
    weight: Positive = 1.0
    """Share of each iteration's proposals, relative to the other generators."""
    options: JsonObject = Field(default_factory=dict)
    """Options of this generator; see docs/generators.md."""


class PotentialSpec(Model):
    """An interatomic potential: a registry name and what it needs."""

    name: str = "chgnet"
    """Registry name: `chgnet`, `matgl`, `sevennet`, `ase` (any calculator by import path), `emt`, `lennard_jones`."""
    model: str | None = None
    """Which weights: a version (`0.3.0`), a checkpoint name (`7net-l3i5`), a folder, or a hub name."""
    calculator: str | None = None
    """For `ase`: import path of a calculator class or factory, `package.module:Name`."""
    arguments: JsonObject = Field(default_factory=dict)
    """Keyword arguments for the calculator or the potential."""
    corrections: CorrectionScheme = "none"
    """What is added to relaxed energies, of candidates and reference phases alike. `mp2020`: the Materials Project's
    corrections, for potentials whose energies mix PBE and PBE+U (`sevennet`); see "Energy conventions" in
    docs/potentials.md."""


class RelaxationSpec(Model):
    """When a relaxation ends."""

    max_force: Positive = 0.05
    """Largest force on any atom at convergence, eV/Å."""
    max_stress: Positive = 0.5
    """Largest stress component at convergence, GPa."""
    max_steps: PositiveInt = 300
    """Evaluations after which a relaxation is recorded as not converged."""
    symmetry: Literal["free", "kept", "released"] = "released"
    """Screening only. `released`: the space group is held, then let go from a random displacement, and the lower of the
    two minima counts. `kept`: it is held, and the relaxation ends at a stationary point that may be a saddle. `free`:
    nothing is held, but forces alone break no symmetry that the start has, so that saddles stay saddles too."""
    timeout: Positive = 600.0
    """Wall seconds after which one relaxation is ended and recorded as a failure."""


class EarlyRejectionSpec(Model):
    """When a candidate's relaxation is abandoned because it will not end low enough to matter.

    The rule is learned from the campaign's own relaxations; see docs/screening.md.
    """

    false_negative_rate: Annotated[Number, Field(gt=0, lt=0.5)] = 0.05
    """Share that may be lost of the candidates which would have ended within `acquisition.window` (with further stages:
    within the second's `admits_within`). For 0.05 about 22 of them must have been relaxed to their end before the first
    is abandoned, for 0.01 about 110."""
    audit_fraction: Annotated[Number, Field(gt=0, le=1)] = 0.1
    """Share of candidates, drawn at random, that is relaxed to the end whatever the rule says, to measure that rate and
    to go on learning."""


class ScreeningStage(Model):
    """A further stage of the screen, which judges again what the stage before puts near its hull.

    Candidates and the reference phases near the first hull are relaxed again by another potential, from the crystals of
    the stage before; energies of two stages never share a hull.
    """

    potential: PotentialSpec
    """What relaxes it. Its fidelity must be told from those of the other stages and of the verification levels."""
    admits_within: NonNegative = 0.1
    """Admit candidates whose energy above hull at the stage before is at most this (eV/atom). The others keep that
    stage's verdict and are rejects."""
    reference_window: NonNegative = 0.05
    """Reference phases within this energy above the first stage's hull (eV/atom) are relaxed by this potential too."""


class ScreeningSpec(Model):
    """How candidates are screened."""

    early_rejection: EarlyRejectionSpec | None = EarlyRejectionSpec()
    """When relaxations are abandoned; null runs every one to its end."""
    stages: tuple[ScreeningStage, ...] = ()
    """Stages after the first, cheap to exact, e.g. `{potential: {name: sevennet, corrections: mp2020}}`. The last one's
    energy above hull is what the acquisition reads; see docs/screening.md."""

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A campaign without further stages is written, and named by its hash, as it was before there were any."""
        values: dict[str, Any] = plain(self)
        if not self.stages:
            del values["stages"]
        return values


class ReferenceSpec(Model):
    """Where the known phases of the convex hull come from. All are relaxed by the campaign's own potential."""

    source: str = "prototypes"
    """Registry name: `prototypes` (needs no network), `files`, `materials_project`."""
    options: JsonObject = Field(default_factory=dict)
    """Options of the source; see docs/references.md."""


class AcquisitionSpec(Model):
    """How the verification budget is spent."""

    policy: str = "residual"
    """`residual` (Gaussian process on the potential's error), `upper_confidence_bound`, `greedy`, `random`."""
    window: Positive = 0.2
    """Only candidates within this screened energy above hull (eV/atom; by the last stage of the screen) are considered,
    audits aside."""
    audit_fraction: Annotated[Number, Field(ge=0, le=1)] = 0.1
    """Share of verifications spent on randomly chosen rejects, to measure what the loop misses."""
    options: JsonObject = Field(default_factory=dict)
    """Options of the policy; see docs/acquisition.md."""


class VerificationLevel(Model):
    """One fidelity level. Levels are climbed in order; each admits only what passed the one before."""

    name: str
    """Name of the fidelity as it stands in the ledger and the report, e.g. `sevennet-l3i5`."""
    verifier: str = "potential"
    """Registry name of the verifier: `potential` (relax and static) or `phonons`."""
    potential: PotentialSpec | None = None
    """The potential that computes this level, where the verifier runs one."""
    admits_within: NonNegative | None = None
    """Admit only candidates whose energy above hull at the level before is at most this (eV/atom). The first level
    admits what the acquisition chooses."""
    reference_window: NonNegative = 0.05
    """Reference phases within this energy above the screening hull (eV/atom) are recomputed at this level, so that the
    verified hull is of one fidelity."""
    options: JsonObject = Field(default_factory=dict)
    """Options of the verifier; see docs/verification.md."""
    cost: dict[str, NonNegative] = Field(default_factory=dict)
    """What one calculation is declared to cost, by currency, e.g. `{core_hours: 2}`. `cpu_seconds` is estimated where
    it is not given; the first level also charges `verifications: 1` for each candidate."""


class Stopping(Model):
    """When the campaign ends before its budget does."""

    iterations: PositiveInt = 10
    """Largest number of iterations."""
    discoveries: PositiveInt | None = None
    """End once this many discoveries were made."""
    iterations_without_discovery: PositiveInt | None = None
    """End after this many iterations in a row without a new discovery."""


class Batch(Model):
    """How much one iteration does."""

    proposals: PositiveInt = 60
    """Crystals proposed per iteration, over all generators."""
    verifications: PositiveInt = 6
    """Candidates sent to the first verification level per iteration, audits included."""


class Thresholds(Model):
    """What counts as stable (survey section 7.2)."""

    stable: NonNegative = 0.001
    """Energy above hull up to which a phase is called stable, eV/atom (0 with a numerical tolerance of 1 meV)."""
    metastable: NonNegative = 0.1
    """Energy above hull up to which a phase is called metastable, eV/atom."""
    phonon_frequency: Annotated[Number, Field(le=0)] = -0.1
    """Lowest phonon frequency away from Γ of a dynamically stable phase, THz (negative means imaginary)."""

    @model_validator(mode="after")
    def _are_ordered(self) -> Self:
        if self.metastable < self.stable:
            raise ValueError(f"metastable ({self.metastable}) must not lie below stable ({self.stable})")
        return self


class Execution(Model):
    """How the work is run on this machine."""

    workers: PositiveInt | None = None
    """Worker processes, one torch thread each; the machine's cores by default."""
    chunk: PositiveInt = 128
    """Candidates per task shown in Prefect."""
    cache: str | None = "~/.cache/motherlode"
    """Folder in which relaxed reference phases are kept for every campaign on this machine, so that they are paid for
    once; null keeps them in this campaign's ledger alone."""


def _default_generators() -> tuple[GeneratorSpec, ...]:
    return (
        GeneratorSpec(name="prototypes", weight=4),
        GeneratorSpec(name="substitution", weight=2),
        GeneratorSpec(name="random_symmetric", weight=2),
        GeneratorSpec(name="evolution", weight=2),
    )


def _default_verification() -> tuple[VerificationLevel, ...]:
    # Corrected, because its labels mix PBE and PBE+U, and a hull of the two as they are loses oxides.
    corrected = PotentialSpec(name="sevennet", model="7net-l3i5", corrections="mp2020")
    plain = PotentialSpec(name="sevennet", model="7net-l3i5")
    return (
        VerificationLevel(name="sevennet-l3i5+mp2020", verifier="potential", potential=corrected),
        VerificationLevel(
            name="sevennet-l3i5-phonons", verifier="phonons", potential=plain, admits_within=0.1
        ),
    )


class CampaignSpec(Model):
    """One campaign: a search with a budget."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Short name of lower-case letters, digits and hyphens."""
    space: Space
    """Which crystals are looked for."""
    objectives: tuple[Objective, ...] = (Objective(),)
    """What is sought, the most important first."""
    generators: tuple[GeneratorSpec, ...] = Field(default_factory=_default_generators)
    """What proposes crystals."""
    potential: PotentialSpec = Field(default_factory=PotentialSpec)
    """The potential that relaxes and screens every candidate and every reference phase; `screening.stages` name others
    that screen the survivors again."""
    relaxation: RelaxationSpec = Field(default_factory=RelaxationSpec)
    """When a relaxation ends."""
    screening: ScreeningSpec = Field(default_factory=ScreeningSpec)
    """Which candidates are relaxed to the end, and which are screened again."""
    references: ReferenceSpec = Field(default_factory=ReferenceSpec)
    """Where the known phases come from."""
    known_phases: tuple[str, ...] = ()
    """Files or folders (CIF, pymatgen entries JSON, extxyz) of phases known to experiment. They only label finds as
    rediscoveries; they do not enter the hull."""
    acquisition: AcquisitionSpec = Field(default_factory=AcquisitionSpec)
    """How candidates are chosen for verification."""
    verification: tuple[VerificationLevel, ...] = Field(default_factory=_default_verification)
    """Fidelity levels, climbed in order."""
    thresholds: Thresholds = Field(default_factory=Thresholds)
    """What counts as stable, metastable and dynamically stable."""
    budget: dict[str, Positive] = Field(default_factory=lambda: {"verifications": 60.0})
    """What may be spent, by currency: `cpu_seconds`, `relaxations`, `verifications`, or any that a verification level's
    `cost` names."""
    stopping: Stopping = Field(default_factory=Stopping)
    """When to end before the budget does."""
    batch: Batch = Field(default_factory=Batch)
    """How much one iteration does."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    """Seed of every random stream: the same file and seed propose the same candidates."""
    ledger: str | None = None
    """Database URL (`postgresql+psycopg://…`, `sqlite:///…`); by default `ledger.sqlite` in the campaign's folder."""
    execution: Execution = Field(default_factory=Execution)
    """How the work is run on this machine."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for field, names in (
            ("generators", [g.name for g in self.generators]),
            ("verification", [level.name for level in self.verification]),
        ):
            if not names:
                raise ValueError(f"{field}: the list is empty; name at least one")
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{field}: {repeated} is named twice; give each its own name")
        return self

    def currencies(self) -> frozenset[str]:
        """Every currency that this campaign can spend."""
        own = {currency for level in self.verification for currency in level.cost}
        return frozenset({"cpu_seconds", "relaxations", "verifications"} | own)

    @property
    def matters_within(self) -> float:
        """Energy above the first screening hull up to which a candidate is of further use, eV/atom."""
        stages = self.screening.stages
        return stages[0].admits_within if stages else self.acquisition.window

    def levels_before(self) -> Iterator[tuple[VerificationLevel | None, VerificationLevel]]:
        """Pairs (level before or None, level), in order."""
        return zip((None, *self.verification), self.verification, strict=False)


def as_json(spec: BaseModel) -> Mapping[str, Any]:
    """The model as plain JSON values, every default written out."""
    return spec.model_dump(mode="json")
