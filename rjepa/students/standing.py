"""Where each row of a session stands: over, paused or dropped, how much of it was fed, and which lines and steps ended.

What a row's tokens are is kept in `rjepa.students.recording`; what follows from an end, `rjepa.students.events`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.arrays import Bools, Int64
from rjepa.chains import completes_answer, segment_spans
from rjepa.students.loading import Student
from rjepa.students.recording import RowTables
from rjepa.students.segmentation import segment_ids

_FIELDS: Final = (
    "over", "paused", "held", "dropped", "kept", "fed", "stop_at", "steps", "step_tokens", "_line_starts"
)  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """What a token ended: the chain, a step of it, both or neither."""

    chain: bool
    step: bool


class RowStandings:
    """The standing of each row, by row.

    `paused`: waits until the next run. `held`: waits until whoever holds it lets it go on. `kept`: keeps its cache when
    it is over. `fed`: tokens of its chain that its cache holds. `stop_at`: the number of tokens at which it pauses.
    `steps` are finished, with their first `step_tokens` tokens. `stops` says of each token of the vocabulary whether it
    may end a line or a chain.
    """

    def __init__(self, student: Student, tables: RowTables) -> None:
        self.over = np.zeros(0, dtype=bool)
        self.paused = np.zeros(0, dtype=bool)
        self.held = np.zeros(0, dtype=bool)
        self.dropped = np.zeros(0, dtype=bool)
        self.kept = np.zeros(0, dtype=bool)
        self.fed = np.zeros(0, dtype=np.int64)
        self.stop_at = np.zeros(0, dtype=np.int64)
        self.steps = np.zeros(0, dtype=np.int64)
        self.step_tokens = np.zeros(0, dtype=np.int64)
        self._line_starts = np.zeros(0, dtype=np.int64)
        self._tables, self._pieces, self._eos_ids = tables, student.pieces, student.eos_ids
        self._mode = student.record.segmentation
        self._plain: set[int] = set()
        self.stops = student.pieces.has_newline.copy()
        self.stops[list(student.eos_ids)] = True

    def begin(self, row: int, *, plain: bool, kept: bool) -> None:
        """A new row, perhaps in the place of one that is gone. Steps that end in what it begins with count as ended.

        Args:
            plain: no answer line ends it.
        """
        first = len(self.over)
        for name in _FIELDS:
            if row >= first:
                old = getattr(self, name)
                new = np.zeros(max(row + 1, 2 * first), dtype=old.dtype)
                new[:first] = old
                setattr(self, name, new)
            getattr(self, name)[row] = 0
        self.kept[row] = kept
        self._plain.discard(row)
        if plain:
            self._plain.add(row)
        for tokens in range(1, int(self._tables.drawn[row]) + 1):
            self.read_end(row, tokens, steps=True)

    def waiting(self, rows: Int64) -> Bools:
        """Which of these are paused or held."""
        return self.paused[rows] | self.held[rows]

    def running(self, rows: Int64) -> Bools:
        """Which of these want another token."""
        return ~(self.over[rows] | self.paused[rows] | self.held[rows] | self.dropped[rows])

    def needed(self, rows: Int64) -> Bools:
        """Which of these rows' caches are wanted."""
        wanted: Bools = ~self.dropped[rows] & (~self.over[rows] | self.kept[rows])
        return wanted

    def ends_at_stops(self, steps: bool) -> bool:
        """Whether only tokens that `stops` names end something; with `steps`, steps too."""
        return not steps or self._mode == "guided"

    def may_end(self, ids: Int64, steps: bool) -> Bools:
        """Which of these tokens may end something; with `steps`, steps too."""
        return self.stops[ids] if self.ends_at_stops(steps) else np.ones(len(ids), dtype=bool)

    def where_may_end(self, ids: Int64) -> list[int]:
        """At which of the tokens [tokens, rows] that rows have just got some row may be at an end: the last, where it
        may be at its limit too, and those that `stops` names.
        """
        return [*np.flatnonzero(self.stops[ids[:-1]].any(axis=1)).tolist(), len(ids) - 1]

    def read_end(self, row: int, tokens: int, steps: bool) -> Ending:
        """What ends with the row's first `tokens` tokens. Asked once for each number of tokens, in order."""
        ids = self._tables.ids[row]
        token = int(ids[tokens - 1])
        if token in self._eos_ids:
            return Ending(True, False)
        answered = stepped = False
        if self.stops[token]:
            line = self._pieces.text(ids[self._line_starts[row] : tokens].tolist())
            text = self._text(row, tokens)
            answered = row not in self._plain and completes_answer(text, max(0, len(text) - len(line)))
            if self._mode == "guided" and line.strip() and not answered:
                stepped = True
                self.step_tokens[row] = tokens
                self.steps[row] = len(segment_spans(self._text(row, tokens))) if steps else 0
            # A token that goes on after its newline begins the next line too.
            self._line_starts[row] = tokens if line.endswith("\n") else tokens - 1
        if self._mode != "guided" and steps:
            finished = len(segment_spans(self._text(row, tokens), self._mode)) - 1
            if finished > self.steps[row]:
                stepped = True
                self.steps[row], self.step_tokens[row] = finished, tokens - 1
        return Ending(answered, stepped)

    def finish(self, row: int, *, finished: bool, tokens: int) -> None:
        """The row's chain is over, with its first `tokens` tokens."""
        self.over[row], self._tables.finished[row], self._tables.lengths[row] = True, finished, tokens

    def is_end_of_sequence(self, token: int) -> bool:
        """Whether a token ends a chain and is none of its text."""
        return token in self._eos_ids

    def written(self, row: int) -> int:
        """Tokens of the row's chain so far."""
        return int(min(self._tables.lengths[row], self._tables.drawn[row]))

    def tokens(self, row: int) -> list[int]:
        """The tokens of the row's chain so far."""
        found: list[int] = self._tables.ids[row, : self.written(row)].tolist()
        return found

    def tokens_of_steps(self, row: int, steps: int) -> int:
        """How many tokens the first `steps` steps of a row have.

        Raises:
            ValueError: it has fewer steps.
        """
        bounds = segment_ids(self._pieces, self._tables.ids[row, : self.written(row)].tolist(), self._mode)
        if not 0 <= steps < len(bounds):
            raise ValueError(f"expected to keep 0 to {len(bounds) - 1} steps, got {steps}")
        return int(bounds[steps])

    def kept_tokens(self, row: int, tokens: int | None, steps: int | None) -> int:
        """How many tokens of a row a fork keeps that was asked to keep so many tokens, or steps; without either, all.

        Raises:
            ValueError: more than the row has, so many that none could follow, or both of tokens and steps.
        """
        if tokens is not None and steps is not None:
            raise ValueError("expected keep_tokens or keep_steps, got both")
        written = self.written(row)
        if steps is not None:
            tokens = self.tokens_of_steps(row, steps)
        kept = written if tokens is None else tokens
        if not 0 <= kept <= written or kept >= self._tables.limits[row]:
            raise ValueError(f"expected to keep 0 to {written} tokens, below the limit; got {kept}")
        return kept

    def _text(self, row: int, tokens: int) -> str:
        return self._pieces.text(self._tables.ids[row, :tokens].tolist())
