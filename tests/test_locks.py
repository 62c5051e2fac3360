"""Locks between real processes: one works, the other is told who does, and a killed one leaves no lock."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rjepa.errors import BusyError
from rjepa.home import Home
from rjepa.locks import clearing_lock, shared_lock, stage_lock

HOLDER = """
import sys, time
from pathlib import Path
from rjepa.home import Home
from rjepa.locks import shared_lock, stage_lock
lock = stage_lock if sys.argv[2] == "stage" else shared_lock
with lock(Home(Path(sys.argv[1])), "latents", "tiny-a", "v1.0.0"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(root: Path, kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(root), kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_stage_that_another_process_makes_is_refused_until_that_one_is_killed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with hold(tmp_path, "stage") as other:
        wanted = rf"latents of tiny-a on v1.0.0 is being made by another process \(pid {other.pid}\)"
        with pytest.raises(BusyError, match=wanted), stage_lock(home, "latents", "tiny-a", "v1.0.0"):
            pass
        with stage_lock(home, "latents", "tiny-a", "v1.1.0"), stage_lock(home, "rollouts", "tiny-a", "v1.0.0"):
            pass
        other.send_signal(signal.SIGKILL)
    with stage_lock(home, "latents", "tiny-a", "v1.0.0"):
        pass


def test_nobody_clears_away_what_several_processes_use(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with hold(tmp_path, "shared") as other:
        with shared_lock(home, "latents", "tiny-a", "v1.0.0"):
            pass
        with clearing_lock(home, "latents", "tiny-a", "v1.0.0") as alone:
            assert not alone
        other.send_signal(signal.SIGKILL)
    with clearing_lock(home, "latents", "tiny-a", "v1.0.0") as alone:
        assert alone
