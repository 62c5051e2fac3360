"""Which chains go into which shard."""

import numpy as np
import pytest

from rjepa.errors import CorruptError
from rjepa.home import Home
from rjepa.latents.plan import plan_shards
from rjepa.schemas import ChainOfThought
from rjepa.tables import write_records
from tests.latents.conftest import DATASET, sums

SPLITS = ("train", "validation")


def test_the_chains_of_a_problem_are_in_one_shard_wherever_they_lie_in_the_file(home: Home) -> None:
    _, chains = sums()
    later = sorted(chains, key=lambda chain: chain.cot_id.endswith("wrong"))  # all right ones, then all wrong ones
    write_records(home.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, later)
    plan = plan_shards(home, DATASET, SPLITS, shard_size=10)
    held: list[set[str]] = []
    for number in range(len(plan)):
        pairs = [pair for piece in plan.shard(number).pieces(4) for pair in piece]
        assert 0 < len(pairs) <= 10
        assert all(problem.problem_id == chain.problem_id for problem, chain in pairs)
        held.append({problem.problem_id for problem, _ in pairs})
    assert sum(len(ids) for ids in held) == len(set().union(*held)) == 36


def test_a_problem_with_more_chains_than_a_shard_is_cut(home: Home) -> None:
    plan = plan_shards(home, DATASET, SPLITS, shard_size=1)
    assert np.diff(plan.bounds).tolist() == [1] * len(plan.chains)


def test_every_usable_chain_comes_once_and_train_comes_first(home: Home) -> None:
    plan = plan_shards(home, DATASET, SPLITS, shard_size=7)
    pairs = [pair for number in range(len(plan)) for piece in plan.shard(number).pieces(3) for pair in piece]
    problems, chains = sums()
    expected = {problem.problem_id for problem in problems if problem.split != "test"}
    assert sorted(c.cot_id for _, c in pairs) == sorted(c.cot_id for c in chains if c.problem_id in expected)
    splits = [problem.split for problem, _ in pairs]
    assert splits == sorted(splits)


def test_a_chain_without_its_problem_is_named(home: Home) -> None:
    lost = sums()[1][0].model_copy(update={"problem_id": "nowhere"})
    write_records(home.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, [lost])
    with pytest.raises(CorruptError, match="problem nowhere"):
        plan_shards(home, DATASET, SPLITS, shard_size=7)
