"""A decoding session over a loaded student: many rows at once, forked, edited, dropped, run step by step.

One loop: draw a token for each row, feed them all, see which rows are at an end. What a row reads of its neighbours is
nothing. One turn of the loop is `rjepa.students.passes`; caches live in `decoding` and `row_cache`, what is fed
together in `batches`, what is kept of rows in `recording`, where they stand in `standing`, what new tokens bring in
`events`. Who else offers a session, and what that one lacks, belongs to `rjepa.sampling`.

A row that waits for the others (its step is over, theirs are not) goes on being fed junk for a while: taking it out of
the batch copies the caches of all. Junk is not recorded, and is taken back before the row goes on.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from rjepa.arrays import Float16
from rjepa.students.ahead import Sight
from rjepa.students.batches import Batch, find_cached, join_batches, read_batch, rebuild_batch
from rjepa.students.loading import Student
from rjepa.students.passes import Passes
from rjepa.students.sampled import (
    Bias,
    Condition,
    DecodingCounts,
    Edit,
    Events,
    RowRequest,
    SampledChain,
    Tokens,
    TokenScore,
    Until,
)
from rjepa.students.session_rows import SessionRows

_NEVER: Final = np.iinfo(np.int64).max
"""More tokens than any row draws."""


class Session(SessionRows):
    """A `rjepa.sampling.protocol.DecodingSession` over a student that is loaded here.

    Rows are numbers, in the order in which they came. For one thread at a time. Close it, or use it in a `with` block.
    """

    def __init__(self, student: Student, *, capture: bool = True, keep_finished: bool = False) -> None:
        """capture: keep hidden states, so that there are latents. keep_finished: hold the caches of rows whose chain is
        over until they are dropped, so that forks of them need not read their tokens again.
        """
        super().__init__(student, capture)
        self._keep_finished = keep_finished
        self._batches: list[Batch] = []
        self._unread: list[int] = []
        self._forks: dict[int, tuple[int, int]] = {}  # child: its parent, and how many tokens of it stay in the cache
        self._passes = Passes(student, self._tables, self._standings, self._requests, self._tap)

    @property
    def counts(self) -> DecodingCounts:
        """What was generated and read so far."""
        return DecodingCounts(self._passes.generated, self._passes.read, self._passes.passes)

    @torch.inference_mode()
    def add(self, requests: Sequence[RowRequest]) -> list[int]:
        """New rows. Their prompts are read, once for rows of the same one, when the session next runs; a session that
        runs takes them in between two tokens.

        Raises:
            InvalidInputError: a prompt, with what the chain begins with, that leaves no room in the context; a token
                that the student does not have.
        """
        self._require_open()
        rows, whole = self._begin(requests, self._free_rows())
        for row, request in zip(rows, whole, strict=True):
            self._follow(row, request)
        self._unread += rows
        self._passes.changed = True
        return rows

    @torch.inference_mode()
    def fork(
        self, row: int, *, sample_index: int, keep_tokens: int | None = None, keep_steps: int | None = None
    ) -> int:
        """A new row that begins with the first tokens, or the first steps, of another and goes on by itself; without
        either, with all that the other has.

        It has noise of its own (`rjepa.students.noise`) and its parent's prompt, limit, temperature and rules, but
        neither its bias nor its edit. `sample_index` tells forks of one place apart. Caches are kept: at most the last
        kept token is read again, but for rows that are over and were not held, and models whose attention forgets.

        Raises:
            ValueError: more than the row has, or both of tokens and steps.
        """
        self._require(row)
        request = self._fork_of(row, sample_index, keep_tokens, keep_steps)
        kept, given = len(request.prefix), len(self._requests[row].prefix)
        child = self._tables.fork(row, request, self._free_rows())
        self._follow(child, request, (self._passes.rules.scores(row) or ())[: kept - given])
        origin = find_cached(self._batches, self._forks, self._standings, self._tables, row, kept)
        if origin is None:
            self._unread.append(child)
        else:
            self._forks[child] = origin
        self._passes.changed = True
        return child

    def drop(self, row: int) -> None:
        """Stop a row and let its cache go. Its chain so far can still be read. The others do not notice."""
        self._require(row)
        self._standings.dropped[row] = True
        self._passes.steering.forget(row)
        self._passes.events.forget(row)
        self._passes.rules.forget(row)
        self._passes.changed = True

    def forget(self, rows: Sequence[int]) -> None:
        """Drop rows of which nothing is asked any more, and give their numbers to new ones, so that a session that
        never ends holds only the rows in use. Call it between two passes, when no event of these rows can come.
        """
        for row in rows:
            self.drop(row)
            self._passes.rules.clear(row)
            self._free.add(row)

    def hold(self, row: int) -> None:
        """Let a row wait, in this run and the next, until `go_on`."""
        self._require(row)
        self._standings.held[row] = True
        self._passes.changed = True

    def go_on(self, row: int) -> None:
        """End what `hold` began."""
        self._require(row)
        self._passes.changed |= bool(self._standings.held[row])
        self._standings.held[row] = False

    def set_bias(self, row: int, bias: Bias | None) -> None:
        """Add this to the row's logits from its next token on; None takes it away.

        Raises:
            ValueError: a tensor that is not one number for each id of the vocabulary.
        """
        self._require(row)
        self._passes.steering.set_bias(row, bias)

    def set_edit(self, row: int, edit: Edit | None) -> None:
        """Change the states of the tokens that the row is fed from now on; None takes it away.

        Raises:
            ValueError: a tensor that is not one finite number for each dimension of a state.
        """
        self._require(row)
        self._passes.steering.set_edit(row, edit)

    @torch.inference_mode()
    def run(
        self, until: Condition = Until.CHAIN, *, tokens: bool = True, steps: bool = True, one_by_one: bool = True
    ) -> Events:
        """Run all rows that are not over, each until the condition holds, and yield what happens.

        Between two events rows may be added, forked, dropped, biased and edited; new ones run too. Closing the iterator
        stops between two tokens, and another run goes on from there.

        Args:
            until: the end of the step, of the chain, or a number of tokens.
            tokens: yield a `Token` for each.
            steps: yield a `StepEnd` for each; `Until.STEP` does anyway.
            one_by_one: with `tokens`, one of each row before the next `Pass`; else there may be a few.
        """
        self._require_still()
        standings, by_step = self._standings, until is Until.STEP
        sight = Sight(tokens, steps or by_step, one_by_one, by_step)
        self._running = self._passes.changed = True
        self._fresh = list(range(len(self._requests)))
        standings.paused[:] = False
        quota = until.count if isinstance(until, Tokens) else 0
        try:
            while not self._closed:
                if self._passes.changed:
                    standings.stop_at[self._fresh] = self._tables.drawn[self._fresh] + quota if quota else _NEVER
                    self._fresh = []
                    self._passes.changed = False
                    self._arrange()
                batch = next((one for one in self._batches if standings.running(one.places).any()), None)
                if batch is None:
                    return
                if batch is not self._batches[-1]:  # each in its turn
                    self._batches = [*(one for one in self._batches if one is not batch), batch]
                yield from self._passes.advance(batch, sight)
        finally:
            self._running = False

    @torch.inference_mode()
    def latents(self, row: int) -> Float16:
        """float16 [1 + segments, width]: the latents of the prompt and of the row's finished steps; of all its chain
        where that is over. Wants a session that captures. Of free text, steps are known after a run with `steps`.
        """
        self._check(row)
        return self._tables.latents(row, self._latest(row))

    @torch.inference_mode()
    def chains(self, rows: Sequence[int]) -> list[SampledChain]:
        """The chains of these rows; cheaper than one by one."""
        return self._chains(rows, self._passes.rules)

    def close(self) -> None:
        """Let all caches go. A run that is under way ends between two tokens; chains can still be read."""
        self._closed = True
        self._batches, self._unread = [], []
        self._forks.clear()

    # What changes between two passes of a run.

    def _arrange(self) -> None:
        """Take in what changed: rows that begin, forks, rows that go on after a pause, rows that were dropped."""
        standings, tables, requests = self._standings, self._tables, self._requests
        batches = [
            made for batch in self._batches for made in rebuild_batch(batch, standings, tables, requests, self._forks)
        ]
        self._forks.clear()
        unread = [row for row in self._unread if not standings.dropped[row]]
        self._unread = []
        if unread:
            batch, read = read_batch(self._student, self._tap, tables, requests, unread)
            standings.fed[unread] = tables.drawn[unread]
            self._passes.passes += 1
            self._passes.read += read
            batches.append(batch)
        together = [one for one in batches if one.rows.can_cut and standings.running(one.places).any()]
        if len(together) > 1:
            batches = [one for one in batches if one not in together] + [join_batches(together, standings, requests)]
        self._batches = batches

    def _follow(self, row: int, request: RowRequest, scores: Sequence[TokenScore] = ()) -> None:
        """Enter a new row everywhere: its request, its rules, its standing."""
        kept = self._keep_finished or request.keep_finished
        self._enter(row, request, self._passes.rules, scores, kept=kept)

    # Which rows there are, and what may be asked of them.

    def _free_rows(self) -> list[int]:
        """Rows that are gone and lie in no batch."""
        busy = {int(row) for batch in self._batches for row in batch.places} if self._free else set()
        return sorted(self._free - busy - {*self._unread, *self._forks, *(row for row, _ in self._forks.values())})
