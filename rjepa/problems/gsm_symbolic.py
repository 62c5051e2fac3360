"""Grade-school problems with worked solutions from another project: reasoning-gym's `gsm_symbolic` (Apache-2.0).

Each problem comes from one of 85 templates (the generator functions of Apple's GSM-Symbolic), filled in by a seeded
generator. Splits are made *within* templates, by the hash of the statement: every template occurs in every split, so a
test score here says how well new numbers and names are handled, not new kinds of problem. The seed plays no part in
the split, so text drawn for training under any seed never meets a validation or test problem drawn under any other.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rjepa.problems.splitting import split_by_hash, statement_key
from rjepa.schemas import ChainOfThought, Difficulty, Problem, Split

SOURCE = "gsm_symbolic"
LICENCE = "Apache-2.0"

_INSTRUCTION = " Give the result as your final answer. Do not include units."
_BULLET = re.compile(r"^\s*[•\-*]\s+")
_TRAILING_ZEROS = re.compile(r"^(-?\d+)\.0+$")
_FIRST_DRAW = 1024
_ENDLESS = 1_000_000  # more draws than any recipe needs; past it the generator has run dry


def generate_problems(
    counts: dict[Split, int], seed: int, created_at: datetime | None = None
) -> list[tuple[Problem, ChainOfThought]]:
    """Draw until every split has its number of distinct problems, in the order of drawing. Solutions are not judged.

    Raises:
        ValueError: the generator has no more distinct problems for one of the splits.
    """
    wanted = {split: count for split, count in counts.items() if count > 0}
    drawn: list[tuple[Problem, ChainOfThought]] = []
    if not wanted:
        return drawn
    for problem, chain in _distinct_problems(seed, created_at or datetime.now(UTC)):
        if problem.split is not None and wanted.get(problem.split, 0) > 0:
            drawn.append((problem, chain))
            wanted[problem.split] -= 1
            if not any(wanted.values()):
                return drawn
    raise ValueError(f"gsm_symbolic has too few distinct problems: still wanted {wanted}")


def training_texts(count: int, seed: int) -> list[tuple[str, list[str], str]]:
    """`count` distinct (statement, steps, answer) of the train split, for the training of a student."""
    pairs = generate_problems({"train": count}, seed)
    return [(problem.statement, chain.steps, chain.final_answer or "") for problem, chain in pairs]


def worked_steps(worked: str) -> list[str]:
    """The steps of a worked solution: its lines before the `####` that the answer follows."""
    lines = worked.partition("####")[0].split("\n")
    return [_BULLET.sub("", line).strip() for line in lines if line.strip()]


def _distinct_problems(seed: int, created_at: datetime) -> Iterator[tuple[Problem, ChainOfThought]]:
    seen: set[str] = set()
    for template, entry in _entries(seed):
        statement = entry["question"].removesuffix(_INSTRUCTION).strip()
        key = statement_key(statement)
        if key not in seen:
            seen.add(key)
            yield _pair(statement, key, template, entry, created_at)


def _entries(seed: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """(template, entry) in order. The generator draws its templates up front for a given size, and a larger size
    begins with the same draws: so it is asked for more whenever it runs out.
    """
    from reasoning_gym import create_dataset  # slow to import

    size, done = _FIRST_DRAW, 0
    while done < _ENDLESS:
        dataset = create_dataset(SOURCE, size=size, seed=seed)
        for index in range(done, size):
            yield dataset.task_indices[index], dataset[index]
        done, size = size, size * 4


def _pair(
    statement: str, key: str, template: int, entry: dict[str, Any], created_at: datetime
) -> tuple[Problem, ChainOfThought]:
    worked, stated = entry["metadata"]["answer_cot"], entry["metadata"]["answer_cot"].partition("####")[2]
    steps = worked_steps(worked)
    problem = Problem(
        problem_id=f"gsm_symbolic-{key[:16]}",
        domain=SOURCE,
        subdomain=f"template-{template:02d}",
        source=SOURCE,
        difficulty=_difficulty(steps),
        statement=statement,
        answer_gold=_plain_number(entry["answer"]),
        licence=LICENCE,
        split=split_by_hash(statement),
        meta={"template": template},
    )
    chain = ChainOfThought(
        cot_id=f"{problem.problem_id}-gold",
        problem_id=problem.problem_id,
        steps=steps,
        final_answer=_plain_number(stated) or None,
        teacher_model="reasoning-gym",
        source=SOURCE,
        created_at=created_at,
    )
    return problem, chain


def _difficulty(steps: list[str]) -> Difficulty:
    if len(steps) <= 2:
        return "easy"
    return "medium" if len(steps) <= 4 else "hard"


def _plain_number(text: str) -> str:
    """`36.0` and ` 36` as `36`; the text itself where it is no such number."""
    return _TRAILING_ZEROS.sub(r"\1", text.strip().replace(",", ""))
