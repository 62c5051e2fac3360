"""Shards joined to one array, in memory or in a file."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from rjepa.latents import store
from rjepa.latents.sets import LatentSet
from rjepa.latents.store import ShardStore, map_tensors
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


def test_a_shard_that_grew_piece_by_piece_is_an_ordinary_safetensors_file(tmp_path: Path) -> None:
    shards = ShardStore(tmp_path, Problem, "latents", "make them again")
    pieces = [{"latents": np.full((rows, 3), rows, np.float16), "counts": np.array([rows])} for rows in (2, 0, 5)]
    with shards.writing() as writer:
        for piece in pieces:
            writer.append(piece, [])
        receipt = writer.finish(0, "key", {})
    assert receipt["rows"] == 7 and shards.finished(0, "key") == receipt
    for found in (load_file(tmp_path / "shard-00000.safetensors"), map_tensors(tmp_path / "shard-00000.safetensors")):
        assert found["latents"].tolist() == np.concatenate([piece["latents"] for piece in pieces]).tolist()
        assert found["counts"].tolist() == [2, 0, 5]
    assert not list(tmp_path.glob("tmp*")) and not list(tmp_path.glob(".*"))


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    with ShardStore(tmp_path, Problem, "latents", "make them again").writing() as writer:
        writer.append({"latents": np.zeros((1, 3), np.float16)}, [])
        with pytest.raises(ValueError, match="latents holds F16"):
            writer.append({"latents": np.zeros((1, 4), np.float16)}, [])


def _set(latents: np.ndarray) -> LatentSet:
    zeros = np.zeros(3, dtype=np.int64)
    return LatentSet(latents, np.array([0, 2, 7, 8]), zeros, ("math",), zeros, list("abc"), list("abc"), ["train"] * 3)
