"""A student that runs in a process of its own environment, asked over HTTP as if it were here.

The process is started, watched and ended here, or found at an address that somebody else keeps. What it serves is
`rjepa.sampling.server`.
"""

import http.client
import json
import os
import secrets
import signal
import subprocess
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from rjepa.errors import InvalidInputError, RjepaError
from rjepa.home import Home
from rjepa.sampling.local import WholeChainSampler
from rjepa.sampling.server import LOOPBACK, MODULE, TOKEN
from rjepa.sampling.wire import unpack_chains
from rjepa.processes import end_process
from rjepa.progress import Progress, silent
from rjepa.students.catalog import StudentRecord
from rjepa.students.environments import check_environment, module_command, module_variables
from rjepa.students.sampled import SampledChain

_SECONDS: Final = 3600.0
"""Of one request: many long chains of a large student on a slow machine. A process that died is noticed at once."""
_END_SECONDS: Final = 10.0


class StudentProcessError(RjepaError):
    """The process that a student runs in has died, or cannot be reached."""


class RemoteSampler(WholeChainSampler):
    """A `rjepa.sampling.local.Sampler` whose student is another process's."""

    def __init__(self, home: Home, record: StudentRecord, address: str | None = None) -> None:
        """Start the student's process, or ask the one at `address` (http://127.0.0.1:PORT).

        Raises:
            RjepaError: the environment lacks something, the student cannot be loaded there, nobody answers at the
                address, or another student does.
        """
        self.record, self.device = record, None
        self.device_reason = "in a process of its own environment, which chooses"
        self._home, self._given = home, address
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()
        self._token = os.environ.get(TOKEN) or ""
        if address is None:
            self._token = secrets.token_urlsafe(32)
        else:
            self._host = _loopback(address)
        told = json.loads(self._request("GET", "/health"))
        if told["llm_tag"] != record.llm_tag:
            raise InvalidInputError(
                f"the student at {address} is {told['llm_tag']}, not {record.llm_tag}",
                cure=f"start it with --llm {record.llm_tag}, or name another address",
            )
        self.fingerprint: str = told["fingerprint"]
        self.context_length: int = told["context_length"]

    def count_prompt(self, statement: str) -> int:
        """Tokens of a statement's prompt."""
        return int(json.loads(self._request("POST", "/count", {"statement": statement}))["tokens"])

    def sample(
        self,
        statements: Sequence[str],
        samples: Sequence[int],
        *,
        seed: int,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
        capture: bool = True,
        progress: Progress = silent,
    ) -> list[list[SampledChain]]:
        """As `rjepa.students.generation.sample_indices`. Progress is told before and after: nothing comes in between.

        Raises:
            StudentProcessError: the process died; it is started again for the next request.
        """
        progress(0, len(statements))
        body = {
            "statements": list(statements),
            "samples": list(samples),
            "seed": seed,
            "temperature": temperature,
            "max_new_tokens": max_new_tokens,
            "capture": capture,
        }
        chains = unpack_chains(self._request("POST", "/sample", body))
        progress(len(statements), len(statements))
        return chains

    def close(self) -> None:
        """End the process, if it was started here."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _start(self) -> None:
        python = check_environment(self.record)
        command = module_command(python, MODULE, ["--llm", self.record.llm_tag, "--with-parent"])
        variables = {**os.environ, **module_variables(self._home), TOKEN: self._token}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
        weakref.finalize(self, _end, self._process)
        told = self._first_words(self._process)
        if "url" not in told:
            code = self._process.wait()
            raise StudentProcessError(
                told.get("problem", f"the process of {self.record.llm_tag} ended {_how(code)} before it served"),
                cure=told.get("cure", f"see what it printed: {' '.join(command)}"),
            )
        self._host = urlsplit(told["url"]).netloc

    def _first_words(self, process: "subprocess.Popen[str]") -> dict[str, Any]:
        """The line in which it says where it serves, or what went wrong; empty where it ended without. A thread goes
        on reading, so that nothing that it prints later fills the pipe.
        """
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                threading.Thread(target=process.stdout.read, daemon=True).start()
                return json.loads(line)
        return {}

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        if self._given is None:
            with self._starting:
                if self._process is None or self._process.poll() is not None:
                    self._start()
        connection = http.client.HTTPConnection(self._host, timeout=_SECONDS)
        try:
            headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        finally:
            connection.close()
        if response.status == 200:
            return data
        told = json.loads(data)
        kind = InvalidInputError if response.status == 422 else StudentProcessError
        raise kind(told["problem"], cure=told["cure"])

    def _lost(self, error: Exception) -> StudentProcessError:
        if self._process is None:
            return StudentProcessError(
                f"no student answers at http://{self._host} ({error})",
                cure=f"start it: PYTHON -m {MODULE} --llm {self.record.llm_tag} --port PORT",
            )
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return StudentProcessError(f"the process of {self.record.llm_tag} does not answer", cure="try again")
        return StudentProcessError(
            f"the process of {self.record.llm_tag} ended {_how(code)}",
            cure="ask again: it is started anew; if memory ran out, lower sampling.batch_size of the student",
        )


def _loopback(address: str) -> str:
    """Host and port of an address on this machine: latents and the token go there unencrypted."""
    parts = urlsplit(address)
    if parts.scheme != "http" or parts.hostname not in (LOOPBACK, "localhost") or parts.path not in ("", "/"):
        raise InvalidInputError(
            f"{address} is no address of a student's process", cure="give http://127.0.0.1:PORT, on this machine"
        )
    return parts.netloc


def _how(code: int) -> str:
    return f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


def _end(process: "subprocess.Popen[str]") -> None:
    end_process(process)
    if process.stdout is not None:
        process.stdout.close()
