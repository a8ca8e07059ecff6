"""Screening relaxations in batches."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import bulk

from flows.relaxer import FEWEST_ATOMS, MOST_ATOMS, MOST_SECONDS, Relaxer
from flows.verification.verifier import BatchVerifier
from loop.crystal import Crystal
from loop.spec import PotentialSpec, RelaxationSpec
from surrogates.workers import WorkerPool

CALCULATORS = "tests.flows.verification.troubled_calculators"


def alloys(count):
    return [Crystal.from_atoms(bulk("CuNi", "cesiumchloride", a=2.8 + 0.02 * i)) for i in range(count)]


def relaxer(pool, potential=None, **settings):
    potential = potential or PotentialSpec(name="emt")
    return Relaxer(potential, RelaxationSpec(**settings), base=Path.cwd(), pool=lambda: pool)


def collected(relaxer, count):
    results = []
    while len(results) < count:
        results += relaxer.collect()
    return {result.request_id: result for result in results}


def test_batches_are_runs_of_about_as_many_atoms():
    cut = relaxer(None).batches(alloys(1000))
    assert [i for batch in cut for i in batch] == list(range(1000))
    sizes = [2 * len(batch) for batch in cut]
    assert len(set(sizes[:-1])) == 1
    assert sizes[0] == 2000 // 8 <= MOST_ATOMS
    assert [2 * len(batch) for batch in relaxer(None).batches(alloys(50))] == [FEWEST_ATOMS, 36]
    assert relaxer(None).batches([]) == []
    assert isinstance(relaxer(None), BatchVerifier)


def test_batches_of_a_slow_potential_stay_short():
    screen = relaxer(None, PotentialSpec(name="sevennet", model="7net-l3i5"))
    crystals = alloys(1000)
    declared = [
        sum(screen.declared_cost(crystals[i])["cpu_seconds"] for i in batch)
        for batch in screen.batches(crystals)
    ]
    assert max(declared) <= MOST_SECONDS


def test_a_batch_settles_together_and_its_seconds_are_shared_out():
    crystals = alloys(4)
    with WorkerPool(1) as pool:
        screen = relaxer(pool, max_force=0.01, max_stress=0.01)
        screen.submit_batch([(f"c{i}", crystal) for i, crystal in enumerate(crystals)])
        results = []
        while not results:
            results = screen.collect()
    assert [result.request_id for result in results] == ["c0", "c1", "c2", "c3"]
    assert all(result.failure is None and result.cost["cpu_seconds"] > 0 for result in results)
    volumes = {round(result.crystal.volume_per_atom, 1) for result in results}
    assert len(volumes) == 1, "four strained copies of one crystal relax to it"


@pytest.mark.slow
def test_one_that_takes_the_worker_down_does_not_fail_its_companions(tmp_path):
    """Gold kills the process; the copper beside it is relaxed all the same, and everything is charged."""
    potential = PotentialSpec(name="ase", calculator=f"{CALCULATORS}:DyingOfGold")
    crystals = {
        "gold": Crystal.from_atoms(bulk("Au", "fcc", a=4.0)),
        "copper": Crystal.from_atoms(bulk("Cu", "fcc", a=3.7)),
    }
    with WorkerPool(1) as pool:
        screen = relaxer(pool, potential)
        screen.submit_batch(list(crystals.items()))
        results = collected(screen, 2)
    assert results["gold"].failure.reason == "worker-died"
    assert results["copper"].failure is None
    assert all(result.cost["cpu_seconds"] > 0 for result in results.values())
