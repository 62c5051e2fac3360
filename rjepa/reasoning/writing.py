"""Candidates while they are written: numbered, read a step at a time, streamed, and stopped at the first bad step.

Shared by the modes that act on steps. What is done with a bad step is each mode's own business.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rjepa.errors import InvalidInputError
from rjepa.inference.surprise import energy_above_share
from rjepa.reasoning.changes import Branch
from rjepa.reasoning.choosing import finish, judge, new_steps
from rjepa.reasoning.events import CandidateStep, CandidateWritten, Event, Wait
from rjepa.reasoning.question import InvalidQuestionError, Question
from rjepa.reasoning.reading import Reading
from rjepa.reasoning.tools import Parts, Tools
from rjepa.students.sampled import GREEDY

Events = Generator[Event | Wait, None, None]

FEWEST_TO_CHOOSE: Final = 4
"""Chains at temperature 0.8 among which a choice without R-JEPA is about as good as the greedy chain: with one to three
it is worse (docs/lab-book/42-modes-on-the-step.md)."""


@dataclass
class Candidates:
    """The candidates of one question. A candidate's number is its place in `rows`.

    Attributes:
        tools: of the question.
        most: how many there may be.
        rows: the session's row of each.
        whole: numbers of those that were written to their end, by themselves or up to the limit of a chain.
        chances: whether P(correct) is told of their steps.
    """

    tools: Tools
    most: int
    chances: bool = True
    rows: list[int] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    _told: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _forks: dict[tuple[int, int], int] = field(default_factory=dict)

    def start(self, samples: Sequence[int], temperature: float) -> Generator[Event | Wait, None, list[int]]:
        """Begin candidates from the problem. Returns their numbers."""
        first = len(self.rows)
        self.rows += self.tools.start(samples, temperature)
        numbers = list(range(first, len(self.rows)))
        for number in numbers:
            yield Branch(candidate=number)
        return numbers

    def fork(self, number: int, steps: int) -> Generator[Event | Wait, None, int]:
        """Begin a candidate from the first steps of another. Returns its number."""
        place = self._forks.get((number, steps), 0)
        self._forks[number, steps] = place + 1
        self.rows.append(self.tools.fork(self.rows[number], keep_steps=steps, sample_index=place))
        child = len(self.rows) - 1
        self._told[child] = self._told.get(number, ())[:steps]
        yield Branch(candidate=child, parent=number, step=steps)
        return child

    def can_fork(self, number: int, steps: int) -> bool:
        """Whether more of a chain fits behind the first steps of this one."""
        return self.tools.can_grow(self.rows[number], steps)

    def write_step(self, numbers: Sequence[int]) -> Events:
        """Write each of these on by one step, and read it; to their ends where R-JEPA can only read whole chains."""
        rows = [self.rows[number] for number in numbers]
        by_step = self.tools.parts.reads_steps
        yield Wait(tuple(rows), "step" if by_step else "chain")
        readings = self.tools.read(rows) if by_step else self.tools.read_whole(rows)
        for number, row, reading in zip(numbers, rows, readings, strict=True):
            yield from self._stream(number, reading)
            if self.tools.is_whole(row) and number not in self.whole:
                self.whole.append(number)
                yield CandidateWritten(number, len(self.whole), max(self.most, len(self.whole)))

    def write(self, numbers: Sequence[int], limit: float | None = None) -> Events:
        """Write each of these to its end, or until one of its new steps has more energy than `limit`.

        One that is stopped there is dropped; `bad_step` tells where.
        """
        running = list(numbers)
        begun = {number: len(self.reading(number).steps) for number in numbers}
        while running:
            yield from self.write_step(running)
            if limit is not None:
                for number in running:
                    if not self.is_over(number) and self.bad_step(number, limit, begun[number]) is not None:
                        self.drop(number)
            running = [number for number in running if not self.is_over(number)]

    def reading(self, number: int) -> Reading:
        """What R-JEPA has read of a candidate so far; nothing is read for it."""
        return self.tools.reading(self.rows[number])

    def bad_step(self, number: int, limit: float, since: int = 0) -> int | None:
        """The first segment, from 0, of a candidate that has more energy than `limit`; None where there is none."""
        steps = self.reading(number).steps
        return next((index for index in range(since, len(steps)) if steps[index].energy > limit), None)

    def is_over(self, number: int) -> bool:
        """Whether nothing more is written of a candidate."""
        return self.tools.is_over(self.rows[number])

    def drop(self, number: int) -> None:
        """Write no more of a candidate."""
        self.tools.drop(self.rows[number])

    def _stream(self, number: int, reading: Reading) -> Generator[CandidateStep, None, None]:
        """The steps that are new, or have grown since they were told."""
        told, texts = self._told.get(number, ()), tuple(step.text for step in reading.steps)
        same = next((index for index, (old, new) in enumerate(zip(told, texts, strict=False)) if old != new), None)
        self._told[number] = texts
        since = min(len(told), len(texts)) if same is None else same
        yield from new_steps(self.tools, number, reading, since, chances=self.chances)


def answer_as_off(candidates: Candidates) -> Generator[Event | Wait, None, None]:
    """The answer where R-JEPA knows no such problems and nothing may act on its energies: with several whole chains,
    what the release chooses among them without R-JEPA; with fewer, the student's greedy chain, as with mode off.
    """
    tools = candidates.tools
    if len(candidates.whole) >= FEWEST_TO_CHOOSE or tools.is_spent:
        yield from finish(tools, judge(tools, candidates.rows), note="No mode acts on energies there.")
        return
    (greedy,) = yield from candidates.start([GREEDY], 1.0)
    yield from candidates.write([greedy])
    judged = judge(tools, candidates.rows, only=greedy)
    yield from finish(tools, judged, note="The answer is the student's own, as with mode off.")


def refuse_greedy(question: Question) -> None:
    """Refuse to write one chain several times."""
    if question.temperature == 0:
        raise InvalidQuestionError(
            "at temperature 0 what is written again is the same",
            cure="leave temperature out, or use mode off",
            field="temperature",
        )


def require_steps(question: Question, parts: Parts) -> None:
    """Refuse a mode that acts on steps where the release cannot tell a bad one while it is written.

    Raises:
        InvalidInputError: R-JEPA reads chains in both directions, or the release does not know right steps' energies.
    """
    config = parts.model.config
    if not config.encoder.causal:
        raise InvalidInputError(
            f"mode {question.mode} reads chains while they are written; R-JEPA {config.name!r} reads whole ones only",
            cure="release an R-JEPA whose encoder is causal, such as `full`, or choose mode rerank",
        )
    if not parts.reads_steps:
        raise InvalidInputError(
            f"mode {question.mode} reads chains while they are written, and its source does not show them",
            cure="use the student's own weights, here or in its own environment, or choose mode rerank",
        )
    if not parts.calibration.step_quantiles:
        raise InvalidInputError(
            f"mode {question.mode} acts on surprising steps; the release does not know how surprising right ones are",
            cure="release a calibration that was fitted on problems whose steps are checked, or choose mode rerank",
        )


USUAL_SHARE: Final = 0.95
"""Where a release has no step threshold of its own: one right step in twenty is above it."""


def energy_limit(parts: Parts, share: float | None) -> float:
    """The energy that this share of right steps does not exceed; for None the release's own step threshold, at which
    wrong steps were told from right ones best on validation.
    """
    calibration = parts.calibration
    if share is None and calibration.step_threshold is not None:
        return calibration.step_threshold
    limit = energy_above_share(calibration.step_quantiles, USUAL_SHARE if share is None else share)
    assert limit is not None
    return limit
