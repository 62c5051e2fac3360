"""What happens while a question is answered, in the order in which it happens. Values only.

A mode is a generator of these and of waits. The reader of the events can stop between two of them, and then all work
for the question stops: there is at least one for each token that is decoded.
"""

from dataclasses import dataclass
from typing import Literal

from rjepa.reasoning.answer import Answer


@dataclass(frozen=True)
class Working:
    """The student went one token further: a good moment to stop."""


@dataclass(frozen=True)
class Text:
    """A piece of the answer's text, as it is written."""

    text: str


@dataclass(frozen=True)
class StepWritten:
    """A step of the answer, as text with its label and end. `energy` is None where R-JEPA did not read it."""

    text: str
    energy: float | None


@dataclass(frozen=True)
class CandidateWritten:
    """The candidate at `index` has ended, and with it `written` of `total`."""

    index: int
    written: int
    total: int


@dataclass(frozen=True)
class Done:
    """The answer; the last event. The texts of `Text` and `StepWritten` before it add up to the answer's text."""

    answer: Answer


Event = Working | Text | StepWritten | CandidateWritten | Done


@dataclass(frozen=True)
class Wait:
    """The mode goes on once these rows, or any of them, have another token, have ended a step, or are over.

    Only the driver of the modes sees it; it lets many questions share one decoding session. A row that is over
    has reached all three.
    """

    rows: tuple[int, ...]
    until: Literal["token", "step", "chain"]
    any_row: bool = False
