"""The student writes, and before each step R-JEPA says what it expects: as a bias on the step's words, a pull on the
student's hidden states, or both.

Guided chains look as expected, and still R-JEPA's energies tell some of the wrong ones. How sure a guided answer is, is
known where the release has a calibration that was fitted to guided chains; then candidates may be drawn until it is
sure enough. On problems of a kind that R-JEPA does not know the student writes alone.

Where no temperature is asked for, the first candidate is the guided greedy chain, and only the others are drawn: alone
it is right more often than one that is drawn (docs/lab-book/81-how-sure-a-guided-answer-is.md).
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal

import torch
from pydantic import Field

from rjepa.errors import InvalidInputError
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.choice import Rule
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.changes import StopReason
from rjepa.reasoning.choosing import abstain, best_scored, finish, judge
from rjepa.reasoning.events import Done, Event, StepWritten, Wait
from rjepa.reasoning.judged import Judged
from rjepa.reasoning.mode import CHOOSING, STEPWISE, Mode
from rjepa.reasoning.question import Question
from rjepa.reasoning.reading import ReadStep
from rjepa.reasoning.stopping import (
    MAX_CANDIDATES,
    StoppingOptions,
    conclude,
    draw_until_sure,
    most_candidates,
    promises_nothing,
    refuse_equal_candidates,
    require_promise,
)
from rjepa.reasoning.tools import Parts, Tools
from rjepa.reasoning.writing import FEWEST_TO_CHOOSE, Candidates, Events
from rjepa.sampling.protocol import Capability
from rjepa.students.sampled import GREEDY
from rjepa.verbalizer.blending import blend, expected_state
from rjepa.verbalizer.guiding import Guide, GuidedChoice, annealed

_AUTO_CANDIDATES: Final = 8
"""The most that `auto` draws: what a release's P(correct) of guided answers is fitted for at most."""

GUIDED: Final = "R-JEPA guided every step."
ALONE: Final = "R-JEPA knows no problems like this one: it guided no step, and the student wrote alone."


class NudgeOptions(StoppingOptions):
    """How strongly R-JEPA pulls, and how sure the answer has to be."""

    num_candidates: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] | Literal["auto"] = Field(
        1,
        description=f"candidates, 1 to {MAX_CANDIDATES}; auto: one after the other until the answer is sure enough",
    )
    max_candidates: int = Field(
        _AUTO_CANDIDATES, ge=1, le=MAX_CANDIDATES, description=f"the most that auto draws, 1 to {MAX_CANDIDATES}"
    )
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
        "own way if left out",
    )
    unfamiliar: Literal["alone", "guide"] = Field(
        "alone", description="on problems of a kind that R-JEPA does not know: leave the student alone, or guide it"
    )

    @property
    def uses_release_settings(self) -> bool:
        """Whether chains are guided and chosen as those were that the calibration of guided chains was fitted to."""
        guided_so = self.alpha is None and self.anneal is None and not self.blend
        return guided_so and self.choice is None and self.unfamiliar == "alone"


def fit(question: Question, parts: Parts) -> None:
    """Refuse to stop by a P(correct) that is not known, to promise what cannot be promised, or bend a server's states.

    Raises:
        InvalidInputError: so it is: the release does not know how sure a guided answer is, or not of chains guided so;
            the dial is set lower than it can promise; states are to be blended that are elsewhere.
    """
    options = question.options
    assert isinstance(options, NudgeOptions)
    if options.blend and Capability.EDIT not in parts.capabilities:
        raise InvalidInputError(
            f"the hidden states of {parts.llm_tag} are a server's, where nothing can be blended into them",
            cure="leave blend out: its words can be guided; or use the student's own weights",
        )
    if not options.is_auto:
        return
    if parts.guided_calibration is None:
        raise InvalidInputError(
            "the release does not know how sure a guided answer is, so nothing says when to stop",
            cure="name a number of candidates; or materialise logit_guidance again (rjepa backfill --decoders) with "
            "more validation problems, then release again",
        )
    if not options.uses_release_settings:
        raise InvalidInputError(
            "the release knows how sure an answer is that was guided and chosen by its own settings, and not by others",
            cure="leave alpha, anneal, blend, choice and unfamiliar out, or name a number of candidates",
        )
    require_promise(options, parts.guided_calibration.risk)


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """Guide each chain step by step, then choose."""
    options = question.options
    assert isinstance(options, NudgeOptions)
    guided_calibration = tools.parts.guided_calibration if options.uses_release_settings else None
    if isinstance(options.num_candidates, int) and not options.is_auto:
        most = together = options.num_candidates
    else:
        assert guided_calibration is not None  # `fit` has seen to it
        most, together = most_candidates(options, guided_calibration.risk)
    usual, greedy_first = tools.parts.calibration.step_threshold, not question.temperature
    writing = _Writing(Candidates(tools, most, chances=False), options, usual, greedy_first)
    running = yield from writing.begin(range(together))
    known = tools.knows_problem(writing.candidates.rows[0])
    writing.guided = known or options.unfamiliar == "guide"
    if known and guided_calibration is not None:
        writing.calibrate(guided_calibration)
    if not writing.guided:
        events = yield from _alone(writing, running)
    elif options.is_auto:
        events = yield from _until_sure(writing, running)
    else:
        stopped = yield from writing.write(running)
        events = finish(tools, writing.choose(), stopped=stopped, note=GUIDED)
    yield from events if writing.calibrated else _without_chances(events, writing.guided)


@dataclass
class _Writing:
    """The candidates of a question while they are guided.

    Attributes:
        usual: the energy from which on a step is called wrong, of the release's own calibration: annealing goes by it.
        greedy_first: whether candidate 0 is the greedy chain.
        guided: whether R-JEPA guides; known once the problem was read.
        calibrated: whether scores and P(correct) are those that were fitted to guided chains.
    """

    candidates: Candidates
    options: NudgeOptions
    usual: float | None
    greedy_first: bool
    guided: bool = False
    calibrated: bool = False
    guides: dict[int, Guide] = field(default_factory=dict)

    def calibrate(self, calibration: ScoreCalibration) -> None:
        """Score by what was fitted to guided chains, and tell P(correct)."""
        self.candidates.tools.calibrate(calibration)
        self.calibrated = self.candidates.chances = True

    def begin(self, places: Sequence[int]) -> Generator[Event | Wait, None, list[int]]:
        """Begin candidates, and read their problem: it is read with the first token, which is no word of a step yet."""
        tools = self.candidates.tools
        first = GREEDY if self.greedy_first else 0  # the samples are numbered on from the greedy chain
        numbers = yield from self.candidates.start([first + place for place in places], tools.temperature)
        rows = [self.candidates.rows[number] for number in numbers]
        yield Wait(tuple(rows), "token")
        tools.read(rows)
        return numbers

    def write(self, numbers: Sequence[int]) -> Generator[Event | Wait, None, StopReason | None]:
        """Write candidates that have begun to their ends. Says why, where that was not reached."""
        candidates, running = self.candidates, list(numbers)
        while running and not candidates.tools.is_spent:
            for number in running if self.guided else ():
                self._pull(number)
            yield from candidates.write_step(running)
            running = [number for number in running if not candidates.is_over(number)]
        for number in running:
            candidates.drop(number)
        return "out_of_budget" if running else None

    def choose(self, only: int | None = None) -> Judged:
        """The best of all that were written."""
        tools = self.candidates.tools
        rule = None if self.calibrated else _rule(tools, self.options)
        return judge(tools, self.candidates.rows, rule, only)

    def _pull(self, number: int) -> None:
        """Set the bias and the edit for the step that a candidate writes next."""
        candidates, options = self.candidates, self.options
        tools, row = candidates.tools, candidates.rows[number]
        guidance = tools.parts.guidance
        assert guidance is not None  # the engine has seen to it
        reading = candidates.reading(number)
        last = reading.steps[-1] if reading.steps else None
        alpha = guidance.settings.alpha if options.alpha is None else options.alpha
        anneal = guidance.settings.anneal if options.anneal is None else options.anneal
        weight = annealed(alpha, anneal, None if last is None else last.energy, self.usual)
        expected = reading.expectation
        if number not in self.guides:
            self.guides[number] = tools.guide()
        guide = self.guides[number]
        if weight:
            written = 0 if last is None else last.tokens
            guide.expect(expected.next[0].float().cpu(), len(reading.steps) + 1, written, weight)
        tools.set_bias(row, guide if weight else None)
        if options.blend:
            pulls = _gate(options, last, self.usual)
            share = options.blend * options.blend_decay ** len(reading.steps) if pulls else 0.0
            state = expected_state(torch.from_numpy(expected.next_latents()[0]), tools.parts.reader.poolings)
            tools.set_edit(row, blend(state, share) if share else None)


def _alone(writing: _Writing, begun: list[int]) -> Generator[Event | Wait, None, Iterator[Event]]:
    """The answer where R-JEPA knows no such problems: the student's own. Returns its events."""
    candidates, dial, only = writing.candidates, writing.options.max_error, None
    if writing.greedy_first and len(begun) < FEWEST_TO_CHOOSE:
        for number in begun[1:]:  # a choice among few is worse than the answer of mode off
            candidates.drop(number)
        begun, only = begun[:1], 0
    stopped = yield from writing.write(begun)
    judged = writing.choose(only)
    if dial is not None:
        return abstain(candidates.tools, judged, promises_nothing(dial), stopped=stopped)
    return finish(candidates.tools, judged, stopped=stopped, note=ALONE)


def _until_sure(writing: _Writing, begun: list[int]) -> Generator[Event | Wait, None, Iterator[Event]]:
    """Draw guided candidates until the answer is sure enough. Returns the events of the answer."""

    def write(places: Sequence[int], familiar: bool) -> Events:
        # The first wave has begun: whether R-JEPA knows the problem was to be seen from its prompt.
        numbers = begun if not places[0] else (yield from writing.begin(places))
        yield from writing.write(numbers)

    tools, options = writing.candidates.tools, writing.options
    drawn = yield from draw_until_sure(options, tools, write, writing.choose)
    return conclude(options, tools, drawn, note=GUIDED)


def _rule(tools: Tools, options: NudgeOptions) -> Rule:
    """What is chosen by among guided chains that no calibration was fitted to."""
    guidance = tools.parts.guidance
    assert guidance is not None  # the engine has seen to it
    if (options.choice or guidance.settings.choice) == "energy":
        return best_scored(tools)
    return Rule(tools.parts.calibration.logprob_length, "vote")


def _gate(options: NudgeOptions, last: ReadStep | None, usual: float | None) -> bool:
    """Whether the hidden states are pulled after this step."""
    if options.blend_gate == "always" or usual is None:
        return True
    surprised = last is not None and last.energy > usual
    return surprised == (options.blend_gate == "surprised")


def _without_chances(events: Iterable[Event], guided: bool) -> Iterator[Event]:
    """The events without P(correct), which was fitted to other chains."""
    for event in events:
        if isinstance(event, StepWritten):
            yield replace(event, p_correct=None)
        elif isinstance(event, Done):
            yield replace(event, answer=_known(event.answer, guided))
        else:
            yield event


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
    needs=STEPWISE | {Capability.BIAS, Capability.CALLBACKS},
    parts=CHOOSING | {"guidance"},
    run=run,
    check=refuse_equal_candidates,
    fit=fit,
)
