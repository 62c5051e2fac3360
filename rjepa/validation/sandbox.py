"""Run a Python program that nobody trusts, in bubblewrap: no network, no files of the host, bounded in every resource.

The program sees a read-only system, its interpreter, an empty /tmp of bounded size, no environment and no capability.
Where bubblewrap cannot be had there is no second way: `SandboxUnavailableError`. What is run and what its end means
live in `rjepa.validation.unit_tests`.

Two nets hold resources. prlimit binds each process (address space, CPU seconds, file size, number of processes). A
watcher here binds the whole: wall time, bytes of output, memory and processes of all of them together; past a bound the
sandbox's first process is killed and the kernel ends every process inside with it.

Started by root, the sandbox runs under an account number that nobody else has, because the kernel does not hold root
to a number of processes.
"""

import functools
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rjepa.errors import RjepaError

Ending = Literal["finished", "wall_limit", "cpu_limit", "memory_limit", "process_limit", "output_limit"]

_ACCOUNTS = range(1_800_000_000, 1_800_065_536)  # far from real accounts and from the ranges of /etc/subuid
_TICK = 0.02  # seconds between two looks at the processes
_PROBE_SECONDS = 30
_MIB = 1 << 20
_CURE = (
    "install bubblewrap and util-linux (Debian, Ubuntu: apt-get install bubblewrap util-linux) and allow user "
    "namespaces (in a container: --cap-add SYS_ADMIN, or seccomp and AppArmor profiles that let bwrap run)"
)


class SandboxUnavailableError(RjepaError):
    """Code cannot be run safely on this machine, so it is not run."""


@dataclass(frozen=True)
class Limits:
    """What one run may use. Memory and processes hold for each process and for all of them together."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 5
    memory_mib: int = 512
    processes: int = 24
    file_mib: int = 16
    tmp_mib: int = 32
    output_bytes: int = 64 << 10


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True)
class Run:
    """How a program ended. `output` is stdout and stderr together, at most `output_bytes`."""

    ending: Ending
    exit_code: int
    output: bytes
    seconds: float


@dataclass(frozen=True)
class _Launcher:
    """How bwrap starts here: which interpreter it shows, and whether under an account of its own."""

    bwrap: str
    prlimit: str
    python: str
    own_account: bool

    def account(self) -> dict[str, object]:
        if not self.own_account:
            return {}
        number = _ACCOUNTS.start + secrets.randbelow(len(_ACCOUNTS))
        return {"user": number, "group": number, "extra_groups": []}


def require_sandbox() -> None:
    """Raise if code cannot be run safely here.

    Raises:
        SandboxUnavailableError: no bubblewrap, no prlimit, or the kernel does not allow it.
    """
    _launcher()


def run_python(program: str, limits: Limits = DEFAULT_LIMITS, stdin: bytes = b"") -> Run:
    """Run a program's text in the sandbox and wait for its end, at most `limits.wall_seconds`.

    Raises:
        SandboxUnavailableError: as `require_sandbox`.
    """
    return _run(_launcher(), program, limits, stdin)


@functools.cache
def _launcher() -> _Launcher:
    """The first way to start the sandbox that works here, found by trying it."""
    tools = {name: shutil.which(name) for name in ("bwrap", "prlimit")}
    missing = [name for name, path in tools.items() if path is None]
    if missing:
        raise SandboxUnavailableError(f"code is not run: {' and '.join(missing)} not found on the PATH", cure=_CURE)
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    complaint = ""
    for python, own_account in _interpreters(own):
        launcher = _Launcher(str(tools["bwrap"]), str(tools["prlimit"]), python, own_account)
        probe = "import sys; print('ready' if sys.version_info >= (3, 11) else sys.version)"
        run = _run(launcher, probe, Limits(wall_seconds=_PROBE_SECONDS), b"")
        if run.output == b"ready\n":
            return launcher
        complaint = run.output.decode(errors="replace").strip()[-200:] or run.ending
    raise SandboxUnavailableError(
        f"code is not run: bubblewrap does not work on this machine ({complaint})", cure=_CURE
    )


def _interpreters(own: str) -> list[tuple[str, bool]]:
    """(interpreter, account of its own): root's own interpreter may lie where another account cannot reach it."""
    pythons = list(dict.fromkeys([own, os.path.realpath("/usr/bin/python3")]))
    return [(python, True) for python in pythons if os.geteuid() == 0] + [(own, False)]


def _run(launcher: _Launcher, program: str, limits: Limits, stdin: bytes) -> Run:
    start = time.monotonic()
    files = [_in_memory(program.encode()), _in_memory(stdin)]
    try:
        process = subprocess.Popen(
            _command(launcher, limits, files[0]),
            stdin=files[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=files[:1],
            cwd="/",
            env={},
            **launcher.account(),  # type: ignore[call-overload]
        )
    except OSError as error:
        return Run("finished", -1, f"bwrap cannot be started: {error}".encode(), time.monotonic() - start)
    finally:
        for file in files:
            os.close(file)
    with process:
        ending, output = _watch(process, limits, start + limits.wall_seconds)
        process.kill()
        code = process.wait()
    code = code if code >= 0 else 128 - code
    if ending == "finished" and code - 128 in (signal.SIGXCPU, signal.SIGKILL):
        ending = "cpu_limit"  # prlimit's soft bound sends the one, its hard bound the other
    return Run(ending, code, output, time.monotonic() - start)


def _command(launcher: _Launcher, limits: Limits, program: int) -> list[str]:
    prefix = Path(launcher.python).parent.parent
    away = [] if prefix.is_relative_to("/usr") else ["--ro-bind", str(prefix), str(prefix)]
    top = [
        argument
        for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
        if os.path.exists(name)
        for argument in (["--symlink", os.readlink(name), name] if os.path.islink(name) else ["--ro-bind", name, name])
    ]
    devices = [argument for name in ("null", "zero", "urandom") for argument in ("--dev-bind", *[f"/dev/{name}"] * 2)]
    memory = limits.memory_mib * _MIB
    return [
        launcher.bwrap,
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv"),
        *("--cap-drop", "ALL", "--ro-bind", "/usr", "/usr", *top, *away),
        *("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--proc", "/proc", *devices),
        *("--size", str(limits.tmp_mib * _MIB), "--tmpfs", "/tmp", "--chdir", "/tmp"),
        *("--ro-bind-data", str(program), "/program.py", "--remount-ro", "/", "--"),
        *(launcher.prlimit, f"--as={memory}", f"--cpu={limits.cpu_seconds}:{limits.cpu_seconds + 1}"),
        *(f"--nproc={limits.processes}", f"--fsize={limits.file_mib * _MIB}", "--nofile=64", "--core=0", "--"),
        *(launcher.python, "-I", "-S", "-B", "/program.py"),
    ]


def _in_memory(data: bytes) -> int:
    """A file descriptor to read `data` from, without a file and without a pipe that could block."""
    file = os.memfd_create("rjepa-sandbox")
    with open(os.dup(file), "wb") as writer:
        writer.write(data)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _watch(process: subprocess.Popen[bytes], limits: Limits, deadline: float) -> tuple[Ending, bytes]:
    """Read output until the program ends or passes a bound of the whole sandbox."""
    assert process.stdout is not None
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        looked = 0.0
        while True:
            now = time.monotonic()
            if now >= deadline:
                return "wall_limit", output
            if now - looked >= _TICK:
                looked = now
                processes, memory = _usage(process.pid, stop=4 * limits.processes)
                if processes > limits.processes + 4:  # bwrap's own two, prlimit, and one that is just ending
                    return "process_limit", output
                if memory > limits.memory_mib * _MIB:
                    return "memory_limit", output
            if selector.select(min(_TICK, deadline - now)):
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    return "finished" if _ends(process, deadline) else "wall_limit", output
                output += piece
                if len(output) > limits.output_bytes:
                    return "output_limit", output[: limits.output_bytes]


def _ends(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Whether a program that closed its output ends by itself."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _usage(root: int, stop: int) -> tuple[int, int]:
    """How many processes descend from `root`, itself included (counting stops at `stop`), and their resident bytes."""
    found, memory = [root], 0
    for pid in found:
        try:
            memory += int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            if len(found) < stop:
                for task in os.listdir(f"/proc/{pid}/task"):
                    found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_bytes().split())
        except OSError:
            continue  # it ended while it was looked at
    return len(found), memory
