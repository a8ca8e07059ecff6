"""Small rows of every kind, with each field that a test does not care about filled in."""

from loop.crystal import Crystal
from loop.ledger.rows import crystal_row
from loop.ledger.tables import (
    Calculation,
    Campaign,
    Candidate,
    Cost,
    CrystalRow,
    Decision,
    FailureRow,
    HullRow,
    ModelVersion,
    ReferencePhaseRow,
    ReferenceSet,
    Rejection,
    Row,
    Stage,
    Verdict,
    Verification,
)

SCREENING = "lennard_jones"
LEVEL = "emt"


def crystal(number: int) -> Crystal:
    """A caesium chloride cell that is a little wider for each number."""
    side = 4.0 + 0.001 * number
    return Crystal(
        lattice=((side, 0.0, 0.0), (0.0, side, 0.0), (0.0, 0.0, side)),
        fractional_coordinates=((0.5, 0.5, 0.5), (0.0, 0.0, 0.0)),
        atomic_numbers=(17, 55),
        space_group_number=221,
    )


def stored_crystal(number: int) -> CrystalRow:
    return crystal_row(crystal(number))


def campaign(campaign_id: str, *, revision: int = 1, spec: dict | None = None) -> Campaign:
    return Campaign(
        id=campaign_id, revision=revision, name=campaign_id, spec=spec or {}, versions={"motherlode": "0"}
    )


def candidate(
    campaign_id: str, number: int, *, iteration: int = 1, crystal_key: str | None = None
) -> Candidate:
    return Candidate(
        campaign_id=campaign_id,
        id=f"{iteration:04}-{number:04}",
        iteration=iteration,
        ordinal=number,
        generator="random_symmetric",
        generator_version="1",
        crystal_key=crystal_key,
        parents=[],
        details={"space_group": 221},
    )


def calculation(
    key: str,
    *,
    start: int,
    end: int | None = None,
    energy: float = -1.0,
    fidelity: str = SCREENING,
    failed: bool = False,
) -> Calculation:
    """A relaxation of crystal `start` that ended in crystal `end` (the same by default), or failed."""
    return Calculation(
        key=key,
        crystal_key=crystal(start).key,
        kind="relaxation",
        fidelity=fidelity,
        settings={"max_force": 0.05},
        code_version="1",
        outcome="failed" if failed else "done",
        energy_per_atom=None if failed else energy,
        result_crystal_key=None if failed else crystal(start if end is None else end).key,
        result={"steps": 3},
        failure_reason="not-converged" if failed else None,
        failure_detail="300 steps" if failed else None,
        cpu_seconds=1.5,
    )


def cost(
    campaign_id: str, key: str, *, amount: float, currency: str = "cpu_seconds", kind: str = "settled"
) -> Cost:
    return Cost(
        campaign_id=campaign_id,
        calculation_key=key,
        currency=currency,
        kind=kind,
        purpose="screening",
        iteration=1,
        amount=amount,
    )


def verdict(
    campaign_id: str,
    candidate_id: str,
    key: str,
    *,
    energy: float = 0.0,
    number: int = 1,
    fidelity: str = SCREENING,
) -> Verdict:
    return Verdict(
        campaign_id=campaign_id,
        candidate_id=candidate_id,
        fidelity=fidelity,
        number=number,
        hull_version="h1",
        calculation_key=key,
        iteration=1,
        formation_energy=-0.5,
        energy_above_hull=energy,
        distance_to_references=energy,
        decomposition={"CsCl": 1.0},
    )


def hull(campaign_id: str, number: int, *, fidelity: str = SCREENING) -> HullRow:
    return HullRow(
        campaign_id=campaign_id,
        version=f"{fidelity}-{number}",
        fidelity=fidelity,
        number=number,
        reference_version="r1",
        iteration=number,
        finds=[],
        fell_off=[],
    )


def reference_set(campaign_id: str, version: str, *, iteration: int = 0, phases: int = 1) -> ReferenceSet:
    return ReferenceSet(
        campaign_id=campaign_id,
        version=version,
        fidelity=SCREENING,
        source={"name": "prototypes"},
        number_of_phases=phases,
        iteration=iteration,
    )


def reference_phase(campaign_id: str, version: str, name: str, key: str) -> ReferencePhaseRow:
    return ReferencePhaseRow(
        campaign_id=campaign_id, reference_version=version, name=name, calculation_key=key
    )


def decision(
    campaign_id: str, candidate_id: str, *, iteration: int = 1, role: str = "chosen", rank: int = 1
) -> Decision:
    return Decision(
        campaign_id=campaign_id,
        iteration=iteration,
        candidate_id=candidate_id,
        role=role,
        policy="residual",
        rank=rank,
        score=0.3,
        predicted_mean=0.02 * iteration,
        predicted_deviation=0.01,
        declared_cost={"verifications": 1},
        reasons={"improvement": 0.1},
    )


def verification(
    campaign_id: str,
    candidate_id: str,
    key: str,
    *,
    level: str = LEVEL,
    stable: bool | None = None,
    iteration: int = 1,
) -> Verification:
    return Verification(
        campaign_id=campaign_id,
        candidate_id=candidate_id,
        level=level,
        iteration=iteration,
        calculation_key=key,
        outcome="done",
        dynamically_stable=stable,
        summary={},
    )


def rejection(campaign_id: str, candidate_id: str) -> Rejection:
    return Rejection(
        campaign_id=campaign_id,
        candidate_id=candidate_id,
        iteration=1,
        stage="propose",
        reason="duplicate",
        detail="-",
    )


def failure(campaign_id: str, subject: str, *, iteration: int = 1, stage: str = "relax") -> FailureRow:
    return FailureRow(
        campaign_id=campaign_id,
        subject=subject,
        stage=stage,
        iteration=iteration,
        reason="timeout",
        detail="600 s",
    )


def model_version(campaign_id: str, iteration: int, *, promoted: bool) -> ModelVersion:
    return ModelVersion(
        campaign_id=campaign_id,
        kind="generator",
        name="prototypes",
        iteration=iteration,
        version=f"v{iteration}",
        parent=None,
        trained_on={"records": iteration},
        metrics={"log_likelihood": -1.0},
        promoted=promoted,
        state={"weights": [1.0, 2.0]},
    )


def stage(campaign_id: str, iteration: int, name: str) -> Stage:
    return Stage(campaign_id=campaign_id, iteration=iteration, name=name, seconds=0.1, summary={"rows": 3})


def one_of_each(campaign_id: str = "c") -> list[Row]:
    """One row of every kind that may be appended, in no useful order."""
    key = f"{campaign_id}-calculation"
    return [
        verdict(campaign_id, "0001-0000", key),
        verification(campaign_id, "0001-0000", key),
        reference_phase(campaign_id, "r1", "CsCl", key),
        candidate(campaign_id, 0, crystal_key=crystal(0).key),
        calculation(key, start=0, end=1),
        stored_crystal(0),
        stored_crystal(1),
        campaign(campaign_id),
        cost(campaign_id, key, amount=1.5),
        hull(campaign_id, 1),
        reference_set(campaign_id, "r1"),
        decision(campaign_id, "0001-0000"),
        rejection(campaign_id, "0001-0001"),
        failure(campaign_id, "0001-0002"),
        model_version(campaign_id, 1, promoted=True),
        stage(campaign_id, 1, "propose"),
    ]
