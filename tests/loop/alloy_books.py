"""The alloy campaign's account books: computes in effective-medium theory, writes rows into a ledger."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ase.calculators.emt import EMT
from ase.filters import UnitCellFilter
from ase.optimize import BFGS
from pymatgen.analysis.structure_matcher import StructureMatcher

from loop.crystal import Crystal
from loop.ledger.ledger import Ledger
from loop.ledger.tables import (
    Attempt,
    Calculation,
    Campaign,
    Cost,
    CrystalRow,
    FailureRow,
    ReferencePhaseRow,
    ReferenceSet,
    Row,
    Stage,
    Verification,
)
from loop.spec import CampaignSpec, as_json
from tests.loop.alloy_structures import (
    SCREEN,
    VERIFY,
    spec,
)

MATCHER = StructureMatcher()


def crystal_row(crystal: Crystal) -> CrystalRow:
    return CrystalRow(
        key=crystal.key,
        reduced_formula=crystal.reduced_formula,
        chemical_system=crystal.chemical_system,
        number_of_atoms=crystal.number_of_atoms,
        space_group_number=crystal.space_group_number,
        data=crystal.to_dict(),
    )


@dataclass
class Books:
    """Computes, and writes what it computed."""

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
            campaign_id=self.id,
            calculation_key=key,
            currency="cpu_seconds",
            kind="declared",
            purpose=purpose,
            iteration=iteration,
            amount=0.1 * crystal.number_of_atoms,
        )
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
            key=key,
            crystal_key=crystal.key,
            kind="relaxation",
            fidelity=fidelity,
            settings={"max_force": 0.05},
            code_version="ase-3.29",
            outcome="done" if relaxed else "failed",
            energy_per_atom=float(atoms.get_potential_energy()) / len(atoms) if relaxed else None,
            result_crystal_key=relaxed.key if relaxed else None,
            result={"steps": int(optimiser.nsteps)},
            failure_reason=None if relaxed else "not-converged",
            failure_detail=None if relaxed else f"largest force above 0.05 eV/Å after {steps} steps",
            cpu_seconds=seconds,
        )
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
            campaign_id=self.id,
            version=version,
            fidelity=fidelity,
            source={"name": "alloys", "prototypes": 7},
            number_of_phases=len(phases),
            iteration=iteration,
        )
        self.append(row, *phases)
        self.versions[fidelity] = version

    def failure(self, subject: str, stage: str, iteration: int, calculation: Calculation) -> None:
        self.append(
            FailureRow(
                campaign_id=self.id,
                subject=subject,
                stage=stage,
                iteration=iteration,
                reason=calculation.failure_reason or "",
                detail=calculation.failure_detail or "",
            )
        )

    def novelty(self, id_: str, calculation: Calculation) -> dict[str, Any]:
        return {
            "fidelity": VERIFY,
            "gives_energy": True,
            "known": None,
            "repeats": None,
            "reference": next((r for r in self.references if self.same(r, calculation)), None),
        }

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
            campaign_id=self.id,
            candidate_id=id_,
            level=level,
            iteration=iteration,
            calculation_key=calculation.key,
            outcome=calculation.outcome,
            dynamically_stable=stable,
            summary=summary,
        )
