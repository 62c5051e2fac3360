"""Sample several candidates, let R-JEPA and the student's log-probabilities choose one, and say why.

A fixed number of them, or one after the other until the answer is sure enough; and with the risk dial, no answer at all
where it is not.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field

from rjepa.errors import InvalidInputError
from rjepa.inference.stopping import is_stable
from rjepa.reasoning.changes import Pruned, StopReason
from rjepa.reasoning.choosing import Judged, abstain, finish, judge
from rjepa.reasoning.events import CandidateWritten, Event, Wait
from rjepa.reasoning.mode import CHOOSING, Mode
from rjepa.reasoning.question import InvalidQuestionError, ModeOptions, Question
from rjepa.reasoning.tools import Parts, Tools
from rjepa.reasoning.writing import Candidates, energy_limit, require_steps
from rjepa.sampling.protocol import Capability
from rjepa.students.sampled import GREEDY

MAX_CANDIDATES: Final = 64
"""Beyond it the vote hardly moves, while time and memory still grow with every candidate."""

_AUTO_CANDIDATES: Final = 16
"""The most that `auto` draws: what a release's P(correct) is fitted for at most."""

_TARGET: Final = 0.8
"""P(correct) at which `auto` is sure enough (docs/lab-book/42-modes-on-the-step.md)."""


class RerankOptions(ModeOptions):
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
    drop: float | None = Field(
        None, gt=0, lt=1, description="give a chain up at a step with more energy than this share of right steps"
    )
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


def check(question: Question) -> None:
    """Refuse to sample one chain several times."""
    options = question.options
    assert isinstance(options, RerankOptions)
    if question.temperature == 0 and options.num_candidates != 1:
        raise InvalidQuestionError(
            "at temperature 0 every candidate is the same, so there is nothing to choose from",
            cure="leave temperature out, or use mode off",
            field="temperature",
        )


def fit(question: Question, parts: Parts) -> None:
    """Refuse what the release cannot promise, or cannot tell from a step.

    Raises:
        InvalidInputError: the dial is set lower than the release can promise, or chains are to be dropped at a step by
            a release that cannot tell a bad one.
    """
    options, risk = question.options, parts.calibration.risk
    assert isinstance(options, RerankOptions)
    if options.drop is not None:
        require_steps(question, parts)
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


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """Sample to the end, score each chain as a whole, choose; then the chosen chain's steps with their energies."""
    options = question.options
    assert isinstance(options, RerankOptions)
    temperature = tools.temperature
    if options.is_auto:
        yield from _run_auto(options, tools, temperature)
        return
    assert isinstance(options.num_candidates, int)
    samples = [GREEDY] if question.temperature == 0 else range(options.num_candidates)
    if options.drop is not None:
        draw = _Draw(Candidates(tools, len(samples)))
        yield from _draw(draw, samples, temperature, energy_limit(tools.parts, options.drop))
        judged = judge(tools, draw.candidates.rows)
        yield from finish(tools, judged, pruned=draw.pruned, note=_dropped(draw.pruned))
        return
    rows = tools.start(samples, temperature)
    yield from _write_whole(tools, rows)
    yield from finish(tools, judge(tools, rows))


def _write_whole(tools: Tools, rows: tuple[int, ...]) -> Generator[Event | Wait, None, None]:
    """Write rows to their ends; nothing is read before."""
    running = list(rows)
    while running:
        yield Wait(tuple(running), "chain", any_row=True)
        for row in [row for row in running if tools.is_over(row)]:
            running.remove(row)
            yield CandidateWritten(rows.index(row), len(rows) - len(running), len(rows))


@dataclass
class _Draw:
    """What was drawn so far, and what of it was given up."""

    candidates: Candidates
    pruned: list[Pruned] = field(default_factory=list)


def _draw(
    draw: _Draw, samples: Sequence[int], temperature: float, limit: float | None
) -> Generator[Event | Wait, None, None]:
    """Draw further candidates; those with a step above `limit` are given up there."""
    candidates = draw.candidates
    numbers = yield from candidates.start(samples, temperature)
    yield from candidates.write(numbers, limit)
    share = candidates.tools.parts.calibration.share_of_right_steps_below
    for number in numbers:
        step = None if limit is None or number in candidates.whole else candidates.bad_step(number, limit)
        if step is not None:
            energy = candidates.reading(number).steps[step].energy
            below = share(energy)
            why = (
                "more energy than nearly all right steps" if below is None else f"more than {below:.0%} of right steps"
            )
            pruned = Pruned(candidate=number, step=step + 1, energy=energy, share_below=below, why=why)
            draw.pruned.append(pruned)
            yield pruned


def _run_auto(options: RerankOptions, tools: Tools, temperature: float) -> Generator[Event | Wait, None, None]:
    """One wave after the other until P(correct) is high enough, or there may be no more."""
    risk, dial = tools.parts.calibration.risk, options.max_error
    safe = None if dial is None else risk.threshold(dial)
    # The dial's promise was counted for candidates drawn one at a time, up to the number it was fitted with.
    most, wave = (options.max_candidates, options.wave) if dial is None else (risk.candidates, 1)
    target = options.target if safe is None else safe
    limit = None if options.drop is None or dial is not None else energy_limit(tools.parts, options.drop)
    draw = _Draw(Candidates(tools, most))
    rows = draw.candidates.rows
    stopped: StopReason | None = None
    familiar = False
    while stopped is None:
        first = len(rows)
        yield from _draw(draw, range(first, min(first + wave, most)), temperature, limit if familiar else None)
        judged = judge(tools, rows)
        familiar = judged.ranking.familiar
        stopped = _stop(judged, target, len(rows) >= most, tools.is_spent)
    if dial is not None and stopped != "sure_enough":
        yield from abstain(tools, judged, _unsure(judged, dial), stopped=stopped)
        return
    drawn = f"{len(rows)} candidates were drawn, at most {most}."
    yield from finish(tools, judged, pruned=draw.pruned, stopped=stopped, note=f"{drawn} {_dropped(draw.pruned)}")


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
        return (
            f"No answer: R-JEPA knows no problems like this one, so that an error of at most {dial:.0%} is no promise."
        )
    return (
        f"No answer: the best one found is right with a chance of {judged.p_correct:.0%}, "
        f"too low to keep errors at {dial:.0%}."
    )


def _dropped(pruned: list[Pruned]) -> str:
    return f"{len(pruned)} chains were given up at a surprising step." if pruned else ""


MODE: Final = Mode(
    name="rerank",
    summary="R-JEPA chooses among candidates",
    options=RerankOptions,
    needs=frozenset({Capability.CHAINS, Capability.LOGPROBS, Capability.STATES}),
    parts=CHOOSING,
    run=run,
    check=check,
    fit=fit,
)
