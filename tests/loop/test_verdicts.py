"""Judging candidates: by hand, by properties, and over the history of a search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.errors import HullError
from loop.hull import Hull, HullPhase
from loop.verdicts import CandidateEnergy, Judgement, judge_all

ELEMENTS = ("Ni", "Sn", "Ti")


def reference(name: str, composition: dict[str, float], energy: float) -> HullPhase:
    return HullPhase(name, composition, energy_per_atom=energy, fidelity="world")


def candidate(name: str, composition: dict[str, float], energy: float) -> CandidateEnergy:
    return CandidateEnergy(candidate_id=name, composition=composition, energy_per_atom=energy)


REFERENCES = [
    reference("Ni fcc", {"Ni": 1}, 0.0),
    reference("Ti hcp", {"Ti": 1}, 0.0),
    reference("Sn", {"Sn": 1}, 0.0),
    reference("NiTi", {"Ni": 1, "Ti": 1}, -0.4),
]


def test_a_find_below_the_references() -> None:
    ruling = judge_all(
        REFERENCES,
        [
            candidate("c1", {"Ni": 3, "Ti": 1}, -0.5),
            candidate("c2", {"Ni": 3, "Ti": 1}, -0.45),
            candidate("c3", {"Ni": 1, "Ti": 3}, -0.1),
        ],
        fidelity="world",
        in_force={},
    )
    assert ruling.finds == ("c1",)
    assert ruling.first == ("c1", "c2", "c3")
    assert ruling.superseded == ruling.fell_off == ()
    c1, c2, c3 = ruling.judgements.values()
    assert (c1.formation_energy, c1.energy_above_hull) == (pytest.approx(-0.5), 0.0)
    assert c1.distance_to_references == pytest.approx(-0.3)
    assert c1.decomposition == {"c1": 1.0}
    assert c2.energy_above_hull == pytest.approx(0.05)
    assert c2.distance_to_references == pytest.approx(-0.25)
    assert c3.energy_above_hull == c3.distance_to_references == pytest.approx(0.1)
    assert c3.decomposition == pytest.approx({"NiTi": 0.5, "Ti hcp": 0.5})
    hull = ruling.hulls.hull(["Ni", "Ti"])
    assert hull.stable == ("Ni fcc", "NiTi", "Ti hcp", "c1")


def test_a_moved_hull_supersedes_and_pushes_off() -> None:
    early = [candidate("c1", {"Ni": 3, "Ti": 1}, -0.3), candidate("c2", {"Ni": 1, "Sn": 1}, -0.2)]
    first = judge_all(REFERENCES, early, fidelity="world", in_force={})
    assert first.finds == ("c1", "c2")
    late = [*early, candidate("c3", {"Ni": 2, "Ti": 1}, -0.9)]
    second = judge_all(REFERENCES, late, fidelity="world", in_force=first.judgements)
    assert second.finds == ("c2", "c3")
    assert second.first == ("c3",)
    assert second.superseded == ("c1",)
    assert second.fell_off == ("NiTi", "c1")
    assert second.hulls.version != first.hulls.version
    assert second.judgements["c2"] == first.judgements["c2"]
    third = judge_all(REFERENCES, late, fidelity="world", in_force=second.judgements)
    assert third.superseded == third.fell_off == third.first == ()
    assert third.hulls.version == second.hulls.version


def test_only_the_lowest_of_a_composition_sits_on_the_hull() -> None:
    twins = [candidate(f"c{i}", {"Ni": i, "Ti": i}, -0.4) for i in (1, 2)]
    ruling = judge_all(REFERENCES, twins, fidelity="world", in_force={})
    assert ruling.finds == ()
    assert [j.energy_above_hull for j in ruling.judgements.values()] == [0.0, 0.0]
    assert ruling.judgements["c2"].decomposition == {"NiTi": 1.0}
    lower = [*twins, candidate("c3", {"Ni": 1, "Ti": 1}, -0.41), candidate("c4", {"Ni": 2, "Ti": 2}, -0.41)]
    ruling = judge_all(REFERENCES, lower, fidelity="world", in_force={})
    assert ruling.finds == ("c3",)
    assert ruling.fell_off == ("NiTi",)


def test_changes_below_a_microelectronvolt_supersede_nothing() -> None:
    before = judge_all(REFERENCES, [candidate("c1", {"Ti": 2, "Sn": 1}, 0.1)], fidelity="world", in_force={})
    for shift, superseded in ((5e-7, ()), (2e-6, ("c1",))):
        again = candidate("c1", {"Ti": 2, "Sn": 1}, 0.1 + shift)
        after = judge_all(REFERENCES, [again], fidelity="world", in_force=before.judgements)
        assert after.superseded == superseded


def test_new_references_move_the_hull_too() -> None:
    one = [candidate("c1", {"Ni": 3, "Ti": 1}, -0.3)]
    before = judge_all(REFERENCES, one, fidelity="world", in_force={})
    more = [*REFERENCES, reference("Ni2Ti", {"Ni": 2, "Ti": 1}, -0.9)]
    after = judge_all(more, one, fidelity="world", in_force=before.judgements, references_before=REFERENCES)
    assert after.fell_off == ("NiTi", "c1")
    assert after.superseded == ("c1",)
    assert after.judgements["c1"].formation_energy == before.judgements["c1"].formation_energy


def test_an_element_below_its_reference_is_a_find() -> None:
    ruling = judge_all(REFERENCES, [candidate("c1", {"Ti": 2}, -0.05)], fidelity="world", in_force={})
    assert ruling.finds == ("c1",)
    assert ruling.fell_off == ("Ti hcp",)
    assert ruling.judgements["c1"].formation_energy == pytest.approx(-0.05)
    assert ruling.judgements["c1"].distance_to_references == pytest.approx(-0.05)


def test_what_cannot_be_judged_is_refused() -> None:
    one = [candidate("c1", {"Ni": 3, "Ti": 1}, -0.3)]
    with pytest.raises(HullError, match="no reference phases"):
        judge_all([], one, fidelity="world", in_force={})
    with pytest.raises(HullError, match="Ni fcc is world, c1 is elsewhere"):
        judge_all(REFERENCES, one, fidelity="elsewhere", in_force={})
    with pytest.raises(HullError, match="no phase of the element Li"):
        judge_all(REFERENCES, [candidate("c1", {"Li": 1}, 0.0)], fidelity="world", in_force={})
    with pytest.raises(HullError, match="phase c1: its energy is nan"):
        judge_all(REFERENCES, [candidate("c1", {"Ni": 1}, np.nan)], fidelity="world", in_force={})
    with pytest.raises(HullError, match="two phases are named c1"):
        judge_all(REFERENCES, [*one, *one], fidelity="world", in_force={})
    judged = judge_all(REFERENCES, one, fidelity="world", in_force={}).judgements
    with pytest.raises(HullError, match="c1 has a verdict at world but no energy"):
        judge_all(REFERENCES, [], fidelity="world", in_force=judged)


def test_nothing_to_judge_is_a_hull_of_references() -> None:
    ruling = judge_all(REFERENCES, [], fidelity="world", in_force={})
    assert ruling.finds == ruling.first == ruling.superseded == ruling.fell_off == ()
    assert [phase.name for phase in ruling.hulls.stable] == [phase.name for phase in REFERENCES]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_the_last_verdicts_of_a_search_are_those_of_judging_once(seed: int) -> None:
    """Verdict upon verdict, what stands in the end is what one judgement of everything says."""
    rng = np.random.default_rng(seed)
    candidates = []
    for index in range(24):
        inside = rng.choice(ELEMENTS, rng.integers(1, 4), replace=False)
        amounts = {str(s): int(rng.integers(1, 4)) for s in inside}
        candidates.append(candidate(f"c{index:02d}", amounts, float(rng.normal(-0.1, 0.2))))
    in_force: dict[str, Judgement] = {}
    on_hull = {"Ni fcc", "Ti hcp", "Sn", "NiTi"}
    for end in range(4, 25, 4):
        ruling = judge_all(REFERENCES, candidates[:end], fidelity="world", in_force=in_force)
        assert set(ruling.fell_off) <= on_hull
        assert not set(ruling.first) & set(ruling.superseded)
        in_force |= {id_: ruling.judgements[id_] for id_ in (*ruling.first, *ruling.superseded)}
        on_hull = {phase.name for phase in ruling.hulls.stable}
        assert not set(ruling.fell_off) & on_hull
        assert set(ruling.finds) <= on_hull
    once = judge_all(REFERENCES, candidates, fidelity="world", in_force={})
    assert once.hulls.version == ruling.hulls.version
    for id_, judgement in once.judgements.items():
        assert in_force[id_].energy_above_hull == pytest.approx(judgement.energy_above_hull, abs=2e-6)
        assert judgement.energy_above_hull >= 0
        assert judgement.distance_to_references <= judgement.energy_above_hull + 1e-9
        assert judgement.decomposition.keys() <= on_hull
    everything = [
        *REFERENCES,
        *(reference(c.candidate_id, c.composition, c.energy_per_atom) for c in candidates),
    ]
    whole = Hull.build(everything, chemical_system="Ni-Sn-Ti")
    assert set(once.finds) == set(whole.stable) - {phase.name for phase in REFERENCES}
