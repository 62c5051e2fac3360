"""Hostile programs, run for real: the host stays well and the run says how it ended."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from rjepa.validation import sandbox
from rjepa.validation.sandbox import Limits, SandboxUnavailableError, run_python
from tests.patience import wait_until
from tests.validation.hostile import needs_sandbox

pytestmark = needs_sandbox
QUICK = Limits(wall_seconds=4.0, cpu_seconds=2, memory_mib=256, processes=12, file_mib=2, tmp_mib=4)


def output_of(program: str, limits: Limits = QUICK) -> str:
    run = run_python(program, limits)
    assert run.ending == "finished", run
    return run.output.decode()


def marked(marker: str) -> list[int]:
    """Processes of this machine whose command line holds the marker."""
    return [
        process.pid for process in psutil.process_iter(["cmdline"]) if marker in " ".join(process.info["cmdline"] or [])
    ]


def test_an_honest_program_runs_and_its_output_comes_back() -> None:
    assert output_of("import math\nprint(math.comb(10, 3))") == "120\n"


def test_a_fork_bomb_is_stopped_and_leaves_no_process() -> None:
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    before = len(psutil.pids())
    run = run_python(bomb, QUICK)
    assert run.ending in ("process_limit", "cpu_limit", "wall_limit")
    time.sleep(0.2)
    assert len(psutil.pids()) < before + QUICK.processes


def test_processes_are_counted_one_by_one_even_when_root_starts_the_sandbox() -> None:
    program = (
        "import os, time\ncount = 0\ntry:\n    while count < 100:\n"
        "        if os.fork() == 0:\n            time.sleep(1)\n            os._exit(0)\n        count += 1\n"
        "except OSError as error:\n    print(count, error.errno)\n"
    )
    run = run_python(program, QUICK)
    if run.ending == "finished":
        count, errno = map(int, run.output.split())
        assert count < QUICK.processes and errno == 11
    else:
        assert run.ending == "process_limit"


def test_a_ten_gigabyte_allocation_fails_inside() -> None:
    assert "MemoryError" in output_of("x = bytearray(10 * 1024 ** 3)")


def test_memory_is_bounded_over_all_processes_together() -> None:
    program = (
        "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n"
        "        x = bytearray(120 << 20)\n        time.sleep(30)\ntime.sleep(30)\n"
    )
    assert run_python(program, QUICK).ending == "memory_limit"


def test_endless_output_is_cut_off() -> None:
    run = run_python("while True:\n    print('y' * 1000)", QUICK)
    assert run.ending == "output_limit"
    assert len(run.output) == QUICK.output_bytes


def test_an_endless_loop_and_an_endless_sleep_are_stopped() -> None:
    assert run_python("while True:\n    pass", Limits(wall_seconds=10, cpu_seconds=1)).ending == "cpu_limit"
    assert run_python("import time\ntime.sleep(100)", Limits(wall_seconds=0.7)).ending == "wall_limit"


def test_a_program_that_closes_its_output_is_stopped_too() -> None:
    program = "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(100)"
    assert run_python(program, Limits(wall_seconds=0.7)).ending == "wall_limit"


def test_the_files_of_the_host_cannot_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the-canary")
    paths = [str(secret), str(Path.home() / ".bashrc"), "/etc/passwd", "/etc/shadow", "/work", str(Path(__file__))]
    tries = "".join(
        f"try:\n    print(open({path!r}).read())\nexcept OSError as e:\n    print(e.errno)\n" for path in paths
    )
    assert output_of(tries).split() == ["2"] * len(paths)


def test_the_environment_and_the_processes_of_the_host_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "the-canary")
    output = output_of(
        "import os\nprint(dict(os.environ))\nprint([open(f'/proc/{p}/environ').read() for p in os.listdir('/proc')"
        " if p.isdigit()])\nprint(sorted(int(p) for p in os.listdir('/proc') if p.isdigit()))"
    )
    assert "canary" not in output
    assert len(output.splitlines()[-1].split(",")) <= 4


def test_there_is_no_network() -> None:
    program = (
        "import socket\nfor address in (('127.0.0.1', 22), ('1.1.1.1', 53), ('169.254.169.254', 80)):\n"
        "    try:\n        socket.create_connection(address, timeout=2)\n        print('open')\n"
        "    except OSError:\n        print('closed')\n"
    )
    assert output_of(program).split() == ["closed"] * 3


def test_nothing_is_written_outside_its_own_tmp(tmp_path: Path) -> None:
    name = f"rjepa-{uuid.uuid4().hex}"
    places = [f"/{name}", f"/usr/{name}", f"/usr/bin/{name}", f"/dev/{name}", f"/dev/shm/{name}", f"{tmp_path}/{name}"]
    tries = "".join(
        f"try:\n    open({place!r}, 'w')\n    print('written')\nexcept OSError:\n    print('no')\n" for place in places
    )
    assert output_of(tries + f"open('/tmp/{name}', 'w').write('mine')").split() == ["no"] * len(places)
    assert not Path(f"/tmp/{name}").exists()
    assert output_of("import os\nprint(os.listdir('/tmp'))") == "[]\n"  # nothing is left for the next run either


def test_a_symlink_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the-canary")
    program = (
        f"import os\nos.symlink({str(tmp_path)!r}, '/tmp/out')\nos.symlink('/proc/1/root', '/tmp/root')\n"
        "for path in ('/tmp/out/secret.txt', '/tmp/root/etc/passwd', '/proc/self/cwd/../../etc/passwd'):\n"
        "    try:\n        print(open(path).read())\n    except OSError:\n        print('no')\n"
    )
    assert output_of(program).split() == ["no"] * 3


def test_files_and_tmp_are_of_bounded_size() -> None:
    program = (
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nwritten = 0\ntry:\n    for i in range(100):\n"
        "        with open(f'/tmp/{i}', 'wb', buffering=0) as f:\n            written += f.write(b'x' * (1 << 20))\n"
        "except OSError as e:\n    print(written >> 20, e.errno)\n"
        "try:\n    with open('/tmp/0', 'ab', buffering=0) as f:\n"
        "        for _ in range(9):\n            f.write(b'x' * (1 << 20))\n"
        "except OSError as e:\n    print(e.errno)\n"
    )
    first, second = output_of(program).splitlines()
    assert int(first.split()[0]) <= QUICK.tmp_mib and first.split()[1] == "28"
    assert second in ("27", "28")


def test_signals_reach_nobody_outside() -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        program = (
            f"import os, signal\nfor pid in ({os.getpid()}, {bystander.pid}, os.getppid(), 1):\n"
            "    try:\n        os.kill(pid, signal.SIGKILL)\n        print('sent')\n"
            "    except OSError:\n        print('no')\n"
            "os.kill(-1, signal.SIGTERM)\n"
        )
        run_python(program, QUICK)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_no_child_outlives_the_sandbox_and_no_zombie_stays() -> None:
    marker = uuid.uuid4().hex
    program = (
        f"import os, sys, time\nfor _ in range(5):\n    if os.fork() == 0:\n        os.setsid()\n"
        f"        if os.fork() == 0:\n            os.execv(sys.executable, [sys.executable, '-c', "
        f"'import time; time.sleep(60)', '{marker}'])\n        os._exit(0)\nos._exit(0)\n"
    )
    run = run_python(program, QUICK)
    assert run.exit_code == 0 or run.ending == "wall_limit"
    time.sleep(0.2)
    assert marked(marker) == []
    assert [child.name() for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_the_sandbox_dies_with_the_process_that_started_it() -> None:
    marker = uuid.uuid4().hex
    script = (
        "from rjepa.validation.sandbox import Limits, run_python\nprint('started', flush=True)\n"
        f'run_python(\'import os,sys\\nos.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)",'
        f' "{marker}"])\', Limits(wall_seconds=600))'
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    wait_until(lambda: any(pid != owner.pid for pid in marked(marker)))
    owner.kill()
    owner.communicate()
    wait_until(lambda: not marked(marker))


def test_no_capability_and_no_new_user_namespace() -> None:
    program = (
        "import ctypes\nprint([l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')])\n"
        "print(ctypes.CDLL(None).unshare(0x10000000))"
    )
    capabilities, namespace = output_of(program).splitlines()
    assert set(capabilities) <= set("[]', 0")
    assert namespace == "-1"


def test_where_bubblewrap_is_missing_nothing_is_run_and_the_cure_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sandbox._launcher.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        with pytest.raises(SandboxUnavailableError, match="apt-get install bubblewrap"):
            run_python(f"open({str(tmp_path / 'ran')!r}, 'w')")
        broken = tmp_path / "bwrap"
        broken.write_text("#!/bin/sh\necho no namespaces here >&2\nexit 1\n")
        broken.chmod(0o755)
        (tmp_path / "prlimit").symlink_to("/usr/bin/prlimit")
        with pytest.raises(SandboxUnavailableError, match="no namespaces here"):
            run_python(f"open({str(tmp_path / 'ran')!r}, 'w')")
    finally:
        sandbox._launcher.cache_clear()
    assert not (tmp_path / "ran").exists()
