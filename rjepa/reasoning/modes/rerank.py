"""Sample several candidates, let R-JEPA and the student's log-probabilities choose one, and say why."""

from collections.abc import Generator
from typing import Final

from pydantic import Field

from rjepa.chains import segment_spans
from rjepa.inference.ranking import explain
from rjepa.inference.table import CandidateTable
from rjepa.reasoning.answer import Explanation
from rjepa.reasoning.candidates import make_candidates, report_candidates
from rjepa.reasoning.events import CandidateWritten, Done, Event, StepWritten, Wait
from rjepa.reasoning.mode import Mode
from rjepa.reasoning.question import InvalidQuestionError, ModeOptions, Question
from rjepa.reasoning.tools import Tools
from rjepa.sampling.protocol import Capability
from rjepa.students.sampled import GREEDY

MAX_CANDIDATES: Final = 64
"""Beyond it the vote hardly moves, while time and memory still grow with every candidate."""


class RerankOptions(ModeOptions):
    """How many candidates there are to choose from."""

    num_candidates: int = Field(8, ge=1, le=MAX_CANDIDATES, description=f"candidates, 1 to {MAX_CANDIDATES}")


def check(question: Question) -> None:
    """Refuse to sample one chain several times."""
    assert isinstance(question.options, RerankOptions)
    if question.temperature == 0 and question.options.num_candidates > 1:
        raise InvalidQuestionError(
            "at temperature 0 every candidate is the same, so there is nothing to choose from",
            cure="leave temperature out, or use mode off",
            field="temperature",
        )


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """Sample to the end, score each chain as a whole, choose; then the chosen chain's steps with their energies."""
    assert isinstance(question.options, RerankOptions)
    greedy, count = question.temperature == 0, question.options.num_candidates
    temperature = question.temperature or tools.parts.sampling_temperature
    rows = tools.start([GREEDY] if greedy else range(count), temperature)
    running = list(rows)
    while running:
        yield Wait(tuple(running), "chain", any_row=True)
        for row in [row for row in running if tools.is_over(row)]:
            running.remove(row)
            yield CandidateWritten(rows.index(row), len(rows) - len(running), len(rows))
    chains = tools.chains(rows)
    candidates, energies = make_candidates(chains), tools.energies(chains)
    table = CandidateTable.of_question(candidates, energies)
    ranking = explain(
        table, tools.parts.calibration.decide(table), [candidate.final_answer for candidate in candidates]
    )
    reports = report_candidates(candidates, energies, ranking, tools.parts.segmentation)
    winner = reports[ranking.chosen]
    spans = segment_spans(winner.text, tools.parts.segmentation)
    for (start, end), energy in zip(spans, energies[ranking.chosen].tolist(), strict=True):
        yield StepWritten(winner.text[start:end], energy)
    yield Done(
        tools.answer(
            winner.text,
            finished=winner.finished,
            candidates=reports,
            p_correct=winner.p_correct,
            explanation=Explanation(**ranking.model_dump(include=set(Explanation.model_fields))),
        )
    )


MODE: Final = Mode(
    name="rerank",
    summary="R-JEPA chooses among candidates",
    options=RerankOptions,
    needs=frozenset({Capability.CHAINS, Capability.LOGPROBS, Capability.STATES}),
    parts=frozenset({"reader", "world_model", "calibration"}),
    run=run,
    check=check,
)
