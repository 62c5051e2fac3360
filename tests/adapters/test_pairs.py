"""Which latents are pairs: the same text, read by both students; problems are drawn whole."""

import numpy as np
import pytest

from rjepa.adapters.pairs import match_chains, pairs_of
from rjepa.errors import InvalidInputError
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.shares import draw_problems


def _latents(chains: dict[str, int], width: int, sentences: int = 2) -> LatentSet:
    """Chains by "problem#chain" with so many segments; the first column of a row says chain and segment."""
    lengths, count = list(chains.values()), len(chains)
    marks = [100 * int(name.split("#")[1]) + at for name, size in chains.items() for at in range(size)]
    rows = np.zeros((len(marks), width), dtype=np.float16)
    rows[:, 0] = marks
    problems = [name.split("#")[0] for name in chains]
    known = sorted(set(problems))
    prompt_rows = np.full((sentences * len(known), width), -1, dtype=np.float16)
    return LatentSet(
        latents=rows,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        domains=np.zeros(count, dtype=np.int64),
        domain_names=("math",),
        first_error=np.full(count, -1, dtype=np.int64),
        problem_ids=problems,
        chain_ids=list(chains),
        splits=["train"] * count,
        prompts=Prompts.of(prompt_rows, [sentences] * len(known)),
        prompt_of=np.array([known.index(name) for name in problems], dtype=np.int64),
    )


def test_pairs_are_segments_of_the_same_chain_whatever_the_order() -> None:
    target = _latents({"p#1": 3, "q#2": 2, "q#3": 4}, width=4)
    source = _latents({"q#3": 4, "p#1": 3, "q#2": 2}, width=6)
    pairs = pairs_of(match_chains(target, source))
    assert pairs.target.shape == (9 + 4, 4)
    assert pairs.source.shape == (9 + 4, 6)
    assert np.array_equal(pairs.target[:, 0], pairs.source[:, 0])
    assert len(set(pairs.problem)) == 2


def test_chains_that_one_student_lacks_or_cuts_otherwise_are_left_out_and_counted() -> None:
    target = _latents({"p#1": 3, "q#2": 2, "r#3": 4}, width=4)
    matched = match_chains(target, _latents({"p#1": 3, "q#2": 5}, width=4))
    assert list(matched.target.chain_ids) == list(matched.source.chain_ids) == ["p#1"]
    assert matched.unmatched == 2


def test_sentences_that_do_not_agree_in_number_are_no_pairs() -> None:
    matched = match_chains(_latents({"p#1": 3}, width=4), _latents({"p#1": 3}, width=4, sentences=3))
    assert len(pairs_of(matched)) == 3


def test_students_without_a_chain_in_common_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no chain in common"):
        match_chains(_latents({"p#1": 3}, width=4), _latents({"p#2": 3}, width=4))


def test_a_smaller_share_is_part_of_a_larger_one_and_its_chains_are_whole_problems() -> None:
    matched = match_chains(*(_latents({f"p{n // 2}#{n}": 2 for n in range(80)}, width=4) for _ in range(2)))
    problems = matched.problems
    assert sorted(problems) == sorted({f"p{n}" for n in range(40)})
    assert problems != sorted(problems)
    assert set(draw_problems(problems, 0.1)) < set(draw_problems(problems, 0.5)) < set(draw_problems(problems, 1.0))
    chosen = matched.of_problems(draw_problems(problems, 0.1))
    assert len(chosen) == 8
    assert set(chosen.target.problem_ids) == set(draw_problems(problems, 0.1))
    assert draw_problems(problems, 1e-9) == problems[:2]


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        draw_problems(["a", "b"], share)


def test_one_problem_is_too_few() -> None:
    with pytest.raises(InvalidInputError, match="1 problem"):
        draw_problems(["a"], 1.0)
