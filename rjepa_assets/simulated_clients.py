"""The service of a home as a process of its own, and what a user of it sends: for simulations and for kills."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.processes import end_process

_START_SECONDS: Final = 180.0
"""The service was seen to take 10 s on an idle machine; a crowded one may take many times that."""
_ANSWER_SECONDS: Final = 300.0


class SimulationError(RjepaError):
    """A part of a simulation did not do what it is for."""


@dataclass(frozen=True)
class Service:
    """A service that answers, and its process."""

    url: str
    process: "subprocess.Popen[str]"

    def call(self, method: str, path: str, key: str | None = None, body: Mapping[str, Any] | None = None) -> Any:
        """One request, as JSON.

        Raises:
            SimulationError: it was answered with an error.
            OSError: nobody answers.
        """
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")[:500]
            raise SimulationError(
                f"{method} {path} was answered with {error.code}: {words}", cure="see the service's log, service.log"
            ) from error

    def ask(self, llm: str, statement: str, key: str | None = None, *, seed: int = 0, **options: Any) -> Any:
        """One question, with consent to keep it; the reply."""
        body = {
            "model": llm,
            "messages": [{"role": "user", "content": statement}],
            "seed": seed,
            "rjepa": {"consent": True, **options},
        }
        return self.call("POST", "/v1/chat/completions", key, body)


@contextlib.contextmanager
def service(home: Home, llm: str, log_file: Path, *, require_key: bool = True) -> Iterator[Service]:
    """The real service of a home, from when it answers until the end of the `with`.

    Raises:
        SimulationError: it does not start.
    """
    started = start_service(home, llm, log_file, require_key=require_key)
    try:
        yield started
    finally:
        end_process(started.process)


def start_service(home: Home, llm: str, log_file: Path, *, require_key: bool = True) -> Service:
    """Start the real service on a free port of this machine, and wait until it answers. The caller ends its process.

    Raises:
        SimulationError: it does not start; the cure names its log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        **os.environ,
        "RJEPA_HOME": str(home.root),
        "RJEPA_HOST": "127.0.0.1",
        "RJEPA_PORT": str(port),
        "RJEPA_LLM": llm,
        "RJEPA_REQUIRE_KEY": str(require_key).lower(),
    }
    with log_file.open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rjepa.cli.main", "serve"],
            env=variables,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    started = Service(f"http://127.0.0.1:{port}", process)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, SimulationError):
            started.call("GET", "/v1/ready")
            return started
        time.sleep(0.2)
    end_process(process)
    raise SimulationError(f"the service did not start (code {process.poll()})", cure=f"read {log_file}")
