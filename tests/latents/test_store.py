"""Shards joined to one array, in memory or in a file."""

from pathlib import Path

import numpy as np
import pytest

from rjepa.latents import store
from rjepa.latents.sets import LatentSet
from rjepa.latents.store import ShardStore
from rjepa.schemas import Problem


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_joined_shards_are_equal_in_memory_and_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(store, "_IN_MEMORY", in_memory)
    shards = ShardStore(tmp_path, Problem, "latents", "make them again")
    parts = [np.full((rows, 3), rows, dtype=np.float16) for rows in (2, 5, 1)]
    receipts = [shards.write(number, "", {"latents": part}, [], {}) for number, part in enumerate(parts)]
    joined = shards.latents(shards.publish({"width": 3}, receipts))
    assert joined.tolist() == np.concatenate(parts).tolist()
    assert isinstance(joined, np.memmap) == (in_memory == 0)
    assert not list(tmp_path.glob("tmp*")), "the file has no name that could be left behind"
    view = _set(joined).select([1, 2]).latents
    assert view.tolist() == joined[2:].tolist() and np.shares_memory(view, joined)


def _set(latents: np.ndarray) -> LatentSet:
    zeros = np.zeros(3, dtype=np.int64)
    return LatentSet(latents, np.array([0, 2, 7, 8]), zeros, ("math",), zeros, list("abc"), list("abc"), ["train"] * 3)
