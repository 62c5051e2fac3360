"""What a writer of a student's chains offers: a source, its sessions, and which of their powers it has.

Sources are the student's own model here (`local`), its process in another environment (`process`), and the server
behind its endpoint (`endpoint`; by steps, `stepped`). They import this module and `wire`, never each other, but for the
endpoint, which opens its other form; `opening` alone knows them all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from types import TracebackType
from typing import Final, Protocol, Self, runtime_checkable

import torch

from rjepa.arrays import Float16
from rjepa.errors import InvalidInputError
from rjepa.progress import Progress, silent
from rjepa.sampling.reading import TextReader
from rjepa.students.catalog import StudentRecord
from rjepa.students.prompting import EncodedPrompt
from rjepa.students.prompts import Message, Tools
from rjepa.students.rules import PLAIN, TokenRules
from rjepa.students.sampled import (
    Bias,
    ChainEnd,
    Condition,
    DecodingCounts,
    Edit,
    Events,
    RowRequest,
    SampledChain,
    Token,
    Until,
)


class Capability(StrEnum):
    """One power of a source."""

    CHAINS = "chains"
    """it writes whole chains, many at once"""
    STREAM = "stream"
    """it hands tokens over as they are drawn"""
    STEPS = "steps"
    """its rows pause at the end of a step, or after some tokens, and go on"""
    LOGPROBS = "logprobs"
    """it gives log-probabilities and self-certainty of every token"""
    STATES = "states"
    """it gives latents"""
    LIVE_STATES = "live_states"
    """it gives latents of steps before the chain is over"""
    PREFIX = "prefix"
    """it goes on from tokens that it is given"""
    FORK = "fork"
    """its rows fork, and read nothing again where the model's attention forgets nothing"""
    EDIT = "edit"
    """it lets hidden states be changed"""
    BIAS = "bias"
    """it lets logits be biased"""
    CALLBACKS = "callbacks"
    """edits and biases may be functions, asked at every token"""
    RULES = "rules"
    """its rows have rules: top_p, penalties, biases of single tokens, strings to stop at"""
    ALTERNATIVES = "alternatives"
    """it gives the most probable tokens beside each that was drawn"""
    CANCEL = "cancel"
    """it stops between two tokens"""


@runtime_checkable
class DecodingSession(Protocol):
    """Many rows at once. What each method does, takes and refuses is documented at `rjepa.students.session.Session`.

    A source whose capabilities lack what a method wants raises InvalidInputError there.
    """

    @property
    def counts(self) -> DecodingCounts: ...

    def add(self, requests: Sequence[RowRequest]) -> list[int]: ...

    def fork(
        self, row: int, *, sample_index: int, keep_tokens: int | None = None, keep_steps: int | None = None
    ) -> int: ...

    def drop(self, row: int) -> None: ...

    def forget(self, rows: Sequence[int]) -> None: ...

    def hold(self, row: int) -> None: ...

    def go_on(self, row: int) -> None: ...

    def set_bias(self, row: int, bias: Bias | None) -> None: ...

    def set_edit(self, row: int, edit: Edit | None) -> None: ...

    def run(
        self, until: Condition = Until.CHAIN, *, tokens: bool = True, steps: bool = True, one_by_one: bool = True
    ) -> Events: ...

    def is_over(self, row: int) -> bool: ...

    def tokens(self, row: int) -> list[int]: ...

    def latents(self, row: int) -> Float16: ...

    def chain(self, row: int) -> SampledChain: ...

    def chains(self, rows: Sequence[int]) -> list[SampledChain]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


@runtime_checkable
class ChainSource(Protocol):
    """A writer of the chains of one student.

    `context_length` is of prompt and chain together, in tokens; `device` is where the student is loaded, None where
    that is another process, `device_reason` why there; `reader` reads texts that somebody else wrote.
    """

    record: StudentRecord
    fingerprint: str
    context_length: int
    device: torch.device | None
    device_reason: str
    capabilities: frozenset[Capability]
    reader: TextReader

    def by_steps(self) -> "ChainSource":
        """The same student as a source that can do more, and costs more, where there is one; else itself."""

    def count_prompt(self, statement: str) -> int:
        """Tokens of a statement's prompt."""

    def encode_conversation(self, messages: Sequence[Message], tools: Tools = ()) -> EncodedPrompt:
        """Encode a conversation as the student's prompt, tools included; its `ignored` names what is left out."""

    def session(self, *, capture: bool = True, keep_finished: bool = False) -> DecodingSession:
        """A session. capture: with latents. keep_finished: forks of rows that are over read nothing again."""

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
        """As `rjepa.students.generation.sample_indices`, cut into batches as the student's record says.

        What `progress` raises ends the sampling: between two tokens where the source can `CANCEL`.
        """

    def stream(
        self,
        statement: str,
        *,
        seed: int,
        sample_index: int = 0,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
    ) -> Iterator[str | SampledChain]:
        """One chain's text in pieces, then the chain itself, without latents. Closing the iterator stops it."""

    def close(self) -> None:
        """End what the source keeps running for itself."""


def stream_row(session: DecodingSession, row: int) -> Iterator[str | SampledChain]:
    """Run a session and yield one row's text in pieces, then its chain. Closing the iterator stops the run."""
    for event in session.run(steps=False):
        if isinstance(event, Token | ChainEnd) and event.row == row and event.text:
            yield event.text
    yield session.chain(row)


_GIVEN_BY: Final = {
    Capability.CALLBACKS: "the student's own weights in this process, or an endpoint: a record without environment",
    Capability.BIAS: "the student's own weights, or an endpoint",
    Capability.FORK: "the student's own weights, or an endpoint",
    Capability.CHAINS: "any source",
    Capability.STREAM: "the student's own weights, or an endpoint that streams",
    Capability.PREFIX: "the student's own weights, or an endpoint with /v1/completions",
    Capability.STATES: "the student's own weights",
    Capability.LOGPROBS: "the student's own weights",
    Capability.RULES: "the student's own weights, or an endpoint",
    Capability.ALTERNATIVES: "the student's own weights, or an endpoint",
    Capability.CANCEL: "the student's own weights, or an endpoint that streams",
}
_BY_WEIGHTS: Final = "the student's own weights, here or in its own environment: a record without endpoint"


def needs_of(rules: TokenRules) -> frozenset[Capability]:
    """What a row with these rules wants of its source."""
    needed = frozenset() if rules.top_logprobs is None else frozenset({Capability.ALTERNATIVES})
    return needed if replace(rules, top_logprobs=None) == PLAIN else needed | {Capability.RULES}


def source_for(source: ChainSource, needs: frozenset[Capability]) -> ChainSource:
    """Who writes for a mode with these needs: the source as it is, or by steps where it cannot do all of it so."""
    return source if needs <= source.capabilities else source.by_steps()


def require(source: ChainSource, capability: Capability, mode: str) -> None:
    """Refuse a mode that wants what a source cannot do.

    Raises:
        InvalidInputError: it cannot; the cure names what could.
    """
    if capability in source.capabilities:
        return
    raise InvalidInputError(
        f"mode {mode} wants {capability.value} of whoever writes the chains of {source.record.llm_tag}, which offers "
        f"{', '.join(sorted(source.capabilities))}",
        cure=f"{_GIVEN_BY.get(capability, _BY_WEIGHTS)} would do; or choose another mode",
    )
