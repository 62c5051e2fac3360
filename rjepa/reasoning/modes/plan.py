"""Say what is missing from a chain: R-JEPA expects the latents of missing or surprising steps, the verbaliser puts them
into words, what fits stays, and the student goes on from there.

Three verbs, each with all of those before it: `complete` fills the gaps that are asked for; `find` looks for gaps and
wrong steps among the steps that are given; `refine` does so with what the student wrote, round by round.
"""

from collections.abc import Generator
from typing import Final, Literal

from pydantic import Field

from rjepa.reasoning.changes import Branch, Planned, StopReason
from rjepa.reasoning.choosing import best_scored, finish, is_familiar, judge
from rjepa.reasoning.events import Event, Wait
from rjepa.reasoning.mode import CHOOSING, STEPWISE, Mode
from rjepa.reasoning.planning import GAP, Planner, read_steps, step_line
from rjepa.reasoning.question import InvalidQuestionError, ModeOptions, Question
from rjepa.reasoning.tools import Tools
from rjepa.reasoning.writing import Candidates, answer_as_off, energy_limit, require_steps
from rjepa.sampling.protocol import Capability
from rjepa.students.sampled import GREEDY

MOST_ROUNDS: Final = 16
MOST_CHARACTERS: Final = 8000
"""Length of the given steps together: more do not fit a small student's context."""


class PlanOptions(ModeOptions):
    """What is known, and what is to be done with it."""

    steps: str = Field(
        "", max_length=MOST_CHARACTERS, description=f"steps that are known, one a line; {GAP} for one that is missing"
    )
    verb: Literal["complete", "find", "refine"] = Field(
        "refine",
        description="complete: fill the gaps asked for; find: look for gaps and wrong steps too; refine: improve what "
        "the student goes on with, too",
    )
    rounds: int = Field(4, ge=0, le=MOST_ROUNDS, description=f"changes of a kind at most, 0 to {MOST_ROUNDS}")
    surprise: float = Field(
        0.95, gt=0, lt=1, description="a step with more energy than this share of right steps is looked at"
    )


def check(question: Question) -> None:
    """Refuse gaps for a verb that has none to fill."""
    assert isinstance(question.options, PlanOptions)
    if question.options.verb == "complete" and None not in read_steps(question.options.steps):
        raise InvalidQuestionError(
            "there is no gap to complete",
            cure=f"give the known steps in the option steps, one a line, with {GAP} for each that is missing; "
            "or choose the verb find or refine",
            field="options.steps",
        )


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """Plan with what is given, let the student go on, refine what it wrote."""
    options = question.options
    assert isinstance(options, PlanOptions)
    temperature = tools.temperature
    sample = 0 if question.temperature else GREEDY
    limit = energy_limit(tools.parts, options.surprise)
    planner = Planner(tools)
    steps = planner.fill(read_steps(options.steps))
    if options.verb != "complete" and steps and planner.knows(steps):
        steps = planner.mend(steps, limit, options.rounds)
    yield from planner.planned
    candidates = Candidates(tools, 1 + options.rounds)
    yield from _go_on(candidates, steps, sample, temperature)
    stopped: StopReason | None = None
    familiar = is_familiar(tools, candidates.rows)
    if not familiar and not steps and question.temperature is None:
        yield from answer_as_off(candidates)
        return
    if options.verb == "refine" and familiar:
        stopped = yield from _refine(candidates, planner, limit, options.rounds, sample, temperature)
    judged = judge(tools, candidates.rows, best_scored(tools))
    yield from finish(tools, judged, planned=planner.planned, stopped=stopped, note=_note(planner.planned))


def _go_on(
    candidates: Candidates, steps: list[str], sample: int, temperature: float
) -> Generator[Event | Wait, None, None]:
    """One more candidate: the student writes on from these steps."""
    lines = [step_line(number, one) for number, one in enumerate(steps, start=1)]
    while lines and not candidates.tools.can_start_from(lines):
        lines.pop()
    candidates.rows.append(candidates.tools.start_from(lines, sample, temperature))
    number = len(candidates.rows) - 1
    yield Branch(candidate=number)
    yield from candidates.write([number])


def _refine(
    candidates: Candidates, planner: Planner, limit: float, rounds: int, sample: int, temperature: float
) -> Generator[Event | Wait, None, StopReason]:
    """Put what is expected in the place of the first step that surprises, and go on from it; what scores better is
    refined next. Returns why no more was tried.
    """
    tools, best, settled = candidates.tools, 0, set[str]()
    for _ in range(rounds):
        reading = candidates.reading(best)
        steps = [step.words for step in reading.steps if not step.is_answer]
        place = next(
            (at for at, one in enumerate(steps) if reading.steps[at].energy > limit and one not in settled), None
        )
        if place is None:
            return "nothing_to_repair"
        old, words = steps[place], planner.expected([*steps[:place], None], place)
        settled.add(old)
        if not words or words == old:
            continue
        yield from _go_on(candidates, [*steps[:place], words], sample, temperature)
        new = len(candidates.rows) - 1
        before, after = judge(tools, [candidates.rows[best], candidates.rows[new]], best_scored(tools)).scores()
        gains = after > before
        planned = Planned(
            step=place + 1,
            expected=words,
            written=old,
            energy=candidates.reading(new if gains else best).energies[place],
            why=f"the step surprised; with the expected one the chain scores {abs(after - before):.2f} "
            f"{'more, and it stands' if gains else 'less, and the old one stands'}",
        )
        planner.planned.append(planned)
        yield planned
        best = new if gains else best
        if tools.is_spent:
            return "out_of_budget"
    return "all_drawn"


def _note(planned: list[Planned]) -> str:
    if not planned:
        return "R-JEPA found nothing to plan."
    return f"R-JEPA planned {len(planned)} step{'s' if len(planned) > 1 else ''}."


MODE: Final = Mode(
    name="plan",
    summary="R-JEPA says what is missing or wrong, in words, and the student goes on",
    options=PlanOptions,
    needs=STEPWISE | {Capability.PREFIX, Capability.CANCEL},
    parts=CHOOSING | {"verbalizer"},
    run=run,
    check=check,
    fit=require_steps,
)
