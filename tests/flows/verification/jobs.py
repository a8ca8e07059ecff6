"""Jobs that answer a node in ways that it must bear."""

from __future__ import annotations

from pathlib import Path

from jobflow import Flow, job


@job(name="broken job")
def broken(message):
    raise ValueError(message)


@job(name="answer")
def answer(crystal, energy, litter=0):
    for number in range(litter):
        Path(f"displacement-{number}").write_bytes(b"0" * 100_000)
    return {"crystal": crystal, "energy_per_atom": float(energy), "properties": {"where": str(Path.cwd())}}


@job(name="next")
def following(previous):
    return previous


def flow_of(*jobs):
    return Flow(list(jobs), output=jobs[-1].output)
