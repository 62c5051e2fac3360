"""Drive the modes of many questions over one decoding session: all that wait are decoded for in one batch.

A mode says what it waits for; how far rows are run, and when a mode goes on, is decided here and nowhere else. While a
mode thinks nothing is decoded, so that what it forks, drops or biases takes effect with the next token. Questions may
join and leave between two passes: whoever else is there changes nothing of what a question sees.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from rjepa.reasoning.events import Event, Wait, Working
from rjepa.reasoning.tools import Tools, read_together
from rjepa.sampling.protocol import DecodingSession
from rjepa.students.sampled import ChainEnd, Events, Pass, StepEnd, Token, Until


@dataclass(frozen=True)
class Failed:
    """A question's mode raised this: its last event. The others go on."""

    error: Exception


@dataclass
class Running:
    """One question that is being answered: its mode's events, and its tools.

    shown: whether somebody reads the text while it is written; else who waits for text waits for the chain. pending:
    rows that it waits for. held: rows that stand still at the end of a step until the mode goes on. written: where it
    waits for text, rows that have got some in this pass.
    """

    events: Generator[Event | Wait, None, None]
    tools: Tools
    session: DecodingSession
    shown: bool = True
    wait: Wait | None = None
    pending: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)
    over: bool = False

    @property
    def needs_each_token(self) -> bool:
        """Whether it has to see each token before the next is drawn."""
        return self.tools.budget is not None or (self.wait is not None and self.wait.until == "token")

    @property
    def needs_tokens(self) -> bool:
        """Whether it has to see tokens."""
        return self.needs_each_token or (self.shown and self.wait is not None and self.wait.until == "text")

    @property
    def needs_steps(self) -> bool:
        """Whether it has to see the ends of steps."""
        return self.wait is not None and self.wait.until == "step"

    def take(self, event: Token | StepEnd | ChainEnd) -> None:
        """Take in what happened to one of its rows. Events that only other questions need are passed over."""
        if isinstance(event, Token) and not self.needs_tokens:
            return
        if isinstance(event, StepEnd) and not self.needs_steps:
            return
        self.tools.note(event)
        if isinstance(event, StepEnd) and not self.tools.is_over(event.row):
            self.session.hold(event.row)  # until the mode goes on, with all rows that it waited for
            self.held.add(event.row)
        if self.wait is None:
            return
        if _reaches(event, self.wait):
            self.pending = set() if self.wait.any_row else self.pending - {event.row}
        elif self.wait.until == "text":
            self.written.add(event.row)

    def end_pass(self) -> None:
        """The pass is over: rows whose text was waited for have all that it brought them."""
        if self.wait is not None and self.written:
            self.pending = set() if self.wait.any_row else self.pending - self.written
        self.written.clear()

    def mind_budget(self) -> None:
        """Stop all rows of the question where its budget is spent: what was waited for will not come."""
        if self.pending and self.tools.is_spent:
            self.tools.stop_spending()
            self.pending = set()

    def go_on(self) -> Iterator[Event]:
        """The mode's events up to its next wait, or its end."""
        for item in self.events:
            if not isinstance(item, Wait):
                yield item
                continue
            self.wait = item
            self.pending = {row for row in item.rows if not self.tools.is_over(row)}
            self.mind_budget()  # so many forks may be more than is left
            if self.pending:
                for row in self.held:
                    if not self.tools.is_over(row):
                        self.session.go_on(row)
                self.held.clear()
                return
        self.close()

    def close(self) -> None:
        """End it, wherever it is."""
        self.over = True
        self.events.close()
        self.tools.release()


class Driver:
    """Questions over one session, by number. For one thread at a time."""

    def __init__(self, session: DecodingSession) -> None:
        self._session = session
        self._running: dict[int, Running] = {}
        self._owners: dict[int, int] = {}  # by row
        self._gone: list[int] = []  # rows of questions that are over
        self._numbers = 0
        self._events: Events | None = None
        self._asked: dict[str, bool] = {}  # what the run was asked for, by the names of its arguments

    def join(self, question: Running) -> int:
        """Begin a question with the next pass; its number."""
        number, self._numbers = self._numbers, self._numbers + 1
        self._running[number] = question
        return number

    def leave(self, number: int) -> None:
        """Give a question up, if it is not over, and free its rows. Not while `run_pass` runs."""
        question = self._running.pop(number, None)
        if question is not None:
            question.close()
            self._gone += question.tools.rows

    def run_pass(self) -> Iterator[tuple[int, Event | Failed]]:
        """One pass for all questions, and what they make of it, by their number; those of one keep their order.

        Closing the iterator leaves the rest of the pass to the next call.
        """
        self._forget()
        yield from self._resume(list(self._running))
        if not self._running:
            return
        drawn = {number: len(question.pending) for number, question in self._running.items()}
        unused = dict.fromkeys(drawn, 0)
        tokens = 1
        for event in self._run():
            if isinstance(event, Pass):
                tokens = event.tokens
                break
            number = self._owner(event.row)
            if number is not None:  # what a question that is over had in this pass is of no use
                question = self._running[number]
                if isinstance(event, ChainEnd):
                    unused[number] += event.unused
                question.take(event)
                if not question.needs_steps:  # steps are read after the pass, those of all questions together
                    yield from self._resume([number])
        else:
            self._events = None  # all rows are over or wait
        for number, question in list(self._running.items()):
            yield number, Working(max(0, drawn.get(number, 0) * tokens - unused.get(number, 0)))
            question.end_pass()
            question.mind_budget()
        self._read_steps()
        yield from self._resume(list(self._running))

    def _read_steps(self) -> None:
        """Let R-JEPA read the steps that questions waited for and have, as they would one by one."""
        ready = [one for one in self._running.values() if one.needs_steps and not one.pending]
        if len(ready) > 1:
            read_together([(one.tools, one.wait.rows) for one in ready if one.wait is not None])

    def stop(self) -> None:
        """End the session's run. The next `run_pass` begins another."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _run(self) -> Events:
        """The session's run; another one where the kinds of events that questions have to see have changed."""
        running = self._running.values()
        asked = {
            "tokens": any(one.needs_tokens for one in running),
            "steps": any(one.needs_steps for one in running),
            "one_by_one": any(one.needs_each_token for one in running),
        }
        if self._events is None or asked != self._asked:
            self.stop()
            self._asked = asked
            self._events = self._session.run(Until.CHAIN, **asked)
        return self._events

    def _resume(self, numbers: list[int]) -> Iterator[tuple[int, Event | Failed]]:
        """Let those of these questions that wait for nothing go on; those that are over leave."""
        for number in numbers:
            question = self._running[number]
            if question.pending:
                continue
            try:
                for event in question.go_on():
                    yield number, event
            except Exception as error:  # noqa: BLE001 - it is this question's, and raised where that is awaited
                question.close()
                yield number, Failed(error)
            if question.over:
                self.leave(number)

    def _owner(self, row: int) -> int | None:
        """The number of the question that a row belongs to; None where it is over."""
        if row not in self._owners:
            self._owners.update(
                (one, number) for number, question in self._running.items() for one in question.tools.rows
            )
        number = self._owners.get(row)
        return number if number in self._running else None

    def _forget(self) -> None:
        """Free the rows of questions that are over, now that no event of theirs can come."""
        for row in self._gone:
            self._owners.pop(row, None)
        if self._gone:
            self._session.forget(self._gone)
        self._gone = []


def _reaches(event: Token | StepEnd | ChainEnd, wait: Wait) -> bool:
    if wait.until == "token" or isinstance(event, ChainEnd):
        return True
    return wait.until == "step" and isinstance(event, StepEnd)
