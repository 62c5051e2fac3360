"""The student's own model in this process as a source of chains. Its decoding session is `rjepa.students.session`."""

from collections.abc import Iterator, Sequence

import torch

from rjepa.progress import Progress, silent
from rjepa.sampling.protocol import Capability, ChainSource, DecodingSession, stream_row
from rjepa.sampling.reading import StudentReader, TextReader
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.prompting import EncodedPrompt, count_prompt, encode_conversation
from rjepa.students.prompts import Message, Tools
from rjepa.students.sampled import RowRequest, SampledChain
from rjepa.students.session import Session


class LocalSource:
    """A `rjepa.sampling.protocol.ChainSource` that can do everything. Where the model's attention forgets, a fork that
    takes tokens back reads what it keeps again, and counts it as read.
    """

    def __init__(self, student: Student) -> None:
        self.record, self.fingerprint, self.context_length = student.record, student.fingerprint, student.context_length
        self.device: torch.device | None = student.device
        self.device_reason = student.device_reason
        self.capabilities = frozenset(Capability)
        self.reader: TextReader = StudentReader(student)
        self._student = student

    @property
    def student(self) -> Student:
        """The student whose model this is."""
        return self._student

    def by_steps(self) -> ChainSource:
        """Itself."""
        return self

    def count_prompt(self, statement: str) -> int:
        """Tokens of a statement's prompt."""
        return count_prompt(self._student, statement)

    def encode_conversation(self, messages: Sequence[Message], tools: Tools = ()) -> EncodedPrompt:
        """The conversation through the student's chat template, where it has one."""
        return encode_conversation(self._student, messages, tools)

    def session(self, *, capture: bool = True, keep_finished: bool = False) -> DecodingSession:
        """As `rjepa.sampling.protocol.ChainSource.session`."""
        return Session(self._student, capture=capture, keep_finished=keep_finished)

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
        """As `rjepa.students.generation.sample_indices`."""
        return sample_indices(
            self._student,
            statements,
            samples,
            seed=seed,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            capture=capture,
            progress=progress,
        )

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
        with Session(self._student, capture=False) as session:
            (row,) = session.add([RowRequest(statement, seed, sample_index, temperature, max_new_tokens)])
            yield from stream_row(session, row)

    def close(self) -> None:
        """Nothing runs."""
