"""Turn a recipe into problems and chains: one function per kind of source. What is kept is decided in `building`."""

import random
from collections.abc import Iterator
from typing import Final

from rjepa.datasets.recipe import DatasetRecipe, imported_file
from rjepa.datasets.snapshots import open_snapshot
from rjepa.errors import CorruptError
from rjepa.files import sha256_file
from rjepa.home import Home
from rjepa.problems.importing import UNKNOWN_LICENCE, normalised_pairs
from rjepa.problems.lines import WorkedProblem
from rjepa.progress import Progress, silent
from rjepa.schemas import ChainOfThought, Problem

__all__ = ["WorkedProblem", "corrupted_chain", "iter_source_pairs", "source_pairs", "source_warnings"]


WRONG_CHAINS: Final = "wrong_chains"
"""Of a problem's `meta`: chains of it that are known to be wrong, each with its steps and final answer."""


def source_pairs(home: Home, recipe: DatasetRecipe, progress: Progress) -> list[WorkedProblem]:
    """Every problem of a recipe with its worked solution, if it has one. Equal recipes give equal pairs.

    Raises:
        CorruptError: an imported file is gone or was changed.
        NotFoundError: a benchmark's rows cannot be had.
    """
    return list(iter_source_pairs(home, recipe, progress))


def iter_source_pairs(home: Home, recipe: DatasetRecipe, progress: Progress) -> Iterator[WorkedProblem]:
    """As `source_pairs`, one at a time: an import of any size passes in little memory."""
    source = {
        "curriculum": _curriculum,
        "gsm_symbolic": _gsm_symbolic,
        "reasoning_gym": _reasoning_gym,
        "benchmark": _benchmark,
        "imported": _imported,
    }[recipe.source]
    for problem, chain in source(home, recipe, progress):
        yield _with_licence(problem, recipe), _dated(chain, recipe)


def source_warnings(home: Home, recipe: DatasetRecipe) -> list[str]:
    """What the source itself warns of beyond the recipe: rows of a benchmark that were left out."""
    if recipe.source != "benchmark":
        return []
    return [warning for warning in open_snapshot(home, recipe, silent)[1] if "licence" not in warning]


def corrupted_chain(recipe: DatasetRecipe, problem: Problem, gold: ChainOfThought) -> ChainOfThought | None:
    """A wrong chain for the recipe's share of curriculum problems, None for the others. Decided by problem alone."""
    if "spec" not in problem.meta:
        return None
    rng = random.Random(f"{recipe.seed}/corrupt/{problem.problem_id}")
    if rng.random() >= recipe.corrupted_share:
        return None
    from rjepa.problems.curriculum import corrupt

    return _dated(corrupt(problem, gold, rng), recipe)


def rejected_chains(recipe: DatasetRecipe, problem: Problem) -> list[ChainOfThought]:
    """The wrong chains that a problem from feedback brings with it, not yet judged."""
    return [
        ChainOfThought(
            cot_id=f"{problem.problem_id}-wrong-{number}",
            problem_id=problem.problem_id,
            steps=chain["steps"],
            final_answer=chain["final_answer"],
            teacher_model=problem.source,
            source=problem.source,
            created_at=recipe.created,
            meta={"corruption": "rejected_by_user"},
        )
        for number, chain in enumerate(problem.meta.get(WRONG_CHAINS, ()))
    ]


def _curriculum(home: Home, recipe: DatasetRecipe, progress: Progress) -> Iterator[WorkedProblem]:
    from rjepa.problems.curriculum import EQUAL_WEIGHTS, generate_problems

    total = sum(count for splits in recipe.counts.values() for count in splits.values())
    done = 0
    for domain, splits in recipe.counts.items():
        weights = recipe.difficulty_weights.get(domain, EQUAL_WEIGHTS)
        for split, count in splits.items():
            progress(done, total, f"{domain} {split}")
            yield from generate_problems(split, count, recipe.seed, domain, weights)
            done += count
    progress(done, total)


def _gsm_symbolic(home: Home, recipe: DatasetRecipe, progress: Progress) -> Iterator[WorkedProblem]:
    from rjepa.problems.gsm_symbolic import SOURCE, generate_problems

    yield from generate_problems(recipe.counts[SOURCE], recipe.seed, recipe.created)


def _reasoning_gym(home: Home, recipe: DatasetRecipe, progress: Progress) -> Iterator[WorkedProblem]:
    from rjepa.problems.reasoning_gym import generate_problems

    total, done = sum(task.size for task in recipe.tasks), 0
    for task in recipe.tasks:
        progress(done, total, task.task)
        yield from generate_problems(task, recipe.created)
        done += task.size
    progress(done, total)


def _benchmark(home: Home, recipe: DatasetRecipe, progress: Progress) -> Iterator[WorkedProblem]:
    path, _ = open_snapshot(home, recipe, progress)
    yield from normalised_pairs(path, recipe.name, recipe.created)


def _imported(home: Home, recipe: DatasetRecipe, progress: Progress) -> Iterator[WorkedProblem]:
    path = imported_file(home, recipe.name)
    if not path.is_file() or sha256_file(path) != recipe.content_sha256:
        raise CorruptError(
            f"{path}, the imported problems of {recipe.name!r}, is {'changed' if path.is_file() else 'missing'}",
            cure=f"delete {path.with_suffix('.yaml')} and import the original file again",
        )
    for problem, chain in normalised_pairs(path, recipe.name, recipe.created):
        if recipe.origin and "origin" not in problem.meta:
            problem = problem.model_copy(update={"meta": problem.meta | {"origin": recipe.origin}})
        yield problem, chain


def _with_licence(problem: Problem, recipe: DatasetRecipe) -> Problem:
    if problem.licence != UNKNOWN_LICENCE or recipe.licence == UNKNOWN_LICENCE:
        return problem
    return problem.model_copy(update={"licence": recipe.licence})


def _dated(chain: ChainOfThought | None, recipe: DatasetRecipe) -> ChainOfThought | None:
    """The recipe's date, not today's: a dataset that is built again has the same bytes."""
    return chain.model_copy(update={"created_at": recipe.created}) if chain is not None else None
