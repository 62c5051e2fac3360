"""Chains from the teachers that a recipe names: one job a dataset, which a kill or an empty budget only pauses.

How teachers are asked lives in `rjepa.teacher`; whether a chain is right is decided by the next stage.
"""

from collections import defaultdict

from rjepa.datasets.recipe import DatasetRecipe
from rjepa.home import Home
from rjepa.progress import Progress
from rjepa.schemas import ChainOfThought, Problem

Numbers = dict[str, int | float | str]


def taught_chains(
    home: Home, recipe: DatasetRecipe, problems: list[Problem], progress: Progress
) -> tuple[dict[str, list[ChainOfThought]], Numbers]:
    """Chains by problem, and what they cost; nothing for a recipe without teachers. Test problems are never asked.

    A dataset is whole or not made: an empty budget, a teacher that refuses or that did not answer ends the stage, and
    the same stage, run again, goes on from what was paid for.

    Raises:
        NotFoundError: a teacher is not set up on this machine.
        BudgetError: the next call does not fit the budget.
        TeacherError: a teacher refuses, or some calls were never answered.
    """
    if recipe.teaching is None:
        return {}, {}
    from rjepa.teacher import JobPlan, load_teachers, run_job  # half a second, which most recipes need not spend
    from rjepa.teacher.errors import TeacherError

    teachers = load_teachers(home)
    result = run_job(
        home,
        f"dataset-{recipe.name}"[:64],
        teachers.choose(recipe.teaching.teachers),
        JobPlan(chains_per_problem=recipe.teaching.chains_per_problem),
        [problem for problem in problems if problem.split != "test"],
        budget_usd=teachers.budget_usd,
        progress=progress,
    )
    for error in (result.stopped, *result.refused.values()):
        if error is not None:
            raise error
    unanswered = [failure for failure in result.failures if failure.transient]
    if unanswered:
        raise TeacherError(
            f"{len(unanswered)} call(s) were not answered, the first by {unanswered[0].teacher}:"
            f" {unanswered[0].reason} {unanswered[0].detail}".rstrip(),
            cure="run it again when the teacher can be reached (`rjepa teacher check`): what was paid for is kept",
        )
    by_problem: dict[str, list[ChainOfThought]] = defaultdict(list)
    for chain in result.chains:
        by_problem[chain.problem_id].append(chain)
    figures = {name: value for name, value in result.figures().items() if name != "teacher_problems"}
    return by_problem, figures | {"teacher_budget_usd": teachers.budget_usd}
