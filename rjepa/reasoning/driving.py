"""Drive the modes of one or many questions over one decoding session: who waits is decoded for, all in one batch.

A mode says what it waits for; which rows go a token further, and when a mode goes on, is decided here and nowhere else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rjepa.reasoning.events import Event, Wait
from rjepa.reasoning.tools import Tools
from rjepa.sampling.protocol import ChainEnded, DecodingSession, RowEvent, StepEnded


@dataclass
class Running:
    """One question that is being answered: its mode's events, its tools, and the rows that it waits for."""

    events: Iterator[Event | Wait]
    tools: Tools
    wait: Wait | None = None
    pending: set[int] = field(default_factory=set)
    over: bool = False

    def take(self, event: RowEvent) -> None:
        """Take in what happened to one of the rows it waits for."""
        self.tools.note(event)
        if self.wait is not None and _satisfies(event, self.wait):
            self.pending.discard(event.row)

    def go_on(self) -> Iterator[Event]:
        """The mode's events up to its next wait, or its end."""
        for item in self.events:
            if isinstance(item, Wait):
                self.wait = item
                self.pending = {row for row in item.rows if not self.tools.has_ended(row)}
                if self.pending:
                    return
            else:
                yield item
        self.over = True
        self.tools.release()


def drive(questions: Sequence[Running], session: DecodingSession) -> Iterator[tuple[int, Event]]:
    """Answer questions together.

    Closing this generator stops all of them between two tokens.

    Yields:
        Events with the index of their question. Those of one question keep their order.
    """
    running = dict(enumerate(questions))
    try:
        while running:
            for index, question in list(running.items()):
                if not question.pending:
                    for event in question.go_on():
                        yield index, event
                    if question.over:
                        del running[index]
            owners = {row: question for question in running.values() for row in question.pending}
            if not owners:
                continue
            for question in running.values():
                question.tools.count_pass()
            for row_event in session.advance(owners):
                owners[row_event.row].take(row_event)
    finally:
        for question in questions:
            close = getattr(question.events, "close", None)
            if close is not None:
                close()


def _satisfies(event: RowEvent, wait: Wait) -> bool:
    if wait.until == "token" or isinstance(event, ChainEnded):
        return True
    return wait.until == "step" and isinstance(event, StepEnded)
