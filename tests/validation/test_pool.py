"""The worker processes: replaced when killed, stopped when they take too long, gone when closed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from rjepa.validation.maths import MathsPool
from rjepa.validation.pool import MAX_LINE, Bounds, WorkerError, WorkerPool
from tests.patience import PATIENCE, wait_until

TIGHT = Bounds(cpu_seconds=2.0, wall_seconds=30.0, memory_mib=1024)
FORMULA = ("2x + 1", "1 + 2x")
TOWER = ("9", "9**9**9**9")
BUSY = ("(x+y)^{900}(x-y)^{900}", "(x^2-y^2)^{900}")
"""Takes minutes to show; a tower of powers is given up at once."""


@pytest.fixture(scope="module")
def pool() -> Iterator[MathsPool]:
    with MathsPool(1, TIGHT) as opened:
        yield opened


def test_no_process_is_started_for_plain_numbers() -> None:
    with MathsPool(1, TIGHT) as idle:
        assert idle.compare("1,000", "1000.0").equal
        assert idle.compare("7", "8").reason == "different"
        assert idle.pids() == []


def test_a_worker_is_kept_for_the_next_answer(pool: MathsPool) -> None:
    assert pool.compare(*FORMULA).equal
    first = pool.pids()
    assert len(first) == 1
    assert pool.compare("x^2", "2x").reason == "different"
    assert pool.pids() == first


def test_a_killed_worker_is_replaced(pool: MathsPool) -> None:
    pool.compare(*FORMULA)
    [pid] = pool.pids()
    os.kill(pid, signal.SIGKILL)
    assert pool.compare(*FORMULA).equal
    assert pool.pids() != [pid]


def test_a_worker_killed_at_work_is_asked_again(pool: MathsPool) -> None:
    pool.compare(*FORMULA)
    [pid] = pool.pids()
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    assert pool.compare(*BUSY).reason == "timeout"
    assert pid not in pool.pids()


@pytest.mark.parametrize("overrun", [TOWER, BUSY])
def test_an_overrun_leaves_no_process_and_the_next_answer_is_judged(pool: MathsPool, overrun: tuple[str, str]) -> None:
    assert pool.compare(*overrun).reason in ("timeout", "too_large")
    assert pool.pids() == []
    assert pool.compare(*FORMULA).equal


def test_closing_ends_every_process_even_at_work() -> None:
    opened = MathsPool(1, TIGHT)
    opened.compare(*FORMULA)
    pids = opened.pids()
    busy = threading.Thread(target=opened.compare, args=BUSY)
    busy.start()
    time.sleep(0.2)
    opened.close()
    opened.close()
    busy.join(PATIENCE)
    assert not busy.is_alive()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(ValueError, match="closed"):
        opened.compare(*FORMULA)


def test_workers_end_when_their_owner_is_killed() -> None:
    program = (
        "from rjepa.validation import maths\n"
        "maths.compare('2x', 'x + x')\nprint(*maths.shared_pool().pids(), flush=True)\n"
        f"maths.compare(*{BUSY!r})\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.communicate()
    wait_until(lambda: not psutil.pid_exists(pid))


def test_nothing_heavy_is_imported_and_the_shared_pool_closes_with_its_process() -> None:
    program = (
        "import sys\nfrom rjepa.validation import judge, maths, pool\n"
        "assert not {'sympy', 'math_verify', 'numpy'} & set(sys.modules)\n"
        "maths.compare('2x', 'x + x')\nassert 'sympy' not in sys.modules\nprint(*maths.shared_pool().pids())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert not psutil.pid_exists(int(done.stdout))


def test_a_worker_that_cannot_start_says_how_to_see_why() -> None:
    with WorkerPool("rjepa.validation.no_such_worker", 1) as broken, pytest.raises(WorkerError, match="to see why"):
        broken.ask({})


def test_a_request_is_bounded() -> None:
    with WorkerPool("rjepa.validation.maths_worker", 1) as unused, pytest.raises(ValueError, match="at most"):
        unused.ask({"gold": "9" * MAX_LINE, "answer": ""})
