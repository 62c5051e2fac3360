"""Sample several candidates, let R-JEPA and the student's log-probabilities choose one, and say why.

A fixed number of them, or one after the other until the answer is sure enough; and with the risk dial, no answer at all
where it is not.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import Field

from rjepa.reasoning.changes import Pruned
from rjepa.reasoning.choosing import finish, judge
from rjepa.reasoning.events import CandidateWritten, Event, Wait
from rjepa.reasoning.mode import CHOOSING, Mode
from rjepa.reasoning.question import Question
from rjepa.reasoning.stopping import (
    StoppingOptions,
    conclude,
    draw_until_sure,
    most_candidates,
    refuse_equal_candidates,
    require_promise,
)
from rjepa.reasoning.tools import Parts, Tools
from rjepa.reasoning.writing import Candidates, Events, energy_limit, require_steps
from rjepa.sampling.protocol import Capability
from rjepa.students.sampled import GREEDY


class RerankOptions(StoppingOptions):
    """How many candidates there are to choose from, how sure the answer has to be, and which chains are given up."""

    drop: float | None = Field(
        None, gt=0, lt=1, description="give a chain up at a step with more energy than this share of right steps"
    )


def fit(question: Question, parts: Parts) -> None:
    """Refuse what the release cannot promise, or cannot tell from a step.

    Raises:
        InvalidInputError: the dial is set lower than the release can promise, or chains are to be dropped at a step by
            a release that cannot tell a bad one.
    """
    options = question.options
    assert isinstance(options, RerankOptions)
    if options.drop is not None:
        require_steps(question, parts)
    require_promise(options, parts.calibration.risk)


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
    limit = None if options.drop is None or options.max_error is not None else energy_limit(tools.parts, options.drop)
    draw = _Draw(Candidates(tools, most_candidates(options, tools.parts.calibration.risk)[0]))

    def write(samples: Sequence[int], familiar: bool) -> Events:
        yield from _draw(draw, samples, temperature, limit if familiar else None)

    drawn = yield from draw_until_sure(options, tools, write, lambda: judge(tools, draw.candidates.rows))
    yield from conclude(options, tools, drawn, draw.pruned, _dropped(draw.pruned))


def _dropped(pruned: list[Pruned]) -> str:
    return f"{len(pruned)} chains were given up at a surprising step." if pruned else ""


MODE: Final = Mode(
    name="rerank",
    summary="R-JEPA chooses among candidates",
    options=RerankOptions,
    needs=frozenset({Capability.CHAINS, Capability.LOGPROBS, Capability.STATES}),
    parts=CHOOSING,
    run=run,
    check=refuse_equal_candidates,
    fit=fit,
)
