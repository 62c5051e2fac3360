"""A session of whole chains that a server writes: rows are asked for together, and none can be touched in between.

What is asked of the server, and how, belongs to `rjepa.sampling.endpoint`. Tokens, log-probabilities and latents of
what it wrote are taken here, with the student's own tokenizer and weights.
"""

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from rjepa.arrays import Float16
from rjepa.errors import InvalidInputError
from rjepa.sampling.completions import ServedChain
from rjepa.sampling.protocol import Capability
from rjepa.students.loading import Student
from rjepa.students.prompting import prompts_of, require_room
from rjepa.students.rereading import with_latents
from rjepa.students.rescoring import score_tokens_of
from rjepa.students.sampled import (
    Bias,
    ChainEnd,
    Condition,
    DecodingCounts,
    Edit,
    Event,
    Events,
    Pass,
    RowRequest,
    SampledChain,
    Token,
    TokenScore,
    Until,
)

AskAll = Callable[
    [Sequence[Sequence[RowRequest]], Sequence[int], bool], Iterator[tuple[int, list[ServedChain] | str] | None]
]
"""`rjepa.sampling.endpoint.EndpointSource.ask_all`."""


UNKNOWN: Final = -1
"""The id of a token of which a server told its text alone."""


@dataclass(frozen=True)
class _Row:
    """A row that is wanted, its prompt's tokens, and what the server wrote; `ids` are the whole chain's."""

    request: RowRequest
    prompt: tuple[int, ...]
    limit: int
    written: ServedChain | None = None
    ids: tuple[int, ...] = ()
    scores: tuple[TokenScore, ...] | None = None
    chain: SampledChain | None = None
    dropped: bool = False


class EndpointSession:
    """A `rjepa.sampling.protocol.DecodingSession` without what the OpenAI protocol lacks."""

    def __init__(self, student: Student, ask_all: AskAll, capabilities: frozenset[Capability], capture: bool) -> None:
        self._student, self._ask_all, self._capabilities, self._capture = student, ask_all, capabilities, capture
        self._rows: list[_Row] = []
        self._counts = DecodingCounts()
        self._closed = self._running = False

    def __enter__(self) -> "EndpointSession":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def counts(self) -> DecodingCounts:
        """Tokens that the server wrote, and that it and the student here read. The number of its passes is unknown."""
        return self._counts

    def add(self, requests: Sequence[RowRequest]) -> list[int]:
        """As `rjepa.students.session.Session.add`."""
        self._require_open()
        student, sampling = self._student, self._student.record.sampling
        requests = _by_statement(student, requests)
        new = []
        for request, prompt in zip(requests, prompts_of(student, requests), strict=True):
            require_room(student, request.statement, len(prompt), len(request.prefix))
            if self._capture and request.capture and request.prompt_ids is not None:
                raise InvalidInputError(
                    "latents of a chain that an endpoint wrote want the student's own prompt",
                    cure="leave prompt_ids out, or open the session without capture",
                )
            wanted = sampling.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
            limit = min(wanted, student.context_length - len(prompt))
            temperature = sampling.temperature if request.temperature is None else request.temperature
            new.append(_Row(replace(request, temperature=temperature), prompt, limit))
        self._rows += new
        return list(range(len(self._rows) - len(new), len(self._rows)))

    def fork(
        self, row: int, *, sample_index: int, keep_tokens: int | None = None, keep_steps: int | None = None
    ) -> int:
        """Not offered: add a row with a prefix instead."""
        self._lacks(Capability.FORK, "add a row whose prefix is what is to be kept")

    def set_bias(self, row: int, bias: Bias | None) -> None:
        """Not offered."""
        self._lacks(Capability.BIAS)

    def set_edit(self, row: int, edit: Edit | None) -> None:
        """Not offered."""
        self._lacks(Capability.EDIT)

    def drop(self, row: int) -> None:
        """A row that was not asked for yet is not asked for."""
        self._rows[row] = replace(self._row(row), dropped=True)

    def forget(self, rows: Sequence[int]) -> None:
        """Rows of which nothing is asked any more; a session ends with its question, and frees them all."""
        for row in rows:
            self.drop(row)

    def hold(self, row: int) -> None:
        """Not offered."""
        self._lacks(Capability.STEPS)

    def go_on(self, row: int) -> None:
        """Not offered."""
        self._lacks(Capability.STEPS)

    def run(
        self, until: Condition = Until.CHAIN, *, tokens: bool = True, steps: bool = True, one_by_one: bool = True
    ) -> Events:
        """Ask for the chains of all rows, and yield those that are there; a `Pass` now and then in between. Closing the
        iterator aborts the requests. There is no `StepEnd`.

        With `tokens`, a row that has no others of its question is streamed: its tokens are `UNKNOWN`, the server's
        pieces of text. A row that wants scores comes when it is whole.

        Raises:
            InvalidInputError: rows are to stop before their chains end.
        """
        self._require_open()
        if until is not Until.CHAIN:
            self._lacks(Capability.STEPS)
        if self._running:
            raise ValueError("expected a session that does not run; close the iterator of the run before")
        groups: dict[RowRequest, list[int]] = {}
        for number, wanted in enumerate(self._rows):
            if wanted.written is None and not wanted.dropped:
                temperature = 0.0 if wanted.request.is_greedy else wanted.request.temperature
                alike = replace(wanted.request, temperature=temperature, sample_index=0, branches=())
                groups.setdefault(alike, []).append(number)
        members = list(groups.values())
        requests = [[self._rows[row].request for row in group] for group in members]
        rooms = [self._rows[group[0]].limit - len(self._rows[group[0]].request.prefix) for group in members]
        streams = tokens and all(one.request.rules.top_logprobs is None for one in self._rows)
        answers = self._ask_all(requests, rooms, streams)
        shown: set[int] = set()
        self._running = True
        try:
            for answer in answers if members else ():
                if answer is None:
                    yield Pass(0)
                    continue
                number, chains = answer
                if isinstance(chains, str):
                    shown.add(number)
                    yield Token(members[number][0], UNKNOWN, chains)
                    yield Pass(0)
                    continue
                for row, written in zip(members[number], chains, strict=True):
                    self._rows[row] = self._tokenised(self._rows[row], written)
                    yield from self._events(row, tokens and number not in shown)
                yield Pass(self._count(members[number]))
                if self._closed:
                    return
        finally:
            self._running = False
            answers.close()  # type: ignore[attr-defined]

    def is_over(self, row: int) -> bool:
        """Whether the row's chain is there."""
        return self._row(row).written is not None

    def tokens(self, row: int) -> list[int]:
        """The tokens of the row's chain; what it begins with where it was not written yet."""
        found = self._row(row)
        return list(found.ids if found.written is not None else found.request.prefix)

    def latents(self, row: int) -> Float16:
        """float16 [segments, width] of the row's chain, the prompt first.

        Raises:
            InvalidInputError: the chain is not there yet: a server gives no states.
        """
        if not self.is_over(row):
            self._lacks(Capability.LIVE_STATES)
        latents = self.chain(row).latents
        if latents is None:
            raise ValueError("expected a session that captures")
        return latents

    def chain(self, row: int) -> SampledChain:
        """The row's chain."""
        return self.chains([row])[0]

    def chains(self, rows: Sequence[int]) -> list[SampledChain]:
        """The chains of these rows. Latents are taken when they are first asked for."""
        missing = [row for row in dict.fromkeys(rows) if self._row(row).chain is None]
        captured = [row for row in missing if self._capture and self._rows[row].request.capture]
        found = {row: self._bare(self._rows[row]) for row in missing if row not in captured}
        found |= zip(captured, self._captured(captured) if captured else [], strict=True)
        for row, chain in found.items():
            if self._rows[row].written is not None:
                self._rows[row] = replace(self._rows[row], chain=chain)
        return [found.get(row) or self._known(row) for row in rows]

    def close(self) -> None:
        """No more is asked for."""
        self._closed = True

    def _known(self, row: int) -> SampledChain:
        chain = self._rows[row].chain
        assert chain is not None
        return chain

    def _events(self, row: int, tokens: bool) -> Iterator[Event]:
        written, ids = self._rows[row].written, self._rows[row].ids
        assert written is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        if tokens:
            new = ids[len(self._rows[row].request.prefix) :]
            scores = self._rows[row].scores
            for place, token in enumerate(new):
                told = scores[place : place + 1] if scores is not None else ()
                yield Token(row, token, decoder.decode(self._student.pieces.pieces[token]), told)
        yield ChainEnd(row, written.finished, decoder.decode(b"", final=True))

    def _count(self, rows: Sequence[int]) -> int:
        generated = sum(len(self._rows[row].ids) - len(self._rows[row].request.prefix) for row in rows)
        read = len(self._rows[rows[0]].prompt) + len(self._rows[rows[0]].request.prefix)
        self._counts += DecodingCounts(generated=generated, read=read)
        return generated

    def _tokenised(self, row: _Row, written: ServedChain) -> _Row:
        """A row with its token ids; its end is cut where it is longer here than the server counted."""
        prefix = row.request.prefix
        room = kept = self._student.context_length - len(row.prompt) - len(prefix)
        text, ids = written.text, self._ids(written.text)
        while len(ids) > room:
            text, kept = self._student.pieces.text(ids[:kept]), kept - 1
            ids = self._ids(text)
        if text != written.text:
            written = ServedChain(text, False, None)
        return replace(row, written=written, ids=(*prefix, *ids), scores=self._scored(row, ids))

    def _scored(self, row: _Row, ids: Sequence[int]) -> tuple[TokenScore, ...] | None:
        """The scores of tokens that a server wrote, where they are wanted: read here, as its own name no ids."""
        top = row.request.rules.top_logprobs
        if top is None:
            return None
        before = (*row.prompt, *row.request.prefix)
        self._counts += DecodingCounts(read=len(before) + len(ids))
        return tuple(score_tokens_of(self._student, [before], [ids], top)[0])

    def _ids(self, text: str) -> list[int]:
        return list(self._student.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _bare(self, row: _Row) -> SampledChain:
        """Without latents, and with the log-probabilities that the server gave."""
        written, prefix = row.written or ServedChain("", False, None), row.request.prefix
        return SampledChain(
            text=self._student.pieces.text(prefix) + written.text,
            token_ids=list(row.ids or prefix),
            token_logprobs=written.logprobs or [] if not prefix else [],
            self_certainty=0.0,
            finished=written.finished,
            latents=None,
            segmentation=self._student.record.segmentation,
            scores=row.scores,
        )

    def _captured(self, rows: Sequence[int]) -> list[SampledChain]:
        bare = [self._bare(self._rows[row]) for row in rows]
        prompts = [self._rows[row].prompt for row in rows]
        whole = with_latents(self._student, [self._rows[row].request.statement for row in rows], bare)
        read = sum(len(prompt) + len(chain.token_ids) for prompt, chain in zip(prompts, bare, strict=True))
        self._counts += DecodingCounts(read=read)
        return whole

    def _row(self, row: int) -> _Row:
        if not 0 <= row < len(self._rows):
            raise ValueError(f"expected a row of this session, 0 to {len(self._rows) - 1}; got {row}")
        return self._rows[row]

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("expected an open session")

    def _lacks(
        self, capability: Capability, cure: str = "use the student's own weights: a record without endpoint"
    ) -> NoReturn:
        record = self._student.record
        raise InvalidInputError(
            f"the endpoint {record.endpoint} of {record.llm_tag} cannot do {capability.value}",
            cure=cure,
        )


def _by_statement(student: Student, requests: Sequence[RowRequest]) -> list[RowRequest]:
    """The requests; those whose prompt is the student's own of their statement, as of a conversation of which a server
    is told the last message alone, without it.
    """
    named = [index for index, request in enumerate(requests) if request.prompt_ids is not None]
    own = prompts_of(student, [replace(requests[index], prompt_ids=None) for index in named])
    bare = {index for index, prompt in zip(named, own, strict=True) if prompt == requests[index].prompt_ids}
    return [replace(one, prompt_ids=None) if index in bare else one for index, one in enumerate(requests)]
