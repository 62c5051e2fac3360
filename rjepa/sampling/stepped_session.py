"""A session over a server that pauses after steps, forks and is biased: tokens are chosen here, among those that the
server finds most probable.

The server is asked what it would write next, greedily, with the most probable tokens at each place. A token is drawn
from them as a student's own session draws it, biases and rules included, and as long as that is the token that the
server went on from, its next proposal holds; from another token on it is asked again. What cannot be drawn is what the
server does not name: of twenty tokens the last has seldom a thousandth. States of steps are taken by reading what was
written with the student's own weights, once its steps are asked for.

How a server is asked, and answers, belongs to `rjepa.sampling.proposals`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.arrays import Float16, Int64
from rjepa.errors import InvalidInputError
from rjepa.sampling.proposals import Proposal
from rjepa.sampling.protocol import Capability
from rjepa.students.ahead import Sight
from rjepa.students.batches import read_batch
from rjepa.students.drawing import draw_tokens
from rjepa.students.events import RowEvents
from rjepa.students.loading import Student
from rjepa.students.rescoring import LOGITS_A_BATCH
from rjepa.students.row_rules import RowRules
from rjepa.students.sampled import (
    Bias,
    Condition,
    DecodingCounts,
    Edit,
    Event,
    Events,
    Pass,
    RowRequest,
    SampledChain,
    Tokens,
    TokenScore,
    Until,
)
from rjepa.students.session_rows import SessionRows
from rjepa.students.steering import Steering

_NEVER: Final = np.iinfo(np.int64).max
_UNREAD: Final = -1

Propose = Callable[[Sequence[tuple[RowRequest, int]]], Iterator[tuple[int, list[Proposal]] | None]]
"""Proposals for what comes after each request's prompt and prefix, at most so many, by its index and in any order; None
now and then meanwhile (`rjepa.sampling.stepped`)."""


class SteppedSession(SessionRows):
    """A `rjepa.sampling.protocol.DecodingSession` that can do all but edit states. For one thread at a time."""

    def __init__(self, student: Student, propose: Propose, close: Callable[[], None], capture: bool) -> None:
        """close: frees what `propose` keeps."""
        super().__init__(student, capture)
        self._propose, self._free_server = propose, close
        self._vocabulary = len(student.model.get_output_embeddings().weight)  # type: ignore[no-untyped-call]
        self._steering = Steering(self._vocabulary, student.hidden_size)
        self._rules = RowRules(student, self._vocabulary)
        self._row_events = RowEvents(student, self._tables, self._standings, self._rules)
        self._proposed: dict[int, list[Proposal]] = {}
        self._read_to: list[int] = []  # tokens of its chain whose states are known; `_UNREAD` before the prompt is
        self._counts = DecodingCounts()

    @property
    def counts(self) -> DecodingCounts:
        """Tokens that were drawn, tokens that were read here, and passes: here, and of the server, which makes one for
        each token that it proposes.
        """
        return self._counts

    def add(self, requests: Sequence[RowRequest]) -> list[int]:
        """As `rjepa.students.session.Session.add`."""
        self._require_open()
        rows, whole = self._begin(requests, sorted(self._free))
        for row, request in zip(rows, whole, strict=True):
            self._follow(row, request)
        return rows

    def fork(
        self, row: int, *, sample_index: int, keep_tokens: int | None = None, keep_steps: int | None = None
    ) -> int:
        """As `rjepa.students.session.Session.fork`; the server reads what is kept again, if it caches nothing."""
        self._require(row)
        request = self._fork_of(row, sample_index, keep_tokens, keep_steps)
        kept, given = len(request.prefix), len(self._requests[row].prefix)
        child = self._tables.fork(row, request, sorted(self._free))
        self._follow(child, request, (self._rules.scores(row) or ())[: kept - given])
        self._read_to[child] = min(self._read_to[row], kept)
        return child

    def drop(self, row: int) -> None:
        """As `rjepa.students.session.Session.drop`."""
        self._require(row)
        self._standings.dropped[row] = True
        self._proposed.pop(row, None)
        self._steering.forget(row)
        self._row_events.forget(row)
        self._rules.forget(row)

    def forget(self, rows: Sequence[int]) -> None:
        """As `rjepa.students.session.Session.forget`."""
        for row in rows:
            self.drop(row)
            self._rules.clear(row)
            self._free.add(row)

    def hold(self, row: int) -> None:
        """As `rjepa.students.session.Session.hold`."""
        self._require(row)
        self._standings.held[row] = True

    def go_on(self, row: int) -> None:
        """As `rjepa.students.session.Session.go_on`."""
        self._require(row)
        self._standings.held[row] = False

    def set_bias(self, row: int, bias: Bias | None) -> None:
        """As `rjepa.students.session.Session.set_bias`, over the tokens that the server names."""
        self._require(row)
        self._steering.set_bias(row, bias)

    def set_edit(self, row: int, edit: Edit | None) -> None:
        """Not offered but for None: the states are the server's."""
        if edit is not None:
            self._lacks(Capability.EDIT)

    def run(
        self, until: Condition = Until.CHAIN, *, tokens: bool = True, steps: bool = True, one_by_one: bool = True
    ) -> Events:
        """As `rjepa.students.session.Session.run`; a token of each row before the next `Pass`, and others without any
        while the server is waited for.
        """
        self._require_still()
        standings, by_step = self._standings, until is Until.STEP
        sight = Sight(tokens, steps or by_step, one_by_one, by_step)
        quota = until.count if isinstance(until, Tokens) else 0
        self._running, self._fresh = True, list(range(len(self._requests)))
        standings.paused[:] = False
        try:
            while not self._closed:
                standings.stop_at[self._fresh] = self._tables.drawn[self._fresh] + quota if quota else _NEVER
                self._fresh = []
                rows = self._live()
                if not len(rows):
                    return
                for _ in self._ask(rows):
                    yield Pass(0, 0)
                if self._closed:
                    return
                ready = [row for row in self._live().tolist() if self._proposed.get(row)]
                if ready:
                    yield from self._draw(np.array(ready, dtype=np.int64), sight)
        finally:
            self._running = False

    def latents(self, row: int) -> Float16:
        """As `rjepa.students.session.Session.latents`. What was not read yet is read."""
        self._check(row)
        self._read([row])
        return self._tables.latents(row, self._latest(row))

    def chains(self, rows: Sequence[int]) -> list[SampledChain]:
        """The chains of these rows; where states are captured, what was not read yet is read, all of them together."""
        for row in rows:
            self._check(row)
        self._read(rows)
        return self._chains(rows, self._rules)

    def close(self) -> None:
        """Ask for nothing more; chains can still be read."""
        self._closed = True
        self._proposed.clear()
        self._free_server()

    # A pass.

    def _live(self) -> Int64:
        """Rows that want another token."""
        rows = np.array([row for row in range(len(self._requests)) if row not in self._free], dtype=np.int64)
        return rows[self._standings.running(rows)]

    def _ask(self, rows: Int64) -> Iterator[None]:
        """Ask for proposals for those of these rows that have none; yields while the server is waited for."""
        lacking = [row for row in rows.tolist() if not self._proposed.get(row)]
        if not lacking:
            return
        standing = [(self._standing_request(row), self._room(row)) for row in lacking]
        for found in self._propose(standing):
            if found is None:
                yield
                continue
            index, proposals = found
            row = lacking[index]
            self._counts += DecodingCounts(passes=len(proposals))
            # A row that was dropped meanwhile, or is another now, wants none of it.
            if self._closed or row in self._free or self._standing_request(row) != standing[index][0]:
                continue
            self._proposed[row] = proposals

    def _standing_request(self, row: int) -> RowRequest:
        """A row's request as if it began with all that it has."""
        drawn = self._tables.ids[row, : self._tables.drawn[row]]
        return replace(self._requests[row], prefix=tuple(drawn.tolist()), max_new_tokens=None)

    def _room(self, row: int) -> int:
        """Tokens that a row may still have."""
        return int(min(self._tables.limits[row], self._standings.stop_at[row]) - self._tables.drawn[row])

    def _draw(self, rows: Int64, sight: Sight) -> list[Event]:
        """A token for each row, from its first proposal; what happens with it."""
        tables, index = self._tables, torch.from_numpy(rows)
        proposals = [self._proposed[row][0] for row in rows.tolist()]
        known, wanted = (torch.stack(both) for both in zip(*map(self._logits, proposals, rows.tolist()), strict=True))
        columns = torch.from_numpy(tables.next_columns(rows, np.zeros(len(rows), dtype=bool)))
        requests = [self._requests[row] for row in rows.tolist()]
        greedy = torch.tensor([request.is_greedy for request in requests])
        temperature = torch.tensor([[request.temperature or 1.0] for request in requests])
        every = np.ones(len(rows), dtype=bool)
        biased = self._steering.biased(rows, wanted, tables.ids, tables.drawn, every)
        biased = wanted if biased is None else biased
        if self._rules:
            shaped = self._rules.shaped(rows, known, biased, self._standings.tokens)
            biased = biased if shaped is None else shaped
        device = self._student.device
        noise = tables.noise_at(index.to(device), columns.to(device)).cpu()
        drawn, logprobs, certainty = draw_tokens(known, noise, greedy, temperature, biased)
        ids, at = drawn.numpy(), columns.numpy()
        tables.ids[rows, at] = ids
        tables.drawn[rows] += 1
        tables.put_scores(index.to(device), columns.to(device), logprobs.to(device), certainty.to(device))
        if self._rules:
            self._rules.read(rows, ids, known, every)
        events, _ = self._row_events.read(rows, at, every, 1, sight)
        for row, token, proposal in zip(rows.tolist(), ids.tolist(), proposals, strict=True):
            self._proposed[row] = self._proposed[row][1:] if token == proposal.own else []
        self._counts += DecodingCounts(generated=len(rows))
        return [*events, Pass(len(rows))]

    def _logits(self, proposal: Proposal, row: int) -> tuple[Float[Tensor, " vocab"], Float[Tensor, " vocab"]]:
        """A row's log-probabilities of all tokens, what the server does not name having equal shares of what is left,
        and those of tokens that can be drawn: that it names, or that the row's rules do.
        """
        ids, values = torch.from_numpy(proposal.ids), torch.from_numpy(proposal.logprobs)
        left = max(1.0 - float(values.double().exp().sum()), 1e-9) / max(1, self._vocabulary - len(ids))
        known = torch.full((self._vocabulary,), float(np.log(left)))
        known[ids] = values
        wanted = torch.full_like(known, -torch.inf)
        wanted[ids] = values
        asked = torch.tensor([token for token, _ in self._requests[row].rules.logit_bias], dtype=torch.long)
        wanted[asked] = known[asked]
        return known, wanted

    # States.

    @torch.inference_mode()
    def _read(self, rows: Sequence[int]) -> None:
        """Read what these rows have, prompt included, for states and the student's own log-probabilities."""
        tables, current = self._tables, list(self._requests)
        unread = [row for row in dict.fromkeys(rows) if tables.captured[row] and self._read_to[row] < tables.drawn[row]]
        for row in unread:
            current[row] = self._standing_request(row)
        while unread:
            longest = max(len(current[row].prefix) for row in unread) + 1
            count = max(1, LOGITS_A_BATCH // (longest * self._vocabulary))
            part, unread = unread[:count], unread[count:]
            _, read = read_batch(self._student, self._tap, tables, current, part)
            self._counts += DecodingCounts(read=read, passes=1)
            for row in part:
                self._read_to[row] = int(tables.drawn[row])

    def _follow(self, row: int, request: RowRequest, scores: Sequence[TokenScore] = ()) -> None:
        if row == len(self._read_to):
            self._read_to.append(_UNREAD)
        self._read_to[row] = _UNREAD
        self._proposed.pop(row, None)
        self._enter(row, request, self._rules, scores, kept=False)

    def _lacks(self, capability: Capability) -> NoReturn:
        record = self._student.record
        raise InvalidInputError(
            f"the endpoint {record.endpoint} of {record.llm_tag} cannot do {capability.value}",
            cure="use the student's own weights: a record without endpoint",
        )
