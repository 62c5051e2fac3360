"""Frozen candidates: sampled once, judged, resumable, with latents that belong to them."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rjepa.chains import parse_chain, segment_spans
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.evaluation.frozen import open_frozen, train_candidates
from rjepa.home import Home
from rjepa.latents.rollouts import build_rollouts, judged_candidate, open_rollouts
from rjepa.latents.shards import first_error_segment
from rjepa.schemas import Problem
from rjepa.step_types import segment_types
from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student
from rjepa.students.sampled import SampledChain
from rjepa.tables import read_records, write_records
from tests.latents.conftest import DATASET, sums

ROOT = Path(__file__).resolve().parents[2]
TAG = "tiny-test"

KILLED = """
import os, signal, sys
from pathlib import Path
from rjepa.home import Home
from rjepa.latents.rollouts import build_rollouts
from tests.students.tiny import open_tiny

def progress(done, total, note=""):
    if done == 10:  # two shards of five are whole
        os.kill(os.getpid(), signal.SIGKILL)

home, student = Home(Path(sys.argv[1])), Path(sys.argv[2])
build_rollouts(home, open_tiny(home, student), "sums", num_candidates=3, seed=1, shard_size=5, progress=progress)
"""


def shards(home: Home) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in home.rollouts(TAG, DATASET).glob("shard-*")}


@pytest.fixture
def built(home: Home, taught: Student) -> Home:
    build_rollouts(home, taught, DATASET, num_candidates=3, seed=1, shard_size=5)
    return home


def test_rollouts_are_the_chains_the_student_samples_with_verdicts(built: Home, taught: Student) -> None:
    found = open_rollouts(built, TAG, DATASET)
    problems = [problem for problem in sums()[0] if problem.split in ("validation", "test")]
    assert found.problems == problems and found.num_candidates == 3
    sampled = sample_chains(taught, [problem.statement for problem in problems], num_candidates=3, seed=1)
    for row, chains, problem in zip(found.candidates, sampled, problems, strict=True):
        assert [candidate.sample_index for candidate in row] == [0, 1, 2]
        assert [candidate.text for candidate in row] == [chain.text for chain in chains]
        for candidate in row:
            assert candidate.problem_id == problem.problem_id
            assert candidate.is_correct == (candidate.final_answer == problem.answer_gold)
            assert len(candidate.token_logprobs) > 0 and max(candidate.token_logprobs) <= 0
    assert [greedy.sample_index for greedy in found.greedy] == [-1] * len(problems)


def test_latents_belong_to_their_candidates(built: Home, taught: Student) -> None:
    found = open_rollouts(built, TAG, DATASET)
    flat = [candidate for row in found.candidates for candidate in row]
    assert found.latents.chain_ids == [f"{c.problem_id}#{c.sample_index}" for c in flat]
    sampled = sample_chains(taught, [problem.statement for problem in found.problems], num_candidates=3, seed=1)
    for index, chain in enumerate(chain for row in sampled for chain in row):
        assert len(found.latents.chain(index)) == len(chain.latents) == len(segment_spans(chain.text)) + 1
        np.testing.assert_allclose(found.latents.chain(index), chain.latents, atol=1e-2)
        np.testing.assert_allclose(found.latents.sentences(index), chain.sentences, atol=1e-2)
        types = found.latents.select([index]).types
        assert types is not None and types.tolist() == segment_types(chain.text, len(chain.latents)).tolist()
    for candidate, error in zip(flat, found.latents.first_error, strict=True):
        assert (error == -1) == bool(candidate.is_valid)


def test_one_split_can_be_taken_apart(built: Home) -> None:
    whole = open_rollouts(built, TAG, DATASET)
    test = whole.split("test")
    assert {problem.split for problem in test.problems} == {"test"}
    assert len(test.latents) == 3 * len(test.problems) == 3 * len(test.greedy)
    assert test.latents.problem_ids[::3] == [problem.problem_id for problem in test.problems]


def test_the_regime_counts_what_choosing_could_win(built: Home) -> None:
    found = open_rollouts(built, TAG, DATASET)
    regime = found.regime()
    assert set(regime) == {"math", "code"} or set(regime) == {problem.domain for problem in found.problems}
    for domain, figures in regime.items():
        rows = [r for p, r in zip(found.problems, found.candidates, strict=True) if p.domain == domain]
        right = [[c.is_correct for c in row] for row in rows]
        assert figures["mean_at_1"] == pytest.approx(np.mean(right))
        assert figures["pass_at_k"] == pytest.approx(np.mean([any(row) for row in right]))
        assert figures["mixed_share"] == pytest.approx(np.mean([any(row) and not all(row) for row in right]))
        assert 0 <= figures["right_with_wrong_step"] <= 1


def test_building_again_samples_nothing_and_another_seed_samples_all(built: Home, taught: Student) -> None:
    before = shards(built)
    again = build_rollouts(built, taught, DATASET, num_candidates=3, seed=1, shard_size=5)
    assert shards(built) == before and again.metadata["shards_reused"] == again.metadata["shards"]
    other = build_rollouts(built, taught, DATASET, num_candidates=3, seed=2, shard_size=5)
    assert other.metadata["shards_reused"] == 0 and other.data_version != again.data_version


def test_killed_rollouts_go_on_after_the_last_whole_shard(home: Home, taught: Student) -> None:
    command = [sys.executable, "-c", KILLED, str(home.root), str(taught.path)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = shards(home)
    assert len(before) == 6
    with pytest.raises(NotFoundError, match="materialise the asset rollouts"):
        open_rollouts(home, TAG, DATASET)
    report = build_rollouts(home, taught, DATASET, num_candidates=3, seed=1, shard_size=5)
    assert report.metadata["shards_reused"] == 2
    assert {name: shards(home)[name] for name in before} == before
    for path in home.rollouts(TAG, DATASET).iterdir():
        path.unlink()
    assert build_rollouts(home, taught, DATASET, num_candidates=3, seed=1, shard_size=5).data_version == (
        report.data_version
    )


def test_training_problems_are_sampled_for_in_a_room_of_their_own(built: Home, taught: Student) -> None:
    before = shards(built)
    train = [problem for problem in sums()[0] if problem.split == "train"]
    report = build_rollouts(built, taught, DATASET, num_candidates=2, seed=1, room="train_rollouts", most=7)
    found = open_rollouts(built, TAG, DATASET, room="train_rollouts")
    assert report.metadata["problems"] == len(found.problems) == 7 < len(train)
    places = [train.index(problem) for problem in found.problems]
    gaps = np.diff([*places, places[0] + len(train)])
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1, "evenly spread"
    assert shards(built) == before
    assert {problem.split for problem in open_rollouts(built, TAG, DATASET).problems} == {"validation", "test"}
    everything = build_rollouts(built, taught, DATASET, num_candidates=2, seed=1, room="train_rollouts", most=10**6)
    assert everything.metadata["problems"] == len(train)


def test_baselines_learn_from_the_training_problems_where_they_were_sampled_for(built: Home, taught: Student) -> None:
    frozen = open_frozen(built, TAG, DATASET)
    assert train_candidates(frozen, built, TAG, DATASET) is None
    build_rollouts(built, taught, DATASET, num_candidates=2, seed=1, room="train_rollouts", most=7)
    found = train_candidates(frozen, built, TAG, DATASET)
    assert found is not None and {problem.split for problem in found.problems} == {"train"}


def test_a_damaged_rollout_shard_is_named(built: Home) -> None:
    damaged = built.rollouts(TAG, DATASET) / "shard-00001.parquet"
    raw = bytearray(damaged.read_bytes())
    raw[10] ^= 1
    damaged.write_bytes(raw)
    with pytest.raises(CorruptError, match="shard-00001.parquet has hash"):
        open_rollouts(built, TAG, DATASET)


def test_rollouts_of_problems_that_left_the_dataset_are_not_opened(built: Home) -> None:
    path = built.dataset(DATASET) / "problems.parquet"
    write_records(path, Problem, read_records(path, Problem)[:10])
    with pytest.raises(CorruptError, match="problems that the dataset does not"):
        open_rollouts(built, TAG, DATASET)


def test_a_dataset_without_problems_in_these_splits_is_refused(home: Home, taught: Student) -> None:
    path = home.dataset(DATASET) / "problems.parquet"
    write_records(path, Problem, [p for p in read_records(path, Problem) if p.split == "train"])
    with pytest.raises(InvalidInputError, match="no problems in validation, test"):
        build_rollouts(home, taught, DATASET, num_candidates=2, seed=0)


def test_without_a_gold_answer_there_is_no_verdict() -> None:
    problem = Problem(problem_id="p", domain="math", source="test", statement="?")
    chain = SampledChain("Step 1: 1 + 1 = 2\nAnswer: 2\n", [1, 2], [-0.1, -0.2], 1.0, True, None)
    candidate = judged_candidate(problem, 0, chain)
    assert (candidate.is_correct, candidate.is_valid) == (None, None)
    assert candidate.steps == parse_chain(chain.text).steps


def test_the_first_error_of_a_wrong_chain_is_a_segment_it_has() -> None:
    assert first_error_segment(True, None, 4) == -1
    assert first_error_segment(False, 0, 4) == 1
    assert first_error_segment(False, 2, 4) == 3
    assert first_error_segment(False, 3, 4) == 3  # the answer line that never came
    assert first_error_segment(False, None, 4) == 3
    assert first_error_segment(False, 0, 1) == 0
