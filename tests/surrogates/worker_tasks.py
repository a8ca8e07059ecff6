"""Functions that the tests hand to worker processes."""

import os
import signal
import sys
import time
from pathlib import Path

from loop.errors import PotentialError

initialised: list[int] = []


def square(number):
    return number * number


def nap(seconds, value=None):
    time.sleep(seconds)
    return value


def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def fail(message):
    raise ValueError(message)


def refuse(message):
    raise PotentialError(message)


def unpicklable():
    return lambda: None


def chatter():
    sys.stdout.write("to standard output")
    os.write(1, b"and around Python")
    return "done"


def process_id():
    return os.getpid()


def record_and_nap(folder, seconds):
    Path(folder, str(os.getpid())).touch()
    time.sleep(seconds)


def die(signal_number=signal.SIGKILL):
    os.kill(os.getpid(), signal_number)


def die_once(marker, value):
    marker = Path(marker)
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def threads():
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: os.environ.get(name) for name in names}


def torch_threads():
    import torch

    return torch.get_num_threads()


def initialise():
    initialised.append(os.getpid())


def initialise_badly():
    raise RuntimeError("no licence file")


def initialise_without_weights():
    raise PotentialError("the weights are missing")


def die_at_once():
    os._exit(3)


def times_initialised():
    return len(initialised)


def main_module():
    return sys.modules["__main__"].__spec__.name
