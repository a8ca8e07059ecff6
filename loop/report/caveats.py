"""What must be said beside a figure: what each fidelity is worth, and what "novel" means here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

KNOWN: Final[tuple[tuple[str, str], ...]] = (
    (
        "chgnet",
        "CHGNet: about half of the crystals that it calls stable are not (precision 0.51, F1 0.61 on Matbench Discovery), "
        "and it softens phonons (κ_SRME 1.72, the best potentials reach about 0.1): an imaginary mode may be its own.",
    ),
    ("sevennet-l3i5", "SevenNet-l3i5: F1 0.76, mean error 0.044 eV/atom on Matbench Discovery; κ_SRME 0.55."),
    ("7net-l3i5", "SevenNet-l3i5: F1 0.76, mean error 0.044 eV/atom on Matbench Discovery; κ_SRME 0.55."),
    ("sevennet", "SevenNet-0: precision 0.65, F1 0.72, mean error 0.048 eV/atom on Matbench Discovery; κ_SRME 0.77."),
    ("7net", "SevenNet-0: precision 0.65, F1 0.72, mean error 0.048 eV/atom on Matbench Discovery; κ_SRME 0.77."),
    ("mace-mp", "MACE-MP-0: F1 0.67, mean error 0.057 eV/atom on Matbench Discovery; κ_SRME 0.68."),
    ("m3gnet", "M3GNet: F1 0.57, mean error 0.075 eV/atom on Matbench Discovery; κ_SRME 1.41."),
    ("emt", "EMT is a model of a few fcc metals for demonstrations and tests; its phases are not predictions."),
    ("lennard", "Lennard-Jones is a model for demonstrations and tests; its phases are not predictions."),
)
"""By the beginning of a fidelity's name, the longest first. Figures of Matbench Discovery's leaderboard."""


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
    screening: str,
    verifying: Sequence[str],
    phonon_levels: Sequence[str],
    reference_source: str,
    reference_phases: int,
    known_phases: int,
    metastable: float,
) -> tuple[str, ...]:
    """The report's caveats, the most important first."""
    deciding = verifying[-1] if verifying else screening
    said = [
        f"“Stable” and “metastable” are said at a fidelity, here {deciding}: on the hull, or within {1000 * metastable:g} meV/atom "
        "of it, among the phases that this campaign knows. A phase that nobody gave as a reference can still lie below.",
        *of_fidelities([screening, *verifying]),
        "Energies of different fidelities never share a hull: each column has its own references, computed at that fidelity.",
    ]
    if reference_source == "prototypes":
        said.append(
            f"The {reference_phases} reference phases are decorated prototypes and the elements, not a database of what has been "
            "made: “novel” means only that a phase matches none of them."
        )
    said.append(
        f"Novelty was also checked against {known_phases} files or folders of known phases; what matches is called a rediscovery."
        if known_phases
        else "No known phases were given (known_phases is empty), so a rediscovery of a known compound is not marked as one."
    )
    if phonon_levels:
        said.append(
            f"Phonons ({', '.join(phonon_levels)}) are harmonic, at 0 K, in a finite supercell: a soft mode may be stabilised by "
            "temperature, and waves longer than the supercell are not seen."
        )
    else:
        said.append("Phonons were not asked for: dynamical stability is unknown.")
    return tuple(said)
