"""Cut a chain before its first surprising step, write the rest again from what was kept, and keep what scores better.

The kept steps are neither written nor read again: a rewrite is a fork of the decoding session and of R-JEPA's reading.
"""

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import Field

from rjepa.reasoning.changes import Repaired, StopReason
from rjepa.reasoning.choosing import best_scored, finish, is_familiar, judge
from rjepa.reasoning.events import Event, Wait
from rjepa.reasoning.mode import CHOOSING, STEPWISE, Mode
from rjepa.reasoning.question import ModeOptions, Question
from rjepa.reasoning.tools import Tools
from rjepa.reasoning.writing import Candidates, answer_as_off, energy_limit, refuse_greedy, require_steps
from rjepa.sampling.protocol import Capability

MOST_CHAINS: Final = 16
MOST_ROUNDS: Final = 32
MOST_REWRITES: Final = 8
"""What one question may cost at most where no budget is given."""


class RepairOptions(ModeOptions):
    """How many chains there are, and how often and how eagerly they are repaired."""

    chains: int = Field(1, ge=1, le=MOST_CHAINS, description=f"chains that are repaired, 1 to {MOST_CHAINS}")
    rounds: int = Field(8, ge=0, le=MOST_ROUNDS, description=f"repairs of a chain at most, 0 to {MOST_ROUNDS}")
    rewrites: int = Field(1, ge=1, le=MOST_REWRITES, description=f"rewrites in a repair, 1 to {MOST_REWRITES}")
    surprise: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="a step with more energy than this share of right steps is written again; none: the release's own",
    )
    cut: Literal["surprise", "random"] = Field(
        "surprise", description="where a chain is cut; random is a control: before any step, whatever its energy"
    )

    @property
    def rows(self) -> int:
        """As `ModeOptions.rows`."""
        return self.chains * self.rewrites


@dataclass
class _Work:
    """The chains under repair, each by the number of the candidate that stands for it now, and what was done."""

    chains: list[int]
    chance: random.Random | None = None  # where chains are cut at random
    tried: dict[str, set[str]] = field(default_factory=dict)  # by what stands before it: steps that were written there
    repeats: set[int] = field(default_factory=set)  # candidates whose rewrite began with the step that had been cut
    repaired: list[Repaired] = field(default_factory=list)


def run(question: Question, tools: Tools) -> Generator[Event | Wait, None, None]:
    """Write chains, repair them round by round, choose the best scored of all that were written."""
    options = question.options
    assert isinstance(options, RepairOptions)
    temperature = tools.temperature
    limit = energy_limit(tools.parts, options.surprise)
    most = options.chains * (1 + options.rounds * options.rewrites)
    candidates = Candidates(tools, most)
    numbers = yield from candidates.start(range(options.chains), temperature)
    yield from candidates.write(numbers)
    if not is_familiar(tools, candidates.rows):
        yield from answer_as_off(candidates)
        return
    work = _Work(numbers, None if options.cut == "surprise" else random.Random(question.seed))
    stopped = yield from _repair(candidates, work, options, limit)
    judged = judge(tools, candidates.rows, best_scored(tools))
    yield from finish(tools, judged, repaired=work.repaired, stopped=stopped, note=_note(work.repaired))


def _repair(
    candidates: Candidates, work: _Work, options: RepairOptions, limit: float
) -> Generator[Event | Wait, None, StopReason]:
    """All chains round by round, together. Returns why no more was repaired."""
    for _ in range(options.rounds):
        if candidates.tools.is_spent:
            return "out_of_budget"
        cuts = [
            (place, step)
            for place, number in enumerate(work.chains)
            if (step := _cut(candidates, number, limit, work.chance)) is not None
        ]
        if not cuts:
            return "nothing_to_repair"
        forks: list[list[int]] = []
        for place, step in cuts:
            forks.append([])
            stands = candidates.reading(work.chains[place]).steps
            work.tried.setdefault("".join(one.text for one in stands[:step]), set()).add(stands[step].text)
            for _ in range(options.rewrites):
                forks[-1].append((yield from candidates.fork(work.chains[place], step)))
        yield from _write(candidates, work, [(step, each) for (_, step), each in zip(cuts, forks, strict=True)])
        for (place, step), rewrites in zip(cuts, forks, strict=True):
            work.chains[place] = yield from _accept(candidates, work, work.chains[place], step, rewrites)
    return "out_of_budget" if candidates.tools.is_spent else "all_drawn"


def _write(
    candidates: Candidates, work: _Work, forks: Sequence[tuple[int, list[int]]]
) -> Generator[Event | Wait, None, None]:
    """Write rewrites to their ends, but for those that begin with a step that was written there before: what follows it
    would be paid for twice.

    Args:
        forks: of each chain, the segment it was cut before, and the candidates that begin there.
    """
    yield from candidates.write_step([number for _, numbers in forks for number in numbers])
    for step, numbers in forks:
        for number in numbers:
            steps = candidates.reading(number).steps
            if step >= len(steps):
                continue
            tried = work.tried.setdefault("".join(one.text for one in steps[:step]), set())
            if steps[step].text in tried and not candidates.is_over(number):
                candidates.drop(number)
                work.repeats.add(number)
            tried.add(steps[step].text)
    going = [number for _, numbers in forks for number in numbers if not candidates.is_over(number)]
    yield from candidates.write(going)


def _cut(candidates: Candidates, number: int, limit: float, chance: random.Random | None) -> int | None:
    """Where a candidate is to be cut: before which segment, from 0."""
    steps = len(candidates.reading(number).steps)
    step = candidates.bad_step(number, limit) if chance is None else chance.randrange(steps) if steps else None
    return step if step is not None and candidates.can_fork(number, step) else None


def _accept(candidates: Candidates, work: _Work, old: int, step: int, forks: list[int]) -> Generator[Event, None, int]:
    """Compare rewrites with what they were cut from. Returns the best scored, which goes on as the chain."""
    whole = [fork for fork in forks if fork in candidates.whole]
    compared = [old, *whole]
    scores = dict(
        zip(compared, judge(candidates.tools, [candidates.rows[one] for one in compared]).scores(), strict=True)
    )
    best = max(compared, key=lambda one: scores[one])
    was = candidates.reading(old).steps[step]
    for fork in forks:
        steps = candidates.reading(fork).steps
        new = steps[step] if step < len(steps) else None
        if fork in work.repeats:
            why = "it begins with a step that was written there before"
        elif fork not in whole:
            why = "the budget was spent before it ended"
        else:
            change = scores[fork] - scores[old]
            why = f"the whole chain scores {abs(change):.2f} {'more' if change > 0 else 'less'}"
            if fork != best and change > 0:
                why += ", another rewrite still more"
        event = Repaired(
            candidate=old,
            rewritten=fork,
            step=step + 1,
            old=was.words,
            new="" if new is None else new.words,
            energy_old=was.energy,
            energy_new=None if new is None else new.energy,
            accepted=fork == best,
            why=why,
        )
        work.repaired.append(event)
        yield event
    return best


def _note(repaired: list[Repaired]) -> str:
    """What was replaced, in a sentence."""
    taken = [one for one in repaired if one.accepted]
    if not taken:
        tried = f" ({len(repaired)} rewrites were worse)" if repaired else ""
        return f"No step was replaced{tried}."
    parts = [f"step {one.step} of candidate {one.candidate + 1}" for one in taken]
    return f"Replaced: {', '.join(parts)}; {len(repaired) - len(taken)} further rewrites were not taken."


MODE: Final = Mode(
    name="repair",
    summary="surprising steps are written again",
    options=RepairOptions,
    needs=STEPWISE | {Capability.FORK},
    parts=CHOOSING,
    run=run,
    check=refuse_greedy,
    fit=require_steps,
)
