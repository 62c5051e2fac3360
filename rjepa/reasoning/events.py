"""What happens while a question is answered, in the order in which it happens. Values only.

A mode is a generator of these and of waits. The reader of the events can stop between two of them, and then all work
for the question stops: there is at least one for each token that is decoded.

Three kinds: the answer's own text (`Text`, `StepWritten`), which together is what the answer says; what candidates go
through on the way (`CandidateStep`, `CandidateWritten`, and the changes of `rjepa.reasoning.changes`: `Branch`,
`Pruned`, `Repaired`, `Planned`), which a reader may show or leave out; and the end, `Done`.
"""

from dataclasses import dataclass
from typing import Literal

from rjepa.reasoning.answer import Answer
from rjepa.reasoning.changes import Change
from rjepa.reasoning.judged import Judged
from rjepa.reasoning.tokens import TokenReport


@dataclass(frozen=True)
class Working:
    """A pass of the student is over: a good moment to stop. `tokens`: drawn in it by the rows that were waited for."""

    tokens: int = 1


@dataclass(frozen=True)
class Text:
    """A piece of the answer's text, as it is written. `tokens` are those that were drawn since the last piece, where
    the question asks for their log-probabilities; none comes before its text.
    """

    text: str
    tokens: tuple[TokenReport, ...] = ()


@dataclass(frozen=True)
class StepWritten:
    """A step of the answer, as text with its label and end.

    Attributes:
        energy: how surprising it is given what stands before; None where R-JEPA did not read it.
        p_correct: P(the chain ends right), as judged after this step; None where that is not known.
        share_of_right_steps_below: share of right steps on validation problems with less energy, 0 to 1: the scale of
            an energy bar. None where the release has no such quantiles.
    """

    text: str
    energy: float | None
    p_correct: float | None = None
    share_of_right_steps_below: float | None = None


@dataclass(frozen=True)
class CandidateStep:
    """A step of a candidate, as it is written; whether it ends in the answer is not known yet.

    `step` counts from 1; the answer line is the step after the last. A step that goes on in another line is sent again.
    The other fields are those of `StepWritten`.
    """

    candidate: int
    step: int
    text: str
    energy: float | None
    p_correct: float | None = None
    share_of_right_steps_below: float | None = None


@dataclass(frozen=True)
class CandidateWritten:
    """The candidate at `index` has ended, and with it `written` of `total`; `total` are the most that there may be."""

    index: int
    written: int
    total: int


@dataclass(frozen=True)
class Done:
    """The answer; the last event. The texts of `Text` and `StepWritten` before it add up to the answer's text.

    `judged` is what it was chosen from, for those who measure; None where nothing was chosen.
    """

    answer: Answer
    judged: Judged | None = None


Event = Working | Text | StepWritten | CandidateStep | CandidateWritten | Change | Done


@dataclass(frozen=True)
class Wait:
    """The mode goes on once these rows, or any of them, have another token, have more text, have ended a step, or are
    over. More text may be a few tokens, where those come faster than anybody reads.

    Only the driver of the modes sees it; it lets many questions share one decoding session. A row that is over
    has reached whatever is waited for.
    """

    rows: tuple[int, ...]
    until: Literal["token", "text", "step", "chain"]
    any_row: bool = False
