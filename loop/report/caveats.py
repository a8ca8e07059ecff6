"""What must be said beside a figure: what each fidelity is worth, and what "novel" means here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

_CHGNET: Final = (
    "CHGNet: about half of the crystals that it calls stable are not (precision 0.51, F1 0.61 on Matbench"
    " Discovery), and it softens phonons (κ_SRME 1.72, the best potentials reach about 0.1): an imaginary"
    " mode may be its own."
)
_L3I5: Final = "SevenNet-l3i5: F1 0.76, mean error 0.044 eV/atom on Matbench Discovery; κ_SRME 0.55."
_SEVENNET: Final = (
    "SevenNet-0: precision 0.65, F1 0.72, mean error 0.048 eV/atom on Matbench Discovery; κ_SRME 0.77."
)
_TOY: Final = "is a model for demonstrations and tests; its phases are not predictions."

KNOWN: Final[tuple[tuple[str, str], ...]] = (
    ("chgnet", _CHGNET),
    ("sevennet-l3i5", _L3I5),
    ("7net-l3i5", _L3I5),
    ("sevennet-0", _SEVENNET),
    ("7net-0", _SEVENNET),
    ("mace-mp-0", "MACE-MP-0: F1 0.67, mean error 0.057 eV/atom on Matbench Discovery; κ_SRME 0.68."),
    ("m3gnet", "M3GNet: F1 0.57, mean error 0.075 eV/atom on Matbench Discovery; κ_SRME 1.41."),
    ("emt", f"Effective-medium theory (EMT) {_TOY}"),
    ("lennard", f"Lennard-Jones {_TOY}"),
)
"""By the beginning of a fidelity's name. Figures of Matbench Discovery's leaderboard."""

_STABLE: Final = (
    "“Stable” and “metastable” are said at a fidelity, here {fidelity}: on the hull, or within {window:g}"
    " meV/atom of it, among the phases that this campaign knows. A phase that nobody gave as a reference "
    "can still lie below."
)
_SEPARATE: Final = (
    "Energies of different fidelities never share a hull: each column has its own references, computed at"
    " that fidelity."
)
_PROTOTYPES: Final = (
    "The {count} reference phases are decorated prototypes and the elements, not a database of what has "
    "been made: “novel” means only that a phase matches none of them."
)
_KNOWN: Final = (
    "Known phases were read from {count} files or folders; a find that matches one is called known."
)
_NONE_KNOWN: Final = (
    "No known phases were given (known_phases is empty), so a rediscovery of a known compound is not "
    "marked as one."
)
_PHONONS: Final = (
    "Phonons ({levels}) are harmonic, at 0 K, in a finite supercell: temperature may stabilise a soft "
    "mode, and waves longer than the supercell are not seen."
)
_NO_PHONONS: Final = "Phonons were not asked for: dynamical stability is unknown."


def of_fidelities(fidelities: Iterable[str]) -> list[str]:
    """What is known of each fidelity's errors, each sentence once, in order."""
    found = []
    for fidelity in fidelities:
        begins = [sentence for prefix, sentence in KNOWN if fidelity.lower().startswith(prefix)]
        if begins:
            found.append(begins[0])
    return list(dict.fromkeys(found))


def caveats(
    *,
    screening: Sequence[str],
    verifying: Sequence[str],
    phonon_levels: Sequence[str],
    reference_source: str,
    reference_phases: int,
    known_phases: int,
    metastable: float,
) -> tuple[str, ...]:
    """The report's caveats, the most important first."""
    deciding = verifying[-1] if verifying else screening[-1]
    said = [_STABLE.format(fidelity=deciding, window=1000 * metastable)]
    said += [*of_fidelities([*screening, *verifying]), _SEPARATE]
    if reference_source == "prototypes":
        said.append(_PROTOTYPES.format(count=reference_phases))
    said.append(_KNOWN.format(count=known_phases) if known_phases else _NONE_KNOWN)
    said.append(_PHONONS.format(levels=", ".join(phonon_levels)) if phonon_levels else _NO_PHONONS)
    return tuple(said)
