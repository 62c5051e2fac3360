"""A student that runs in a process of its own environment, asked over HTTP as if it were here.

How that process is started and reached belongs to `student_process`; what it serves, to `server`; bytes, to `wire`.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch

from rjepa.arrays import Float16
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.progress import Progress, silent
from rjepa.sampling.protocol import Capability, ChainSource, stream_row
from rjepa.sampling.read_wire import ProcessReader
from rjepa.sampling.reading import TextReader
from rjepa.sampling.student_process import JSON, StudentProcess, StudentProcessError
from rjepa.sampling.wire import (
    pack_array,
    pack_condition,
    pack_request,
    unpack_array,
    unpack_chains,
    unpack_event,
)
from rjepa.students.catalog import StudentRecord
from rjepa.students.prompting import EncodedPrompt
from rjepa.students.prompts import Message, Tools
from rjepa.students.sampled import (
    Bias,
    Condition,
    DecodingCounts,
    Edit,
    Events,
    RowRequest,
    SampledChain,
    Until,
)

_BYTES: Final = "application/octet-stream"


class ProcessSource:
    """A `rjepa.sampling.protocol.ChainSource` whose student is another process's."""

    def __init__(self, home: Home, record: StudentRecord, address: str | None = None) -> None:
        """Start the student's process, or ask the one at `address` (http://127.0.0.1:PORT).

        Raises:
            RjepaError: the environment lacks something, the student cannot be loaded there, nobody answers at the
                address, or another student does.
        """
        self.record = record
        self.device: torch.device | None = None
        self.device_reason = "in a process of its own environment, which chooses"
        self._process = StudentProcess(home, record, address)
        health = json.loads(self._process.ask("GET", "/health"))
        if health["llm_tag"] != record.llm_tag:
            raise InvalidInputError(
                f"the student at {address} is {health['llm_tag']}, not {record.llm_tag}",
                cure=f"start it with --llm {record.llm_tag}, or name another address",
            )
        self.fingerprint: str = health["fingerprint"]
        self.context_length: int = health["context_length"]
        there = frozenset(Capability(name) for name in health["capabilities"])
        self.capabilities = there - {Capability.CALLBACKS}
        self.reader: TextReader = ProcessReader(self._process, health["vocabulary"])

    def by_steps(self) -> ChainSource:
        """Itself."""
        return self

    def count_prompt(self, statement: str) -> int:
        """Tokens of a statement's prompt."""
        return int(json.loads(self._process.ask("POST", "/count", {"statement": statement}))["tokens"])

    def encode_conversation(self, messages: Sequence[Message], tools: Tools = ()) -> EncodedPrompt:
        """The prompt of a conversation, as the student's process reads it."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        body = {"messages": turns, "tools": list(tools)}
        found = json.loads(self._process.ask("POST", "/prompt", body))
        return EncodedPrompt(tuple(found["ids"]), str(found["statement"]), tuple(found["ignored"]))

    def session(self, *, capture: bool = True, keep_finished: bool = False) -> "ProcessSession":
        """As `rjepa.sampling.protocol.ChainSource.session`. It has a connection of its own and ends with it."""
        return ProcessSession(self._process, capture, keep_finished)

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
        """As `rjepa.students.generation.sample_indices`. What `progress` raises closes the connection, and the process
        stops within two tokens.

        Raises:
            StudentProcessError: the process died; it is started again for the next request.
        """
        body = {
            "statements": list(statements),
            "samples": list(samples),
            "seed": seed,
            "temperature": temperature,
            "max_new_tokens": max_new_tokens,
            "capture": capture,
        }
        process = self._process
        connection = process.connect()
        try:
            response = process.send(connection, "POST", "/sample", json.dumps(body).encode())
            while "bytes" not in (line := process.read_line(response)):
                if "problem" in line:
                    raise InvalidInputError(line["problem"], cure=line["cure"])
                progress(line["done"], line["total"], line["note"])
            return unpack_chains(process.read_rest(response, int(line["bytes"])))
        finally:
            connection.close()

    def stream(
        self,
        statement: str,
        *,
        seed: int,
        sample_index: int = 0,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
    ) -> Iterator[str | SampledChain]:
        """As `rjepa.sampling.protocol.ChainSource.stream`."""
        with self.session(capture=False) as session:
            (row,) = session.add([RowRequest(statement, seed, sample_index, temperature, max_new_tokens)])
            yield from stream_row(session, row)

    def close(self) -> None:
        """End the process, if it was started here."""
        self._process.close()


class ProcessSession:
    """A `rjepa.sampling.protocol.DecodingSession` of a student in another process. Each forward pass is asked for: the
    process computes only what a client waits for, and closing the session, or losing it, ends it there.
    """

    def __init__(self, process: StudentProcess, capture: bool, keep_finished: bool) -> None:
        self._process = process
        self._connection = process.connect()
        self._counts = DecodingCounts()
        self._closed = self._running = False
        self._call("", {"capture": capture, "keep_finished": keep_finished})

    def __enter__(self) -> "ProcessSession":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def counts(self) -> DecodingCounts:
        """What was generated and read so far."""
        return self._counts

    def add(self, requests: Sequence[RowRequest]) -> list[int]:
        """As `rjepa.students.session.Session.add`."""
        rows: list[int] = self._call("/add", {"requests": [pack_request(request) for request in requests]})["rows"]
        return rows

    def fork(
        self, row: int, *, sample_index: int, keep_tokens: int | None = None, keep_steps: int | None = None
    ) -> int:
        """As `rjepa.students.session.Session.fork`."""
        body = {"row": row, "sample_index": sample_index, "keep_tokens": keep_tokens, "keep_steps": keep_steps}
        return int(self._call("/fork", body)["row"])

    def drop(self, row: int) -> None:
        """As `rjepa.students.session.Session.drop`."""
        self._call("/drop", {"row": row})

    def forget(self, rows: Sequence[int]) -> None:
        """As `rjepa.students.session.Session.forget`."""
        self._call("/forget", {"rows": list(rows)})

    def hold(self, row: int) -> None:
        """As `rjepa.students.session.Session.hold`."""
        self._call("/hold", {"row": row})

    def go_on(self, row: int) -> None:
        """As `rjepa.students.session.Session.go_on`."""
        self._call("/go_on", {"row": row})

    def set_bias(self, row: int, bias: Bias | None) -> None:
        """As `rjepa.students.session.Session.set_bias`, with a tensor.

        Raises:
            InvalidInputError: a function, which cannot be sent.
        """
        self._set("bias", row, bias)

    def set_edit(self, row: int, edit: Edit | None) -> None:
        """As `rjepa.students.session.Session.set_edit`, with a tensor.

        Raises:
            InvalidInputError: a function, which cannot be sent.
        """
        self._set("edit", row, edit)

    def run(
        self, until: Condition = Until.CHAIN, *, tokens: bool = True, steps: bool = True, one_by_one: bool = True
    ) -> Events:
        """As `rjepa.students.session.Session.run`."""
        if self._running:
            raise ValueError("expected a session that does not run; close the iterator of the run before")
        self._running = True
        try:
            wanted = {"tokens": tokens, "steps": steps, "one_by_one": one_by_one}
            self._call("/run", {"until": pack_condition(until), **wanted})
            over = False
            while not over and not self._closed:
                answer = self._call("/next", {})
                over = bool(answer["over"])
                yield from map(unpack_event, answer["events"])
        finally:
            self._running = False
            if not self._closed:
                self._call("/stop", {})

    def is_over(self, row: int) -> bool:
        """Whether the row's chain is at its end."""
        return bool(self._call("/row", {"row": row})["over"])

    def tokens(self, row: int) -> list[int]:
        """The tokens of the row's chain so far."""
        return [int(token) for token in self._call("/row", {"row": row})["tokens"]]

    def latents(self, row: int) -> Float16:
        """As `rjepa.students.session.Session.latents`."""
        return unpack_array(self._ask("/latents", json.dumps({"row": row}).encode()))

    def chain(self, row: int) -> SampledChain:
        """The row's chain, as far as it is written."""
        return self.chains([row])[0]

    def chains(self, rows: Sequence[int]) -> list[SampledChain]:
        """The chains of these rows."""
        found = unpack_chains(self._ask("/chains", json.dumps({"rows": list(rows)}).encode()))
        return [row[0] for row in found]

    def close(self) -> None:
        """End the session there."""
        self._closed = True
        self._connection.close()

    def _set(self, name: str, row: int, value: Bias | Edit | None) -> None:
        if value is not None and not isinstance(value, torch.Tensor):
            raise InvalidInputError(
                f"a function for the {name} of a row cannot be sent to the process of {self._process.record.llm_tag}",
                cure="give a tensor, or use a student that is loaded here",
            )
        array = np.empty(0, dtype=np.float32) if value is None else value.detach().float().cpu().numpy()
        if value is not None and not array.size:
            raise ValueError(f"expected a {name} with elements")
        self._ask(f"/{name}?row={row}", pack_array(array), _BYTES)

    def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._ask(path, json.dumps(body).encode()))
        if "counts" in answer:
            self._counts = DecodingCounts(*answer["counts"])
        return answer

    def _ask(self, path: str, body: bytes, kind: str = JSON) -> bytes:
        if self._closed:
            raise ValueError("expected an open session")
        try:
            return self._process.read(self._process.send(self._connection, "POST", f"/session{path}", body, kind))
        except StudentProcessError:
            self.close()  # its rows are gone with the process
            raise
