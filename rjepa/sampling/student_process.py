"""The process that a student runs in: started, watched and ended here, or found at an address that somebody else keeps.

What is asked of it belongs to `rjepa.sampling.process`; what it serves, to `rjepa.sampling.server`.
"""

import http.client
import json
import os
import secrets
import signal
import subprocess
import threading
import weakref
from typing import Any, Final
from urllib.parse import urlsplit

from rjepa.errors import InvalidInputError, RjepaError
from rjepa.home import Home
from rjepa.processes import end_process
from rjepa.sampling.loopback import SERVER, TOKEN, host_at
from rjepa.students.catalog import StudentRecord
from rjepa.students.environments import check_environment, module_command, module_variables

JSON: Final = "application/json"
_SECONDS: Final = 3600.0
"""The longest wait for one answer: a forward pass of a large student on a slow machine, which may have others to serve
first. A process that died is noticed at once."""
_END_SECONDS: Final = 10.0


class StudentProcessError(RjepaError):
    """The process that a student runs in has died, or cannot be reached."""


class StudentProcess:
    """A student's process, and connections to it. One that was started here and died is started again when asked."""

    def __init__(self, home: Home, record: StudentRecord, address: str | None) -> None:
        """address: http://127.0.0.1:PORT where it runs already; None to start it."""
        self.record = record
        self._home, self._given = home, address
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()
        self._token = os.environ.get(TOKEN) or ""
        if address is None:
            self._token = secrets.token_urlsafe(32)
        else:
            self._host = host_at(address)

    def close(self) -> None:
        """End the process, if it was started here."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the process, which is started if it does not run."""
        if self._given is None:
            with self._starting:
                if self._process is None or self._process.poll() is not None:
                    self._start()
        return http.client.HTTPConnection(self._host, timeout=_SECONDS)

    def send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = JSON,
    ) -> http.client.HTTPResponse:
        """A request over a connection, and its answer, whose body is not read yet.

        Raises:
            ValueError: an argument that the session there refuses.
            InvalidInputError: what it was asked for cannot be.
            StudentProcessError: it does not answer, or not us.
        """
        try:
            headers = {"authorization": f"Bearer {self._token}", "content-type": kind}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            if response.status == 200:
                return response
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        raise _refusal(response.status, json.loads(data))

    def read(self, response: http.client.HTTPResponse) -> bytes:
        """The body of an answer (StudentProcessError where it breaks off)."""
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """One request over a connection of its own, and its answer (errors as `send`)."""
        connection = self.connect()
        try:
            data = None if body is None else json.dumps(body).encode()
            return self.read(self.send(connection, method, path, data))
        finally:
            connection.close()

    def read_line(self, response: http.client.HTTPResponse) -> dict[str, Any]:
        """The next line of an answer, a JSON object (StudentProcessError where it breaks off)."""
        try:
            line: dict[str, Any] = json.loads(response.readline())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        return line

    def read_rest(self, response: http.client.HTTPResponse, size: int) -> bytes:
        """What is left of an answer, `size` bytes (StudentProcessError where they are fewer)."""
        data = self.read(response)
        if len(data) != size:
            raise self._lost(EOFError(f"{len(data)} of {size} bytes came"))
        return data

    def _start(self) -> None:
        python = check_environment(self.record)
        command = module_command(python, SERVER, ["--llm", self.record.llm_tag, "--with-parent"])
        variables = {**os.environ, **module_variables(self._home), TOKEN: self._token}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
        weakref.finalize(self, _end, self._process)
        first = self._first_line(self._process)
        if "url" not in first:
            code = self._process.wait()
            raise StudentProcessError(
                first.get("problem", f"the process of {self.record.llm_tag} ended {_manner(code)} before it served"),
                cure=first.get("cure", f"see what it printed: {' '.join(command)}"),
            )
        self._host = urlsplit(first["url"]).netloc

    def _first_line(self, process: "subprocess.Popen[str]") -> dict[str, Any]:
        """The line in which it says where it serves, or what went wrong; empty where it ended without. A thread goes
        on reading, so that nothing that it prints later fills the pipe.
        """
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                threading.Thread(target=process.stdout.read, daemon=True).start()
                first: dict[str, Any] = json.loads(line)
                return first
        return {}

    def _lost(self, error: Exception) -> StudentProcessError:
        if self._process is None:
            return StudentProcessError(
                f"no student answers at http://{self._host} ({error})",
                cure=f"start it: PYTHON -m {SERVER} --llm {self.record.llm_tag} --port PORT",
            )
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return StudentProcessError(f"the process of {self.record.llm_tag} does not answer", cure="try again")
        return StudentProcessError(
            f"the process of {self.record.llm_tag} ended {_manner(code)}",
            cure="ask again: it is started anew; if memory ran out, lower sampling.batch_size of the student",
        )


def _manner(code: int) -> str:
    return f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


def _end(process: "subprocess.Popen[str]") -> None:
    end_process(process)
    if process.stdout is not None:
        process.stdout.close()


def _refusal(status: int, answer: dict[str, Any]) -> Exception:
    if status == 400:
        return ValueError(answer["problem"])
    kind = InvalidInputError if status == 422 else StudentProcessError
    return kind(answer["problem"], cure=answer["cure"])
