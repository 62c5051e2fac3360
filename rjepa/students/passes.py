"""One pass over a batch of a session's rows: draw a token for each, or a few, see what they end, feed them.

Which rows there are, and in which batches, is `rjepa.students.session`; how many tokens are drawn together,
`rjepa.students.ahead`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from rjepa.arrays import Bools
from rjepa.students.ahead import Sight, most_and_least, tokens_ahead
from rjepa.students.batches import NOTHING, Batch, wants_parting, worth_keeping
from rjepa.students.drawing import draw_tokens
from rjepa.students.events import RowEvents
from rjepa.students.guides import MOST_GUIDED
from rjepa.students.loading import Student
from rjepa.students.recording import RowTables
from rjepa.students.row_rules import RowRules
from rjepa.students.sampled import Event, Pass, RowRequest
from rjepa.students.standing import RowStandings
from rjepa.students.steering import Steering
from rjepa.students.tap import LayerTap


class Passes:
    """The passes of a session. `changed`: the batches are to be arranged anew before the next. `generated`, `read`,
    `passes`: as `rjepa.students.sampled.DecodingCounts`, so far.
    """

    def __init__(
        self,
        student: Student,
        tables: RowTables,
        standings: RowStandings,
        requests: Sequence[RowRequest],
        tap: LayerTap,
    ) -> None:
        """requests: of all rows of the session, which grow with it."""
        vocabulary = len(student.model.get_output_embeddings().weight)  # type: ignore[no-untyped-call]
        self.steering = Steering(vocabulary, student.hidden_size)
        self.rules = RowRules(student, vocabulary)
        self.events = RowEvents(student, tables, standings, self.rules)
        self._tables, self._standings, self._requests, self._tap = tables, standings, requests, tap
        self._most = tokens_ahead(student.hidden_size, student.num_layers, vocabulary)
        self.changed = False
        self.generated = self.read = self.passes = 0

    def advance(self, batch: Batch, sight: Sight) -> list[Event]:
        """Draw one token for each row, or a few where no reader has to see each first; feed them, and return what
        happened.
        """
        tables, standings, places = self._tables, self._standings, batch.places
        held = standings.waiting(places) | standings.dropped[places] | (batch.pending != NOTHING)
        was_over = standings.over[places]
        written = ~held & ~was_over
        at = tables.next_columns(places, held)
        count = self._draw_ahead(batch, held, written, sight)
        if count:
            events, unused = self.events.read(places, np.minimum(at + count - 1, tables.waste), written, count, sight)
            # What was drawn for a row after its end is junk, as if it had waited for the others.
            standings.fed[places] -= unused
            batch.junk += unused
            self._leave_out(batch)
        else:
            count = 1
            column = int(at[0]) if (at == at[0]).all() else torch.from_numpy(at).to(batch.index.device)
            drawn = self._draw(batch, column, written)
            ids = np.asarray(drawn.tolist())
            tables.ids[places, at] = ids
            tables.drawn[places[~held]] += 1
            if self.rules:
                self.rules.read(places, ids, batch.logits, written)
            events, unused = self.events.read(places, at, written, 1, sight)
            self._feed(batch, drawn, held, was_over, column)
        generated = count * int(written.sum()) - int(unused.sum())
        self.generated += generated
        return [*events, Pass(generated, count)]

    def _draw(self, batch: Batch, column: int | Tensor, written: Bools) -> Int[Tensor, " rows"]:
        """A token for each row, by whatever bends its logits."""
        tables, places = self._tables, batch.places
        noise = tables.noise_at(batch.index, column)
        biased = self.steering.biased(places, batch.logits, tables.ids, tables.drawn, written)
        if self.rules:
            biased = self.rules.shaped(places, batch.logits, biased, self._standings.tokens)
        drawn, logprobs, certainty = draw_tokens(batch.logits, noise, batch.greedy, batch.temperature, biased)
        if batch.waits:
            pending = torch.from_numpy(batch.pending).to(drawn.device)
            drawn = torch.where(pending == NOTHING, drawn, pending)
        tables.put_scores(batch.index, column, logprobs, certainty)
        return drawn

    def _draw_ahead(self, batch: Batch, held: Bools, written: Bools, sight: Sight) -> int:
        """Draw some tokens for each row in one call, and feed them.

        How many depends on what the reader of the run sees, and on what may end a row (`rjepa.students.ahead`).

        Returns how many each row got; 0 where the caller has to draw one itself: rows have rules, an edit, or a
        bias that is no guide, a token waits to be fed, or the batch's caches cannot draw.
        """
        tables, standings, places = self._tables, self._standings, batch.places
        if self.rules or not self.steering.is_drawable or batch.waits or not batch.rows.can_draw:
            return 0
        most, least = 1, 1
        if standings.ends_at_stops(sight.steps):
            room = np.minimum(tables.limits[places], standings.stop_at[places]) - tables.drawn[places]
            most, least = most_and_least(sight, self._most, len(places), bool(standings.kept[places].any()))
            most = min(most, int(room[written].min()))
        most = min(most, MOST_GUIDED) if self.steering.is_guided else most
        guides = self.steering.guides(places, tables.ids, tables.drawn, most)
        if guides is not None:
            least = 1  # what a guide says after the label of a step depends on where that ends
        count = batch.draw(
            most,
            least,
            tables.drawing(places, held, written, standings.stops, batch.greedy, batch.temperature, guides),
            standings.needed(places),
        )
        tables.drawn[places[~held]] += count
        standings.fed[places[written]] = tables.drawn[places[written]]
        self.passes += count
        return count

    def _leave_out(self, batch: Batch) -> None:
        """Let go of rows that nobody needs any more, once they are many; or arrange anew, where none runs."""
        standings, places = self._standings, batch.places
        if not standings.running(places).any():
            self.changed = True
            return
        kept = worth_keeping(batch, standings, np.zeros(len(places), dtype=bool))
        if kept is not None:
            batch.keep(kept, self._requests)
        self._part(batch)

    def _part(self, batch: Batch) -> None:
        """Arrange anew where rows that run should go on without those that wait."""
        standings, places = self._standings, batch.places
        if (standings.kept[places] | standings.waiting(places)).any():
            self.changed |= wants_parting(batch, standings.running(places), standings.needed(places))

    def _feed(
        self, batch: Batch, tokens: Int[Tensor, " rows"], held: Bools, was_over: Bools, column: int | Tensor
    ) -> None:
        """Feed the tokens that were drawn, if anybody still needs what comes of it."""
        tables, standings, places = self._tables, self._standings, batch.places
        new = ~held & ~was_over
        last = new & (tables.lengths[places] >= tables.drawn[places])  # its chain's last token, perhaps
        needed = standings.running(places) | (standings.paused[places] & new)
        needed |= last & (tables.captured[places] | standings.kept[places])
        if not needed.any():
            self.changed = True
            return
        kept = worth_keeping(batch, standings, last & tables.captured[places])
        if kept is not None:
            index = torch.from_numpy(kept).to(tokens.device)
            tokens, column = tokens[index], column if isinstance(column, int) else column[index]
            held, was_over = held[kept], was_over[kept]
            batch.keep(kept, self._requests)
            places = batch.places
        again = batch.pending != NOTHING
        idle = (held & ~again) | was_over
        with self._tap as tap:
            tap.edits = self.steering.edits(places, again.tolist())
            batch.feed(tokens, idle, standings.needed(places), tap)
        self.passes += 1
        self.read += int((again & ~idle).sum())
        if tap.state is not None:
            tables.put_states(batch.index, column, tap.state[:, -1])
        standings.fed[places[~idle]] = tables.drawn[places[~idle]]
        self._part(batch)
