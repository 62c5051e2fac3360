"""Problems to offer to someone who does not know what to ask: easy ones of a test split, every domain in turn."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from rjepa.datasets.reading import load_problems
from rjepa.errors import NotFoundError
from rjepa.home import Home
from rjepa.problems.curriculum import CURRICULUM_DOMAINS, generate_problems
from rjepa.reasoning.answer import Example
from rjepa.schemas import Problem

_POOL: Final = 300
"""Problems looked at: enough to hold easy ones of every domain."""

_DIFFICULTIES: Final = ("easy", "medium", "hard")


def find_examples(home: Home, dataset: str, limit: int, fits: Callable[[str], bool]) -> list[Example]:
    """At most `limit` problems whose statement `fits`: of a dataset, or of the curriculum where it is not here."""
    try:
        problems = load_problems(home, dataset, "test", _POOL)
    except NotFoundError:
        problems = []
    if not problems:
        problems = [p for domain in CURRICULUM_DOMAINS for p, _ in generate_problems("test", 4 * limit, 0, domain)]
    problems = [problem for problem in problems if fits(problem.statement)]
    problems.sort(key=lambda problem: _DIFFICULTIES.index(problem.difficulty))
    return [Example(domain=problem.domain, statement=problem.statement) for problem in _in_turn(problems)[:limit]]


def _in_turn(problems: list[Problem]) -> list[Problem]:
    """The first of every domain, then the second of every domain, and so on."""
    seen: Counter[str] = Counter()
    keyed = []
    for problem in problems:
        keyed.append((seen[problem.domain], problem))
        seen[problem.domain] += 1
    return [problem for _, problem in sorted(keyed, key=lambda pair: pair[0])]
