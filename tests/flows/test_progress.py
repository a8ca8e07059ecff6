"""What a person is told of the time that is left, where crystals differ tenfold in size."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from rich.console import Console

from flows.calculations import Request, compute
from flows.campaign import Campaign
from flows.observer import Silence
from flows.progress import Queue, remaining_seconds, work_of
from flows.terminal import Terminal
from flows.verification.verifier import VerificationResult
from loop.crystal import Crystal
from tests.flows.worlds import EMT, emt_spec

SECONDS_PER_ATOM = 0.5
LABEL = "relaxing with toy"


def alloy(atoms, index):
    """A crystal of so many atoms in its primitive cell, unlike the others."""
    cell = bulk("CuNi", "cesiumchloride", a=3.0).repeat((atoms // 2, 1, 1))
    cell.positions += np.random.default_rng(index).normal(scale=0.1, size=cell.positions.shape)
    return Crystal.from_atoms(cell)


SMALL, LARGE = [alloy(2, i) for i in range(30)], [alloy(20, i) for i in range(30)]


class Toy:
    """A verifier that settles one crystal after another and takes just as long as it declared."""

    gives_energy = True
    fidelity = "toy"

    def __init__(self, clock):
        self._clock, self._asked = clock, []

    def identity(self, crystal):
        return {"kind": "relaxation", "fidelity": self.fidelity, "code_version": 1}

    def declared_cost(self, crystal):
        return {"cpu_seconds": SECONDS_PER_ATOM * crystal.number_of_atoms}

    def submit(self, crystal, *, request_id):
        self._asked.append((request_id, crystal))

    def collect(self):
        request_id, crystal = self._asked.pop(0)
        cost = self.declared_cost(crystal)
        self._clock.now += cost["cpu_seconds"]
        return [
            VerificationResult(
                request_id=request_id, crystal=crystal, energy_per_atom=0.0, properties={}, cost=cost
            )
        ]

    def close(self):
        """Nothing to end."""


class Watch(Silence):
    """Keeps what it is told, with the time."""

    def __init__(self, clock):
        self._clock, self.seen = clock, []

    def progress(self, label, *, done, total, share):
        self.seen.append((self._clock.now, done, total, share))


@pytest.fixture
def clock():
    return SimpleNamespace(now=1000.0)


@pytest.mark.parametrize("crystals", [[*SMALL, *LARGE], [*LARGE, *SMALL]], ids=["small first", "large first"])
def test_time_left_is_right_whatever_the_order_of_sizes(crystals, clock, tmp_path):
    """In chunks of eight, as stages ask; by number of crystals it would be off by a factor of up to five."""
    watch, toy = Watch(clock), Toy(clock)
    queue = Queue.of(crystals, by=toy)
    with Campaign.open(emt_spec(), folder=tmp_path, base=EMT.parent, observer=watch) as campaign:
        for start in range(0, len(crystals), 8):
            chunk = crystals[start : start + 8]
            requests = [Request(subject=crystal.key, crystal=crystal) for crystal in chunk]
            compute(
                campaign,
                requests,
                by=toy,
                purpose="screening",
                iteration=1,
                charge={},
                label=LABEL,
                queue=queue,
            )
    began, done, total, share = watch.seen[0]
    assert (done, total, share) == (0, 60, 0.0)
    assert watch.seen[-1][1:] == (60, 60, pytest.approx(1.0))
    ended = watch.seen[-1][0]
    assert ended - began == pytest.approx(SECONDS_PER_ATOM * (30 * 2 + 30 * 20))
    assert [entry[1] for entry in watch.seen] == sorted(entry[1] for entry in watch.seen)
    for now, done, total, share in watch.seen:
        left = remaining_seconds(elapsed=now - began, first_share=0.0, share=share)
        if done == 0:
            assert left is None
            continue
        assert left == pytest.approx(ended - now, abs=1e-6)
        if done == total // 2:
            by_number = (now - began) * (total - done) / done
            assert not 0.5 < by_number / (ended - now) < 2.0


def test_what_an_earlier_process_settled_says_nothing_of_the_pace(clock, tmp_path):
    toy, requests = Toy(clock), [Request(subject=crystal.key, crystal=crystal) for crystal in SMALL]
    asked = {"by": toy, "purpose": "screening", "iteration": 1, "charge": {}, "label": LABEL}
    with Campaign.open(emt_spec(), folder=tmp_path, base=EMT.parent) as campaign:
        compute(campaign, requests[:20], **asked)
    watch = Watch(clock)
    with Campaign.open(emt_spec(), folder=tmp_path, base=EMT.parent, observer=watch) as campaign:
        compute(campaign, requests, **asked)
    (began, done, _, first_share), *later = watch.seen
    assert (done, first_share) == (20, pytest.approx(2 / 3))
    now, _, _, share = later[0]
    left = remaining_seconds(elapsed=now - began, first_share=first_share, share=share)
    assert left == pytest.approx(9 * 2 * SECONDS_PER_ATOM)


def test_work_is_seconds_or_what_is_declared_instead(clock):
    crystal = SMALL[0]
    assert work_of(crystal, Toy(clock)) == 1.0
    assert work_of(crystal, SimpleNamespace(declared_cost=lambda _: {"core_hours": 3.0})) == 3.0
    assert work_of(crystal, SimpleNamespace(declared_cost=lambda _: {})) == 1.0
    assert Queue.of([], by=Toy(clock)).share() == 1.0


def test_the_terminal_counts_down_between_two_reports(clock):
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    terminal = Terminal(console, clock=lambda: clock.now)

    def shown():
        with console.capture() as captured:
            console.print(terminal._progress.get_renderable())
        return captured.get()

    terminal.stage_started(1, "relax")
    terminal.progress(LABEL, done=0, total=40, share=0.0)
    assert "0/40" in shown()
    assert "left" not in shown()
    clock.now += 100.0
    terminal.progress(LABEL, done=30, total=40, share=0.1)
    assert "30/40" in shown()
    assert "0:15:00 left" in shown()
    clock.now += 60.0
    assert "0:14:00 left" in shown()
    terminal.progress("reference phases", done=0, total=3, share=0.0)
    assert "left" not in shown()
