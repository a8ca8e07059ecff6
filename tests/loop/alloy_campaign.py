"""A small real campaign: copper, gold and palladium alloys in effective-medium theory, written row by row into a ledger.

Every energy is computed: screened with ASE's EMT, verified with EMT's other cut-off, phonons by finite displacements,
hulls by pymatgen. Nothing here imports what it is used to test.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import UnitCellFilter
from ase.optimize import BFGS
from ase.phonons import Phonons
from ase.spacegroup import crystal as spacegroup_crystal
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.analysis.structure_matcher import StructureMatcher

from loop.crystal import Crystal
from loop.ledger.ledger import Ledger
from loop.ledger.tables import (
    Attempt,
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
from loop.spec import CampaignSpec, as_json

ELEMENTS = ("Au", "Cu", "Pd")
RADII = {"Cu": 1.28, "Au": 1.44, "Pd": 1.37}
MATCHER = StructureMatcher()
SCREEN, VERIFY, PHONONS = "emt", "emt-asap", "emt-asap-phonons"


def spec(**changes: Any) -> CampaignSpec:
    return CampaignSpec.model_validate(
        {
            "name": "copper-gold-palladium",
            "space": {"chemical_systems": ["Au-Cu-Pd"], "atoms": [2, 8]},
            "generators": [{"name": "prototypes", "weight": 3}, {"name": "random_symmetric"}],
            "potential": {"name": "emt"},
            "verification": [
                {
                    "name": VERIFY,
                    "potential": {
                        "name": "ase",
                        "calculator": "ase.calculators.emt:EMT",
                        "arguments": {"asap_cutoff": True},
                    },
                },
                {"name": PHONONS, "verifier": "phonons", "potential": {"name": "emt"}, "admits_within": 0.05},
            ],
            "budget": {"verifications": 12, "cpu_seconds": 600},
            "stopping": {"iterations": 3},
            "batch": {"proposals": 10, "verifications": 4},
            **changes,
        }
    )


def decorated(kind: str, *symbols: str) -> Atoms:
    """A structure type with elements put in, at the volume of its metallic radii."""
    a, b, c = (*symbols, *symbols[:1] * 2)[:3]
    build = {
        "A1": lambda: bulk(a, "fcc", a=4.0, cubic=True),
        "L10": lambda: Atoms(
            [a, b], scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=(2.83, 2.83, 4.0), pbc=True
        ),
        "L12": lambda: Atoms(
            [a, b, b, b],
            scaled_positions=[(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
            cell=(4, 4, 4),
            pbc=True,
        ),
        "B2": lambda: Atoms(
            [a, b], scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=(3.1, 3.1, 3.1), pbc=True
        ),
        "B1": lambda: spacegroup_crystal(
            [a, b],
            [(0, 0, 0), (0.5, 0.5, 0.5)],
            spacegroup=225,
            cellpar=[5.4] * 3 + [90] * 3,
            primitive_cell=True,
        ),
        "L21": lambda: spacegroup_crystal(
            [a, b, c],
            [(0.25, 0.25, 0.25), (0, 0, 0), (0.5, 0.5, 0.5)],
            spacegroup=225,
            cellpar=[6.2] * 3 + [90] * 3,
            primitive_cell=True,
        ),
        "L12-layered": lambda: Atoms(
            [a, b, c, c],
            scaled_positions=[(0, 0, 0), (0.5, 0.5, 0), (0, 0.5, 0.5), (0.5, 0, 0.5)],
            cell=(4, 4, 4),
            pbc=True,
        ),
    }
    atoms = build[kind]()
    volume = sum(4 * np.sqrt(2) * RADII[s] ** 3 for s in atoms.get_chemical_symbols())
    atoms.set_cell(atoms.cell * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return atoms


def crystal_row(crystal: Crystal) -> CrystalRow:
    return CrystalRow(
        key=crystal.key, reduced_formula=crystal.reduced_formula, chemical_system=crystal.chemical_system,
        number_of_atoms=crystal.number_of_atoms, space_group_number=crystal.space_group_number, data=crystal.to_dict(),
    )  # fmt: skip


@dataclass
class World:
    """Writes a campaign into a ledger, one iteration after another."""

    ledger: Ledger
    spec: CampaignSpec = field(default_factory=spec)
    id: str = "copper-gold-palladium-0f0f0f0f"
    energies: dict[str, dict[str, Calculation]] = field(default_factory=lambda: {SCREEN: {}, VERIFY: {}})
    """Done calculations by fidelity and name, references and candidates alike."""
    crystals: dict[str, Crystal] = field(default_factory=dict)
    hulls: dict[str, tuple[int, str, frozenset[str]]] = field(default_factory=dict)
    numbers: Counter[tuple[str, str]] = field(default_factory=Counter)
    versions: dict[str, str] = field(default_factory=dict)
    references: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    def begin(self) -> None:
        versions = {"motherlode": "0.1.0", "ase": "3.29", "pymatgen": "2026.10", "python": "3.11"}
        row = Campaign(
            id=self.id, revision=1, name=self.spec.name, spec=dict(as_json(self.spec)), versions=versions
        )
        self.ledger.append(row, token=None)
        self.token = self.ledger.acquire(self.id)

    def append(self, *rows: Row) -> None:
        self.ledger.append(*rows, token=self.token)

    def stage(self, iteration: int, name: str, began: float, **summary: Any) -> Stage:
        return Stage(
            campaign_id=self.id,
            iteration=iteration,
            name=name,
            seconds=time.monotonic() - began,
            summary=summary,
        )

    def compute(
        self, name: str, crystal: Crystal, *, fidelity: str, purpose: str, iteration: int, steps: int = 60
    ) -> Calculation:
        """Relax, and write what it gave and cost."""
        key = f"{fidelity}-{crystal.key[:24]}"
        declared = Cost(
            campaign_id=self.id, calculation_key=key, currency="cpu_seconds", kind="declared", purpose=purpose, iteration=iteration,
            amount=0.1 * crystal.number_of_atoms,
        )  # fmt: skip
        self.append(
            Attempt(campaign_id=self.id, calculation_key=key, number=1, lease_token=self.token), declared
        )
        began = time.process_time()
        atoms = crystal.to_atoms()
        atoms.calc = EMT(asap_cutoff=fidelity == VERIFY)
        with BFGS(UnitCellFilter(atoms), logfile=None) as optimiser:
            converged = optimiser.run(fmax=0.05, steps=steps)
        seconds = time.process_time() - began
        relaxed = Crystal.from_atoms(atoms) if converged else None
        calculation = Calculation(
            key=key, crystal_key=crystal.key, kind="relaxation", fidelity=fidelity, settings={"max_force": 0.05}, code_version="ase-3.29",
            outcome="done" if relaxed else "failed",
            energy_per_atom=float(atoms.get_potential_energy()) / len(atoms) if relaxed else None,
            result_crystal_key=relaxed.key if relaxed else None, result={"steps": int(optimiser.nsteps)},
            failure_reason=None if relaxed else "not-converged",
            failure_detail=None if relaxed else f"largest force above 0.05 eV/Å after {steps} steps", cpu_seconds=seconds,
        )  # fmt: skip
        settled = {"cpu_seconds": seconds, **({"verifications": 1.0} if purpose == VERIFY else {})}
        costs = [
            Cost(
                campaign_id=self.id,
                calculation_key=key,
                currency=c,
                kind="settled",
                purpose=purpose,
                iteration=iteration,
                amount=a,
            )
            for c, a in settled.items()
        ]
        self.append(*([crystal_row(relaxed)] if relaxed else []), calculation, *costs)
        if relaxed:
            self.energies[fidelity][name] = calculation
            self.crystals[relaxed.key] = relaxed
        return calculation

    def begin_references(self) -> None:
        """Elements, and the binaries of Au-Cu: what is known before the campaign starts."""
        began = time.monotonic()
        known = {f"{e}-A1": decorated("A1", e) for e in ELEMENTS}
        known |= {
            "Cu3Au-L12": decorated("L12", "Au", "Cu"),
            "CuAu-B1": decorated("B1", "Cu", "Au"),
            "CuPd-B1": decorated("B1", "Cu", "Pd"),
        }
        for name, atoms in known.items():
            crystal = Crystal.from_atoms(atoms)
            self.append(crystal_row(crystal))
            self.compute(name, crystal, fidelity=SCREEN, purpose="reference", iteration=0)
            self.references.append(name)
        self.reference_set(SCREEN, iteration=0)
        self.append(self.stage(0, "references", began, phases=len(known), failed=0, fidelity=SCREEN))

    def reference_set(self, fidelity: str, *, iteration: int) -> None:
        version = f"references-{fidelity}-{iteration}"
        phases = [
            ReferencePhaseRow(
                campaign_id=self.id,
                reference_version=version,
                name=name,
                calculation_key=self.energies[fidelity][name].key,
            )
            for name in self.references
        ]
        row = ReferenceSet(
            campaign_id=self.id, version=version, fidelity=fidelity, source={"name": "alloys", "prototypes": 7},
            number_of_phases=len(phases), iteration=iteration,
        )  # fmt: skip
        self.append(row, *phases)
        self.versions[fidelity] = version

    def propose(
        self, iteration: int, structures: list[tuple[str, Atoms, dict[str, Any], tuple[str, ...]]]
    ) -> list[str]:
        """Write proposals; what lies outside or repeats is set aside."""
        began, kept, seen = time.monotonic(), [], {c.crystal_key for c in self.energies[SCREEN].values()}
        for ordinal, (generator, atoms, details, parents) in enumerate(structures, start=1):
            id_ = f"{iteration:04d}-{ordinal:04d}"
            crystal = Crystal.from_atoms(atoms)
            row = Candidate(
                campaign_id=self.id, id=id_, iteration=iteration, ordinal=ordinal, generator=generator, generator_version="1",
                crystal_key=crystal.key, parents=list(parents), details=details,
            )  # fmt: skip
            self.append(crystal_row(crystal), row)
            self.crystals[crystal.key] = crystal
            reason = self.spec.space.reason_against(crystal.elements, crystal.number_of_atoms)
            why = (
                ("outside-space", reason)
                if reason
                else ("duplicate", "the same crystal as an earlier one")
                if crystal.key in seen
                else None
            )
            seen.add(crystal.key)
            if why:
                self.append(
                    Rejection(
                        campaign_id=self.id,
                        candidate_id=id_,
                        iteration=iteration,
                        stage="propose",
                        reason=why[0],
                        detail=why[1],
                    )
                )
                continue
            kept.append(id_)
            calculation = self.compute(
                id_, crystal, fidelity=SCREEN, purpose="screening", iteration=iteration, steps=25
            )
            if calculation.outcome == "failed":
                self.failure(id_, "relax", iteration, calculation)
        fresh = [id_ for id_ in kept if id_ in self.energies[SCREEN] and not self.repeats(id_, iteration)]
        self.append(
            self.stage(iteration, "propose", began, proposed=len(structures), kept=len(kept), rejected={}),
            self.stage(iteration, "relax", began, relaxed=len(kept), failed=0),
        )
        return fresh

    def repeats(self, id_: str, iteration: int) -> bool:
        """Whether it relaxed to a crystal that is there already; then it is set aside and judged no further."""
        mine = self.crystals[self.energies[SCREEN][id_].result_crystal_key]
        for name, calculation in self.energies[SCREEN].items():
            other = self.crystals[calculation.result_crystal_key]
            near = abs(calculation.energy_per_atom - self.energies[SCREEN][id_].energy_per_atom) < 0.002
            if name != id_ and near and MATCHER.fit(mine.to_structure(), other.to_structure()):
                del self.energies[SCREEN][id_]
                detail = f"relaxes to the same crystal as {name}"
                self.append(
                    Rejection(
                        campaign_id=self.id, candidate_id=id_, iteration=iteration, stage="screen",
                        reason="duplicate-after-relaxation", detail=detail,
                    )
                )  # fmt: skip
                return True
        return False

    def failure(self, subject: str, stage: str, iteration: int, calculation: Calculation) -> None:
        self.append(
            FailureRow(
                campaign_id=self.id, subject=subject, stage=stage, iteration=iteration, reason=calculation.failure_reason or "",
                detail=calculation.failure_detail or "",
            )
        )  # fmt: skip

    def judge(self, fidelity: str, *, iteration: int) -> dict[str, float]:
        """A hull of references and finds, and a verdict for every candidate on it, superseding earlier ones."""
        entries = {
            name: PDEntry(
                self.crystals[c.result_crystal_key].composition,
                c.energy_per_atom * self.crystals[c.result_crystal_key].number_of_atoms,
                name=name,
            )
            for name, c in self.energies[fidelity].items()
        }
        known = PhaseDiagram([entries[name] for name in self.references])
        full = PhaseDiagram(list(entries.values()))
        finds = frozenset(e.name for e in full.stable_entries) - set(self.references)
        number, _, before = self.hulls.get(fidelity, (0, "", frozenset(e.name for e in known.stable_entries)))
        now = frozenset(e.name for e in full.stable_entries)
        version = f"hull-{fidelity}-{number + 1}"
        row = HullRow(
            campaign_id=self.id, version=version, fidelity=fidelity, number=number + 1, reference_version=self.versions[fidelity],
            iteration=iteration, finds=sorted(finds), fell_off=sorted(before - now),
        )  # fmt: skip
        self.hulls[fidelity] = (number + 1, version, now)
        above = {}
        rows: list[Row] = [row]
        for name, entry in entries.items():
            if name in self.references:
                continue
            self.numbers[name, fidelity] += 1
            decomposition, energy = full.get_decomp_and_e_above_hull(entry)
            above[name] = max(float(energy), 0.0)
            rows.append(
                Verdict(
                    campaign_id=self.id, candidate_id=name, fidelity=fidelity, number=self.numbers[name, fidelity], hull_version=version,
                    calculation_key=self.energies[fidelity][name].key, iteration=iteration,
                    formation_energy=float(full.get_form_energy_per_atom(entry)), energy_above_hull=above[name],
                    distance_to_references=float(known.get_e_above_hull(entry, allow_negative=True)),
                    decomposition={e.name: float(x) for e, x in decomposition.items()},
                )
            )  # fmt: skip
        self.append(*rows)
        return above

    def turn(
        self,
        iteration: int,
        structures: list[tuple[str, Atoms, dict[str, Any], tuple[str, ...]]],
        *,
        batch: int = 4,
    ) -> None:
        """One iteration after its proposals: screen, select, verify, learn."""
        fresh = self.propose(iteration, structures)
        began = time.monotonic()
        above = self.judge(SCREEN, iteration=iteration)
        self.append(self.stage(iteration, "screen", began, screened=len(fresh)))
        self.waiting = sorted((id_ for id_ in (*self.waiting, *fresh)), key=above.__getitem__)
        chosen = self.waiting[: batch - 1]
        audit = self.waiting[-1:] if len(self.waiting) >= batch else []
        self.append(
            *(
                Decision(
                    campaign_id=self.id, iteration=iteration, candidate_id=id_, policy="greedy", rank=rank, score=-above[id_],
                    role="chosen" if id_ in chosen else "audit" if id_ in audit else "passed over",
                    predicted_mean=above[id_], predicted_deviation=0.02 + 0.1 * above[id_], declared_cost={"verifications": 1.0},
                    reasons={"screened": above[id_]},
                )
                for rank, id_ in enumerate(self.waiting, start=1)
            ),
            self.stage(iteration, "select", began, options=len(self.waiting), chosen=len(chosen), audit=len(audit)),
        )  # fmt: skip
        self.verify(iteration, chosen + audit)
        self.waiting = [id_ for id_ in self.waiting if id_ not in chosen + audit]
        self.learn(iteration)
        self.append(self.stage(iteration, "report", time.monotonic(), report="report.html"))

    def verify(self, iteration: int, ids: list[str]) -> None:
        began = time.monotonic()
        if not self.energies[VERIFY]:
            for name in self.references:
                crystal = self.crystals[self.energies[SCREEN][name].result_crystal_key]
                self.compute(name, crystal, fidelity=VERIFY, purpose="reference", iteration=iteration)
            self.reference_set(VERIFY, iteration=iteration)
        for id_ in ids:
            crystal = self.crystals[self.energies[SCREEN][id_].result_crystal_key]
            calculation = self.compute(id_, crystal, fidelity=VERIFY, purpose=VERIFY, iteration=iteration)
            if calculation.outcome == "failed":
                self.failure(id_, VERIFY, iteration, calculation)
            self.append(
                self.verification(
                    iteration, id_, VERIFY, calculation, stable=None, summary=self.novelty(id_, calculation)
                )
            )
        above = self.judge(VERIFY, iteration=iteration)
        for id_ in ids:
            if above.get(id_, 1.0) <= 0.05:
                self.phonons(iteration, id_)
        self.append(self.stage(iteration, "verify", began, verified=len(ids)))

    def novelty(self, id_: str, calculation: Calculation) -> dict[str, Any]:
        return {
            "fidelity": VERIFY, "gives_energy": True, "known": None, "repeats": None,
            "reference": next((r for r in self.references if self.same(r, calculation)), None),
        }  # fmt: skip

    def same(self, name: str, calculation: Calculation) -> bool:
        mine, other = (
            self.crystals.get(c.result_crystal_key or "") for c in (calculation, self.energies[VERIFY][name])
        )
        return (
            mine is not None
            and other is not None
            and bool(MATCHER.fit(mine.to_structure(), other.to_structure()))
        )

    def verification(
        self,
        iteration: int,
        id_: str,
        level: str,
        calculation: Calculation,
        *,
        stable: bool | None,
        summary: dict[str, Any],
    ) -> Verification:
        return Verification(
            campaign_id=self.id, candidate_id=id_, level=level, iteration=iteration, calculation_key=calculation.key,
            outcome=calculation.outcome, dynamically_stable=stable, summary=summary,
        )  # fmt: skip

    def phonons(self, iteration: int, id_: str) -> None:
        """Lowest frequency away from Γ by finite displacements in a 2 x 2 x 2 supercell."""
        crystal = self.crystals[self.energies[VERIFY][id_].result_crystal_key]
        began = time.process_time()
        atoms = crystal.to_atoms()
        with tempfile.TemporaryDirectory() as folder:
            phonons = Phonons(atoms, EMT(), supercell=(2, 2, 2), delta=0.02, name=f"{folder}/phonon")
            phonons.run()
            phonons.read(acoustic=True)
        grid = np.array(list(itertools.product((0, 1 / 2), repeat=3)))
        frequencies = (
            phonons.band_structure(grid[np.abs(grid).sum(axis=1) > 0], verbose=False) / 0.004135667696
        )  # eV to THz
        seconds = time.process_time() - began
        lowest = float(frequencies.min())
        calculation = Calculation(
            key=f"phonons-{crystal.key[:24]}", crystal_key=crystal.key, kind="phonons", fidelity=PHONONS, settings={"supercell": [2, 2, 2]},
            code_version="ase-3.29", outcome="done", energy_per_atom=None, result_crystal_key=None,
            result={"minimum_frequency": lowest, "dynamically_stable": lowest >= -0.1}, failure_reason=None, failure_detail=None, cpu_seconds=seconds,
        )  # fmt: skip
        cost = Cost(
            campaign_id=self.id, calculation_key=calculation.key, currency="cpu_seconds", kind="settled", purpose=PHONONS,
            iteration=iteration, amount=seconds,
        )  # fmt: skip
        stable = lowest >= self.spec.thresholds.phonon_frequency
        self.append(
            calculation, cost,
            self.verification(iteration, id_, PHONONS, calculation, stable=stable, summary={"fidelity": PHONONS, "gives_energy": False}),
        )  # fmt: skip

    def learn(self, iteration: int) -> None:
        verified = len(self.energies[VERIFY]) - len(self.references)
        self.append(
            ModelVersion(
                campaign_id=self.id, kind="generator", name="prototypes", iteration=iteration, version=f"prototypes-{iteration}",
                parent=f"prototypes-{iteration - 1}" if iteration > 1 else None, trained_on={"candidates": verified},
                metrics={"log_likelihood": -1.0 / iteration}, promoted=iteration != 2, state={},
            ),
            self.stage(iteration, "learn", time.monotonic()),
        )  # fmt: skip

    def stop(self, iteration: int, reason: str) -> None:
        self.append(self.stage(iteration, "stop", time.monotonic(), reason=reason))
        self.ledger.release(self.id, self.token)


def proposals() -> list[list[tuple[str, Atoms, dict[str, Any], tuple[str, ...]]]]:
    """What the campaign proposes in its three iterations."""
    rng = np.random.default_rng(0)

    def prototype(
        kind: str, *symbols: str, parents: tuple[str, ...] = ()
    ) -> tuple[str, Atoms, dict[str, Any], tuple[str, ...]]:
        return ("prototypes", decorated(kind, *symbols), {"prototype": kind}, parents)

    def shaken(
        kind: str, *symbols: str, by: float = 0.12
    ) -> tuple[str, Atoms, dict[str, Any], tuple[str, ...]]:
        atoms = decorated(kind, *symbols)
        atoms.positions += rng.normal(scale=by, size=atoms.positions.shape)
        return ("random_symmetric", atoms, {"space_group_drawn": 1}, ())

    return [
        [
            prototype("L10", "Cu", "Au"), prototype("B2", "Cu", "Pd"), prototype("L12", "Cu", "Au"), prototype("L12", "Pd", "Au"),
            prototype("L21", "Cu", "Au", "Pd"), prototype("B1", "Au", "Pd"), prototype("L12", "Au", "Cu"), prototype("A1", "Cu"),
            shaken("B1", "Cu", "Pd"), shaken("L12-layered", "Cu", "Au", "Pd", by=0.9),
        ],
        [
            prototype("B2", "Cu", "Au"), prototype("L10", "Au", "Pd"), prototype("L12", "Cu", "Pd"), prototype("L12", "Pd", "Cu"),
            prototype("L12-layered", "Cu", "Au", "Pd"), prototype("L12-layered", "Au", "Pd", "Cu"), prototype("L21", "Pd", "Cu", "Au"),
            shaken("L10", "Cu", "Au"), prototype("L10", "Cu", "Pd"),
        ],
        [
            prototype("L12-layered", "Pd", "Cu", "Au"), prototype("L12", "Au", "Pd", parents=("0001-0004",)),
            prototype("L21", "Au", "Cu", "Pd", parents=("0001-0005", "0002-0007")), prototype("B2", "Au", "Pd"),
            prototype("L10", "Cu", "Au"), shaken("L12", "Cu", "Pd"),
            shaken("L10", "Pd", "Au"),
        ],
    ]  # fmt: skip


def run(ledger: Ledger, *, iterations: int = 3) -> World:
    """The whole campaign."""
    world = World(ledger)
    world.begin()
    world.begin_references()
    for iteration, structures in enumerate(proposals()[:iterations], start=1):
        world.turn(iteration, structures)
    if iterations == 3:
        world.stop(3, "3 iterations were made; stopping.iterations asks for 3")
    return world


CAMPAIGN = "copper-gold-palladium-0f0f0f0f"


@cache
def recorded(folder: Path, iterations: int = 3) -> Path:
    """The SQLite file of the campaign, computed once per process."""
    path = folder / f"alloys-{iterations}.sqlite"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        run(ledger, iterations=iterations)
    return path


@pytest.fixture(scope="session")
def alloys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """The finished campaign's ledger. Tests read it; who writes takes a copy."""
    with Ledger.open(f"sqlite:///{recorded(tmp_path_factory.getbasetemp())}") as ledger:
        yield ledger
