"""Keep train, validation and test apart: remove duplicate problems, and find what lies in two splits."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from rjepa.errors import CorruptError
from rjepa.problems.splitting import statement_key
from rjepa.schemas import Problem, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_MAX_SHOWN = 5


def deduplicate(problems: Iterable[Problem]) -> tuple[list[Problem], int]:
    """Distinct problems by normalised statement, and how many were removed.

    Of equal statements in two splits the one kept for testing stays, then the one for validation: training gives way.
    """
    ordered = sorted(problems, key=lambda problem: -_split_index(problem))
    kept: dict[str, Problem] = {}
    for problem in ordered:
        kept.setdefault(statement_key(problem.statement), problem)
    return list(kept.values()), len(ordered) - len(kept)


def interleave(problems: Iterable[Problem]) -> list[Problem]:
    """By split, and within a split one of each domain in turn: so the first n problems are of every domain."""
    counters: dict[tuple[int, str], count[int]] = defaultdict(count)
    keyed = []
    for problem in problems:
        split = _split_index(problem)
        keyed.append((split, next(counters[split, problem.domain]), problem.domain, problem))
    return [entry[-1] for entry in sorted(keyed, key=lambda entry: entry[:3])]


def find_leaks(problems: Sequence[Problem]) -> list[str]:
    """One line for each statement or structure that lies in two splits, and for each problem id used twice."""
    leaks = [f"problem_id {found} is used twice" for found in _repeated_ids(problems)]
    leaks += _shared(problems, "statement", lambda problem: statement_key(problem.statement))
    leaks += _shared(problems, "structure", lambda problem: problem.meta.get("structure"))
    return leaks


def check_leaks(problems: Sequence[Problem], dataset: str) -> None:
    """Refuse a dataset with a leak.

    Raises:
        CorruptError: something lies in two splits.
    """
    leaks = find_leaks(problems)
    if leaks:
        shown = "; ".join(leaks[:_MAX_SHOWN]) + (f"; and {len(leaks) - _MAX_SHOWN} more" if leaks[_MAX_SHOWN:] else "")
        raise CorruptError(
            f"dataset {dataset} leaks between its splits: {shown}",
            cure="mend the source of these problems so that each lies in one split, then materialise problems again",
        )


def _split_index(problem: Problem) -> int:
    if problem.split is None:
        raise ValueError(f"problem {problem.problem_id} has no split")
    return SPLITS.index(problem.split)


def _repeated_ids(problems: Sequence[Problem]) -> list[str]:
    uses = Counter(problem.problem_id for problem in problems)
    return [problem_id for problem_id, times in uses.items() if times > 1]


def _shared(problems: Sequence[Problem], what: str, key_of: Callable[[Problem], str | None]) -> list[str]:
    homes: dict[str, dict[str, str]] = defaultdict(dict)
    for problem in problems:
        key = key_of(problem)
        if key is not None:
            homes[key].setdefault(str(problem.split), problem.problem_id)
    return [
        f"the same {what} in {' and '.join(f'{split} ({found})' for split, found in sorted(splits.items()))}"
        for splits in homes.values()
        if len(splits) > 1
    ]
