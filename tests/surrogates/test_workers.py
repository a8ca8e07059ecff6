"""The pool against real processes, really killed."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from loop.errors import PotentialError
from surrogates.workers import LEAST_MEMORY, MOST_MEMORY, WorkerPool, fair_memory
from tests.surrogates import worker_tasks

PATIENCE = 60.0
"""Seconds that a loaded machine may need for what takes a fraction of one."""


@pytest.fixture
def pool():
    with WorkerPool(2) as pool:
        yield pool


def collect(pool, number):
    """That many completions, or a failed test."""
    completions = []
    deadline = time.monotonic() + PATIENCE
    while len(completions) < number:
        assert time.monotonic() < deadline, f"only {len(completions)} of {number} tasks ended"
        completions += pool.completed(wait=1.0)
    assert len(completions) == number
    return completions


def is_alive(process_id):
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_many_small_tasks_all_come_back_with_their_own_values(pool):
    for number in range(300):
        pool.submit(f"task-{number}", worker_tasks.square, number, timeout=PATIENCE)
    assert pool.pending == 300
    completions = collect(pool, 300)
    assert {c.task_id: c.value for c in completions} == {f"task-{n}": n * n for n in range(300)}
    assert all(c.failure is None for c in completions)
    assert pool.pending == 0


def test_one_worker_keeps_the_order_of_submission():
    with WorkerPool(1) as pool:
        for number in range(20):
            pool.submit(str(number), worker_tasks.square, number, timeout=PATIENCE)
        assert [c.task_id for c in collect(pool, 20)] == [str(n) for n in range(20)]


def test_what_ends_first_comes_first(pool):
    pool.submit("warm", worker_tasks.nap, 0.0, timeout=PATIENCE)
    pool.submit("up", worker_tasks.nap, 0.0, timeout=PATIENCE)
    collect(pool, 2)
    pool.submit("slow", worker_tasks.nap, 1.5, timeout=PATIENCE)
    pool.submit("quick", worker_tasks.nap, 0.0, timeout=PATIENCE)
    assert [c.task_id for c in collect(pool, 2)] == ["quick", "slow"]


def test_nothing_to_wait_for_returns_at_once(pool):
    started = time.monotonic()
    assert pool.completed(wait=30.0) == []
    assert time.monotonic() - started < 5


def test_waiting_ends_when_the_callers_patience_does(pool):
    pool.submit("long", worker_tasks.nap, 60.0, timeout=120.0)
    started = time.monotonic()
    assert pool.completed(wait=0.3) == []
    assert 0.2 < time.monotonic() - started < 10
    assert pool.pending == 1


def test_processes_persist(pool):
    for number in range(10):
        pool.submit(str(number), worker_tasks.process_id, timeout=PATIENCE)
    processes = {c.value for c in collect(pool, 10)}
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes


def test_an_exception_is_a_failure_with_its_name_and_place(pool):
    pool.submit("bad", worker_tasks.fail, "seven is not even", timeout=PATIENCE)
    (completed,) = collect(pool, 1)
    assert completed.value is None
    assert completed.failure.stage == "worker"
    assert completed.failure.reason == "ValueError"
    assert "seven is not even" in completed.failure.detail
    assert "worker_tasks.py" in completed.failure.detail


def test_what_the_user_must_mend_is_raised_and_loses_nothing_else(pool):
    pool.submit("good", worker_tasks.square, 3, timeout=PATIENCE)
    assert eventually(lambda: pool._look(0.1) or pool._done)
    pool.submit("bad", worker_tasks.refuse, "weights are missing", timeout=PATIENCE)
    with pytest.raises(PotentialError, match="weights are missing"):
        eventually(lambda: pool._look(1.0))
    assert [c.value for c in pool.completed(wait=0.0)] == [9]
    pool.submit("after", worker_tasks.square, 4, timeout=PATIENCE)
    assert collect(pool, 1)[0].value == 16


def test_a_result_that_cannot_travel_is_a_failure(pool):
    pool.submit("lambda", worker_tasks.unpicklable, timeout=PATIENCE)
    (completed,) = collect(pool, 1)
    assert "cannot be sent back" in completed.failure.detail


def test_a_task_that_cannot_travel_is_refused_at_once(pool):
    with pytest.raises((AttributeError, pickle.PicklingError), match=r"lambda|pickle"):
        pool.submit("lambda", lambda: 1, timeout=PATIENCE)
    assert pool.pending == 0


def test_chatter_does_not_disturb(pool, capfd):
    pool.submit("talk", worker_tasks.chatter, timeout=PATIENCE)
    assert collect(pool, 1)[0].value == "done"
    assert capfd.readouterr().out == ""


def test_a_worker_killed_once_costs_one_repetition(pool, tmp_path):
    pool.submit("once", worker_tasks.die_once, str(tmp_path / "died"), 42, timeout=PATIENCE)
    (completed,) = collect(pool, 1)
    assert (completed.value, completed.failure) == (42, None)
    assert (tmp_path / "died").exists()


def test_a_task_that_kills_its_workers_fails_alone(pool):
    pool.submit("deadly", worker_tasks.die, timeout=PATIENCE)
    pool.submit("segfault", worker_tasks.die, signal.SIGSEGV, timeout=PATIENCE)
    for number in range(10):
        pool.submit(str(number), worker_tasks.square, number, timeout=PATIENCE)
    completions = {c.task_id: c for c in collect(pool, 12)}
    assert completions["deadly"].failure.reason == "worker-died"
    assert "signal 9, 2 times" in completions["deadly"].failure.detail
    assert "signal 11" in completions["segfault"].failure.detail
    assert [completions[str(n)].value for n in range(10)] == [n * n for n in range(10)]


def test_an_idle_worker_that_was_killed_is_replaced(pool):
    pool.submit("first", worker_tasks.process_id, timeout=PATIENCE)
    (completed,) = collect(pool, 1)
    os.kill(completed.value, signal.SIGKILL)
    eventually(lambda: not is_alive(completed.value))
    pool.submit("second", worker_tasks.process_id, timeout=PATIENCE)
    assert collect(pool, 1)[0].value != completed.value


def test_a_late_task_is_ended_with_its_worker_and_the_next_one_runs(tmp_path):
    with WorkerPool(1) as pool:
        pool.submit("late", worker_tasks.record_and_nap, str(tmp_path), 300, timeout=1.0)
        pool.submit("next", worker_tasks.square, 5, timeout=PATIENCE)
        late, following = collect(pool, 2)
        assert late.failure.reason == "timeout"
        assert 1.0 <= late.wall_seconds < 30
        assert following.value == 25
        (process,) = (int(path.name) for path in tmp_path.iterdir())
        assert not is_alive(process)


def test_seconds_are_those_of_the_task(pool):
    pool.submit("spin", worker_tasks.spin, 0.3, timeout=PATIENCE)
    pool.submit("nap", worker_tasks.nap, 0.3, timeout=PATIENCE)
    seconds = {c.task_id: c for c in collect(pool, 2)}
    assert 0.25 < seconds["spin"].cpu_seconds < 1.0
    assert seconds["nap"].cpu_seconds < 0.1
    assert seconds["nap"].wall_seconds >= 0.3


def test_every_worker_is_initialised_once():
    with WorkerPool(2, initialise=worker_tasks.initialise) as pool:
        for number in range(6):
            pool.submit(str(number), worker_tasks.times_initialised, timeout=PATIENCE)
        assert {c.value for c in collect(pool, 6)} == {1}


def test_a_failing_initialisation_is_told():
    with WorkerPool(1, initialise=worker_tasks.initialise_badly) as pool:
        pool.submit("task", worker_tasks.square, 1, timeout=PATIENCE)
        with pytest.raises(RuntimeError, match="no licence file"):
            collect(pool, 1)
    with WorkerPool(1, initialise=worker_tasks.initialise_without_weights) as pool:
        pool.submit("task", worker_tasks.square, 1, timeout=PATIENCE)
        with pytest.raises(PotentialError, match="weights are missing"):
            collect(pool, 1)


def test_workers_that_never_start_are_not_replaced_for_ever():
    with WorkerPool(1, initialise=worker_tasks.die_at_once) as pool:
        pool.submit("task", worker_tasks.square, 1, timeout=PATIENCE)
        with pytest.raises(RuntimeError, match=r"3 workers in a row died .*exit code 3"):
            collect(pool, 1)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory a process has")


@on_linux
def test_a_worker_that_grows_is_replaced_and_every_task_runs_once(tmp_path):
    piece, limit, tasks = 40_000_000, 130_000_000, 24
    with WorkerPool(2, memory_limit=limit) as pool:
        for number in range(tasks):
            pool.submit(str(number), worker_tasks.keep, str(tmp_path), number, piece, timeout=PATIENCE)
        completions = collect(pool, tasks)
    assert sorted(c.value for c in completions) == list(range(tasks))
    assert all(c.failure is None for c in completions)
    runs = [path.name.split("-") for path in tmp_path.iterdir()]
    assert sorted(int(number) for number, _ in runs) == list(range(tasks))
    held = Counter(process for _, process in runs)
    assert max(held.values()) <= limit // piece + 1, "a worker got a task above its limit"
    assert max(held.values()) >= 2, "workers were replaced that had not grown"
    assert not any(is_alive(int(process)) for process in held)


@on_linux
def test_a_task_keeps_the_memory_of_one_large_array_for_the_next():
    """64 MB are 16,384 pages; every array anew would be five times as many."""
    size = 64 * 2**20
    with WorkerPool(1) as pool:
        pool.submit("a", worker_tasks.faults_of_arrays, 6, size, timeout=PATIENCE)
        (completed,) = collect(pool, 1)
    assert completed.value < size // os.sysconf("SC_PAGE_SIZE")


@on_linux
def test_memory_that_is_free_goes_back_to_the_system():
    size, pieces = 100_000, 2_000
    with WorkerPool(1) as pool:
        pool.submit("before", worker_tasks.resident_bytes, timeout=PATIENCE)
        pool.submit("free", worker_tasks.free_all_but_the_last, pieces, size, timeout=PATIENCE)
        pool.submit("after", worker_tasks.resident_bytes, timeout=PATIENCE)
        before, _, after = (c.value for c in collect(pool, 3))
    assert after - before < 0.1 * pieces * size


def test_a_worker_may_keep_half_its_share_within_bounds():
    assert fair_memory(1) >= fair_memory(8) >= fair_memory(10_000) == LEAST_MEMORY
    assert fair_memory(1) <= MOST_MEMORY


def test_no_workers_is_refused():
    with pytest.raises(ValueError, match="workers is 0"):
        WorkerPool(0)


def test_closing_ends_every_process_and_the_pool_can_be_used_again(tmp_path):
    pool = WorkerPool(2)
    for _ in range(2):
        pool.submit("long", worker_tasks.record_and_nap, str(tmp_path), 300, timeout=PATIENCE)
    assert eventually(lambda: pool._look(0.05) or len(list(tmp_path.iterdir())) == 2)
    pool.close()
    assert not any(is_alive(int(path.name)) for path in tmp_path.iterdir())
    assert pool.pending == 0
    pool.submit("again", worker_tasks.square, 6, timeout=PATIENCE)
    assert collect(pool, 1)[0].value == 36
    pool.close()
    pool.close()


def test_workers_outlive_the_thread_that_asked_for_them():
    pool = WorkerPool(1)
    task = ("nap", worker_tasks.nap, 1.0, "alive")
    thread = threading.Thread(target=pool.submit, args=task, kwargs={"timeout": PATIENCE})
    thread.start()
    thread.join()
    time.sleep(0.3)
    (completed,) = collect(pool, 1)
    assert (completed.value, completed.failure) == ("alive", None)
    assert completed.wall_seconds < 30
    pool.close()


def test_workers_use_one_thread_and_do_not_import_the_callers_main(pool):
    pool.submit("threads", worker_tasks.threads, timeout=PATIENCE)
    pool.submit("main", worker_tasks.main_module, timeout=PATIENCE)
    values = {c.task_id: c.value for c in collect(pool, 2)}
    assert set(values["threads"].values()) == {"1"}
    assert values["main"] == "surrogates.worker_process"


@pytest.mark.slow
def test_torch_uses_one_thread(pool):
    pool.submit("torch", worker_tasks.torch_threads, timeout=PATIENCE)
    assert collect(pool, 1)[0].value == 1


def test_importing_the_pool_imports_nothing_heavy():
    heavy = {"numpy", "ase", "pymatgen", "torch", "pydantic"}
    code = f"import sys, surrogates.workers; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PARENT = """
    import signal, sys
    from surrogates.workers import WorkerPool
    from tests.surrogates import worker_tasks
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with WorkerPool(2) as pool:
        for _ in range(2):
            pool.submit("long", worker_tasks.record_and_nap, sys.argv[1], 300, timeout=600)
        while True:
            pool.completed(wait=60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(how, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: len(list(tmp_path.iterdir())) == 2)
        processes = [int(path.name) for path in tmp_path.iterdir()]
        assert all(is_alive(process) for process in processes)
        parent.send_signal(how)
        assert parent.wait(timeout=PATIENCE) != 0
        assert eventually(lambda: not any(is_alive(process) for process in processes))
    finally:
        parent.kill()
        parent.wait()


def test_a_worker_whose_parent_is_gone_before_it_looks_ends_by_itself():
    ours, theirs = os.pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    orphan = subprocess.Popen(
        [sys.executable, "-m", "surrogates.worker_process", str(ours), str(2**22 + 1)],
        pass_fds=(ours,),
        env=environment,
    )
    try:
        assert orphan.wait(timeout=PATIENCE) == 1
    finally:
        os.close(ours)
        os.close(theirs)
