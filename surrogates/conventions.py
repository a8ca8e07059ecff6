"""What the energies of each potential are: whether they take the Materials Project's corrections.

A potential answers at the level of its training labels. Three kinds of labels are in use: total energies of
the Materials Project as VASP gives them, a mixture of PBE and PBE+U that only compares after its 2020
corrections (Wang et al., Sci. Rep. 11, 15496, 2021); the same, corrected before training; and others, which
have no such corrections.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from loop.errors import PotentialError
from loop.spec import PotentialSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """Which energies a potential gives."""

    energies: str
    """In words, as docs/potentials.md shows them."""
    objection: str | None = None
    """Why MP2020 corrections must not be applied to them; None where they may."""


MIXED: Final = Convention(energies="PBE and PBE+U as the Materials Project mixes them, uncorrected")
CORRECTED: Final = Convention(
    energies="the same with MP2020 corrections",
    objection="include the Materials Project's 2020 corrections already",
)
PLAIN_PBE: Final = Convention(
    energies="PBE without +U, uncorrected",
    objection="are PBE without +U (MatPES), for which these corrections were not fitted",
)
R2SCAN: Final = Convention(
    energies="r2SCAN, uncorrected", objection="are r2SCAN, for which these corrections were not fitted"
)
MODEL_WORLD: Final = Convention(
    energies="a simple model's own", objection="are a simple model's own and follow no DFT convention"
)
UNSTATED: Final = Convention(energies="whatever its author trained it on")

CONVENTIONS: Final = (
    ("chgnet", r"chgnet-0\..*", CORRECTED),
    ("chgnet", r"chgnet-r2scan", R2SCAN),
    ("sevennet", r"sevennet-(0|0_22may2024|l3i5|mf-0-pbe)", MIXED),
    ("sevennet", r"sevennet-mf-0-r2scan", R2SCAN),
    ("matgl", r".*r2scan.*", R2SCAN),
    ("matgl", r".*matpes.*", PLAIN_PBE),
    ("matgl", r".*(mp-2021\.2\.8|mpf|mptrj).*", MIXED),
    ("emt", r"emt", MODEL_WORLD),
    ("lennard_jones", r"lennard-jones.*", MODEL_WORLD),
)
"""Registry name, pattern of the whole fidelity, convention; the first that fits holds.

Held to measurements by tests: on relaxed Materials Project crystals CHGNet 0.2.0 and 0.3.0 lie below
SevenNet-0, l3i5 and MF-0 (PBE) by the MP2020 correction, and the MPF labels that matgl's MP-2021.2.8 models
learnt lie on SevenNet-0's side.
"""


def convention_of(name: str, *, fidelity: str) -> Convention:
    """The convention of a potential's energies; `UNSTATED` for files, plug-ins and foreign calculators.

    Args:
        name: registry name, e.g. `sevennet`.
        fidelity: of its raw energies, e.g. `sevennet-0`.
    """
    for potential, pattern, convention in CONVENTIONS:
        if potential == name and re.fullmatch(pattern, fidelity):
            return convention
    return UNSTATED


def check_corrections(spec: PotentialSpec, *, fidelity: str) -> None:
    """Refuse corrections that a potential's energies already contain or do not take.

    Args:
        spec: what the campaign file asks for.
        fidelity: of the potential's raw energies.

    Raises:
        PotentialError: names the field and the mend.
    """
    objection = convention_of(spec.name, fidelity=fidelity).objection
    if spec.corrections != "none" and objection:
        raise PotentialError(
            f"potential {spec.name!r}: corrections is {spec.corrections!r}, but the energies of {fidelity} "
            f"{objection}; remove corrections"
        )
