"""Which chains a version has, in which order, and which are read together."""

import numpy as np
import pytest

from rjepa.errors import CorruptError
from rjepa.home import Home
from rjepa.latents.plan import Part, plan_chains
from rjepa.schemas import ChainOfThought
from rjepa.tables import write_records
from tests.latents.conftest import DATASET, sums

SPLITS = ("train", "validation")


def ids(part: Part, size: int) -> list[tuple[str, str, str, str]]:
    """Problem, the problem that the chain names, chain and split of each chain, in pieces of a size."""
    rows = []
    for piece in part.pieces(size):
        assert 0 < len(piece) <= size
        for index in piece.tolist():
            problem, chain = part.problems.slice(int(part.owner[index]), 1), part.chains.slice(index, 1)
            values = problem["problem_id"], chain["problem_id"], chain["cot_id"], problem["split"]
            rows.append(tuple(value[0].as_py() for value in values))
    return rows


def test_the_chains_of_a_problem_are_in_one_part_wherever_they_lie_in_the_file(home: Home) -> None:
    _, chains = sums()
    later = sorted(chains, key=lambda chain: chain.cot_id.endswith("wrong"))  # all right ones, then all wrong ones
    write_records(home.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, later)
    plan = plan_chains(home, DATASET, SPLITS, part_size=10)
    held: list[set[str]] = []
    for number in range(len(plan)):
        found = ids(plan.part(number), 4)
        assert 0 < len(found) <= 10
        assert all(problem == owner for problem, owner, _, _ in found)
        held.append({problem for problem, _, _, _ in found})
    assert sum(len(ids) for ids in held) == len(set().union(*held)) == 36


def test_a_problem_with_more_chains_than_a_part_is_cut(home: Home) -> None:
    plan = plan_chains(home, DATASET, SPLITS, part_size=1)
    assert np.diff(plan.bounds).tolist() == [1] * len(plan.chains)


def test_every_usable_chain_comes_once_and_train_comes_first(home: Home) -> None:
    plan = plan_chains(home, DATASET, SPLITS, part_size=7)
    found = [row for number in range(len(plan)) for row in ids(plan.part(number), 3)]
    problems, chains = sums()
    expected = {problem.problem_id for problem in problems if problem.split != "test"}
    assert sorted(cot_id for _, _, cot_id, _ in found) == sorted(c.cot_id for c in chains if c.problem_id in expected)
    splits = [split for _, _, _, split in found]
    assert splits == sorted(splits)


def test_a_chain_without_its_problem_is_named(home: Home) -> None:
    lost = sums()[1][0].model_copy(update={"problem_id": "nowhere"})
    write_records(home.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, [lost])
    with pytest.raises(CorruptError, match="problem nowhere"):
        plan_chains(home, DATASET, SPLITS, part_size=7)
