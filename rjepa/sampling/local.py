"""Whoever samples a student's chains: the model in this process, the server behind the student's endpoint, or the
student's process in its own environment. Rollouts and the engine ask a `Sampler` and do not care which.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from rjepa.chains import parse_chain
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.progress import Progress, silent
from rjepa.students.catalog import StudentRecord
from rjepa.students.generation import sample_indices, stream_chain
from rjepa.students.prompting import count_prompt
from rjepa.students.loading import Student, load_student
from rjepa.students.resolving import ResolvedStudent
from rjepa.students.sampled import SampledChain


class Sampler(Protocol):
    """Chains of one student. `context_length` is of prompt and chain together, in tokens; `device` is where the student
    is loaded, None where that is another process, `device_reason` why there.
    """

    record: StudentRecord
    fingerprint: str
    context_length: int
    device: torch.device | None
    device_reason: str

    def count_prompt(self, statement: str) -> int:
        """Tokens of a statement's prompt."""

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

    def stream(
        self,
        statement: str,
        *,
        seed: int,
        sample_index: int = 0,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
    ) -> Iterator[str | SampledChain]:
        """One chain's text in pieces, then the chain itself, without latents and log-probabilities."""


class WholeChainSampler(Sampler, Protocol):
    """Whoever hands a chain over when it is whole: its stream is one piece."""

    def stream(self, statement: str, *, sample_index: int = 0, **how: Any) -> Iterator[str | SampledChain]:
        """One chain: its text, in one piece, then the chain itself. Arguments as in `Sampler.stream`."""
        chain = self.sample([statement], [sample_index], capture=False, **how)[0][0]
        yield chain.text
        yield chain


class LocalSampler:
    """The student's own model."""

    def __init__(self, student: Student) -> None:
        self.record, self.fingerprint, self.context_length = student.record, student.fingerprint, student.context_length
        self.device: torch.device | None = student.device
        self.device_reason = student.device_reason
        self._student = student

    def count_prompt(self, statement: str) -> int:
        return count_prompt(self._student, statement)

    def sample(self, statements: Sequence[str], samples: Sequence[int], **how: Any) -> list[list[SampledChain]]:
        return sample_indices(self._student, statements, samples, **how)

    def stream(self, statement: str, *, max_new_tokens: int | None = None, **how: Any) -> Iterator[str | SampledChain]:
        pieces = []
        for piece in stream_chain(self._student, statement, max_new_tokens=max_new_tokens, **how):
            pieces.append(piece)
            yield piece
        text = "".join(pieces)
        ids = list(self._student.tokenizer(text, add_special_tokens=False)["input_ids"])
        limit = self.record.sampling.max_new_tokens if max_new_tokens is None else max_new_tokens
        mode = self.record.segmentation
        ended = len(ids) < limit or (text.endswith("\n") and parse_chain(text, mode).final_answer is not None)
        yield SampledChain(text, ids, [], 0.0, ended, None, segmentation=mode)


def make_sampler(student: Student) -> Sampler:
    """Who writes the chains of a loaded student."""
    if student.record.endpoint is None:
        return LocalSampler(student)
    from rjepa.sampling.endpoint import EndpointSampler

    return EndpointSampler(student)


def open_sampler(home: Home, resolved: ResolvedStudent, device: str = "auto", address: str | None = None) -> Sampler:
    """The student of a record, ready: loaded here, or in a process of its own environment, which is started unless one
    serves it at `address` already.

    Raises:
        InvalidInputError: it cannot be loaded, or the process serves other weights than these.
        RjepaError: the environment or its process cannot be used.
    """
    if resolved.record.environment is None and address is None:
        return make_sampler(load_student(resolved, device))
    from rjepa.sampling.process import RemoteSampler

    remote = RemoteSampler(home, resolved.record, address)
    if remote.fingerprint != resolved.fingerprint:
        remote.close()
        raise InvalidInputError(
            f"the process of {resolved.record.llm_tag} serves {remote.fingerprint[:12]}, its files are "
            f"{resolved.fingerprint[:12]}",
            cure="start that process again: the files have changed since",
        )
    return remote
