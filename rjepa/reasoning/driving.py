"""Drive the modes of one or many questions over one decoding session: all that wait are decoded for in one batch.

A mode says what it waits for; how far rows are run, and when a mode goes on, is decided here and nowhere else. While a
mode thinks nothing is decoded, so that what it forks, drops or biases takes effect with the next token.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from rjepa.reasoning.events import Event, Wait, Working
from rjepa.reasoning.tools import Tools
from rjepa.sampling.protocol import DecodingSession
from rjepa.students.sampled import ChainEnd, Pass, StepEnd, Token, Until


@dataclass
class Running:
    """One question that is being answered: its mode's events, its tools, and the rows that it waits for."""

    events: Generator[Event | Wait, None, None]
    tools: Tools
    wait: Wait | None = None
    pending: set[int] = field(default_factory=set)
    over: bool = False

    def take(self, event: Token | StepEnd | ChainEnd) -> None:
        """Take in what happened to one of the rows that the question waits for."""
        self.tools.note(event)
        if self.wait is not None and _reaches(event, self.wait):
            self.pending = set() if self.wait.any_row else self.pending - {event.row}

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
                return
        self.over = True
        self.tools.release()


def drive(questions: Sequence[Running], session: DecodingSession) -> Iterator[tuple[int, Event]]:
    """Answer questions together.

    Closing this generator stops all of them between two tokens.

    Yields:
        Events with the index of their question. Those of one question keep their order.
    """
    running, owners = dict(enumerate(questions)), _Owners()
    try:
        yield from _resume(running)
        while running:
            target = _target(running)
            until, tokens = target
            with closing(session.run(until, tokens=tokens, steps=until is Until.STEP)) as events:
                for event in events:
                    if not isinstance(event, Pass):
                        owner = owners.find(event.row, running.values())
                        if owner is not None:  # what a question that is over had in this pass is of no use
                            owner.take(event)
                            yield from _resume(running)
                        continue
                    for index, question in list(running.items()):
                        yield index, Working()
                        question.mind_budget()
                    yield from _resume(running)
                    # Only here: what is left of a pass would be lost with the run.
                    if running and _target(running) != target:
                        break
    finally:
        for question in questions:
            question.events.close()


def _resume(running: dict[int, Running]) -> Iterator[tuple[int, Event]]:
    """Let the questions that wait for nothing go on; those that are over leave."""
    for index, question in list(running.items()):
        if question.pending:
            continue
        for event in question.go_on():
            yield index, event
        if question.over:
            del running[index]


def _target(running: dict[int, Running]) -> tuple[Until, bool]:
    """How far the session has to run its rows, and whether anybody wants to see, or to count, single tokens."""
    waits = {question.wait.until for question in running.values() if question.wait is not None}
    counts = any(question.tools.budget is not None for question in running.values())
    return Until.STEP if "step" in waits else Until.CHAIN, "token" in waits or counts


class _Owners:
    """Whose row is it? Rows are never handed on, so that what was found once stays true."""

    def __init__(self) -> None:
        self._known: dict[int, Running] = {}

    def find(self, row: int, running: Iterable[Running]) -> Running | None:
        """The question that the row belongs to, None where it is over."""
        if row not in self._known:
            self._known.update((one, question) for question in running for one in question.tools.rows)
        owner = self._known.get(row)
        return None if owner is None or owner.over else owner


def _reaches(event: Token | StepEnd | ChainEnd, wait: Wait) -> bool:
    if wait.until == "token" or isinstance(event, ChainEnd):
        return True
    return wait.until == "step" and isinstance(event, StepEnd)
