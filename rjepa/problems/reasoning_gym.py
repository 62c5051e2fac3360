"""Problems from a list of reasoning-gym's tasks (Apache-2.0), each with what its own verifier needs to judge an answer.

A task's problems are drawn in order from its seed, and split by the hash of the statement, so that a longer list keeps
what was there. `gsm_symbolic` with splits of given sizes is a source of its own and lives beside this one.

Which answers may reach a verifier is decided in `gym_answers`: some verifiers evaluate the text they are given.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rjepa.errors import InvalidInputError
from rjepa.problems.gsm_symbolic import worked_steps
from rjepa.problems.gym_answers import checked_answer
from rjepa.problems.splitting import split_by_hash, statement_key
from rjepa.schemas import ChainOfThought, Difficulty, Problem, Split

SOURCE = "reasoning_gym"
LICENCE = "Apache-2.0"
RIGHT = 1.0
"""The score of a right answer. Wrong ones may score above 0: many tasks give 0.01 for any answer at all."""

_NO_LIST_OF_PARTS = {"composite"}
_NONSENSE = "no such answer"


class GymTask(BaseModel):
    """One task of the list: how many problems, from which seed, in which configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(description="reasoning-gym's name, e.g. syllogism")
    size: int = Field(gt=0, le=1_000_000, description="problems drawn; equal ones are removed later")
    seed: int = 0
    config: dict[str, Any] = Field(default_factory=dict, description="the task's own options, e.g. {min_terms: 3}")
    difficulty: Difficulty = "medium"
    split: Split | None = Field(None, description="of every problem of the task; None: by the hash of the statement")


def generate_problems(task: GymTask, created_at: datetime) -> Iterator[tuple[Problem, ChainOfThought | None]]:
    """The task's problems in the order of drawing, with worked steps where the task has them. Not judged.

    Raises:
        InvalidInputError: no such task, options it does not know, or a verifier that cannot tell right from wrong.
    """
    dataset = _open_dataset(task.task, task.size, task.seed, json.dumps(task.config, sort_keys=True))
    for index in range(task.size):
        yield _pair(task, dataset, index, created_at)


def score_answer(meta: dict[str, Any], answer: str | None) -> float:
    """The score that a problem's own verifier gives an answer: `RIGHT` for a right one, less for any other.

    `meta` is that of a problem made here. An answer that a verifier would have to evaluate as code scores 0 unless it
    is plain data; long arithmetic can still take long, so call this where it can be killed.
    """
    task, entry = meta["task"], meta["entry"]
    if answer is None or (answer := checked_answer(task, answer, entry.get("answer"))) is None:
        return 0.0
    if meta.get("tuples"):
        entry = _with_tuples(entry)
    verifier = _open_dataset(task, 1, 0, json.dumps(meta.get("config", {}), sort_keys=True))
    return _score(verifier, answer, entry)


def task_names() -> list[str]:
    """Every task that can be listed."""
    from reasoning_gym.factory import DATASETS  # slow to import

    return sorted(DATASETS.keys() - _NO_LIST_OF_PARTS)


def _pair(task: GymTask, dataset: Any, index: int, created_at: datetime) -> tuple[Problem, ChainOfThought | None]:
    drawn = dataset[index]
    entry = json.loads(json.dumps(drawn, default=str))  # metadata may hold fractions; the gold answer is tried below
    statement, gold = drawn["question"].strip(), drawn["answer"]
    problem = Problem(
        problem_id=f"rg-{task.task}-{statement_key(statement)[:16]}",
        domain=_category(dataset),
        subdomain=task.task,
        source=SOURCE,
        difficulty=task.difficulty,
        statement=statement,
        answer_gold=str(gold).strip() if gold is not None and str(gold).strip() else None,
        licence=LICENCE,
        split=task.split or split_by_hash(statement),
        meta={"check": "reasoning_gym", "task": task.task, "config": task.config, "entry": entry}
        | {"origin": _origin(task)}
        | _how_to_read(task, dataset, entry),
    )
    worked = drawn["metadata"].get("answer_cot") if isinstance(drawn["metadata"], dict) else None
    if not worked:
        return problem, None
    return problem, ChainOfThought(
        cot_id=f"{problem.problem_id}-gold",
        problem_id=problem.problem_id,
        steps=worked_steps(worked),
        final_answer=problem.answer_gold,
        teacher_model="reasoning-gym",
        source=SOURCE,
        created_at=created_at,
    )


def _origin(task: GymTask) -> dict[str, Any]:
    return {"package": f"reasoning-gym {version('reasoning-gym')}", "seed": task.seed}


def _how_to_read(task: GymTask, dataset: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """What else `meta` must say for the stored entry to be judged as the drawn one.

    Raises:
        InvalidInputError: the verifier refuses the gold answer either way, or accepts nonsense.
    """
    gold = entry["answer"]
    if gold is None:
        return {}
    if _score(dataset, _NONSENSE, entry) >= RIGHT:
        raise InvalidInputError(
            f"reasoning-gym's verifier of {task.task!r} calls {_NONSENSE!r} right", cure="leave this task out"
        )
    if _score(dataset, gold, entry) >= RIGHT:
        return {}
    if _score(dataset, gold, _with_tuples(entry)) >= RIGHT:
        return {"tuples": True}
    raise InvalidInputError(
        f"reasoning-gym's verifier of {task.task!r} refuses the task's own answer {str(gold)[:80]!r}",
        cure="leave this task out, or change its config",
    )


def _score(dataset: Any, answer: str, entry: dict[str, Any]) -> float:
    try:
        return float(dataset.score_answer(answer, entry))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - verifiers parse without care and raise anything: what they cannot parse is wrong
        return 0.0


@lru_cache(maxsize=64)
def _open_dataset(task: str, size: int, seed: int, config: str) -> Any:
    from reasoning_gym import create_dataset  # slow to import

    known = task_names()
    if task not in known:
        raise InvalidInputError(f"reasoning-gym has no task {task!r}", cure=f"choose one of these: {', '.join(known)}")
    try:
        return create_dataset(task, size=size, seed=seed, **json.loads(config))
    except (TypeError, AssertionError, ValueError) as error:
        raise InvalidInputError(
            f"reasoning-gym's {task!r} cannot be made with {config} ({error})", cure="mend the task's config"
        ) from error


def _category(dataset: Any) -> str:
    """reasoning-gym's own: arithmetic, logic, algebra, games, ..."""
    return type(dataset).__module__.split(".")[1]


def _with_tuples(value: Any) -> Any:
    """JSON has no tuples, and some verifiers compare with one."""
    if isinstance(value, list):
        return tuple(_with_tuples(part) for part in value)
    return {name: _with_tuples(part) for name, part in value.items()} if isinstance(value, dict) else value
