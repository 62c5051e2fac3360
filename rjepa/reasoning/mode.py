"""What a mode is. The modes themselves stand in `rjepa.reasoning.modes`, one file each."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, Protocol

from rjepa.parts import PartName
from rjepa.reasoning.events import Event, Wait
from rjepa.reasoning.question import ModeOptions, Question
from rjepa.reasoning.tools import Parts, Tools
from rjepa.sampling.protocol import Capability

CHOOSING: Final[frozenset[PartName]] = frozenset({"reader", "world_model", "calibration"})
"""Parts of a release that score candidates and choose one."""

STEPWISE: Final = frozenset(
    {Capability.CHAINS, Capability.STEPS, Capability.LOGPROBS, Capability.STATES, Capability.LIVE_STATES}
)
"""What a source has to be capable of for R-JEPA to read a chain step by step, while it is written."""


class Run(Protocol):
    """A mode's function: answers one question. Closing the iterator stops it."""

    def __call__(self, question: Question, tools: Tools) -> Generator[Event | Wait, None, None]: ...


def _accept(question: Question) -> None:
    """A mode without rules of its own accepts every question."""


def _fit(question: Question, parts: Parts) -> None:
    """A mode that any release serves."""


@dataclass(frozen=True)
class Mode:
    """One way to answer.

    Attributes:
        name: what people call it, in a request, on the command line and as the end of a model's name.
        summary: half a sentence for help pages.
        options: the options that it takes.
        needs: what the student's source of chains has to be capable of.
        parts: which parts of a release it needs beside the student.
        run: the mode's function.
        check: what no single option's range can say; raises InvalidInputError.
        fit: whether the release's parts are such that they can do it; raises InvalidInputError.
    """

    name: str
    summary: str
    options: type[ModeOptions]
    needs: frozenset[Capability]
    parts: frozenset[PartName]
    run: Run
    check: Callable[[Question], None] = _accept
    fit: Callable[[Question, Parts], None] = _fit
