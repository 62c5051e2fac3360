"""Shards of latents: content-addressed, resumable after a real kill, verified."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.latents.extraction import extract_latents
from rjepa.latents.shards import build_latents, open_latents
from rjepa.schemas import ChainOfThought
from rjepa.step_types import segment_types
from rjepa.students.loading import Student
from rjepa.tables import read_records, write_records
from tests.latents.conftest import DATASET, sums
from tests.students.tiny import open_tiny

ROOT = Path(__file__).resolve().parents[2]
TAG = "tiny-test"

KILLED = """
import os, signal, sys
from pathlib import Path
from rjepa.home import Home
from rjepa.latents.shards import build_latents
from tests.students.tiny import open_tiny

def progress(done, total, note=""):
    if (home.latents("tiny-test", "sums") / "shard-00001.json").exists():  # the third is being made
        os.kill(os.getpid(), signal.SIGKILL)

home, student = Home(Path(sys.argv[1])), Path(sys.argv[2])
build_latents(home, open_tiny(home, student), "sums", progress, shard_size=10)
"""


def files(home: Home) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(home.latents(TAG, DATASET).iterdir())}


def shards(home: Home) -> dict[str, int]:
    return {name: time for name, time in files(home).items() if name.startswith("shard")}


def test_a_built_set_holds_the_latents_of_every_judged_chain_of_train_and_validation(
    home: Home, taught: Student
) -> None:
    report = build_latents(home, taught, DATASET, shard_size=10)
    found = open_latents(home, TAG, DATASET)
    problems, chains = sums()
    known = {problem.problem_id: problem for problem in problems if problem.split != "test"}
    kept = [chain for chain in chains if chain.problem_id in known]
    kept.sort(key=lambda chain: str(known[chain.problem_id].split))  # split after split, each in the dataset's order
    assert np.shares_memory(found.split("train").latents, found.latents), "a split is a view, not a copy"
    assert found.chain_ids == [chain.cot_id for chain in kept]
    assert found.splits == [known[chain.problem_id].split for chain in kept]
    assert [found.domain_names[i] for i in found.domains] == [known[chain.problem_id].domain for chain in kept]
    assert set(found.lengths.tolist()) == {4} and found.width == taught.width
    assert report.metadata["chains"] == len(kept) == len(found)
    text = f"Step 1: {kept[7].steps[0]}\nStep 2: {kept[7].steps[1]}\nAnswer: {kept[7].final_answer}\n"
    (alone,) = extract_latents(taught, [known[kept[7].problem_id].statement], [text])
    np.testing.assert_allclose(found.chain(7), alone.latents, atol=1e-2, rtol=2e-3)
    np.testing.assert_allclose(found.sentences(7), alone.sentences, atol=1e-2, rtol=2e-3)
    assert found.types is not None
    assert found.types[found.offsets[7] : found.offsets[8]].tolist() == segment_types(text, 4).tolist()


def test_latents_do_not_depend_on_how_many_chains_are_held_at_once(
    home: Home, taught: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_latents(home, taught, DATASET)
    whole = open_latents(home, TAG, DATASET)
    (home.latents(TAG, DATASET) / "shard-00000.json").unlink()
    monkeypatch.setattr("rjepa.latents.shards._PIECE_CHAINS", 3)
    build_latents(home, taught, DATASET)
    pieces = open_latents(home, TAG, DATASET)
    assert pieces.chain_ids == whole.chain_ids
    np.testing.assert_allclose(pieces.latents, whole.latents, atol=2e-3, rtol=2e-3)
    np.testing.assert_array_equal(pieces.prompt_of, whole.prompt_of)
    np.testing.assert_allclose(pieces.prompts.sentences, whole.prompts.sentences, atol=2e-3, rtol=2e-3)


def test_progress_gives_a_rate_and_the_time_left(home: Home, taught: Student) -> None:
    seen: list[tuple[int, int, str]] = []
    build_latents(home, taught, DATASET, lambda d, t, note="": seen.append((d, t, note)), shard_size=10)
    assert seen[-1][0] == seen[-1][1] and [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert any("tokens/s, " in note and note.endswith(" left") for _, _, note in seen)


def test_wrong_chains_are_kept_with_the_segment_of_their_first_error(home: Home, taught: Student) -> None:
    report = build_latents(home, taught, DATASET)
    found = open_latents(home, TAG, DATASET)
    by_chain = dict(zip(found.chain_ids, found.first_error.tolist(), strict=True))
    assert all(error == (2 if name.endswith("wrong") else -1) for name, error in by_chain.items())
    assert report.metadata["wrong_chains"] == sum(name.endswith("wrong") for name in by_chain) > 0


def test_building_again_touches_no_shard_and_gives_the_same_version(home: Home, taught: Student) -> None:
    first, before = build_latents(home, taught, DATASET, shard_size=10), shards(home)
    second = build_latents(home, taught, DATASET, shard_size=10)
    assert second.data_version == first.data_version
    assert shards(home) == before
    assert second.metadata["shards_reused"] == second.metadata["shards"] == len(before) // 3


def test_a_killed_build_goes_on_after_its_last_whole_shard(home: Home, taught: Student, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(home.root), str(taught.path)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (home.latents(TAG, DATASET) / ".shard-00002.safetensors.x.tmp").write_bytes(b"half")
    before = shards(home)
    assert len(before) == 6 and not (home.latents(TAG, DATASET) / "manifest.json").exists()
    with pytest.raises(NotFoundError, match="materialise the asset latents"):
        open_latents(home, TAG, DATASET)
    report = build_latents(home, taught, DATASET, shard_size=10)
    assert {name: files(home)[name] for name in before} == before
    assert report.metadata["shards_reused"] == 2
    assert not list(home.latents(TAG, DATASET).glob(".*"))
    whole = Home(tmp_path / "whole")
    (whole.root / "datasets").parent.mkdir(parents=True)
    (whole.root / "datasets").symlink_to(home.root / "datasets")
    assert build_latents(whole, taught, DATASET, shard_size=10).data_version == report.data_version


def test_a_flipped_byte_is_named_and_only_its_shard_is_made_again(home: Home, taught: Student) -> None:
    version = build_latents(home, taught, DATASET, shard_size=10).data_version
    before = shards(home)
    damaged = home.latents(TAG, DATASET) / "shard-00001.safetensors"
    raw = bytearray(damaged.read_bytes())
    raw[len(raw) // 2] ^= 1
    damaged.write_bytes(raw)
    with pytest.raises(CorruptError, match="shard-00001.safetensors has hash .*expected .*\n.*materialise the asset"):
        open_latents(home, TAG, DATASET)
    assert build_latents(home, taught, DATASET, shard_size=10).data_version == version
    changed = {name for name, time in shards(home).items() if before[name] != time}
    assert changed == {f"shard-00001.{suffix}" for suffix in ("json", "parquet", "safetensors")}
    assert len(open_latents(home, TAG, DATASET)) > 0


def test_a_missing_shard_is_named(home: Home, taught: Student) -> None:
    build_latents(home, taught, DATASET, shard_size=10)
    (home.latents(TAG, DATASET) / "shard-00002.parquet").unlink()
    with pytest.raises(CorruptError, match="missing: .*shard-00002.parquet"):
        open_latents(home, TAG, DATASET)


def test_another_student_or_changed_chains_make_every_shard_they_touch_anew(home: Home, taught: Student) -> None:
    first = build_latents(home, taught, DATASET, shard_size=10)
    path = home.dataset(DATASET) / "validated_chains.parquet"
    chains = read_records(path, ChainOfThought)
    chains[0] = chains[0].model_copy(update={"steps": ["Mia has 0 + 0 = 0"]})
    write_records(path, ChainOfThought, chains)
    changed = build_latents(home, taught, DATASET, shard_size=10)
    assert changed.metadata["shards_reused"] == changed.metadata["shards"] - 1
    other = open_tiny(home, taught.path, poolings=("mean",))
    remade = build_latents(home, other, DATASET, shard_size=10)
    assert remade.metadata["shards_reused"] == 0 and open_latents(home, TAG, DATASET).width == 32
    assert len({first.data_version, changed.data_version, remade.data_version}) == 3
    with pytest.raises(InvalidInputError, match="were made by student .* this run expects"):
        open_latents(home, TAG, DATASET, fingerprint=taught.fingerprint)


def test_a_build_with_fewer_shards_leaves_no_old_ones(home: Home, taught: Student) -> None:
    build_latents(home, taught, DATASET, shard_size=5)
    build_latents(home, taught, DATASET, shard_size=1000)
    assert set(shards(home)) == {f"shard-00000.{suffix}" for suffix in ("json", "parquet", "safetensors")}
    found = open_latents(home, TAG, DATASET)
    assert isinstance(found.latents, np.memmap)


def test_chains_without_steps_or_verdict_or_room_are_left_out_and_counted(home: Home, taught: Student) -> None:
    path = home.dataset(DATASET) / "validated_chains.parquet"
    chains = read_records(path, ChainOfThought)
    chains[0] = chains[0].model_copy(update={"steps": []})
    chains[2] = chains[2].model_copy(update={"is_valid": None})
    chains[3] = chains[3].model_copy(update={"steps": ["a1 " * 300]})
    write_records(path, ChainOfThought, chains)
    metadata = build_latents(home, taught, DATASET).metadata
    assert [metadata[f"skipped_{why}"] for why in ("no_steps", "no_verdict", "too_long")] == [1, 1, 1]
    assert len(open_latents(home, TAG, DATASET)) == metadata["chains"]


def test_a_dataset_without_a_usable_chain_says_what_it_lacks(home: Home, taught: Student) -> None:
    write_records(home.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, [])
    with pytest.raises(InvalidInputError, match="no judged chain"):
        build_latents(home, taught, DATASET)
