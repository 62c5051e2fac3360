"""The student writes, and before each step R-JEPA says what it expects: as a bias on the step's words, a pull on the
student's hidden states, or both.

Candidates are chosen among by what R-JEPA's energy does not know, log-probability and votes: guided chains look as
expected, whatever they say. On problems of a kind that R-JEPA does not know the student writes alone.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import torch
from pydantic import Field

from rjepa.inference.choice import Rule
from rjepa.inference.ranking import explain
from rjepa.inference.surprise import share_of_right_steps_below
from rjepa.inference.table import CandidateTable
from rjepa.reasoning.answer import Explanation
from rjepa.reasoning.candidates import make_candidates, report_candidates
from rjepa.reasoning.events import CandidateStep, CandidateWritten, Done, Event, StepWritten, Wait
from rjepa.reasoning.mode import Mode
from rjepa.reasoning.question import InvalidQuestionError, ModeOptions, Question
from rjepa.reasoning.reading import Reading, ReadStep
from rjepa.reasoning.tools import Tools
from rjepa.sampling.protocol import Capability
from rjepa.students.sampled import GREEDY
from rjepa.verbalizer.blending import blend, expected_state
from rjepa.verbalizer.guiding import Guide, annealed

MAX_CANDIDATES: Final = 64
"""As of `rerank`."""

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
    unfamiliar: Literal["alone", "guide"] = Field(
        "alone", description="on problems of a kind that R-JEPA does not know: leave the student alone, or guide it"
    )


def check(question: Question) -> None:
    """Refuse to sample one chain several times."""
    assert isinstance(question.options, NudgeOptions)
    if question.temperature == 0 and question.options.num_candidates > 1:
        raise InvalidQuestionError(
            "at temperature 0 every candidate is the same, so there is nothing to choose from",
            cure="leave temperature out, or ask for one candidate",
            field="temperature",
        )


@dataclass
class _Row:
    """One chain that is guided. `told` counts its segments that have been told of."""

    row: int
    guide: Guide
    reading: Reading = field(default_factory=Reading)
    told: int = 0


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """Guide each chain step by step; choose; a single chain's steps come as they are written."""
    assert isinstance(question.options, NudgeOptions)
    options, greedy = question.options, question.temperature == 0
    count = options.num_candidates
    temperature = question.temperature or tools.parts.sampling_temperature
    rows = tools.start([GREEDY] if greedy else range(count), temperature)
    # The problem is read with the first token, which is no word of a step yet.
    yield Wait(rows, "token")
    familiar = tools.knows_problem(rows[0])
    guides = familiar or options.unfamiliar == "guide"
    chains = [_Row(row, tools.guide()) for row in rows]
    running, ended = list(chains), 0
    while running:
        for one, reading in zip(running, tools.read([one.row for one in running]), strict=True):
            one.reading = reading
            yield from _tell(one, rows.index(one.row), count, tools)
        for one in [one for one in running if tools.is_over(one.row)]:
            running.remove(one)
            ended += 1
            yield CandidateWritten(rows.index(one.row), ended, len(rows))
        if guides:
            for one in running:
                _pull(one, options, tools)
        if running:
            yield Wait(tuple(one.row for one in running), "step")
    yield from _finish(rows, chains, guides, tools)


def _tell(one: _Row, index: int, count: int, tools: Tools) -> Generator[Event, None, None]:
    """The steps that a row has written since it was last told of."""
    for number, step in enumerate(one.reading.steps[one.told :], start=one.told + 1):
        share = share_of_right_steps_below(tools.parts.calibration.step_quantiles, step.energy)
        if count == 1:
            yield StepWritten(step.text, step.energy, None, share)
        else:
            yield CandidateStep(index, number, step.text, step.energy, None, share)
    one.told = len(one.reading.steps)


def _pull(one: _Row, options: NudgeOptions, tools: Tools) -> None:
    """Set the bias and the edit for the step that comes next."""
    guidance, usual = tools.parts.guidance, tools.parts.calibration.step_threshold
    assert guidance is not None
    steps = one.reading.steps
    last = steps[-1] if steps else None
    energy = None if last is None else last.energy
    alpha = guidance.settings.alpha if options.alpha is None else options.alpha
    anneal = guidance.settings.anneal if options.anneal is None else options.anneal
    weight = annealed(alpha, anneal, energy, usual)
    expectation = one.reading.expectation
    if weight:
        latent = expectation.next[0].float().cpu()
        one.guide.expect(latent, len(steps) + 1, 0 if last is None else last.tokens, weight)
    tools.set_bias(one.row, one.guide.bias if weight else None)
    pull = options.blend * options.blend_decay ** len(steps) if _gate(options, last, usual) else 0.0
    if options.blend:
        config = tools.parts.model.config
        state = expected_state(torch.from_numpy(expectation.next_latents()[0]), config.use or config.poolings)
        tools.set_edit(one.row, blend(state, pull) if pull else None)


def _gate(options: NudgeOptions, last: ReadStep | None, usual: float | None) -> bool:
    if options.blend_gate == "always" or usual is None:
        return True
    surprised = last is not None and last.energy > usual
    return surprised == (options.blend_gate == "surprised")


def _finish(
    rows: tuple[int, ...], guided: list[_Row], guides: bool, tools: Tools
) -> Generator[Event | Wait, None, None]:
    """Choose without the energy, and hand the chosen chain out."""
    chains = tools.chains(rows)
    candidates = make_candidates(chains)
    energies = [np.asarray(one.reading.energies, dtype=np.float64) for one in guided]
    table = CandidateTable.of_question(candidates, energies)
    calibration = tools.parts.calibration
    decision = calibration.decide(table, Rule(calibration.logprob_length, "vote"))
    ranking = explain(table, decision, [candidate.final_answer for candidate in candidates])
    # P(correct) was fitted to chains that the student wrote alone.
    reports = [
        report.model_copy(update={"p_correct": None})
        for report in report_candidates(candidates, energies, ranking, tools.parts.segmentation)
    ]
    winner = reports[ranking.chosen]
    if len(rows) > 1:
        for step in guided[ranking.chosen].reading.steps:
            share = share_of_right_steps_below(calibration.step_quantiles, step.energy)
            yield StepWritten(step.text, step.energy, None, share)
    explanation = Explanation(**ranking.model_dump(include=set(Explanation.model_fields)))
    words = f"{explanation.text} {GUIDED if guides else ALONE}"
    yield Done(
        tools.answer(
            winner.text,
            finished=winner.finished,
            candidates=reports,
            explanation=explanation.model_copy(update={"familiar": guides, "text": words}),
        )
    )


MODE: Final = Mode(
    name="nudge",
    summary="R-JEPA says what it expects of each step before it is written",
    options=NudgeOptions,
    needs=frozenset(
        {
            Capability.STEPS,
            Capability.LOGPROBS,
            Capability.STATES,
            Capability.LIVE_STATES,
            Capability.BIAS,
            Capability.EDIT,
            Capability.CALLBACKS,
        }
    ),
    parts=frozenset({"reader", "world_model", "calibration", "guidance"}),
    run=run,
    check=check,
)
