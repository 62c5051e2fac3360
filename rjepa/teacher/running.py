"""The parts of a job in order: problems, chains, labels, opinions. Each is spread over the teachers, side by side.

What a job is, where it lies and what it reports lives in `jobs`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from rjepa.progress import Progress
from rjepa.schemas import ChainOfThought, Problem
from rjepa.teacher.calls import Caller
from rjepa.teacher.errors import TeacherError
from rjepa.teacher.ledger import BudgetError
from rjepa.teacher.plans import JobPlan, JobResult, Wish
from rjepa.teacher.pricing import NANO
from rjepa.teacher.settings import Teacher
from rjepa.teacher.tasks import Failure, label, make_problem, opinion, solve

_TRIES_PER_CHAIN: Final = 2
"""A teacher that repeats itself or fails gets as many tries again as chains were asked for, and then no more."""

Unit = TypeVar("Unit")
Made = TypeVar("Made")


class Run:
    """The parts of one job in order. Each spreads its units over the teachers, which work side by side."""

    def __init__(self, caller: Caller, teachers: list[Teacher], plan: JobPlan, progress: Progress) -> None:
        self._caller, self._teachers, self._plan, self._progress = caller, teachers, plan, progress
        self.result = JobResult()

    async def all(self, problems: list[Problem]) -> None:
        """Every part in turn: new problems join those that are given. A budget that ran out ends it."""
        await self.make_problems()
        self.result.problems = [*problems, *self.result.problems]
        for part in (self.solve, self.label, self.judge):
            if self.result.stopped is None:
                await part()
        self.result.events = self._caller.events

    async def make_problems(self) -> None:
        numbered = [(wish, number) for wish in self._plan.problems for number in range(wish.count)]

        async def one(teacher: Teacher, unit: tuple[Wish, int]) -> Problem | Failure:
            wish, number = unit
            return await make_problem(self._caller, teacher, wish.domain, wish.difficulty, number)

        made = await self._spread("problems", [(teacher, unit) for teacher in self._teachers for unit in numbered], one)
        distinct: dict[str, Problem] = {}
        for outcome in made:
            if isinstance(outcome, Problem):
                self.result.duplicates += outcome.problem_id in distinct
                distinct.setdefault(outcome.problem_id, outcome)
            elif outcome is not None:
                self.result.failures.append(outcome)
        self.result.problems = list(distinct.values())

    async def solve(self) -> None:
        count = self._plan.chains_per_problem
        if not count:
            return

        async def one(teacher: Teacher, problem: Problem) -> tuple[list[ChainOfThought], list[Failure], int]:
            distinct: dict[str, ChainOfThought] = {}
            failures, duplicates = [], 0
            for sample in range(_TRIES_PER_CHAIN * count):
                outcome = await solve(self._caller, teacher, problem, sample)
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                    if outcome.transient:
                        break
                elif (form := _form(outcome)) in distinct:
                    duplicates += 1
                else:
                    distinct[form] = outcome
                if len(distinct) == count:
                    break
            return list(distinct.values()), failures, duplicates

        units = [(teacher, problem) for problem in self.result.problems for teacher in self._teachers]
        for outcome in await self._spread("chains", units, one):
            if outcome is not None:
                chains, failures, duplicates = outcome
                self.result.chains += chains
                self.result.failures += failures
                self.result.duplicates += duplicates

    async def label(self) -> None:
        able = [teacher for teacher in self._teachers if teacher.reply != "steps"]
        if not self._plan.label or not able:
            return

        async def one(teacher: Teacher, problem: Problem) -> Problem | Failure:
            labels = await label(self._caller, teacher, problem)
            if isinstance(labels, Failure):
                return labels
            given = {"teacher": teacher.name, "subdomain": labels.subdomain, "notions": labels.notions}
            update = {"meta": problem.meta | {"label": given}, "subdomain": problem.subdomain or labels.subdomain}
            return problem.model_copy(update=update)

        problems = self.result.problems
        units = [(able[place % len(able)], problem) for place, problem in enumerate(problems)]
        labelled = await self._spread("labels", units, one)
        self.result.failures += [one for one in labelled if isinstance(one, Failure)]
        self.result.problems = [
            new if isinstance(new, Problem) else old for new, old in zip(labelled, problems, strict=True)
        ]

    async def judge(self) -> None:
        able = [teacher for teacher in self._teachers if teacher.reply != "steps"]
        if not self._plan.judge or not able:
            return
        problems = {problem.problem_id: problem for problem in self.result.problems}

        async def one(teacher: Teacher, chain: ChainOfThought) -> ChainOfThought | Failure:
            verdict = await opinion(self._caller, teacher, problems[chain.problem_id], chain)
            if isinstance(verdict, Failure):
                return verdict
            given = {"teacher": teacher.name, **verdict.model_dump()}
            return chain.model_copy(update={"meta": chain.meta | {"opinion": given}})

        chains = self.result.chains
        judged = await self._spread("opinions", [(_other(able, chain), chain) for chain in chains], one)
        self.result.failures += [one for one in judged if isinstance(one, Failure)]
        self.result.chains = [
            new if isinstance(new, ChainOfThought) else old for new, old in zip(judged, chains, strict=True)
        ]

    async def _spread(
        self,
        what: str,
        units: list[tuple[Teacher, Unit]],
        work: Callable[[Teacher, Unit], Awaitable[Made]],
    ) -> list[Made | None]:
        """Every unit's outcome, in the order of the units; None where its teacher refused or the budget ran out.

        Calls in flight when the budget runs out are waited for: they are paid.
        """
        outcomes: list[Made | None] = [None] * len(units)
        done = 0

        async def worker(places: Iterator[int]) -> None:
            nonlocal done
            for place in places:
                teacher, unit = units[place]
                if self.result.stopped is not None or teacher.name in self.result.refused:
                    return
                try:
                    outcomes[place] = await work(teacher, unit)
                except TeacherError as error:
                    self.result.refused[teacher.name] = error
                except BudgetError as error:
                    self.result.stopped = error
                done += 1
                self._progress(done, len(units), f"{what}, {self._caller.spent / NANO:.2f} USD")

        async with asyncio.TaskGroup() as group:
            for teacher in self._teachers:
                places = iter([place for place, (owner, _) in enumerate(units) if owner.name == teacher.name])
                for _ in range(teacher.concurrency):
                    group.create_task(worker(places))
        return outcomes


def _form(chain: ChainOfThought) -> str:
    """Two chains that differ in case and spacing alone are one."""
    return "\n".join(" ".join(text.lower().split()) for text in (*chain.steps, chain.final_answer or ""))


def _other(able: list[Teacher], chain: ChainOfThought) -> Teacher:
    """The teacher after the one that wrote the chain: no teacher marks its own work where there is a choice."""
    names = [teacher.name for teacher in able]
    wrote = chain.meta["teacher"]
    return able[(names.index(wrote) + 1) % len(able)] if wrote in names else able[0]
