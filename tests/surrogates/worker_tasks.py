"""Functions that the tests hand to worker processes."""

import os
import resource
import signal
import sys
import time
from pathlib import Path

from loop.errors import PotentialError

initialised: list[int] = []
kept: list[bytes] = []


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


def keep(folder, number, size):
    """Leave a file named by the task and a process, and hold on to memory for good."""
    kept.append(b"x" * size)
    Path(folder, f"{number}-{os.getpid()}").touch()
    return number


def free_all_but_the_last(pieces, size):
    """Memory that is free again, below a piece that is not: the C library does not return it by itself."""
    taken = [b"x" * size for _ in range(pieces)]
    kept.append(taken[-1])


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def faults_of_arrays(number, size):
    """Pages that the system had to hand out for arrays of so many bytes, one after another, the first aside."""
    faults = []
    for _ in range(number):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        assert b"x" * size
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return sum(faults[1:])
