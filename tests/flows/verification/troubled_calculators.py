"""Calculators with the troubles of real ones, reached through the `ase` potential by import path."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from ase.calculators.emt import EMT


class Logged(EMT):
    """Writes a line for every calculation, so that a test sees what was computed."""

    def __init__(self, log: str) -> None:
        super().__init__()
        self._log = Path(log)

    def calculate(self, *arguments, **options) -> None:
        with self._log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        super().calculate(*arguments, **options)


class Sleeping(Logged):
    """Takes its time over every calculation."""

    def __init__(self, log: str, seconds: float) -> None:
        super().__init__(log)
        self._seconds = seconds

    def calculate(self, *arguments, **options) -> None:
        super().calculate(*arguments, **options)
        time.sleep(self._seconds)


class Dying(Logged):
    """Takes its process down, as running out of memory does."""

    def calculate(self, *arguments, **options) -> None:
        super().calculate(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)


class NotFinite(EMT):
    """Diverges."""

    def calculate(self, *arguments, **options) -> None:
        super().calculate(*arguments, **options)
        self.results["energy"] = float("nan")


class Raising(EMT):
    """Fails as a self-consistent cycle that does not converge."""

    def calculate(self, *arguments, **options) -> None:
        raise RuntimeError("convergence NOT achieved after 100 iterations")


class WithoutPlatinum(EMT):
    """Fails on platinum alone."""

    def calculate(self, *arguments, **options) -> None:
        super().calculate(*arguments, **options)
        if set(self.atoms.symbols) == {"Pt"}:
            raise RuntimeError("convergence NOT achieved for platinum")


class DyingOfGold(EMT):
    """Takes its process down where there is gold."""

    def calculate(self, *arguments, **options) -> None:
        super().calculate(*arguments, **options)
        if "Au" in self.atoms.symbols:
            os.kill(os.getpid(), signal.SIGKILL)
