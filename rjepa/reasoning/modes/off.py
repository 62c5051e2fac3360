"""The student alone: one chain, as it is written."""

from collections.abc import Generator
from typing import Final

from rjepa.reasoning.events import Done, Event, Text, Wait
from rjepa.reasoning.mode import Mode
from rjepa.reasoning.question import ModeOptions, Question
from rjepa.reasoning.tools import Tools
from rjepa.sampling.protocol import Capability
from rjepa.students.sampled import GREEDY


class OffOptions(ModeOptions):
    """Nothing to choose."""


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """Greedy unless the question names a temperature."""
    greedy = not question.temperature
    (row,) = tools.start([GREEDY if greedy else 0], tools.temperature)
    while not tools.is_over(row):
        yield Wait((row,), "text")
        piece, tokens = tools.new_text(row), tools.new_tokens(row)
        if piece or tokens:
            yield Text(piece, tokens)
    (chain,) = tools.chains([row])
    yield Done(tools.answer(chain.text, finished=chain.finished))


MODE: Final = Mode(
    name="off",
    summary="the student alone, one chain",
    options=OffOptions,
    needs=frozenset({Capability.CHAINS}),
    parts=frozenset(),
    run=run,
)
