"""`rjepa up`: the Dagster UI, its daemon and the service as children of one command, which leaves none behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import typer

from rjepa.errors import InvalidInputError, RjepaError
from rjepa.settings import Settings, load_settings

_READY_SECONDS: Final = 180.0
"""`dagster dev` was seen to take 17 s on two idle cores; a busy small machine may take several times that."""

_STOP_SECONDS: Final = 20.0
"""`dagster dev` asks its own children to stop and waits for them; after this the whole group is killed."""


_RESTARTS: Final = 5
_RESTART_SECONDS: Final = 600.0
"""A service that ends more often than that in so many seconds does so for a reason that starting does not mend."""


class ChildFailedError(RjepaError):
    """A server ended by itself, or never answered."""


@dataclass
class Child:
    """One server: its process leads a group of its own, so that all it starts can be stopped with it."""

    name: str
    url: str
    process: subprocess.Popen[str]


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("up")(up)


def up() -> None:
    """Start the Dagster UI, the daemon and the service; Ctrl-C stops all of it.

    Example: rjepa up
    """
    from rjepa_assets.cli.materialising import limit_threads, open_home
    from rjepa_assets.instance import REPOSITORY, only_one, open_instance
    from rjepa_assets.processes import fail_abandoned_runs

    settings, home = load_settings(), open_home()
    limit_threads()
    for name, host, port in _addresses(settings):
        _check_free(name, host, port)
    with contextlib.ExitStack() as stack:
        with open_instance(home) as instance:
            stack.enter_context(only_one(home, "up", "use the one that is running, or stop it first"))
            fail_abandoned_runs(instance, unclaimed=True)
        stack.enter_context(_interruptible())
        children = stack.enter_context(_stopping_all())
        dagster = ["-m", "dagster", "dev", "-w", str(REPOSITORY / "workspace.yaml")]
        dagster += ["-h", "127.0.0.1", "-p", str(settings.dagster_port), "--log-level", "warning"]
        ui_url = f"http://127.0.0.1:{settings.dagster_port}"
        service_url = f"http://{_reachable(settings.host)}:{settings.port}"
        # In DAGSTER_HOME, so that it does not warn of the repository's own dagster.yaml, which was copied there.
        children.append(_start("dagster", dagster, f"{ui_url}/server_info", home.dagster))

        def start_service() -> Child:
            return _start("service", ["-m", "rjepa.cli.main", "serve"], f"{service_url}/v1/health", Path.cwd())

        children.append(start_service())
        _wait_until_ready(children)
        print(f"\n  Dagster UI  {ui_url}\n  Service     {service_url}\n\nCtrl-C stops both.", flush=True)
        _watch(children, start_service)


def _addresses(settings: Settings) -> list[tuple[str, str, int]]:
    return [
        ("RJEPA_DAGSTER_PORT", "127.0.0.1", settings.dagster_port),
        ("RJEPA_PORT", settings.host, settings.port),
    ]


def _check_free(variable: str, host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InvalidInputError(
                f"cannot listen on {host}:{port} ({error.strerror})", cure=f"stop what uses it, or set {variable}"
            ) from error


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def _start(name: str, arguments: Sequence[str], url: str, folder: Path) -> Child:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    threading.Thread(target=_relay, args=(name, process), daemon=True).start()
    return Child(name, url, process)


def _relay(name: str, process: subprocess.Popen[str]) -> None:
    """Pass a child's output on, each line under its name."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):
        for line in process.stdout:
            print(f"{name:8} | {line}", end="", file=sys.stderr, flush=True)


def _wait_until_ready(children: Sequence[Child]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    waiting = list(children)
    while waiting:
        _check_alive(children)
        waiting = [child for child in waiting if not _answers(child.url)]
        if waiting and time.monotonic() > deadline:
            names = ", ".join(child.name for child in waiting)
            raise ChildFailedError(
                f"{names} did not answer within {_READY_SECONDS:.0f} s", cure="read its lines above, then try again"
            )
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return int(response.status) < 500
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False


def _watch(children: list[Child], restart: Callable[[], Child]) -> None:
    """Return never: Dagster's end, or a signal, raises. The service is started again where it ends, a few times; then
    Dagster, whose runs have nothing to do with it, goes on alone.
    """
    dagster, _ = children
    ended: deque[float] = deque(maxlen=_RESTARTS)
    while True:
        _check_alive([dagster])
        service = children[1] if len(children) > 1 else None
        if service is not None and (code := service.process.poll()) is not None:
            now = time.monotonic()
            children.remove(service)
            if len(ended) == _RESTARTS and now - ended[0] < _RESTART_SECONDS:
                print(
                    f"error: the service ended {_RESTARTS + 1} times in {_RESTART_SECONDS:.0f} s, the last time with"
                    f" code {code}: it is not started again, Dagster goes on\n  -> read its lines above, mend that,"
                    " then stop rjepa up and start it again",
                    file=sys.stderr,
                    flush=True,
                )
            else:
                ended.append(now)
                print(f"the service ended with code {code}: it is started again", file=sys.stderr, flush=True)
                children.append(restart())
        time.sleep(0.5)


def _check_alive(children: Sequence[Child]) -> None:
    for child in children:
        if (code := child.process.poll()) is not None:
            raise ChildFailedError(f"{child.name} ended with code {code}", cure="read its lines above, then try again")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Both signals stop it, for itself and for its children: a shell's background job inherits SIGINT as ignored."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _stopping_all() -> Iterator[list[Child]]:
    children: list[Child] = []
    try:
        yield children
    finally:
        # A second Ctrl-C must not leave a half-stopped set behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for child in children:
            _signal_group(child, signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, deadline - time.monotonic()))
        for child in children:
            _signal_group(child, signal.SIGKILL)
            child.process.wait()


def _signal_group(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)
