"""A running campaign: its specification, its ledger, and the stages that turn one into the other.

Everything a stage decides follows from the campaign file, the ledger and named random streams, so a campaign that was
killed and resumed makes the same decisions as one that never stopped. A stage ends by writing its last rows and its
`stage` row in one transaction; a stage that has such a row is never entered again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from flows.calculations import calculation_key
from flows.folder import campaign_id, ledger_url, make_folder, public_spec, refuse_another_campaign
from flows.memory import Memory
from flows.observer import Observer, Silence
from flows.relaxer import EARLY_REJECTION
from flows.resources import Resources
from flows.runner import PlainRunner, Runner
from flows.versions import versions
from loop.budget import affordable, remaining, total
from loop.crystal import Crystal
from loop.ledger.ledger import Ledger
from loop.ledger.tables import Calculation, Candidate, Row, Stage
from loop.ledger.tables import Campaign as CampaignRow
from loop.outcomes import counts
from loop.randomness import stream
from loop.records import REPRODUCIBLE, Record
from loop.spec import CampaignSpec
from loop.state import CampaignState

StageFunction = Callable[["Campaign", int], "tuple[list[Row], dict[str, Any]]"]


class Campaign:
    """One campaign in progress: the only thing here that has state, and all of it is in the ledger."""

    def __init__(
        self,
        spec: CampaignSpec,
        *,
        folder: Path,
        base: Path,
        ledger: Ledger,
        token: int,
        observer: Observer | None = None,
    ) -> None:
        self.spec = spec
        self.id = campaign_id(spec)
        self.folder = folder
        self.base = base
        self.ledger = ledger
        self.token = token
        self.observer: Observer = observer or Silence()
        self.state = CampaignState.live(ledger, self.id)
        self.resources = Resources(spec, folder=folder, base=base)
        self.runner: Runner = PlainRunner()

    @classmethod
    def open(
        cls,
        spec: CampaignSpec,
        *,
        folder: Path,
        base: Path,
        observer: Observer | None = None,
        take_over: bool = False,
    ) -> Self:
        """Begin a campaign in `folder`, or go on with the one that is there.

        Args:
            spec: the campaign file, read.
            folder: the campaign's folder; made where it does not exist.
            base: the folder that relative paths in the campaign file start from.
            observer: who watches.
            take_over: take the campaign from a driver on another host that is known to be dead.

        Raises:
            CampaignFileError: the folder holds another campaign.
            LedgerError: the ledger cannot be opened, or another driver is running this campaign.
        """
        make_folder(folder)
        ledger = Ledger.open(ledger_url(spec, folder=folder))
        identifier = campaign_id(spec)
        refuse_another_campaign(ledger, spec, folder=folder)
        token = ledger.acquire(identifier, take_over=take_over)
        campaign = cls(spec, folder=folder, base=base, ledger=ledger, token=token, observer=observer)
        campaign._write_revision()
        return campaign

    def close(self) -> None:
        """End the workers, give the lease back and close the ledger."""
        self.resources.close()
        self.ledger.release(self.id, self.token)
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What stages ask

    @property
    def workers(self) -> int:
        """Worker processes on this machine."""
        return self.resources.workers

    @property
    def screening_fidelity(self) -> str:
        """Name of the first screening potential's energies."""
        return self.resources.relaxer.fidelity

    @property
    def screening_fidelities(self) -> tuple[str, ...]:
        """Names of the energies of the screen's stages, first to last."""
        further = self.resources.further_relaxers
        return (self.screening_fidelity, *(relaxer.fidelity for relaxer in further))

    @cached_property
    def energy_levels(self) -> tuple[str, ...]:
        """Names of the verifying fidelities that give energies, lowest first."""
        return tuple(v.fidelity for v in self.resources.verifiers.values() if v.gives_energy)

    def stream(self, *names: str | int) -> np.random.Generator:
        """A named random stream of this campaign's seed."""
        return stream(self.spec.seed, *names)

    def records(self) -> tuple[Record, ...]:
        """What learners may know now."""
        levels = tuple(level.name for level in self.spec.verification)
        return self.state.records(screening_fidelities=self.screening_fidelities, verification_levels=levels)

    def promoted_state(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """State of the model version in force; None before the first was promoted."""
        version = self.state.promoted(kind, name)
        return version.state if version else None

    @cached_property
    def memory(self) -> Memory:
        """The crystals met so far, for finding duplicates."""
        return Memory(self)

    def relaxation_of(self, candidate: Candidate) -> Calculation | None:
        """The settled relaxation of a candidate by the first screening potential, done, failed or abandoned early.

        One that was run to its end is preferred; of those run under a ceiling, whichever rule it was, one that is done.
        """
        if candidate.crystal_key is None:
            return None
        crystal = self.state.crystals[candidate.crystal_key]
        identity = dict(self.resources.relaxer.identity(crystal))
        whole = self.state.calculations.get(calculation_key(crystal, identity))
        if whole is not None:
            return whole
        kind, fidelity, code = (identity.pop(name) for name in ("kind", "fidelity", "code_version"))
        under_a_ceiling = [
            c
            for c in self.state.calculations_of.get(crystal.key, ())
            if (c.kind, c.fidelity, c.code_version) == (kind, fidelity, str(code))
            and {name: value for name, value in c.settings.items() if name != EARLY_REJECTION} == identity
        ]
        return min(under_a_ceiling, key=lambda c: (c.outcome != "done", c.key), default=None)

    def best_crystal(self, candidate_id: str) -> Crystal:
        """The candidate as relaxed by the last stage of the screen that judged it, from which the next step starts."""
        for fidelity in reversed(self.screening_fidelities[1:]):
            verdict = self.state.verdict(candidate_id, fidelity)
            if verdict is not None:
                relaxed = self.state.calculations[verdict.calculation_key].result_crystal_key
                return self.state.crystals[relaxed or ""]
        calculation = self.relaxation_of(self.state.candidates[candidate_id])
        if calculation is None or calculation.result_crystal_key is None:
            raise KeyError(candidate_id)
        return self.state.crystals[calculation.result_crystal_key]

    # Writing

    def append(self, *rows: Row) -> None:
        """Write rows in one transaction; the live state hears of them."""
        if rows:
            self.ledger.append(*rows, token=self.token)

    def settled(self, keys: Iterable[str], *, shared: bool) -> dict[str, Calculation]:
        """Calculations that were settled before, by key; from the shared cache too where `shared`."""
        keys = list(keys)
        found = self.ledger.settled_many(keys)
        cache = self.resources.cache if shared else None
        if cache is not None:
            cached = cache.settled_many([key for key in keys if key not in found])
            if cached:
                crystals = cache.crystals(_crystal_keys(cached.values()))
                self.append(*crystals.values(), *cached.values())
                found |= cached
        return found

    def share(self, calculations: Iterable[Calculation]) -> None:
        """Put calculations into the cache that campaigns on this machine share.

        A failure is shared where the same calculation would fail anywhere; a timeout or a killed worker may be this
        machine's own.
        """
        cache = self.resources.cache
        lasting = {c.key: c for c in calculations if c.outcome == "done" or c.failure_reason in REPRODUCIBLE}
        if cache is None or not lasting:
            return
        known = cache.settled_many(lasting)
        new = [calculation for key, calculation in lasting.items() if key not in known]
        if new:
            crystals = self.ledger.crystals(_crystal_keys(new))
            cache.append(*crystals.values(), *new, token=None)

    def can_afford(self, cost: Mapping[str, float], *, beside: Sequence[Mapping[str, float]] = ()) -> bool:
        """Whether the budget still pays for `cost`, with `beside` already promised but not yet written."""
        outstanding = total([self.state.outstanding, *beside])
        return affordable(
            cost, remaining(self.spec.budget, settled=self.state.spent, outstanding=outstanding)
        )

    def undeclared(self, key: str, cost: Mapping[str, float]) -> Mapping[str, float]:
        """What an unsettled calculation adds to what is promised: nothing where a driver that was killed had begun it.

        Its declared cost is outstanding since then, and must not be counted against it a second time.
        """
        return {} if key in self.state.attempts else cost

    # Turning

    def run_stage(self, iteration: int, name: str, function: StageFunction) -> Mapping[str, Any]:
        """Run a stage unless it is finished, and write its end in one transaction with its last rows."""
        finished = self.state.stages.get((iteration, name))
        if finished is not None:
            return finished.summary
        self.observer.stage_started(iteration, name)
        began = time.monotonic()
        rows, summary = function(self, iteration)
        seconds = time.monotonic() - began
        self.append(
            *rows,
            Stage(campaign_id=self.id, iteration=iteration, name=name, seconds=seconds, summary=summary),
        )
        self.observer.stage_finished(iteration, name, seconds=seconds, summary=summary)
        return summary

    @property
    def next_iteration(self) -> int:
        """The iteration to turn, or to go on with."""
        return (self.state.last_finished_iteration or 0) + 1

    def begun(self, iteration: int) -> bool:
        """Whether some stage of the iteration is finished already."""
        return any(at == iteration for at, _ in self.state.stages)

    def counts(self) -> dict[str, Any]:
        """Where the campaign stands, as plain values."""
        return counts(self.state, self.spec)

    def _write_revision(self) -> None:
        """Record the campaign file, first or revised."""
        spec = public_spec(self.spec)
        earlier = self.state.campaign
        if earlier is None or earlier.spec != spec:
            self.append(
                CampaignRow(
                    id=self.id,
                    revision=earlier.revision + 1 if earlier else 1,
                    name=self.spec.name,
                    spec=spec,
                    versions={**versions(), "base": str(self.base)},
                )
            )


def _crystal_keys(calculations: Iterable[Calculation]) -> list[str]:
    keys = [(c.crystal_key, c.result_crystal_key) for c in calculations]
    return list(dict.fromkeys(key for pair in keys for key in pair if key))
