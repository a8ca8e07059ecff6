"""A small real campaign of copper, gold and palladium alloys, written row by row into a ledger.

Every energy is computed: screened with ASE's EMT, verified with EMT's other cut-off, phonons by finite
displacements, hulls by pymatgen. Nothing here imports what it is used to test.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.phonons import Phonons
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

from loop.crystal import Crystal
from loop.ledger.ledger import Ledger
from loop.ledger.tables import (
    Calculation,
    Candidate,
    Cost,
    Decision,
    HullRow,
    ModelVersion,
    Rejection,
    Row,
    Verdict,
)
from tests.loop.alloy_books import MATCHER, Books, crystal_row
from tests.loop.alloy_structures import (
    ELEMENTS,
    PHONONS,
    SCREEN,
    VERIFY,
    Proposed,
    decorated,
    proposals,
)


@dataclass
class World(Books):
    """A campaign, one iteration after another."""

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

    def propose(self, iteration: int, structures: list[Proposed]) -> list[str]:
        """Write proposals; what lies outside or repeats is set aside."""
        began, kept, seen = time.monotonic(), [], {c.crystal_key for c in self.energies[SCREEN].values()}
        for ordinal, (generator, atoms, details, parents) in enumerate(structures, start=1):
            id_ = f"{iteration:04d}-{ordinal:04d}"
            crystal = Crystal.from_atoms(atoms)
            row = Candidate(
                campaign_id=self.id,
                id=id_,
                iteration=iteration,
                ordinal=ordinal,
                generator=generator,
                generator_version="1",
                crystal_key=crystal.key,
                parents=list(parents),
                details=details,
            )
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
        """Whether it relaxed to a crystal that is there already; then it is set aside."""
        mine = self.crystals[self.energies[SCREEN][id_].result_crystal_key]
        for name, calculation in self.energies[SCREEN].items():
            other = self.crystals[calculation.result_crystal_key]
            near = abs(calculation.energy_per_atom - self.energies[SCREEN][id_].energy_per_atom) < 0.002
            if name != id_ and near and MATCHER.fit(mine.to_structure(), other.to_structure()):
                del self.energies[SCREEN][id_]
                detail = f"relaxes to the same crystal as {name}"
                self.append(
                    Rejection(
                        campaign_id=self.id,
                        candidate_id=id_,
                        iteration=iteration,
                        stage="screen",
                        reason="duplicate-after-relaxation",
                        detail=detail,
                    )
                )
                return True
        return False

    def judge(self, fidelity: str, *, iteration: int) -> dict[str, float]:
        """A hull of references and finds, and a verdict on it for every candidate."""
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
            campaign_id=self.id,
            version=version,
            fidelity=fidelity,
            number=number + 1,
            reference_version=self.versions[fidelity],
            iteration=iteration,
            finds=sorted(finds),
            fell_off=sorted(before - now),
        )
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
                    campaign_id=self.id,
                    candidate_id=name,
                    fidelity=fidelity,
                    number=self.numbers[name, fidelity],
                    hull_version=version,
                    calculation_key=self.energies[fidelity][name].key,
                    iteration=iteration,
                    formation_energy=float(full.get_form_energy_per_atom(entry)),
                    energy_above_hull=above[name],
                    distance_to_references=float(known.get_e_above_hull(entry, allow_negative=True)),
                    decomposition={e.name: float(x) for e, x in decomposition.items()},
                )
            )
        self.append(*rows)
        return above

    def turn(
        self,
        iteration: int,
        structures: list[Proposed],
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
                    campaign_id=self.id,
                    iteration=iteration,
                    candidate_id=id_,
                    policy="greedy",
                    rank=rank,
                    score=-above[id_],
                    role="chosen" if id_ in chosen else "audit" if id_ in audit else "passed over",
                    predicted_mean=above[id_],
                    predicted_deviation=0.02 + 0.1 * above[id_],
                    declared_cost={"verifications": 1.0},
                    reasons={"screened": above[id_]},
                )
                for rank, id_ in enumerate(self.waiting, start=1)
            ),
            self.stage(
                iteration, "select", began, options=len(self.waiting), chosen=len(chosen), audit=len(audit)
            ),
        )
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
            key=f"phonons-{crystal.key[:24]}",
            crystal_key=crystal.key,
            kind="phonons",
            fidelity=PHONONS,
            settings={"supercell": [2, 2, 2]},
            code_version="ase-3.29",
            outcome="done",
            energy_per_atom=None,
            result_crystal_key=None,
            result={"minimum_frequency": lowest, "dynamically_stable": lowest >= -0.1},
            failure_reason=None,
            failure_detail=None,
            cpu_seconds=seconds,
        )
        cost = Cost(
            campaign_id=self.id,
            calculation_key=calculation.key,
            currency="cpu_seconds",
            kind="settled",
            purpose=PHONONS,
            iteration=iteration,
            amount=seconds,
        )
        stable = lowest >= self.spec.thresholds.phonon_frequency
        self.append(
            calculation,
            cost,
            self.verification(
                iteration,
                id_,
                PHONONS,
                calculation,
                stable=stable,
                summary={"fidelity": PHONONS, "gives_energy": False},
            ),
        )

    def learn(self, iteration: int) -> None:
        verified = len(self.energies[VERIFY]) - len(self.references)
        self.append(
            ModelVersion(
                campaign_id=self.id,
                kind="generator",
                name="prototypes",
                iteration=iteration,
                version=f"prototypes-{iteration}",
                parent=f"prototypes-{iteration - 1}" if iteration > 1 else None,
                trained_on={"candidates": verified},
                metrics={"log_likelihood": -1.0 / iteration},
                promoted=iteration != 2,
                state={},
            ),
            self.stage(iteration, "learn", time.monotonic()),
        )

    def stop(self, iteration: int, reason: str) -> None:
        self.append(self.stage(iteration, "stop", time.monotonic(), reason=reason))
        self.ledger.release(self.id, self.token)


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
