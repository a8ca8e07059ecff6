"""Options of verification levels, and errors that name the key in the campaign file."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from loop.elements import closest
from loop.errors import VerificationError
from loop.spec import Model, NonNegative, Positive, PositiveInt, PotentialSpec, VerificationLevel

Options = TypeVar("Options", bound=BaseModel)


class PotentialOptions(Model):
    """Options of `verifier: potential`."""

    max_force: Positive | None = None
    """Largest force at convergence, eV/Å; the campaign's `relaxation.max_force` by default."""
    max_stress: Positive | None = None
    """Largest stress component at convergence, GPa; the campaign's `relaxation.max_stress` by default."""
    max_steps: PositiveInt | None = None
    """Steps after which the relaxation is not converged; the campaign's `relaxation.max_steps` by default."""
    fix_symmetry: bool = False
    """Hold the crystal's space group while it relaxes."""
    timeout: Positive | None = None
    """Wall seconds after which one verification is ended; the campaign's `relaxation.timeout` by default."""


class PhononOptions(Model):
    """Options of `verifier: phonons`."""

    min_length: Positive = 10.0
    """Smallest distance of an atom from its own image in the supercell, Å. Up to a tenth less is taken where that
    makes a supercell of even multiples, in which the edge of the Brillouin zone is exact."""
    max_atoms: PositiveInt = 300
    """Atoms that the supercell may hold; crystals that need more fail with reason `too-large`."""
    displacement: Positive = 0.01
    """How far atoms are displaced, Å."""
    max_force: Positive = 0.001
    """Largest force after the tight relaxation, eV/Å."""
    max_stress: Positive = 0.1
    """Largest stress component after the tight relaxation, GPa."""
    max_steps: PositiveInt = 300
    """Steps after which the tight relaxation is not converged."""
    gamma_radius: NonNegative | None = None
    """Interpolated wave vectors nearer to Γ than this are not judged, 1/Å; by default those of waves longer than the
    supercell. Wave vectors that the supercell holds exactly always are."""
    q_spacing: Positive = 0.03
    """Largest distance between judged wave vectors, 1/Å."""
    temperatures: tuple[Positive, ...] = ()
    """Temperatures at which the vibrational free energy and heat capacity are given, K."""
    timeout: Positive = 3600.0
    """Wall seconds after which one phonon calculation is ended."""


def read_options(level: VerificationLevel, model: type[Options]) -> Options:
    """The level's options, validated.

    Raises:
        VerificationError: names `verification.<level>.options.<field>`, what was found, what is understood.
    """
    try:
        return model.model_validate(level.options)
    except ValidationError as error:
        raise VerificationError(
            "\n".join(_problem(level, model, item) for item in error.errors(include_url=False))
        ) from error


def potential_of(level: VerificationLevel) -> PotentialSpec:
    """The potential that computes a level.

    Raises:
        VerificationError: the level names none.
    """
    if level.potential is None:
        raise VerificationError(
            f"verification.{level.name}.potential: missing, and the verifier {level.verifier!r} runs one; "
            "give e.g. {name: sevennet, model: 7net-l3i5}"
        )
    return level.potential


def _problem(level: VerificationLevel, model: type[BaseModel], item: object) -> str:
    """One of pydantic's complaints in the campaign file's words."""
    assert isinstance(item, dict)
    field = ".".join(str(part) for part in item["loc"])
    where = f"verification.{level.name}.options.{field}"
    if item["type"] == "extra_forbidden":
        known = ", ".join(sorted(model.model_fields))
        return (
            f"{where}: unknown option; did you mean {closest(field, model.model_fields)!r}? (known: {known})"
        )
    return f"{where}: found {item['input']!r}; {item['msg'].lower()}"
