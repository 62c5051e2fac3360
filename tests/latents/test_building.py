"""Latents of a version: kept once for all versions, resumable after a real kill, verified."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rjepa.chains import render_chain
from rjepa.errors import BusyError, CorruptError, InvalidInputError, NotFoundError
from rjepa.files import write_json
from rjepa.home import Home
from rjepa.latents.building import build_latents
from rjepa.latents.shards import extent_made, latents_share, open_latents
from rjepa.latents.shares import in_drawing_order
from rjepa.locks import stage_lock
from rjepa.schemas import ChainOfThought
from rjepa.step_types import segment_types
from rjepa.students.extraction import extract_latents
from rjepa.students.loading import Student
from rjepa.tables import read_records, write_records
from tests.latents.conftest import DATASET, sums
from tests.students.tiny import open_tiny

ROOT = Path(__file__).resolve().parents[2]
TAG = "tiny-test"

KILLED = """
import os, signal, sys
from pathlib import Path
import rjepa.latents.building as building
import rjepa.latents.encoding as encoding
from rjepa.home import Home
from tests.students.tiny import open_tiny

building._PIECE_CHAINS, encoding.SHARD_CHAINS = 5, 10

def progress(done, total, note=""):
    if len(list(home.shards("latents", "tiny-test").rglob("*.json"))) == 2:  # the third is being made
        os.kill(os.getpid(), signal.SIGKILL)

home, student = Home(Path(sys.argv[1])), Path(sys.argv[2])
building.build_latents(home, open_tiny(home, student), "sums", progress)
"""

AT_THE_SAME_TIME = """
import sys, time
from pathlib import Path
from rjepa.home import Home
from rjepa.latents.building import build_latents
from tests.students.tiny import open_tiny

def progress(done, total, note=""):
    print("at work", flush=True)
    sys.stdin.readline()

home, student = Home(Path(sys.argv[1])), Path(sys.argv[2])
build_latents(home, open_tiny(home, student), "sums", progress)
"""


def shards(home: Home) -> dict[str, int]:
    """When each file of a shard was written."""
    return {path.name: path.stat().st_mtime_ns for path in home.shards("latents", TAG).rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of ten chains, encoded five at a time."""
    monkeypatch.setattr("rjepa.latents.building._PIECE_CHAINS", 5)
    monkeypatch.setattr("rjepa.latents.encoding.SHARD_CHAINS", 10)


def test_a_built_set_holds_the_latents_of_every_judged_chain_of_train_and_validation(
    home: Home, taught: Student
) -> None:
    report = build_latents(home, taught, DATASET)
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


def test_progress_gives_a_rate_and_the_time_left(home: Home, taught: Student) -> None:
    seen: list[tuple[int, int, str]] = []
    build_latents(home, taught, DATASET, lambda d, t, note="": seen.append((d, t, note)))
    assert seen[-1][0] == seen[-1][1] and [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert any("tokens/s, " in note and note.endswith(" left") for _, _, note in seen)


def test_wrong_chains_are_kept_with_the_segment_of_their_first_error(home: Home, taught: Student) -> None:
    report = build_latents(home, taught, DATASET)
    found = open_latents(home, TAG, DATASET)
    by_chain = dict(zip(found.chain_ids, found.first_error.tolist(), strict=True))
    assert all(error == (2 if name.endswith("wrong") else -1) for name, error in by_chain.items())
    assert report.metadata["wrong_chains"] == sum(name.endswith("wrong") for name in by_chain) > 0


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


def test_the_bits_are_those_of_encoding_the_pieces_alone(home: Home, taught: Student) -> None:
    build_latents(home, taught, DATASET)
    found = open_latents(home, TAG, DATASET)
    problems, chains = sums()
    known = {problem.problem_id: problem for problem in problems}
    for_id = {chain.cot_id: chain for chain in chains}
    kept = [for_id[name] for name in found.chain_ids]
    bounds = [0]
    for index in range(1, len(kept)):  # pieces of at most five, cut between problems
        end = next(
            e for e in range(index, len(kept) + 1) if e == len(kept) or kept[e].problem_id != kept[e - 1].problem_id
        )
        if end - bounds[-1] > 5 and kept[index].problem_id != kept[index - 1].problem_id:
            bounds.append(index)
    for first, last in zip(bounds, [*bounds[1:], len(kept)], strict=True):
        part = kept[first:last]
        texts = [render_chain(chain.steps, chain.final_answer) for chain in part]
        encoded = extract_latents(taught, [known[chain.problem_id].statement for chain in part], texts)
        for index, latents in enumerate(encoded, start=first):
            np.testing.assert_array_equal(found.chain(index), latents.latents)
            np.testing.assert_array_equal(found.sentences(index), latents.sentences)


def test_latents_do_not_depend_on_how_many_chains_are_held_at_once(
    home: Home, taught: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_latents(home, taught, DATASET)
    pieces = open_latents(home, TAG, DATASET)
    shutil.rmtree(home.shards("latents", TAG))
    monkeypatch.setattr("rjepa.latents.building._PIECE_CHAINS", 500)
    monkeypatch.setattr("rjepa.latents.building._PART_CHAINS", 7)
    build_latents(home, taught, DATASET)
    whole = open_latents(home, TAG, DATASET)
    assert pieces.chain_ids == whole.chain_ids
    np.testing.assert_allclose(pieces.latents, whole.latents, atol=2e-3, rtol=2e-3)
    np.testing.assert_array_equal(pieces.prompt_of, whole.prompt_of)
    np.testing.assert_array_equal(pieces.types, whole.types)
    np.testing.assert_allclose(pieces.prompts.sentences, whole.prompts.sentences, atol=2e-3, rtol=2e-3)


def test_building_again_touches_no_shard_and_gives_the_same_version(home: Home, taught: Student) -> None:
    first, before = build_latents(home, taught, DATASET), shards(home)
    second = build_latents(home, taught, DATASET)
    assert second.data_version == first.data_version
    assert shards(home) == before
    assert second.metadata["chains_encoded"] == 0 and second.metadata["chains_found"] == second.metadata["chains"]


def test_the_next_version_encodes_what_is_new_in_it_and_keeps_the_bits_of_the_rest(home: Home, taught: Student) -> None:
    build_latents(home, taught, DATASET)
    first, before = open_latents(home, TAG, DATASET), shards(home)
    shutil.copytree(home.dataset(DATASET), home.dataset("more-sums"))
    chains = read_records(home.dataset("more-sums") / "validated_chains.parquet", ChainOfThought)
    new = [
        chain.model_copy(update={"cot_id": f"{chain.cot_id}-2", "steps": ["first", *chain.steps]})
        for chain in chains[:3]
    ]
    write_records(home.dataset("more-sums") / "validated_chains.parquet", ChainOfThought, [*new, *chains])
    report = build_latents(home, taught, "more-sums")
    assert report.metadata["chains_encoded"] == len(new) == 3
    second = open_latents(home, TAG, "more-sums")
    assert {name: time for name, time in shards(home).items() if name in before} == before
    places = {name: index for index, name in enumerate(second.chain_ids)}
    for index, name in enumerate(first.chain_ids):
        np.testing.assert_array_equal(second.chain(places[name]), first.chain(index))
        np.testing.assert_array_equal(second.sentences(places[name]), first.sentences(index))
    assert len(second) == len(first) + report.metadata["chains_encoded"]
    np.testing.assert_array_equal(open_latents(home, TAG, DATASET).latents, first.latents)


def test_a_share_is_read_apart_from_the_whole_which_takes_its_place(home: Home, taught: Student) -> None:
    report = build_latents(home, taught, DATASET, share=0.25)
    with pytest.raises(NotFoundError, match="materialise the asset latents"):  # nobody trains on it
        open_latents(home, TAG, DATASET)
    share = open_latents(home, TAG, DATASET, extent="share")
    problems = {problem.problem_id: problem for problem in sums()[0]}
    training = in_drawing_order(name for name, problem in problems.items() if problem.split == "train")
    assert len(training) == 24 and extent_made(home, TAG, DATASET) == "share"
    assert set(share.split("train").problem_ids) == set(training[:6])
    assert set(share.split("validation").problem_ids) == {
        name for name, problem in problems.items() if problem.split == "validation"
    }
    assert latents_share(home, TAG, DATASET) == 0.25

    more = build_latents(home, taught, DATASET, share=0.5)
    assert more.metadata["chains_found"] == report.metadata["chains"] < more.metadata["chains"]
    whole = build_latents(home, taught, DATASET)
    assert whole.metadata["chains_found"] == more.metadata["chains"] < whole.metadata["chains"]
    assert extent_made(home, TAG, DATASET) == "whole" and latents_share(home, TAG, DATASET) == 1.0
    every = open_latents(home, TAG, DATASET)
    places = {name: index for index, name in enumerate(every.chain_ids)}
    for index, name in enumerate(share.chain_ids):
        np.testing.assert_array_equal(every.chain(places[name]), share.chain(index))


def test_a_killed_build_goes_on_after_its_last_whole_shard(home: Home, taught: Student, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(home.root), str(taught.path)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (folder,) = home.shards("latents", TAG).iterdir()
    (folder / ".half.safetensors.x.tmp").write_bytes(b"half")
    before = shards(home)
    with pytest.raises(NotFoundError, match="materialise the asset latents"):
        open_latents(home, TAG, DATASET)
    report = build_latents(home, taught, DATASET)
    del before[".half.safetensors.x.tmp"]
    assert len(before) == 6 and {name: shards(home)[name] for name in before} == before
    assert report.metadata["chains_found"] >= 20
    assert not list(folder.glob(".*")) and len(list(home.latents(TAG, DATASET).iterdir())) == 2
    whole = Home(tmp_path / "whole")
    whole.root.mkdir()
    (whole.root / "datasets").symlink_to(home.root / "datasets")
    assert build_latents(whole, taught, DATASET).data_version == report.data_version


def test_a_slow_student_loses_no_more_than_some_seconds(
    home: Home, taught: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_latents(home, taught, DATASET)
    whole = open_latents(home, TAG, DATASET)
    shutil.rmtree(home.shards("latents", TAG))
    monkeypatch.setattr("rjepa.latents.building._PIECE_CHAINS", 500)
    monkeypatch.setattr("rjepa.latents.encoding.SHARD_CHAINS", 1000)
    monkeypatch.setattr("rjepa.latents.encoding._SHARD_SECONDS", 0.0)
    monkeypatch.setattr("rjepa.students.extraction._TOKENS_A_BATCH_CPU", 200)
    assert build_latents(home, taught, DATASET).metadata["shards"] > 3, "a forward, a shard"
    assert open_latents(home, TAG, DATASET).chain_ids == whole.chain_ids
    np.testing.assert_allclose(open_latents(home, TAG, DATASET).latents, whole.latents, atol=2e-3, rtol=2e-3)


def test_two_processes_do_not_build_the_same_latents(home: Home, taught: Student) -> None:
    command = [sys.executable, "-c", AT_THE_SAME_TIME, str(home.root), str(taught.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as other:
        assert other.stdout.readline() == "at work\n"
        with pytest.raises(BusyError, match=rf"made by another process \(pid {other.pid}\)"):
            build_latents(home, taught, DATASET)
        other.stdin.close()
        assert other.wait(60) == 0
    assert build_latents(home, taught, DATASET).metadata["chains_encoded"] == 0


def test_a_stage_gives_its_lock_back_where_it_fails(home: Home, taught: Student) -> None:
    write_records(home.dataset(DATASET) / "validated_chains.parquet", ChainOfThought, [])
    with pytest.raises(InvalidInputError):
        build_latents(home, taught, DATASET)
    with stage_lock(home, "latents", TAG, DATASET):
        pass


def test_a_flipped_byte_is_named_and_only_its_shard_is_made_again(home: Home, taught: Student) -> None:
    version = build_latents(home, taught, DATASET).data_version
    before = shards(home)
    damaged = min(home.shards("latents", TAG).rglob("*.safetensors"))
    raw = bytearray(damaged.read_bytes())
    raw[len(raw) // 2] ^= 1
    damaged.write_bytes(raw)
    with pytest.raises(CorruptError, match=rf"{damaged.name} has hash .*expected .*\n.*materialise the asset"):
        open_latents(home, TAG, DATASET)
    assert build_latents(home, taught, DATASET).data_version == version
    changed = {name for name, time in shards(home).items() if before[name] != time}
    assert changed == {f"{damaged.stem}.{suffix}" for suffix in ("json", "parquet", "safetensors")}
    assert len(open_latents(home, TAG, DATASET)) > 0


@pytest.mark.parametrize("suffix", ["parquet", "safetensors"])
def test_a_missing_file_of_a_shard_is_named_and_made_again(home: Home, taught: Student, suffix: str) -> None:
    version = build_latents(home, taught, DATASET).data_version
    lost = min(home.shards("latents", TAG).rglob(f"*.{suffix}"))
    lost.unlink()
    with pytest.raises(CorruptError, match=f"missing: .*{lost.name}"):
        open_latents(home, TAG, DATASET)
    assert build_latents(home, taught, DATASET).data_version == version


def test_a_damaged_table_or_an_old_manifest_is_named(home: Home, taught: Student) -> None:
    build_latents(home, taught, DATASET)
    table = next(home.latents(TAG, DATASET).glob("*.parquet"))
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(CorruptError, match=f"damaged: .*{table.name}"):
        open_latents(home, TAG, DATASET)
    write_json(home.latents(TAG, DATASET) / "manifest.json", {"fingerprint": "x", "shards": []})
    with pytest.raises(CorruptError, match="is not a manifest that this version"):
        open_latents(home, TAG, DATASET)


def test_another_student_or_changed_chains_encode_what_they_touch(home: Home, taught: Student) -> None:
    first = build_latents(home, taught, DATASET)
    path = home.dataset(DATASET) / "validated_chains.parquet"
    chains = read_records(path, ChainOfThought)
    chains[0] = chains[0].model_copy(update={"steps": ["Mia has 0 + 0 = 0"]})
    write_records(path, ChainOfThought, chains)
    changed = build_latents(home, taught, DATASET)
    assert changed.metadata["chains_encoded"] == 1
    other = open_tiny(home, taught.path, poolings=("mean",))
    remade = build_latents(home, other, DATASET)
    assert remade.metadata["chains_found"] == 0 and open_latents(home, TAG, DATASET).width == 32
    assert len({first.data_version, changed.data_version, remade.data_version}) == 3
    with pytest.raises(InvalidInputError, match="were made by student .* this run expects"):
        open_latents(home, TAG, DATASET, fingerprint=taught.fingerprint)
    assert build_latents(home, taught, DATASET).metadata["chains_encoded"] == 0, "the first student's are still there"


def test_another_verdict_or_split_is_another_version_of_the_same_latents(home: Home, taught: Student) -> None:
    first = build_latents(home, taught, DATASET)
    path = home.dataset(DATASET) / "validated_chains.parquet"
    chains = read_records(path, ChainOfThought)
    chains[0] = chains[0].model_copy(update={"is_valid": False, "first_error_step": 0})
    write_records(path, ChainOfThought, chains)
    second = build_latents(home, taught, DATASET)
    assert second.metadata["chains_encoded"] == 0 and second.data_version != first.data_version
    found = open_latents(home, TAG, DATASET)
    assert found.first_error[list(found.chain_ids).index(chains[0].cot_id)] == 1


def test_a_version_in_one_shard_is_mapped_where_it_lies(
    home: Home, taught: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rjepa.latents.encoding.SHARD_CHAINS", 1000)
    build_latents(home, taught, DATASET)
    assert isinstance(open_latents(home, TAG, DATASET).latents, np.memmap)


def test_a_chain_that_is_too_long_is_looked_at_once(home: Home, taught: Student) -> None:
    path = home.dataset(DATASET) / "validated_chains.parquet"
    chains = read_records(path, ChainOfThought)
    chains[0] = chains[0].model_copy(update={"steps": ["a1 " * 300]})
    write_records(path, ChainOfThought, chains)
    first = build_latents(home, taught, DATASET)
    again = build_latents(home, taught, DATASET)
    assert first.metadata["skipped_too_long"] == again.metadata["skipped_too_long"] == 1
    assert again.metadata["chains_encoded"] == 0 and again.data_version == first.data_version


def test_equal_chains_of_a_problem_share_their_rows(home: Home, taught: Student) -> None:
    path = home.dataset(DATASET) / "validated_chains.parquet"
    chains = read_records(path, ChainOfThought)
    write_records(path, ChainOfThought, [chains[0].model_copy(update={"cot_id": "copy"}), *chains])
    build_latents(home, taught, DATASET)
    found = open_latents(home, TAG, DATASET)
    places = {name: index for index, name in enumerate(found.chain_ids)}
    np.testing.assert_array_equal(found.chain(places["copy"]), found.chain(places[chains[0].cot_id]))
