"""The student writes, and before each step R-JEPA says what it expects: as a bias on the step's words, a pull on the
student's hidden states, or both.

Guided chains look as expected, and still R-JEPA's energies tell some of the wrong ones: whether several are chosen
among by them or by log-probability and votes was found out on validation problems. On problems of a kind that R-JEPA
does not know the student writes alone.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import Final, Literal

import torch
from pydantic import Field

from rjepa.inference.choice import Rule
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.changes import StopReason
from rjepa.reasoning.choosing import best_scored, finish, judge
from rjepa.reasoning.events import Done, Event, StepWritten, Wait
from rjepa.reasoning.mode import CHOOSING, STEPWISE, Mode
from rjepa.reasoning.question import InvalidQuestionError, ModeOptions, Question
from rjepa.reasoning.reading import ReadStep
from rjepa.reasoning.tools import Tools
from rjepa.reasoning.writing import FEWEST_TO_CHOOSE, Candidates
from rjepa.sampling.protocol import Capability
from rjepa.students.sampled import GREEDY
from rjepa.verbalizer.blending import blend, expected_state
from rjepa.verbalizer.guiding import Guide, GuidedChoice, annealed

MAX_CANDIDATES: Final = 64
"""As many as `rerank` takes."""

GUIDED: Final = "R-JEPA guided every step."
ALONE: Final = "R-JEPA knows no problems like this one: it guided no step, and the student wrote alone."


class NudgeOptions(ModeOptions):
    """How strongly R-JEPA pulls."""

    num_candidates: int = Field(1, ge=1, le=MAX_CANDIDATES, description=f"candidates, 1 to {MAX_CANDIDATES}")
    alpha: float | None = Field(
        None, ge=0, le=4, description="weight of what R-JEPA expects on the next word; the release's own if left out"
    )
    anneal: float | None = Field(
        None, ge=0, le=10, description="how much a surprising step takes off that weight; the release's own if left out"
    )
    blend: float = Field(
        0.0, ge=0, le=1, description="share of the hidden state that R-JEPA expects; 0 leaves it alone"
    )
    blend_decay: float = Field(1.0, gt=0, le=1, description="factor of that share from each step to the next")
    blend_gate: Literal["always", "calm", "surprised"] = Field(
        "always", description="pull after every step, or only after those below or above the release's step threshold"
    )
    choice: GuidedChoice | None = Field(
        None,
        description="what is chosen by among several: energy, R-JEPA's included, or logprob, with votes; the release's "
        "own if left out",
    )
    unfamiliar: Literal["alone", "guide"] = Field(
        "alone", description="on problems of a kind that R-JEPA does not know: leave the student alone, or guide it"
    )

    @property
    def rows(self) -> int:
        """As `ModeOptions.rows`."""
        return self.num_candidates


def check(question: Question) -> None:
    """Refuse to sample one chain several times."""
    assert isinstance(question.options, NudgeOptions)
    if question.temperature == 0 and question.options.num_candidates > 1:
        raise InvalidQuestionError(
            "at temperature 0 every candidate is the same, so there is nothing to choose from",
            cure="leave temperature out, or ask for one candidate",
            field="temperature",
        )


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """Guide each chain step by step, then choose."""
    assert isinstance(question.options, NudgeOptions)
    options, greedy = question.options, question.temperature == 0
    temperature = tools.temperature
    candidates = Candidates(tools, options.num_candidates, chances=False)
    running = yield from candidates.start([GREEDY] if greedy else range(options.num_candidates), temperature)
    # The problem is read with the first token, which is no word of a step yet.
    yield Wait(tuple(candidates.rows), "token")
    tools.read(candidates.rows)
    guided = options.unfamiliar == "guide" or tools.knows_problem(candidates.rows[0])
    only: int | None = None
    if not guided and question.temperature is None and len(running) < FEWEST_TO_CHOOSE:
        for number in running:  # a few samples are worse than the answer of mode off
            candidates.drop(number)
        running = yield from candidates.start([GREEDY], 1.0)
        only = running[0]
    guides = {number: tools.guide() for number in running}
    while running and not tools.is_spent:
        for number in running if guided else ():
            _pull(candidates, number, guides[number], options)
        yield from candidates.write_step(running)
        running = [number for number in running if not candidates.is_over(number)]
    for number in running:
        candidates.drop(number)
    judged = judge(tools, candidates.rows, _rule(tools, options), only)
    stopped: StopReason | None = "out_of_budget" if running else None
    for event in _without_chances(finish(tools, judged, stopped=stopped, note=GUIDED if guided else ALONE)):
        yield replace(event, answer=_known(event.answer, guided)) if isinstance(event, Done) else event


def _rule(tools: Tools, options: NudgeOptions) -> Rule:
    """What is chosen by among guided chains."""
    guidance = tools.parts.guidance
    assert guidance is not None  # the engine has seen to it
    if (options.choice or guidance.settings.choice) == "energy":
        return best_scored(tools)
    return Rule(tools.parts.calibration.logprob_length, "vote")


def _pull(candidates: Candidates, number: int, guide: Guide, options: NudgeOptions) -> None:
    """Set the bias and the edit for the step that a candidate writes next."""
    tools, row = candidates.tools, candidates.rows[number]
    guidance, usual = tools.parts.guidance, tools.parts.calibration.step_threshold
    assert guidance is not None  # the engine has seen to it
    reading = candidates.reading(number)
    last = reading.steps[-1] if reading.steps else None
    alpha = guidance.settings.alpha if options.alpha is None else options.alpha
    anneal = guidance.settings.anneal if options.anneal is None else options.anneal
    weight = annealed(alpha, anneal, None if last is None else last.energy, usual)
    expected = reading.expectation
    if weight:
        guide.expect(expected.next[0].float().cpu(), len(reading.steps) + 1, 0 if last is None else last.tokens, weight)
    tools.set_bias(row, guide if weight else None)
    if options.blend:
        share = options.blend * options.blend_decay ** len(reading.steps) if _gate(options, last, usual) else 0.0
        state = expected_state(torch.from_numpy(expected.next_latents()[0]), tools.parts.reader.poolings)
        tools.set_edit(row, blend(state, share) if share else None)


def _gate(options: NudgeOptions, last: ReadStep | None, usual: float | None) -> bool:
    """Whether the hidden states are pulled after this step."""
    if options.blend_gate == "always" or usual is None:
        return True
    surprised = last is not None and last.energy > usual
    return surprised == (options.blend_gate == "surprised")


def _without_chances(events: Iterable[Event]) -> Iterator[Event]:
    """The events without P(correct), which was fitted to chains that the student wrote alone."""
    for event in events:
        yield replace(event, p_correct=None) if isinstance(event, StepWritten) else event


def _known(answer: Answer, guided: bool) -> Answer:
    """The answer as far as it is known how good it is."""
    assert answer.explanation is not None
    candidates = [one.model_copy(update={"p_correct": None}) for one in answer.candidates]
    explanation = answer.explanation.model_copy(update={"familiar": guided})
    return answer.model_copy(update={"p_correct": None, "candidates": candidates, "explanation": explanation})


MODE: Final = Mode(
    name="nudge",
    summary="R-JEPA says what it expects of each step before it is written",
    options=NudgeOptions,
    needs=STEPWISE | {Capability.BIAS, Capability.EDIT, Capability.CALLBACKS},
    parts=CHOOSING | {"guidance"},
    run=run,
    check=check,
)
