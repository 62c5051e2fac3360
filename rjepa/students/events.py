"""What the tokens that were drawn bring: the events of a run, and the rows that are at an end with them.

How many are drawn together is `rjepa.students.ahead`; what may end a row, `rjepa.students.standing`.
"""

import codecs

import numpy as np

from rjepa.arrays import Bools, Int64
from rjepa.students.ahead import Sight
from rjepa.students.loading import Student
from rjepa.students.recording import RowTables
from rjepa.students.row_rules import RowRules
from rjepa.students.sampled import ChainEnd, Event, StepEnd, Token
from rjepa.students.standing import RowStandings


class RowEvents:
    """What happens to a session's rows. It marks in their standings what is over or paused."""

    def __init__(self, student: Student, tables: RowTables, standings: RowStandings, rules: RowRules) -> None:
        self._tables, self._standings, self._rules = tables, standings, rules
        self._texts = _RowTexts(student, rules)

    def forget(self, row: int) -> None:
        """The row is gone: no event of it comes any more."""
        self._texts.end(row)

    def read(self, places: Int64, at: Int64, written: Bools, count: int, sight: Sight) -> tuple[list[Event], Int64]:
        """The events of the `count` tokens that each row has just got, the last of them in column `at`; and how many of
        each row's come after its end.
        """
        tables, standings = self._tables, self._standings
        unused = np.zeros(len(places), dtype=np.int64)
        drawn = tables.ids[places, np.maximum(at - np.arange(count - 1, -1, -1)[:, None], 0)]
        events: list[Event] = []
        for number in range(count) if sight.tokens else standings.where_may_end(drawn[:, written]):
            ids, unread = drawn[number], count - 1 - number
            if sight.tokens:
                events += [
                    Token(row, token, self._texts.add(row, token), self._rules.new_scores(row))
                    for row, token in zip(places[written].tolist(), ids[written].tolist(), strict=True)
                ]
            events += self._ends(places, ids, written, sight, unread)
            if unread and (ended := written & standings.over[places]).any():
                unused[ended], written = unread, written & ~ended
        return events, unused

    def _ends(self, places: Int64, ids: Int64, written: Bools, sight: Sight, unread: int) -> list[Event]:
        """Mark the rows that are at an end of something with these tokens, after which each has `unread` more, and
        return the events.
        """
        tables, standings = self._tables, self._standings
        now = tables.drawn[places] - unread
        events: list[Event] = self._stop(places, written)
        if events:
            written = written & ~standings.over[places]
        for index in np.flatnonzero(written & standings.may_end(ids, sight.steps)):
            row, count = int(places[index]), int(now[index])
            ending = standings.read_end(row, count, sight.steps)
            if ending.step and sight.steps:
                events.append(StepEnd(row, int(standings.steps[row]), int(standings.step_tokens[row])))
                standings.paused[row] |= sight.by_step and not ending.chain
            if ending.chain:
                length = count - 1 if standings.is_end_of_sequence(int(ids[index])) else count
                standings.finish(row, finished=True, tokens=length)
                events.append(self._ended(row, True, unread))
        for row in places[written & ~standings.over[places] & (now >= tables.limits[places])].tolist():
            standings.finish(row, finished=False, tokens=int(tables.limits[row]))
            events.append(self._ended(row, False))
        standings.paused[places[written & (now >= standings.stop_at[places])]] = True
        return events

    def _stop(self, places: Int64, written: Bools) -> list[Event]:
        """Mark the rows that have come to a stop string, and return the events."""
        stopped = self._rules.stopped(places)
        events: list[Event] = []
        for row in () if stopped is None else places[written & stopped].tolist():
            self._tables.cut(row, self._rules.cut(row) or 0)
            length = int(self._tables.lengths[row])
            self._rules.trim(row, int(self._tables.drawn[row]) - length)
            self._standings.finish(row, finished=True, tokens=length)
            events.append(self._ended(row, True))
        return events

    def _ended(self, row: int, finished: bool, unused: int = 0) -> ChainEnd:
        return ChainEnd(row, finished, self._texts.end(row), unused, self._rules.new_scores(row, over=True))


class _RowTexts:
    """The text that each token adds to its row's, where a character, or a stop string, may take several tokens."""

    def __init__(self, student: Student, rules: RowRules) -> None:
        self._pieces, self._eos_ids, self._rules = student.pieces.pieces, student.eos_ids, rules
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}

    def add(self, row: int, token: int) -> str:
        """What the row's text gains by a token."""
        if row not in self._decoders:
            self._decoders[row] = codecs.getincrementaldecoder("utf-8")("replace")
        piece = b"" if token in self._eos_ids else self._pieces[token]
        return self._decoders[row].decode(self._rules.shown(row, piece) if self._rules else piece)

    def end(self, row: int) -> str:
        """What is shown at the end: what was held back, and a character that stayed incomplete."""
        decoder = self._decoders.pop(row, None)
        return "" if decoder is None else decoder.decode(self._rules.rest(row), final=True)
