"""Content-addressed shards: found again by key, shared, verified; their rows joined to one array."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from rjepa.errors import CorruptError
from rjepa.latents import joining
from rjepa.latents.joining import Runs, join_rows
from rjepa.latents.sets import LatentSet
from rjepa.latents.store import KeptRow, ShardIndex, ShardReceipt, ShardStore, make_key


def store(folder: Path) -> ShardStore[KeptRow]:
    return ShardStore(folder, KeptRow, "latents of tiny-a", "make them again")


def write(folder: Path, *sizes: int) -> list[ShardReceipt]:
    """A shard of so many rows for each size, every row holding the number of its shard; a key for each row."""
    receipts = []
    with store(folder).writing() as writer:
        for number, size in enumerate(sizes):
            records = [KeptRow(key=make_key(number, row)) for row in range(size)]
            writer.append({"latents": np.full((size, 3), number, dtype=np.float16)}, records)
            receipts.append(writer.finish())
    return receipts


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_joined_rows_are_equal_in_memory_and_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(joining, "_IN_MEMORY", in_memory)
    receipts, runs = write(tmp_path, 2, 5, 1), Runs()
    runs.add(np.array([0, 1, 1, 2]), np.array([0, 0, 3, 0]), np.array([2, 3, 2, 1]))
    assert runs.runs == [(0, 0, 2), (1, 0, 5), (2, 0, 1)], "neighbours are one run"
    joined = join_rows(store(tmp_path), receipts, "latents", runs, np.empty((0, 3), np.float16))
    assert joined[:, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 2]
    assert isinstance(joined, np.memmap) == (in_memory == 0)
    assert not list(tmp_path.glob("tmp*")), "the file has no name that could be left behind"
    view = _set(joined).select([1, 2]).latents
    assert view.tolist() == joined[2:].tolist() and np.shares_memory(view, joined)


def test_rows_of_one_shard_are_mapped_where_they_lie_and_others_are_left_out(tmp_path: Path) -> None:
    receipts, runs = write(tmp_path, 2, 5, 1), Runs()
    runs.add(np.array([1]), np.array([1]), np.array([3]))
    part = join_rows(store(tmp_path), receipts, "latents", runs, np.empty((0, 3), np.float16))
    assert isinstance(part, np.memmap) and part.tolist() == [[1, 1, 1]] * 3
    scattered = Runs()
    scattered.add(np.array([2, 0, 1]), np.array([0, 1, 4]), np.array([1, 1, 0]))
    found = join_rows(store(tmp_path), receipts, "latents", scattered, np.empty((0, 3), np.float16))
    assert found[:, 0].tolist() == [2, 0]


def test_a_shard_that_grew_piece_by_piece_is_an_ordinary_safetensors_file(tmp_path: Path) -> None:
    pieces = [{"latents": np.full((rows, 3), rows, np.float16), "counts": np.array([rows])} for rows in (2, 0, 5)]
    with store(tmp_path).writing() as writer:
        for number, piece in enumerate(pieces):
            writer.append(piece, [KeptRow(key=make_key(number))])
        receipt = writer.finish()
    found = load_file(tmp_path / f"{receipt.id}.safetensors")
    assert found["latents"].tolist() == np.concatenate([piece["latents"] for piece in pieces]).tolist()
    assert found["counts"].tolist() == [2, 0, 5] and receipt.records == 3
    assert not list(tmp_path.glob("tmp*")) and not list(tmp_path.glob(".*"))


def test_equal_content_is_one_shard_and_keys_are_found_without_an_index_file(tmp_path: Path) -> None:
    receipts = write(tmp_path, 2, 5)
    assert write(tmp_path, 2, 5) == receipts and len(list(tmp_path.iterdir())) == 6
    index = ShardIndex(store(tmp_path))
    shards, places = index.find([make_key(1, 4), make_key(0, 0), make_key("new"), make_key(1, 0)])
    assert [index.receipts[number].id if number >= 0 else None for number in shards] == [
        receipts[1].id,
        receipts[0].id,
        None,
        receipts[1].id,
    ]
    assert places.tolist() == [4, 0, -1, 0]


@pytest.mark.parametrize("harm", ["flip", "cut", "no-table", "no-receipt"])
def test_a_damaged_shard_is_not_found_and_the_others_are(tmp_path: Path, harm: str) -> None:
    whole, damaged = write(tmp_path, 2, 5)
    path = tmp_path / f"{damaged.id}.safetensors"
    if harm == "flip":
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        (tmp_path / f"{damaged.id}.{'parquet' if harm == 'no-table' else 'json'}").unlink()
    index = ShardIndex(store(tmp_path))
    shards, _ = index.find([make_key(0, 1), make_key(1, 1)])
    assert shards[1] == -1 and index.receipts[shards[0]].id == whole.id
    if harm == "cut":
        runs = Runs()
        runs.add(np.array([0, 1]), np.array([0, 0]), np.array([2, 5]))
        write(tmp_path, 2, 5)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(CorruptError, match="ends before its tensors do"):
            join_rows(store(tmp_path), [whole, damaged], "latents", runs, np.empty((0, 3), np.float16))


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    with store(tmp_path).writing() as writer:
        writer.append({"latents": np.zeros((1, 3), np.float16)}, [])
        with pytest.raises(ValueError, match="latents holds float16"):
            writer.append({"latents": np.zeros((1, 4), np.float16)}, [])


def _set(latents: np.ndarray) -> LatentSet:
    zeros = np.zeros(3, dtype=np.int64)
    return LatentSet(latents, np.array([0, 2, 7, 8]), zeros, ("math",), zeros, list("abc"), list("abc"), ["train"] * 3)
