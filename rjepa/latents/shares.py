"""Which problems a share of the training problems holds: a smaller share is part of a larger one."""

import hashlib
from collections.abc import Iterable

from rjepa.errors import InvalidInputError


def in_drawing_order(problems: Iterable[str]) -> list[str]:
    """Ids of problems, each once, in an order that depends on the ids alone."""
    return sorted(set(problems), key=_place)


def draw_problems(problems: list[str], share: float) -> list[str]:
    """The first part of the problems, at least two: a smaller share is part of a larger one.

    Args:
        problems: `in_drawing_order`.

    Raises:
        ValueError: the share is not above 0 and at most 1.
        InvalidInputError: there are fewer than two problems.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share is above 0 and at most 1, got {share}")
    if len(problems) < 2:
        raise InvalidInputError(
            f"{len(problems)} problem to fit an adapter on, expected at least 2",
            cure="use a dataset whose train split has more problems",
        )
    return problems[: max(2, round(len(problems) * share))]


def _place(problem: str) -> str:
    # A hash: ids are often in the order of difficulty or kind.
    return hashlib.sha256(problem.encode()).hexdigest()
