import pytest

from rjepa.datasets.splits import check_leaks, deduplicate, find_leaks, interleave
from rjepa.errors import CorruptError
from rjepa.schemas import Problem


def problem(number: int, statement: str, split: str, domain: str = "math", structure: str | None = None) -> Problem:
    meta = {} if structure is None else {"structure": structure}
    return Problem(problem_id=f"p{number}", domain=domain, source="test", statement=statement, split=split, meta=meta)  # type: ignore[arg-type]


def test_of_equal_statements_the_one_kept_for_tests_stays() -> None:
    kept, removed = deduplicate(
        [problem(0, "How many?", "train"), problem(1, "how  MANY?", "test"), problem(2, "Why?", "train")]
    )
    assert removed == 1
    assert {found.problem_id for found in kept} == {"p1", "p2"}


def test_the_first_problems_of_a_split_are_of_every_domain() -> None:
    mixed = interleave(
        [problem(n, f"{n}", "test", domain) for n, domain in enumerate(["math"] * 5 + ["code"] * 5 + ["logic"] * 2)]
    )
    assert [found.domain for found in mixed[:6]] == ["code", "logic", "math"] * 2


def test_a_statement_a_structure_or_an_id_in_two_splits_is_a_leak() -> None:
    apart = [problem(0, "a", "train", structure="s"), problem(1, "b", "train", structure="s"), problem(2, "c", "test")]
    assert find_leaks(apart) == []
    for stray, message in (
        (problem(3, "A ", "test"), "statement"),
        (problem(3, "d", "validation", structure="s"), "structure"),
        (problem(0, "d", "train"), "used twice"),
    ):
        assert len(find_leaks([*apart, stray])) == 1
        with pytest.raises(CorruptError, match=message):
            check_leaks([*apart, stray], "mine")
