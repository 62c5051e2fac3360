"""One protocol between a worker, a process of ours that does one piece of work, and the process that started it.

A worker prints messages on its stdout, one JSON object a line: progress as often as it likes, and at its end what it
has made or what went wrong.

    {"done": 100, "total": 400, "note": "812 tokens/s"}
    {"data_version": "9f3c...", "metadata": {"problems": 400}}
    {"problem": "...", "cure": "..."}

What a worker does is its own module's matter. Servers, which answer many requests, speak HTTP instead.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Final

from rjepa.errors import InvalidInputError
from rjepa.processes import claim_stdout, end_process
from rjepa.progress import MESSAGE_SECONDS, Progress, Throttled, silent

_TAIL: Final = 2000
"""Characters of a worker's stderr that are shown when it ended without a message."""


@dataclass(frozen=True)
class Progressed:
    """Work done so far, the total, and a short note."""

    done: int
    total: int
    note: str = ""


@dataclass(frozen=True)
class Finished:
    """What was made. Fields as in `rjepa.stages.StageReport`."""

    data_version: str
    metadata: dict[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """What went wrong, and how to mend it. Fields as in `rjepa.errors.RjepaError`."""

    problem: str
    cure: str


Message = Progressed | Finished | Failed


def message_values(message: Message) -> dict[str, Any]:
    """A message as the JSON object that is sent."""
    return asdict(message)


def read_message(values: Mapping[str, Any]) -> Message:
    """The message of a JSON object.

    Raises:
        ValueError: it is none.
    """
    for kind, first in ((Progressed, "done"), (Finished, "data_version"), (Failed, "problem")):
        if first in values:
            try:
                message: Message = kind(**values)
            except TypeError as error:
                raise ValueError(f"not a message of a worker: {error}") from error
            return message
    raise ValueError(f"not a message of a worker: it holds {', '.join(values) or 'nothing'}")


class StdoutReporter:
    """A worker's side of the protocol. What libraries print goes to stderr from now on."""

    def __init__(self) -> None:
        self._stdout = claim_stdout()
        self.progress = Throttled(self._progressed, MESSAGE_SECONDS, ends=True)

    def finished(self, data_version: str, metadata: Mapping[str, int | float | str]) -> None:
        """Say what was made."""
        self._send(Finished(data_version, dict(metadata)))

    def failed(self, problem: str, cure: str) -> None:
        """Say what went wrong."""
        self._send(Failed(problem, cure))

    def _progressed(self, done: int, total: int, note: str = "") -> None:
        self._send(Progressed(done, total, note))

    def _send(self, message: Message) -> None:
        print(json.dumps(message_values(message)), file=self._stdout, flush=True)


class WorkerProcess:
    """A worker that was started. The caller that starts one follows it or stops it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        what: str,
        cure: str,
        variables: Mapping[str, str] | None = None,
        keep_errors: bool = False,
    ) -> None:
        """Start it.

        Args:
            command: the program and its arguments.
            what: words for what it does ("training tiny-a"), for errors.
            cure: what helps when it ends without saying why.
            variables: of its environment, beside those of this process.
            keep_errors: hold its stderr back, and show its end if it fails without a message; otherwise it prints where
                this process does.
        """
        self._what, self._cure = what, cure
        self._errors: IO[str] | None = tempfile.TemporaryFile("w+") if keep_errors else None  # noqa: SIM115 follow closes it
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def follow(self, progress: Progress = silent) -> Finished:
        """Wait for its end, passing its progress on. An interrupt, or an error of `progress`, ends it too.

        Lines that are no messages are left out: launchers print theirs among them.

        Raises:
            InvalidInputError: it failed; its own words, or how it ended.
        """
        last: Message | None = None
        with self._process as process:
            try:
                assert process.stdout is not None  # it is a pipe
                for line in process.stdout:
                    message = _parse(line)
                    if isinstance(message, Progressed):
                        progress(message.done, message.total, message.note)
                    if not isinstance(last, Failed):  # of several processes the first failure is the cause
                        last = message or last
                code = process.wait()
            finally:
                self.stop()
                errors = self._last_errors()
        if isinstance(last, Failed):
            raise InvalidInputError(f"{self._what} failed: {last.problem}", cure=last.cure)
        if code or not isinstance(last, Finished):
            raise InvalidInputError(f"{self._what} failed with code {code}{errors}", cure=self._cure)
        return last

    def stop(self) -> None:
        """End it, if it still runs."""
        end_process(self._process)

    def _last_errors(self) -> str:
        if self._errors is None:
            return ""
        with self._errors as errors:
            errors.seek(0)
            text = errors.read()[-_TAIL:].strip()
        return f": {text}" if text else ""


def _parse(line: str) -> Message | None:
    try:
        values = json.loads(line)
        return read_message(values) if isinstance(values, dict) else None
    except ValueError:
        return None
