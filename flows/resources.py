"""What a running campaign holds open: workers, potentials, verifiers, generators, sources; all made on first use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from flows.relaxer import Relaxer
from flows.verification.verifier import Verifier
from generators.protocol import Generator
from loop.acquisition.policy import Policy
from loop.errors import PotentialError
from loop.known import KnownPhases
from loop.ledger.ledger import Ledger
from loop.references.source import ReferencePhase, ReferenceSource
from loop.spec import CampaignSpec

if TYPE_CHECKING:
    from flows.verification.dispatch import LocalDispatcher
    from surrogates.workers import WorkerPool


class Resources:
    """Opened when first asked for, closed together."""

    def __init__(self, spec: CampaignSpec, *, folder: Path, base: Path) -> None:
        self._spec, self._folder, self._base = spec, folder, base

    @property
    def workers(self) -> int:
        """Worker processes: the campaign file's number, or the cores this process may use."""
        return self._spec.execution.workers or len(os.sched_getaffinity(0))

    @cached_property
    def pool(self) -> WorkerPool:
        """The worker processes that relax, screen and verify."""
        from surrogates.workers import WorkerPool

        return WorkerPool(self.workers)

    @cached_property
    def relaxer(self) -> Relaxer:
        """Relaxes with the screening potential."""
        return Relaxer(self._spec.potential, self._spec.relaxation, base=self._base, pool=lambda: self.pool)

    @cached_property
    def further_relaxers(self) -> tuple[Relaxer, ...]:
        """Relax with the potentials of the screen's further stages, in order.

        Raises:
            PotentialError: one of them cannot be had, naming its field.
        """
        found = []
        for place, stage in enumerate(self._spec.screening.stages):
            try:
                found.append(
                    Relaxer(stage.potential, self._spec.relaxation, base=self._base, pool=lambda: self.pool)
                )
            except PotentialError as error:
                raise PotentialError(f"screening.stages[{place}].potential: {error}") from error
        return tuple(found)

    @cached_property
    def dispatcher(self) -> LocalDispatcher:
        """Runs verification flows on this machine's workers."""
        from flows.verification.dispatch import LocalDispatcher

        return LocalDispatcher(pool=self.pool)

    @cached_property
    def verifiers(self) -> Mapping[str, Verifier]:
        """The verification levels by name, lowest first."""
        from flows.verification.registry import load_verifier

        return {
            level.name: load_verifier(
                level,
                thresholds=self._spec.thresholds,
                relaxation=self._spec.relaxation,
                folder=self._folder,
                dispatcher=self.dispatcher,
                base=self._base,
            )
            for level in self._spec.verification
        }

    @cached_property
    def generators(self) -> Mapping[str, Generator]:
        """The generators by name, in the campaign file's order."""
        from generators.registry import load_generator

        return {g.name: load_generator(g.name, g.options, base=self._base) for g in self._spec.generators}

    @cached_property
    def policy(self) -> Policy:
        """The acquisition policy."""
        from loop.acquisition.registry import load_policy

        return load_policy(self._spec.acquisition, thresholds=self._spec.thresholds)

    @cached_property
    def references(self) -> ReferenceSource:
        """Where the known phases come from."""
        from loop.references.registry import load_source

        return load_source(self._spec.references, base=self._base)

    @cached_property
    def reference_phases(self) -> Mapping[str, ReferencePhase]:
        """The known phases of every chemical system of the space, each once, in order of name."""
        found = {p.name: p for system in self._spec.space.systems() for p in self.references.entries(system)}
        return {name: found[name] for name in sorted(found)}

    @cached_property
    def known(self) -> KnownPhases:
        """Phases known to experiment, for labels."""
        return KnownPhases.load(self._spec.known_phases, base=self._base)

    @cached_property
    def cache(self) -> Ledger | None:
        """Relaxed reference phases shared by this machine's campaigns; None where the campaign file turns it off."""
        where = self._spec.execution.cache
        if where is None:
            return None
        folder = Path(where).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        return Ledger.open(f"sqlite:///{folder / 'calculations.sqlite'}")

    def close(self) -> None:
        """End the workers and close what is open; nothing that was not opened is opened for it."""
        opened = self.__dict__
        for verifier in opened.get("verifiers", {}).values():
            verifier.close()
        if "pool" in opened:
            self.pool.close()
        if opened.get("cache") is not None:
            opened["cache"].close()
        for name in ("verifiers", "dispatcher", "pool", "cache", "relaxer", "further_relaxers"):
            opened.pop(name, None)
