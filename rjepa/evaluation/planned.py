"""How well mode `plan` says what is missing: steps taken out of right validation chains, found again, and judged.

A filled step is right if the checker finds no error up to it. The student alone goes on from the steps before the gap,
greedily; it cannot see those after it. The chains are of validation problems, which neither R-JEPA nor the decoder has
learnt from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rjepa.chains import parse_chain
from rjepa.reasoning.answering import tools_alone
from rjepa.reasoning.planning import Planner
from rjepa.reasoning.question import ask
from rjepa.reasoning.tools import Parts
from rjepa.sampling.protocol import ChainSource
from rjepa.schemas import ChainOfThought, Problem
from rjepa.students.sampled import GREEDY, Until
from rjepa.verbalizer.measuring import is_valid_step


@dataclass(frozen=True)
class Gap:
    """A right chain without one of its steps (from 0)."""

    problem: Problem
    chain: ChainOfThought
    place: int

    @property
    def known(self) -> list[str]:
        """The steps that are left."""
        return [step for at, step in enumerate(self.chain.steps) if at != self.place]


def make_gaps(problems: Sequence[Problem], chains: Sequence[ChainOfThought], count: int, seed: int = 0) -> list[Gap]:
    """So many gaps in right chains of at least three steps, one a chain, spread over the set; never the last step."""
    by_id = {problem.problem_id: problem for problem in problems}
    long = [chain for chain in chains if chain.problem_id in by_id and len(chain.steps) >= 3]
    chosen = np.unique(np.linspace(0, len(long) - 1, min(count, len(long))).astype(np.int64))
    random = np.random.default_rng(seed)
    return [
        Gap(by_id[long[index].problem_id], long[index], int(random.integers(len(long[index].steps) - 1)))
        for index in chosen.tolist()
    ]


def fill_gap(source: ChainSource, parts: Parts, gap: Gap) -> str:
    """The step that mode plan writes into a gap whose place it is given."""
    before, after = gap.chain.steps[: gap.place], gap.chain.steps[gap.place + 1 :]
    with tools_alone(source, parts, ask(gap.problem.statement, "off")) as (tools, _):
        return Planner(tools).expected([*before, None, *after], gap.place)


def find_gap(source: ChainSource, parts: Parts, gap: Gap) -> tuple[int, list[float]]:
    """Where the first surprise is in a chain that lacks a step (its place from 0), and all energies."""
    with tools_alone(source, parts, ask(gap.problem.statement, "off")) as (tools, _):
        energies = Planner(tools).energies(gap.known)
    return int(np.argmax(energies)), energies


def write_alone(source: ChainSource, parts: Parts, gap: Gap) -> str:
    """The student's own step after those before the gap."""
    with tools_alone(source, parts, ask(gap.problem.statement, "off")) as (tools, session):
        lines = [f"Step {number}: {step}\n" for number, step in enumerate(gap.chain.steps[: gap.place], start=1)]
        row = tools.start_from(lines, GREEDY, 0.0)
        for _event in session.run(Until.STEP):
            pass
        steps = parse_chain(session.chain(row).text).steps
    return steps[gap.place] if len(steps) > gap.place else ""


def is_right(gap: Gap, words: str) -> bool:
    """Whether the checker accepts words in the place of the missing step."""
    return is_valid_step(gap.problem, gap.chain, gap.place, words)
