"""Reference phases relaxed by Motherlode, kept in a file so that they are paid for once."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loop.hull import HullPhase, HullSet
from loop.spec import RelaxationSpec
from screens.crystals import Phase
from surrogates.potential import Potential
from surrogates.relaxation import CODE_VERSION, Relaxation, relax

FOLDER: Final = Path("/tmp/motherlode-benchmark-references")
CHUNK: Final = 50


@dataclass(frozen=True, kw_only=True)
class References:
    """Relaxed phases and the hull that both sides judge on."""

    relaxed: Mapping[str, Relaxation]
    hulls: HullSet
    fidelity: str
    cpu_seconds: float
    """What relaxing them took, once."""
    failed: Mapping[str, str]
    """Phases without an energy, by name, with the reason; on nobody's hull."""

    @property
    def elements(self) -> frozenset[str]:
        """Elements with a phase of their own."""
        return _elements(self.relaxed)

    @property
    def phases(self) -> list[HullPhase]:
        """As the hull knows them."""
        return list(self.hulls.phases)


def _elements(relaxed: Mapping[str, Relaxation]) -> frozenset[str]:
    own = (found.crystal.elements for found in relaxed.values())
    return frozenset(next(iter(elements)) for elements in own if len(elements) == 1)


def relaxed_references(phases: Sequence[Phase], potential: Potential, settings: RelaxationSpec) -> References:
    """Relax the phases that no earlier run has relaxed with the same potential, settings and version of the code."""
    known = json.dumps([potential.version, settings.model_dump(mode="json"), CODE_VERSION])
    file = FOLDER / f"{hashlib.sha256(known.encode()).hexdigest()[:16]}.jsonl"
    FOLDER.mkdir(exist_ok=True)
    held: dict[str, dict[str, object]] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        values = json.loads(line)
        held[values["key"]] = values
    missing = list({p.crystal.key: p.crystal for p in phases if p.crystal.key not in held}.values())
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        began = time.process_time()
        found = relax(chunk, potential, settings)
        each = (time.process_time() - began) / len(chunk)
        with file.open("a") as out:
            for crystal, outcome in zip(chunk, found, strict=True):
                values = {"key": crystal.key, "seconds": each, "relaxation": None, "failure": None}
                if isinstance(outcome, Relaxation):
                    values["relaxation"] = outcome.to_dict()
                else:
                    values["failure"] = f"{outcome.reason}: {outcome.detail}"
                held[crystal.key] = values
                out.write(json.dumps(values) + "\n")
        print(f"reference phases: {start + len(chunk)} of {len(missing)} relaxed", file=sys.stderr)
    relaxed: dict[str, Relaxation] = {}
    failed: dict[str, str] = {}
    for phase in phases:
        values = held[phase.crystal.key]
        if values["relaxation"] is None:
            failed[phase.name] = str(values["failure"])
        else:
            relaxed[phase.name] = Relaxation.from_dict(values["relaxation"])  # type: ignore[arg-type]
    elements = _elements(relaxed)
    for name in [n for n, found in relaxed.items() if not found.crystal.elements <= elements]:
        failed[name] = "an element of it has no phase that relaxed"
        del relaxed[name]
    hulls = HullSet(
        HullPhase(
            name,
            found.crystal.composition,
            energy_per_atom=found.energy_per_atom,
            fidelity=potential.fidelity,
        )
        for name, found in relaxed.items()
    )
    seconds = {phase.crystal.key: float(str(held[phase.crystal.key]["seconds"])) for phase in phases}
    return References(
        relaxed=relaxed,
        hulls=hulls,
        fidelity=potential.fidelity,
        cpu_seconds=sum(seconds.values()),
        failed=failed,
    )
