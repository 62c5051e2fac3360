"""An engine for the pages: steps of every kind, so that each state of a page can be seen."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rjepa.reasoning.answer import Answer
from rjepa.reasoning.events import CandidateWritten, Done, Event, StepWritten, Text
from rjepa.reasoning.question import Question
from rjepa.releases.pointer import require_current
from serving.host import AnswersQuestions, EngineLoader

from ..serving.fakes import FakeEngine

QUANTILES = tuple(np.linspace(0.0, 1.0, 101).tolist())
"""A step with energy 0.4 is more surprising than 40 % of right steps."""

THRESHOLD = 0.7


class PagesEngine(FakeEngine):
    """The fake of the service's tests, on a scale: steps have energies 0.4 and 0.8, the second one doubtful."""

    def info(self) -> dict[str, Any]:
        more = {"step_quantiles": list(QUANTILES), "step_threshold": THRESHOLD, "figures": {"ece": 0.021}}
        return super().info() | more

    def run(self, question: Question) -> Iterator[Event]:
        for event in super().run(question):
            if isinstance(event, Done) and event.answer.candidates:
                yield from _written(event.answer)
            elif isinstance(event, Text) and question.mode != "off":
                continue
            yield event


def _written(answer: Answer) -> Iterator[Event]:
    """What mode rerank streams: candidates as they end, then the chosen chain's steps."""
    total = len(answer.candidates)
    for index in range(total):
        yield CandidateWritten(index, index + 1, total)
    chosen = answer.candidates[0]
    energies = [*chosen.step_energies, chosen.answer_energy]
    for line, energy in zip(answer.text.splitlines(keepends=True), energies, strict=True):
        yield StepWritten(line, energy, None, energy)


def pages_loader(home: Any) -> EngineLoader:
    """Loads a fake of whatever `CURRENT` names."""

    def load(previous: AnswersQuestions | None, release_id: str | None = None) -> PagesEngine:
        return PagesEngine(release_id or require_current(home, "tiny-a"))

    return load
