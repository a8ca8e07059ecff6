"""Potentials by name.

Every entry point of the group `motherlode.potentials` is a function `load(spec, *, base) -> Potential`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from loop.elements import closest
from loop.errors import PotentialError
from loop.spec import PotentialSpec
from surrogates.potential import Potential

ENTRY_POINT_GROUP: Final = "motherlode.potentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class PotentialDescription:
    """What must be known of a potential without running it."""

    fidelity: str
    version: str
    elements: frozenset[str] | None
    seconds_per_atom: float


def potential_names() -> list[str]:
    """Names of the registered potentials, alphabetical."""
    return sorted(_registered())


def load_potential(spec: PotentialSpec, *, base: Path) -> Potential:
    """The potential that a campaign file names.

    Args:
        spec: registry name and what that potential needs.
        base: folder that relative paths in the specification start from.

    Raises:
        PotentialError: the name is not registered, its package cannot be imported, or the potential refuses
            the specification (missing weights, unknown model, foreign arguments).
    """
    registered = _registered()
    if spec.name not in registered:
        known = (
            ", ".join(sorted(registered)) or "none: reinstall motherlode so that its entry points are written"
        )
        raise PotentialError(
            f"potential name: {spec.name!r} is not registered; did you mean "
            f"{closest(spec.name, registered)!r}? (known: {known})"
        )
    entry = registered[spec.name]
    try:
        load: Callable[..., Any] = entry.load()
    except (ImportError, AttributeError) as error:
        raise PotentialError(
            f"potential {spec.name!r}: its entry point {entry.value!r} cannot be imported ({error}); "
            "install or mend that package"
        ) from error
    potential = load(spec, base=base)
    if not isinstance(potential, Potential):
        raise PotentialError(
            f"potential {spec.name!r}: {entry.value!r} returned {type(potential).__name__}, which "
            "lacks part of surrogates.potential.Potential"
        )
    return potential


def describe_potential(spec: PotentialSpec, base: Path) -> PotentialDescription:
    """Fidelity, version, elements and cost of a potential, without evaluating anything.

    Raises:
        PotentialError: as `load_potential`.
    """
    potential = load_potential(spec, base=base)
    return PotentialDescription(
        fidelity=potential.fidelity,
        version=potential.version,
        elements=potential.elements,
        seconds_per_atom=potential.seconds_per_atom,
    )


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
