"""Draw candidates until the answer is sure enough, or give none where it is not: shared by the modes that know how sure
an answer is. How a candidate is written is each mode's own business.

The policy itself, as it is counted on frozen candidates, is `rjepa.inference.stopping`'s.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from rjepa.errors import InvalidInputError
from rjepa.inference.risk import RiskTable
from rjepa.inference.stopping import is_stable
from rjepa.reasoning.changes import Pruned, StopReason
from rjepa.reasoning.choosing import abstain, finish
from rjepa.reasoning.events import Event, Wait
from rjepa.reasoning.judged import Judged
from rjepa.reasoning.question import InvalidQuestionError, ModeOptions, Question
from rjepa.reasoning.tools import Tools
from rjepa.reasoning.writing import Events

MAX_CANDIDATES: Final = 64
"""Beyond it the vote hardly moves, while time and memory still grow with every candidate."""

_AUTO_CANDIDATES: Final = 16
"""The most that `auto` draws: what a release's P(correct) is fitted for at most."""

_TARGET: Final = 0.8
"""P(correct) at which `auto` is sure enough (docs/lab-book/42-modes-on-the-step.md)."""


class StoppingOptions(ModeOptions):
    """How many candidates there are to choose from, and how sure the answer has to be."""

    num_candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] | Literal["auto"] = Field(
        8,
        description=f"candidates, 1 to {MAX_CANDIDATES}; auto: one after the other until the answer is sure enough",
    )
    max_candidates: int = Field(
        _AUTO_CANDIDATES, ge=1, le=MAX_CANDIDATES, description=f"the most that auto draws, 1 to {MAX_CANDIDATES}"
    )
    wave: int = Field(1, ge=1, le=MAX_CANDIDATES, description="candidates that auto draws together")
    target: float = Field(_TARGET, gt=0, le=1, description="P(correct) at which auto is sure enough")
    max_error: float | None = Field(
        None, gt=0, lt=1, description="the share of answers that may be wrong; no answer is given where it is not sure"
    )

    @property
    def is_auto(self) -> bool:
        """Whether the number of candidates is decided on the way."""
        return self.num_candidates == "auto" or self.max_error is not None

    @property
    def rows(self) -> int:
        """As `ModeOptions.rows`."""
        return self.wave if isinstance(self.num_candidates, str) else self.num_candidates


def refuse_equal_candidates(question: Question) -> None:
    """Refuse to sample one chain several times."""
    options = question.options
    assert isinstance(options, StoppingOptions)
    if question.temperature == 0 and (options.is_auto or options.num_candidates != 1):
        raise InvalidQuestionError(
            "at temperature 0 every candidate is the same, so there is nothing to choose from",
            cure="leave temperature out, or ask for one candidate, or for mode off",
            field="temperature",
        )


def require_promise(options: StoppingOptions, risk: RiskTable) -> None:
    """Refuse a `max_error` that cannot be promised.

    Raises:
        InvalidInputError: the dial is set lower than these counts allow.
    """
    if options.max_error is None or risk.threshold(options.max_error) is not None:
        return
    if not risk.points:
        raise InvalidInputError(
            "the release can promise no max_error: its calibration had too few validation problems",
            cure="leave max_error out, or release with more validation problems",
        )
    raise InvalidInputError(
        f"the release can promise no max_error of {options.max_error:g}: with its validation problems "
        f"{risk.least():.3f} is the smallest",
        cure=f"ask for max_error {risk.least():.3f} or more, or release with more validation problems",
    )


@dataclass(frozen=True)
class Drawn:
    """What was drawn until it was enough. `most`: as many there might have been."""

    judged: Judged
    stopped: StopReason
    most: int


def most_candidates(options: StoppingOptions, risk: RiskTable) -> tuple[int, int]:
    """The most candidates of a question, and how many are drawn together."""
    if options.max_error is not None:
        # The dial's promise was counted for candidates drawn one at a time, up to the number it was fitted with.
        return risk.candidates, 1
    return options.max_candidates, min(options.wave, options.max_candidates)


def draw_until_sure(
    options: StoppingOptions,
    tools: Tools,
    write: Callable[[Sequence[int], bool], Events],
    choose: Callable[[], Judged],
) -> Generator[Event | Wait, None, Drawn]:
    """One wave after the other until P(correct) is high enough, or there may be no more.

    Args:
        write: draws candidates with these sample indices, told whether R-JEPA is known to know such problems.
        choose: among all that were drawn so far.
    """
    risk = tools.parts.calibration.risk
    safe = None if options.max_error is None else risk.threshold(options.max_error)
    target = options.target if safe is None else safe
    most, wave = most_candidates(options, risk)
    first, familiar = 0, False
    while True:
        samples = range(first, min(first + wave, most))
        yield from write(samples, familiar)
        judged = choose()
        first, familiar = len(judged.candidates), judged.ranking.familiar
        stopped = _stop(judged, target, first >= most, tools.is_spent)
        if stopped is not None:
            return Drawn(judged, stopped, most)


def conclude(
    options: StoppingOptions, tools: Tools, drawn: Drawn, pruned: Sequence[Pruned] = (), note: str = ""
) -> Iterator[Event]:
    """The answer, or none where the dial asks for more than was found. `note`: what the explanation ends with."""
    judged, dial = drawn.judged, options.max_error
    if dial is not None and drawn.stopped != "sure_enough":
        yield from abstain(tools, judged, _unsure(judged, dial), stopped=drawn.stopped)
        return
    counted = f"{len(judged.candidates)} candidates were drawn, at most {drawn.most}."
    yield from finish(tools, judged, pruned=pruned, stopped=drawn.stopped, note=f"{counted} {note}".strip())


def _stop(judged: Judged, target: float, all_drawn: bool, spent: bool) -> StopReason | None:
    """Why no more is to be drawn; None to go on."""
    if judged.p_correct is not None and judged.p_correct >= target:
        return "sure_enough"
    if spent:
        return "out_of_budget"
    if all_drawn or (not judged.ranking.familiar and is_stable(judged.table.ids[0])):
        return "all_drawn"
    return None


def _unsure(judged: Judged, dial: float) -> str:
    if judged.p_correct is None:
        return promises_nothing(dial)
    return (
        f"No answer: the best one found is right with a chance of {judged.p_correct:.0%}, "
        f"too low to keep errors at {dial:.0%}."
    )


def promises_nothing(dial: float) -> str:
    """Why there is no answer to a problem of a kind that R-JEPA does not know."""
    return f"No answer: R-JEPA knows no problems like this one, so that an error of at most {dial:.0%} is no promise."
