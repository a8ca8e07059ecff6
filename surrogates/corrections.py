"""The Materials Project's 2020 energy corrections (MP2020) of a crystal, by pymatgen.

Labels of the Materials Project mix PBE with PBE+U: oxides and fluorides of eight transition metals carry a U,
their metals do not, and PBE errs by a nearly constant amount per anion. MP2020 (Wang et al., Sci. Rep. 11,
15496, 2021) shifts every compound by an amount per atom of its anions and of its U metals, so that formation
energies compare. The amounts and their rules are pymatgen's; what is added here is what its
`MaterialsProject2020Compatibility` wants to be told of a crystal that VASP never ran: the run type and the U
values that the Materials Project would have used, and the oxidation states.

pymatgen guesses oxidation states only where the reduced formula has at most 20 atoms, and where it finds none
silently corrects the most electronegative element alone: the chlorine of Li10B14Cl2O25 is forgotten (pymatgen
issues 2529, 4636). Here the guess is made up to `GUESS_LIMIT` atoms; where there is none and a second anion's
correction hangs on it, the crystal's bond valences decide; where they do not either, nothing is decided and a
`CorrectionError` says so.

The correction is a function of the crystal, constant where no bond changes its kind: it belongs to an energy
that has settled and adds nothing to forces or stress.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pymatgen.core.composition import Composition
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from loop.crystal import Crystal
from loop.elements import ELEMENT_SYMBOLS
from loop.errors import CorrectionError
from loop.spec import CorrectionScheme

if TYPE_CHECKING:
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

RULES: Final = 1
"""To be raised whenever something here makes another correction of the same crystal."""
GUESS_LIMIT: Final = 60
"""Atoms in the reduced formula up to which oxidation states are guessed from it; 52 took 5 s at worst."""
FAILURE_REASON: Final = "correction-undecided"
"""Reason of the `Failure` that a crystal becomes whose correction cannot be decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a scheme adds to the energy of one crystal."""

    parts: Mapping[str, float]
    """eV/atom of the crystal by cause: an anion (`oxide`, `peroxide`, `superoxide`, `ozonide`, `S`, `Cl`, …) or the
    mixing of PBE with PBE+U for a metal (`Fe+U`). Empty where nothing is to be corrected."""

    @property
    def energy_per_atom(self) -> float:
        """eV/atom, to be added to the raw energy."""
        return float(sum(self.parts.values()))


def correction_of(crystal: Crystal, scheme: CorrectionScheme) -> Correction:
    """The correction of a crystal's energy under a scheme.

    Args:
        crystal: as relaxed: whether oxygen is an oxide, peroxide or superoxide and whether sulphur is an anion is
            read from its distances.
        scheme: `none` or `mp2020`.

    Raises:
        CorrectionError: oxidation states that the correction hangs on cannot be found, or an element has no
            electronegativity.
    """
    return Correction(parts={}) if scheme == "none" else _mp2020(crystal)


def lowest_correction(composition: Mapping[str, float], scheme: CorrectionScheme) -> float:
    """The lowest correction that any crystal of a composition could get, eV/atom.

    What a composition does not decide is whether its oxygen is an oxide, peroxide, superoxide or ozonide, whether its
    sulphur is an anion, and the oxidation states where its formula gives none: the scheme is asked about every case.

    Args:
        composition: atoms by element, in any number.
        scheme: `none` or `mp2020`.

    Returns:
        At most `correction_of(crystal, scheme).energy_per_atom` of any crystal that has the composition.

    Raises:
        CorrectionError: an element has no electronegativity, so no crystal of the composition has a correction.
    """
    if scheme == "none" or len(composition) == 1:
        return 0.0
    return _lowest_of_mp2020(Composition(composition).reduced_formula)


@lru_cache(maxsize=65536)
def _lowest_of_mp2020(formula: str) -> float:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to guess oxidation states", category=UserWarning)
        from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
        from pymatgen.entries.computed_entries import ComputedEntry

        scheme = MaterialsProject2020Compatibility(check_potcar=False)
        composition = Composition(formula)
        by_electronegativity = _by_electronegativity({e.symbol for e in composition}, formula=formula)
        judged_by_state, anions = _anions(by_electronegativity, scheme=scheme)
        guess = _guess(formula) if judged_by_state.intersection(anions) else {}
        undecided = [symbol for symbol in anions if symbol in judged_by_state] if not guess else []
        lowest = np.inf
        for oxygen, sulphur, *charges in product(
            sorted(scheme.comp_correction.keys() - ELEMENT_SYMBOLS),
            ("sulfide", "no sulfide"),
            *[(-1.0, 0.0)] * len(undecided),
        ):
            states = dict(guess) or dict(zip(undecided, charges, strict=True))
            entry = ComputedEntry(
                composition,
                0.0,
                parameters=_parameters(by_electronegativity, scheme=scheme),
                data={"oxide_type": oxygen, "sulfide_type": sulphur, "oxidation_states": states},
                entry_id=formula,
            )
            adjustments = scheme.get_adjustments(entry)
            lowest = min(lowest, sum(float(a.value) for a in adjustments) / composition.num_atoms)
    return float(lowest)


def scheme_version(scheme: CorrectionScheme) -> str:
    """The scheme, our rules and the package that computes it; part of a calculation's identity.

    The package changes results: between two versions of pymatgen 3 of 500 energies above hull moved by 119 to 217
    meV/atom, for oxidation states were guessed otherwise (matbench-discovery issue 358).
    """
    return f"{scheme} corrections {RULES}, pymatgen-core {version('pymatgen-core')}"


def _mp2020(crystal: Crystal) -> Correction:
    with warnings.catch_warnings():
        # pymatgen says so where it takes the most electronegative element alone; what hangs on it is checked here.
        warnings.filterwarnings("ignore", message="Failed to guess oxidation states", category=UserWarning)
        # What spglib deprecates is pymatgen's way of asking it.
        warnings.filterwarnings("ignore", message="Set OLD_ERROR_HANDLING", category=DeprecationWarning)
        from pymatgen.entries.compatibility import CompatibilityError, MaterialsProject2020Compatibility
        from pymatgen.entries.computed_entries import ComputedStructureEntry

        if len(crystal.elements) == 1:
            return Correction(parts={})
        scheme = MaterialsProject2020Compatibility(check_potcar=False)
        by_electronegativity = _by_electronegativity(crystal.elements, formula=crystal.reduced_formula)
        entry = ComputedStructureEntry(
            crystal.to_structure(),
            0.0,
            parameters=_parameters(by_electronegativity, scheme=scheme),
            data={"oxidation_states": _oxidation_states(crystal, by_electronegativity, scheme=scheme)},
            entry_id=crystal.reduced_formula,
        )
        try:
            adjustments = scheme.get_adjustments(entry)
        except CompatibilityError as error:
            raise CorrectionError(f"{crystal.reduced_formula}: MP2020 does not apply ({error})") from error
    return Correction(
        parts={_name(a.name): float(a.value) / crystal.number_of_atoms for a in adjustments if a.value != 0}
    )


def _name(adjustment: str) -> str:
    """`MP2020 anion correction (oxide)` → `oxide`; `MP2020 GGA/GGA+U mixing correction (Fe)` → `Fe+U`."""
    cause = adjustment.rpartition("(")[2].rstrip(")")
    return f"{cause}+U" if "mixing" in adjustment else cause


def _parameters(
    by_electronegativity: list[str], *, scheme: MaterialsProject2020Compatibility
) -> dict[str, Any]:
    """Run type and U values that the Materials Project would have used."""
    settings = scheme.u_settings.get(by_electronegativity[-1], {})
    hubbards = {symbol: settings[symbol] for symbol in by_electronegativity if symbol in settings}
    return {"run_type": "GGA+U" if hubbards else "GGA", "hubbards": hubbards}


def _by_electronegativity(elements: Collection[str], *, formula: str) -> list[str]:
    """Element symbols, the most electronegative last.

    Raises:
        CorrectionError: an element has no electronegativity, so that nobody can say what the anion is.
    """
    values = {symbol: float(Element(symbol).X) for symbol in elements}
    lacking = sorted(symbol for symbol, value in values.items() if not np.isfinite(value))
    if lacking:
        raise CorrectionError(
            f"{formula}: {', '.join(lacking)} has no electronegativity, so MP2020 cannot say which "
            "elements are anions; take it out of the space, or set the potential's corrections to none"
        )
    # Where two are equal (H and Pd) pymatgen takes the later in the structure, which is the heavier here.
    return sorted(values, key=lambda symbol: (values[symbol], Element(symbol).Z))


def _anions(
    by_electronegativity: list[str], *, scheme: MaterialsProject2020Compatibility
) -> tuple[frozenset[str], list[str]]:
    """The anions that are judged by their oxidation states, and all that are there, most electronegative last."""
    judged_by_state = frozenset((ELEMENT_SYMBOLS & scheme.comp_correction.keys()) - {"S"})
    return judged_by_state, [
        symbol for symbol in by_electronegativity if symbol in judged_by_state | {"O", "S"}
    ]


def _oxidation_states(
    crystal: Crystal, by_electronegativity: list[str], *, scheme: MaterialsProject2020Compatibility
) -> dict[str, float]:
    """Mean oxidation state of each element; empty where they are unknown and nothing hangs on them.

    Oxygen and sulphur are judged by distances, metals by their presence; only the other anions are corrected
    where their state is negative, and the most electronegative of them needs none.

    Raises:
        CorrectionError: they are unknown, and another anion's correction hangs on them.
    """
    judged_by_state, anions = _anions(by_electronegativity, scheme=scheme)
    if not judged_by_state.intersection(anions):
        return {}
    guess = _guess(crystal.reduced_formula)
    undecided = [symbol for symbol in anions[:-1] if symbol in judged_by_state]
    if guess or not undecided:
        return dict(guess)
    valences = _bond_valences(crystal.to_structure())
    if not valences:
        raise CorrectionError(
            f"{crystal.reduced_formula}: no oxidation states balance, neither by its formula nor by its bond "
            f"valences, so MP2020 cannot say whether to correct {' and '.join(undecided)} beside {anions[-1]}; ask for "
            "compositions that can be charge neutral (space.charge_neutral), or set the potential's corrections to none"
        )
    return valences


@lru_cache(maxsize=4096)
def _guess(formula: str) -> Mapping[str, float]:
    """The most probable oxidation states that balance a reduced formula; empty where there are none."""
    try:
        guesses = Composition(formula).oxi_state_guesses(max_sites=-GUESS_LIMIT)
    except ValueError:  # more atoms than the limit
        return {}
    return dict(guesses[0]) if guesses else {}


def _bond_valences(structure: Structure) -> dict[str, float]:
    """Mean oxidation states by bond valences; empty where they do not balance.

    O'Keeffe and Brese, J. Am. Chem. Soc. 113, 3226 (1991).
    """
    from pymatgen.analysis.bond_valence import BVAnalyzer

    try:
        valences = BVAnalyzer().get_valences(structure)  # type: ignore[no-untyped-call]
    except ValueError:  # an element without parameters, or no assignment that balances
        return {}
    found = defaultdict(list)
    for site, valence in zip(structure, valences, strict=True):
        found[site.specie.symbol].append(float(valence))
    return {symbol: float(np.mean(values)) for symbol, values in found.items()}
