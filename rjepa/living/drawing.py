"""Draw a fresh sealed set, and open one: which problems are in it, and the student's frozen candidates for them.

Generators draw as many problems as one likes: what the served data came from is drawn again from another seed, test
problems alone. Other sources give what they have: the test problems of an added dataset, once.
"""

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from rjepa.datasets.building import build_dataset
from rjepa.datasets.reading import load_problems
from rjepa.datasets.recipe import DatasetRecipe, dataset_names, load_recipe
from rjepa.datasets.versions import register_recipe
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.latents.rollouts import Rollouts, open_rollouts, rollout_version
from rjepa.latents.worker import StudentTask
from rjepa.living.defaults import PROBLEMS_A_DOMAIN
from rjepa.living.sealed import SealedSet, list_sets, live_set, seal
from rjepa.progress import Progress, silent
from rjepa.schemas import Split
from rjepa.stages import StageReport

LEAST_STORED: Final = 30
"""Test problems of a dataset that cannot be drawn anew: fewer say nothing about their domain."""
NUM_CANDIDATES: Final = 8
"""K, as of the rollouts that releases are calibrated on."""

_SEED_BITS: Final = 31
_LONGEST_SOURCE: Final = 48
"""Letters of a source's name in that of its fresh problems: a name has at most 64."""


def prepare_set(
    home: Home,
    llm_tag: str,
    dataset: str,
    sample: Callable[[StudentTask], StageReport],
    *,
    problems_a_domain: int = PROBLEMS_A_DOMAIN,
    progress: Progress = silent,
) -> SealedSet:
    """The live set of an LLM with the candidates of its problems; a fresh one is drawn where all are retired.

    May be killed and run again at any point: problems and candidates that are there are not made again.

    Args:
        dataset: the version whose sources are drawn from: the challenger's.
        sample: has the student answer the test problems of a dataset (`rjepa.latents.worker.run_task`).

    Raises:
        InvalidInputError: nothing of the dataset's sources can be drawn or sealed.
    """
    found = live_set(home, llm_tag)
    if found is None:
        draw_set(home, llm_tag, dataset, problems_a_domain=problems_a_domain, progress=progress)
        found = live_set(home, llm_tag)
        assert found is not None  # it was sealed just now
    for name in found.datasets:
        sample(StudentTask("rollouts", llm_tag, name, num_candidates=NUM_CANDIDATES))
    return found


def draw_set(
    home: Home,
    llm_tag: str,
    dataset: str,
    *,
    problems_a_domain: int = PROBLEMS_A_DOMAIN,
    progress: Progress = silent,
) -> None:
    """Draw the next set from the sources of a dataset version, and seal it (errors as `prepare_set`)."""
    name = f"sealed-{len(list_sets(home, llm_tag)) + 1}"
    used = {each for old in list_sets(home, llm_tag) for each in old.datasets}
    datasets = []
    for source in _sources(home, dataset):
        fresh = f"{name}-{source.name[:_LONGEST_SOURCE]}"
        if fresh in dataset_names(home):  # a drawing that was killed goes on with the seed that it had
            recipe: DatasetRecipe | None = load_recipe(home, fresh)
        else:
            recipe = redrawn(source, fresh, secrets.randbits(_SEED_BITS), problems_a_domain)
        if recipe is not None:
            register_recipe(home, recipe)
            build_dataset(home, recipe, progress)
            datasets.append(fresh)
        elif source.name not in used and _stored_tests(home, source.name) >= LEAST_STORED:
            datasets.append(source.name)
    if not datasets:
        raise InvalidInputError(
            f"nothing that {dataset} grew from can be drawn again, and no dataset in it has {LEAST_STORED} test "
            "problems that were not used",
            cure=f"seal a dataset of test problems: rjepa living sealed add NAME --dataset DATASET --llm {llm_tag}",
        )
    seal(home, llm_tag, name, tuple(datasets))


def redrawn(source: DatasetRecipe, name: str, seed: int, problems_a_domain: int) -> DatasetRecipe | None:
    """The recipe of fresh test problems as a source makes them; None where it does not make any."""
    common = {
        "name": name,
        "version": "1.0.0",
        "description": f"sealed: test problems drawn as those of {source.name}, for the nightly gate alone",
        "created": datetime.now(UTC).replace(microsecond=0),
    }
    if source.source in ("curriculum", "gsm_symbolic"):
        counts: dict[str, dict[Split, int]] = {
            domain: {"test": min(problems_a_domain, 2 * own.get("test", 0)) or problems_a_domain}
            for domain, own in source.counts.items()
        }
        return source.model_copy(update={**common, "seed": seed, "counts": counts})
    if source.source == "reasoning_gym":
        size = -(-problems_a_domain // len(source.tasks))
        tasks = [
            task.model_copy(update={"seed": (task.seed + seed) % 2**_SEED_BITS, "size": size, "split": "test"})
            for task in source.tasks
        ]
        return source.model_copy(update={**common, "tasks": tasks})
    return None


def open_set(
    home: Home, llm_tag: str, which: SealedSet, fingerprint: str, learnt: tuple[str, ...]
) -> tuple[Rollouts, ...]:
    """The candidates of a set's problems, without those that say nothing.

    Args:
        fingerprint: of the student whose candidates they have to be.
        learnt: dataset versions that were trained on: a problem with a statement of theirs is left out, and so is one
            that an earlier set had.

    Raises:
        NotFoundError: a dataset has no candidates yet.
        InvalidInputError: another student made them, or no problem is left.
    """
    earlier = []
    for old in list_sets(home, llm_tag):
        if old.name == which.name:
            break
        earlier += list(old.datasets)
    known = {
        problem.statement
        for name in dict.fromkeys((*learnt, *earlier))
        for problem in load_problems(home, name)
        if problem.split != "test" or name in earlier
    }
    opened = []
    for name in which.datasets:
        rollouts = open_rollouts(home, llm_tag, name, fingerprint=fingerprint).split("test")
        fresh = [index for index, problem in enumerate(rollouts.problems) if problem.statement not in known]
        opened.append(rollouts.select(fresh))
        known |= {problem.statement for problem in rollouts.problems}
    if not any(part.problems for part in opened):
        raise InvalidInputError(
            f"no problem of sealed set {which.name} is unknown to what was trained on",
            cure=f"rjepa living sealed retire {which.name} --llm {llm_tag}, and materialise sealed_candidates again",
        )
    return tuple(part for part in opened if part.problems)


def report_of(home: Home, llm_tag: str, which: SealedSet) -> StageReport:
    """What a stage says of a set: its data version follows from the candidates of its datasets."""
    versions = [rollout_version(home, llm_tag, name, "rollouts").manifest().data_version for name in which.datasets]
    metadata: dict[str, int | float | str] = {
        "sealed_set": which.name,
        "datasets": ", ".join(which.datasets),
        "uses": which.uses,
    }
    return StageReport(sha256_json([which.name, versions]), metadata)


def _sources(home: Home, dataset: str) -> Iterator[DatasetRecipe]:
    """The recipes that a version's problems came from, its first ancestor's first."""
    recipe = load_recipe(home, dataset)
    if recipe.source != "cumulative":
        yield recipe
        return
    yield from _sources(home, str(recipe.parent))
    for name in recipe.adds:
        yield load_recipe(home, name)


def _stored_tests(home: Home, dataset: str) -> int:
    try:
        return sum(p.split == "test" and p.answer_gold is not None for p in load_problems(home, dataset))
    except NotFoundError:
        return 0
