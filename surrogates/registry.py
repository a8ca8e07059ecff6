"""Potentials by name.

Every entry point of the group `motherlode.potentials` is a function `load(spec, *, base) -> Potential`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loop.errors import PotentialError
from loop.plugins import PluginKind
from loop.spec import PotentialSpec
from surrogates.conventions import check_corrections
from surrogates.corrections import scheme_version
from surrogates.potential import Potential

POTENTIALS: Final = PluginKind(group="motherlode.potentials", seam=Potential, error=PotentialError)


@dataclass(frozen=True, slots=True, kw_only=True)
class PotentialDescription:
    """What must be known of a potential without running it."""

    fidelity: str
    """Name of its settled energies: with corrections their scheme follows, as in `sevennet-0+mp2020`."""
    version: str
    """Package and weights; with corrections the scheme and the package that computes it."""
    elements: frozenset[str] | None
    seconds_per_atom: float


def load_potential(spec: PotentialSpec, *, base: Path) -> Potential:
    """The potential that a campaign file names. It evaluates raw energies, whatever corrections are asked for.

    Args:
        spec: registry name and what that potential needs.
        base: folder that relative paths in the specification start from.

    Raises:
        PotentialError: the name is not registered, its package cannot be imported, or the potential refuses
            the specification (missing weights, unknown model, foreign arguments, corrections that its energies
            do not take).
    """
    potential = POTENTIALS.make(spec.name, spec, field="potential name", base=base)
    check_corrections(spec, fidelity=potential.fidelity)
    return potential


def describe_potential(spec: PotentialSpec, base: Path) -> PotentialDescription:
    """Fidelity, version, elements and cost of a potential's settled energies, without evaluating anything.

    Raises:
        PotentialError: as `load_potential`.
    """
    potential = load_potential(spec, base=base)
    fidelity, version = potential.fidelity, potential.version
    if spec.corrections != "none":
        fidelity = f"{fidelity}+{spec.corrections}"
        version = f"{version}; {scheme_version(spec.corrections)}"
    return PotentialDescription(
        fidelity=fidelity,
        version=version,
        elements=potential.elements,
        seconds_per_atom=potential.seconds_per_atom,
    )
