"""What worker processes are asked to do: plain functions of JSON values; loaded potentials are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from loop.crystal import Crystal
from loop.errors import CorrectionError
from loop.records import Failure
from loop.spec import CorrectionScheme, PotentialSpec, RelaxationSpec
from surrogates.corrections import FAILURE_REASON, correction_of
from surrogates.early_rejection import Rule
from surrogates.potential import Potential
from surrogates.registry import PotentialDescription, describe_potential, load_potential
from surrogates.relaxation import CODE_VERSION, STAGE, Relaxation, relax

__all__ = [
    "PotentialDescription",
    "describe_potential",
    "outcome_from_dict",
    "relax_task",
    "relaxation_identity",
]

POTENTIALS_KEPT = 4
"""Loaded potentials that a process keeps: a screen, two fidelity levels and one to spare."""


class _Described(Protocol):
    @property
    def fidelity(self) -> str: ...
    @property
    def version(self) -> str: ...


def relax_task(
    potential: Mapping[str, Any],
    relaxation: Mapping[str, Any],
    crystals: Sequence[Mapping[str, Any]],
    base: str,
    early_rejection: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Relax crystals together. The same list gives the same results bit for bit.

    Args:
        potential: a `PotentialSpec` as JSON values.
        relaxation: a `RelaxationSpec` as JSON values.
        crystals: `Crystal`s as JSON values.
        base: folder that relative paths in the potential's specification start from.
        early_rejection: `rule`, a `Rule` as JSON values, and `ceilings`, one for each crystal in eV/atom before any
            correction, or None for one that is run to its end.

    Returns:
        For each crystal the fields of a `Relaxation` as JSON values, or `{"failure": fields of a Failure}`, and
        `share`: its part of the work, by atoms evaluated; the parts add up to one. Where corrections are asked for, the
        energies are corrected and `uncorrected_energy_per_atom` and `corrections` (eV/atom by cause) stand beside them;
        failure reason `correction-undecided` says that there is none to be had.

    Raises:
        PotentialError: the potential cannot be used at all, for this crystal or any other.
    """
    spec = PotentialSpec.model_validate(potential)
    loaded = _loaded(json.dumps(potential, sort_keys=True), base)
    settings = RelaxationSpec.model_validate(relaxation)
    given = [Crystal.from_dict(crystal) for crystal in crystals]
    work = [0] * len(given)

    def count(index: int) -> None:
        work[index] += given[index].number_of_atoms

    outcomes = relax(
        given,
        loaded,
        settings,
        evaluated=count,
        rule=Rule.from_dict(early_rejection["rule"]) if early_rejection else None,
        ceilings=early_rejection["ceilings"] if early_rejection else None,
    )
    # A crystal that was refused before its first evaluation still costs something.
    atoms = [max(own, 1) for own in work]
    return [
        {**_as_values(outcome, spec.corrections), "share": own / sum(atoms)}
        for outcome, own in zip(outcomes, atoms, strict=True)
    ]


def _as_values(outcome: Relaxation | Failure, scheme: CorrectionScheme) -> dict[str, Any]:
    settled = settle(outcome, scheme) if isinstance(outcome, Relaxation) else outcome
    return {"failure": asdict(settled)} if isinstance(settled, Failure) else settled


def settle(relaxation: Relaxation, scheme: CorrectionScheme) -> dict[str, Any] | Failure:
    """A relaxation as JSON values with its energies corrected, the raw energy and the correction's parts beside them.

    The starting energy is shifted by the correction of the relaxed crystal too, so that the two still differ by what
    relaxing gained.

    Args:
        relaxation: with raw energies.
        scheme: `none` leaves it as it is.

    Returns:
        The values, or a failure where the correction cannot be decided: a raw energy must not pass for a corrected one.
    """
    values = relaxation.to_dict()
    if scheme == "none":
        return values
    try:
        correction = correction_of(relaxation.crystal, scheme)
    except CorrectionError as error:
        return Failure(stage=STAGE, reason=FAILURE_REASON, detail=str(error))
    return values | {
        "energy_per_atom": relaxation.energy_per_atom + correction.energy_per_atom,
        "starting_energy_per_atom": relaxation.starting_energy_per_atom + correction.energy_per_atom,
        "uncorrected_energy_per_atom": relaxation.energy_per_atom,
        "corrections": dict(correction.parts),
    }


def outcome_from_dict(values: Mapping[str, Any]) -> Relaxation | Failure:
    """Read one of what `relax_task` returned; where energies were corrected, so are the relaxation's."""
    if "failure" in values:
        return Failure(**values["failure"])
    return Relaxation.from_dict(
        {field.name: values[field.name] for field in fields(Relaxation) if field.name in values}
    )


def relaxation_identity(potential: _Described, relaxation: RelaxationSpec) -> dict[str, Any]:
    """All that decides a relaxation's result besides the crystal; the time limit only ends it."""
    return {
        "fidelity": potential.fidelity,
        "potential_version": potential.version,
        "max_force": relaxation.max_force,
        "max_stress": relaxation.max_stress,
        "max_steps": relaxation.max_steps,
        "symmetry": relaxation.symmetry,
        "code_version": CODE_VERSION,
    }


@lru_cache(maxsize=POTENTIALS_KEPT)
def _loaded(specification: str, base: str) -> Potential:
    return load_potential(PotentialSpec.model_validate_json(specification), base=Path(base))
