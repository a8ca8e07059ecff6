"""The live state of a campaign: what its rows add up to.

Nothing here is stored. The state keeps the rows it was given by their keys and derives all else from them, so
the order in which rows arrive cannot matter, and folding everything that the ledger holds gives the same
state.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Self, TypeVar, cast

from loop.candidate_records import candidate_records
from loop.crystal import Crystal
from loop.ledger.ledger import Ledger
from loop.ledger.rows import ROW_CLASSES, SHARED, R, key_of
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
    Lease,
    ModelVersion,
    ReferencePhaseRow,
    ReferenceSet,
    Rejection,
    Row,
    Stage,
    Verdict,
    Verification,
)
from loop.records import Record

LAST_STAGE: Final = "report"
"""The stage that ends an iteration."""
REFERRING: Final = (Attempt, Cost, ReferencePhaseRow, Verdict, Verification)
"""Kinds of rows by which a campaign refers to a calculation."""
OWN: Final = tuple(kind for kind in ROW_CLASSES if kind not in SHARED and kind is not Lease)
"""Kinds of rows that belong to one campaign and say something about it."""

T = TypeVar("T")


class _Derived(Generic[T]):
    """A value computed from rows of some kinds, and again once there are more of them.

    Rows are only ever added, so their number tells whether the value is of today.
    """

    def __init__(self, compute: Callable[[CampaignState], T], kinds: tuple[type[Row], ...]) -> None:
        self.compute = compute
        self.kinds = kinds
        self.__doc__ = compute.__doc__

    def __get__(self, state: CampaignState | None, owner: type[CampaignState]) -> T:
        if state is None:
            return cast("T", self)
        counts = tuple(len(state.held[kind]) for kind in self.kinds)
        known = state.derived.get(self.compute.__name__)
        if known is None or known[0] != counts:
            known = state.derived[self.compute.__name__] = (counts, self.compute(state))
        return cast("T", known[1])


def _from(*kinds: type[Row]) -> Callable[[Callable[[CampaignState], T]], _Derived[T]]:
    return lambda compute: _Derived(compute, kinds)


class CampaignState:
    """The live state of one campaign, folded from rows.

    Rows of other campaigns are passed over. Crystals and calculations, which belong to no campaign, count
    once a row of this one refers to them. Every mapping is in order of its keys; treat it as frozen.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, campaign_id: str) -> None:
        self.campaign_id = campaign_id
        self.held: defaultdict[type[Row], dict[tuple[Any, ...], Row]] = defaultdict(dict)
        """Rows by kind and primary key (without the campaign): all that there is."""
        self.derived: dict[str, tuple[tuple[int, ...], Any]] = {}
        """What was computed from them, with the number of rows it was computed from."""

    @classmethod
    def rebuild(cls, ledger: Ledger, campaign_id: str) -> Self:
        """Fold all that the ledger holds of the campaign at this moment."""
        state = cls(campaign_id)
        state.apply(*ledger.snapshot(campaign_id))
        return state

    @classmethod
    def live(cls, ledger: Ledger, campaign_id: str) -> Self:
        """Rebuild, then follow all that this ledger object writes: what a campaign's driver holds."""
        state = cls.rebuild(ledger, campaign_id)
        ledger.observe(state.apply)
        return state

    def apply(self, *rows: Row) -> None:
        """Fold rows in, as they stand in the ledger; a row that was folded before changes nothing."""
        for row in rows:
            key = key_of(row)
            if type(row) in SHARED:
                self.held[type(row)].setdefault(key, row)
            elif key[0] == self.campaign_id and type(row) is not Lease:
                self.held[type(row)].setdefault(key[1:], row)

    def __eq__(self, other: object) -> bool:
        """Whether both stand on the same rows of one campaign, with the same crystals and calculations."""
        if not isinstance(other, CampaignState):
            return NotImplemented
        return (
            self.campaign_id == other.campaign_id
            and all(self.held[kind] == other.held[kind] for kind in OWN)
            and self.calculations == other.calculations
            and self.crystals == other.crystals
        )

    def __repr__(self) -> str:
        """The campaign and how many rows of each kind it has."""
        counts = ", ".join(f"{len(self.held[kind])} {kind.__tablename__}" for kind in OWN if self.held[kind])
        return f"CampaignState({self.campaign_id!r}: {counts or 'empty'})"

    def _of(self, kind: type[R]) -> list[R]:
        """Rows of one kind in order of their keys."""
        return [cast("R", row) for _, row in sorted(self.held[kind].items(), key=lambda item: item[0])]

    @_from(Campaign)
    def campaign(self) -> Campaign | None:
        """The latest revision of the campaign file."""
        return max(self._of(Campaign), key=lambda row: row.revision, default=None)

    @_from(Candidate)
    def candidates(self) -> dict[str, Candidate]:
        """Candidates by id, in order of proposal (which is that of their ids)."""
        rows = sorted(self._of(Candidate), key=lambda row: (row.iteration, row.ordinal, row.id))
        return {row.id: row for row in rows}

    @_from(Rejection)
    def rejections(self) -> dict[str, Rejection]:
        """Rejections by candidate."""
        return {row.candidate_id: row for row in self._of(Rejection)}

    @_from(Calculation, *REFERRING)
    def calculations(self) -> dict[str, Calculation]:
        """Settled calculations that this campaign refers to, by key."""
        keys = {cast("Any", row).calculation_key for kind in REFERRING for row in self.held[kind].values()}
        return {row.key: row for row in self._of(Calculation) if row.key in keys}

    @_from(Calculation, *REFERRING)
    def calculations_of(self) -> dict[str, tuple[Calculation, ...]]:
        """Settled calculations by the crystal they began from, in order of their keys."""
        found: defaultdict[str, tuple[Calculation, ...]] = defaultdict(tuple)
        for row in self.calculations.values():
            found[row.crystal_key] += (row,)
        return dict(found)

    @_from(CrystalRow, Candidate, Calculation, *REFERRING)
    def crystals(self) -> dict[str, Crystal]:
        """Crystals of this campaign's candidates and calculations, by key."""
        keys = {row.crystal_key for row in self.candidates.values()}
        keys |= {
            key for row in self.calculations.values() for key in (row.crystal_key, row.result_crystal_key)
        }
        known = self.derived.get("crystals", ((), {}))[1]
        return {
            row.key: known.get(row.key) or Crystal.from_dict(row.data)
            for row in self._of(CrystalRow)
            if row.key in keys
        }

    @_from(Attempt)
    def attempts(self) -> dict[str, int]:
        """How often each calculation was begun, by its key."""
        counts: dict[str, int] = {}
        for row in self._of(Attempt):
            counts[row.calculation_key] = counts.get(row.calculation_key, 0) + 1
        return counts

    @_from(ReferenceSet)
    def reference_sets(self) -> dict[str, ReferenceSet]:
        """Reference sets by version."""
        return {row.version: row for row in self._of(ReferenceSet)}

    def reference_set(self, fidelity: str) -> ReferenceSet | None:
        """The reference set in force at a fidelity: the latest, and the largest of one iteration."""
        sets = [row for row in self.reference_sets.values() if row.fidelity == fidelity]
        return max(sets, key=lambda row: (row.iteration, row.number_of_phases, row.version), default=None)

    def reference_calculations(self, fidelity: str) -> dict[str, Calculation]:
        """Calculations of the reference phases in force at a fidelity, by name."""
        current = self.reference_set(fidelity)
        return self.reference_calculations_of(current.version) if current else {}

    def reference_calculations_of(self, version: str) -> dict[str, Calculation]:
        """Calculations of the reference phases of one version, by name."""
        phases = self.reference_phases.get(version, {})
        return {name: self.calculations[row.calculation_key] for name, row in phases.items()}

    @_from(ReferencePhaseRow)
    def reference_phases(self) -> dict[str, dict[str, ReferencePhaseRow]]:
        """Reference phases by version of their set, then by name."""
        return _grouped(
            self._of(ReferencePhaseRow), by=lambda row: row.reference_version, then=lambda row: row.name
        )

    @_from(HullRow)
    def hulls(self) -> dict[str, dict[int, HullRow]]:
        """Every hull by fidelity, then by number."""
        return _grouped(self._of(HullRow), by=lambda row: row.fidelity, then=lambda row: row.number)

    def hull(self, fidelity: str) -> HullRow | None:
        """The hull in force at a fidelity: the one with the highest number."""
        return _last(self.hulls.get(fidelity))

    @_from(Verdict)
    def verdicts(self) -> dict[tuple[str, str], dict[int, Verdict]]:
        """Every verdict by (candidate id, fidelity), then by number."""
        return _grouped(
            self._of(Verdict), by=lambda row: (row.candidate_id, row.fidelity), then=lambda row: row.number
        )

    @_from(Verdict)
    def verdicts_in_force(self) -> dict[tuple[str, str], Verdict]:
        """The verdict with the highest number by (candidate id, fidelity)."""
        return {key: history[max(history)] for key, history in self.verdicts.items()}

    def verdict(self, candidate_id: str, fidelity: str) -> Verdict | None:
        """The verdict in force about a candidate at a fidelity."""
        return self.verdicts_in_force.get((candidate_id, fidelity))

    def verdicts_at(self, fidelity: str) -> list[Verdict]:
        """The verdicts in force at a fidelity, in order of candidate."""
        return [row for (_, at), row in self.verdicts_in_force.items() if at == fidelity]

    def judged(self, fidelity: str) -> dict[str, Calculation]:
        """The calculation that each candidate is judged by at a fidelity, in order of candidate."""
        return {
            row.candidate_id: self.calculations[row.calculation_key] for row in self.verdicts_at(fidelity)
        }

    @_from(Decision)
    def decisions(self) -> dict[tuple[int, str], Decision]:
        """Decisions by (iteration, candidate id)."""
        return {(row.iteration, row.candidate_id): row for row in self._of(Decision)}

    def decisions_of(self, iteration: int) -> list[Decision]:
        """The decisions of one iteration, the best rank first within each role."""
        rows = [row for row in self.decisions.values() if row.iteration == iteration]
        return sorted(rows, key=lambda row: (row.role, row.rank, row.candidate_id))

    @_from(Verification)
    def verifications(self) -> dict[tuple[str, str], Verification]:
        """Verifications by (candidate id, level)."""
        return {(row.candidate_id, row.level): row for row in self._of(Verification)}

    def verifications_in_order(self) -> list[Verification]:
        """Verifications by iteration, then candidate, then level."""
        return sorted(
            self.verifications.values(), key=lambda row: (row.iteration, row.candidate_id, row.level)
        )

    @_from(Cost)
    def spent(self) -> dict[str, float]:
        """Settled amounts by currency."""
        return _sums(row for row in self._of(Cost) if row.kind == "settled")

    @_from(Cost, Calculation, *REFERRING)
    def outstanding(self) -> dict[str, float]:
        """Amounts by currency that are declared for calculations which are not settled yet."""
        ended = {
            row.calculation_key for row in self._of(Cost) if row.kind == "settled"
        } | self.calculations.keys()
        return _sums(
            row for row in self._of(Cost) if row.kind == "declared" and row.calculation_key not in ended
        )

    def remaining(self, budget: Mapping[str, float]) -> dict[str, float]:
        """What of a budget is neither spent nor outstanding, by currency; negative where it is overspent."""
        spent, outstanding = self.spent, self.outstanding
        return {
            currency: math.fsum((amount, -spent.get(currency, 0.0), -outstanding.get(currency, 0.0)))
            for currency, amount in budget.items()
        }

    @_from(Stage)
    def stages(self) -> dict[tuple[int, str], Stage]:
        """Finished stages by (iteration, name)."""
        return {(row.iteration, row.name): row for row in self._of(Stage)}

    def finished(self, iteration: int, stage: str) -> bool:
        """Whether a stage of an iteration is finished."""
        return (iteration, stage) in self.stages

    @_from(Stage)
    def last_finished_iteration(self) -> int:
        """The highest iteration whose last stage is finished; 0 where there is none."""
        return max((iteration for iteration, name in self.stages if name == LAST_STAGE), default=0)

    @_from(FailureRow)
    def failures(self) -> dict[tuple[str, str, int], FailureRow]:
        """Failures by (subject, stage, iteration)."""
        return {(row.subject, row.stage, row.iteration): row for row in self._of(FailureRow)}

    @_from(ModelVersion)
    def model_versions(self) -> dict[tuple[str, str], dict[int, ModelVersion]]:
        """Every model version by (kind, name), then by iteration."""
        return _grouped(
            self._of(ModelVersion), by=lambda row: (row.kind, row.name), then=lambda row: row.iteration
        )

    def promoted(self, kind: str, name: str) -> ModelVersion | None:
        """The model version in force: the latest that was promoted."""
        history = self.model_versions.get((kind, name), {})
        return _last({iteration: row for iteration, row in history.items() if row.promoted})

    def records(
        self, *, screening_fidelities: Sequence[str], verification_levels: Sequence[str]
    ) -> tuple[Record, ...]:
        """What learners read: one record per candidate that is a crystal, in order of proposal.

        Args:
            screening_fidelities: the fidelities of the screen's stages, first to last.
            verification_levels: names of the verification levels, lowest first.
        """
        return candidate_records(
            self, screening_fidelities=screening_fidelities, verification_levels=verification_levels
        )


def _grouped(
    rows: Iterable[R], *, by: Callable[[R], Any], then: Callable[[R], Any]
) -> dict[Any, dict[Any, R]]:
    groups: defaultdict[Any, dict[Any, R]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: (by(row), then(row))):
        groups[by(row)][then(row)] = row
    return dict(groups)


def _last(numbered: Mapping[int, T] | None) -> T | None:
    return numbered[max(numbered)] if numbered else None


def _sums(costs: Iterable[Cost]) -> dict[str, float]:
    """Amounts by currency. The sum is exact before it is rounded once, so it does not depend on the order."""
    amounts: defaultdict[str, list[float]] = defaultdict(list)
    for cost in costs:
        amounts[cost.currency].append(cost.amount)
    return {currency: math.fsum(amounts[currency]) for currency in sorted(amounts)}
