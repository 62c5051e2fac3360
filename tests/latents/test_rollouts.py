"""Frozen candidates: sampled once, judged, resumable, with latents that belong to them."""

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rjepa.chains import segment_spans
from rjepa.errors import BusyError, CorruptError, InvalidInputError, NotFoundError
from rjepa.evaluation.frozen import open_frozen, train_candidates
from rjepa.home import Home
from rjepa.latents.freezing import build_rollouts, spread_evenly
from rjepa.latents.rollouts import open_rollouts
from rjepa.latents.shards import first_error_segment
from rjepa.locks import stage_lock
from rjepa.schemas import Problem, Verdict
from rjepa.step_types import segment_types
from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student
from rjepa.tables import read_records, write_records
from tests.latents.conftest import DATASET, sums, write_sums

ROOT = Path(__file__).resolve().parents[2]
TAG = "tiny-test"

KILLED = """
import os, signal, sys
from pathlib import Path
import rjepa.latents.freezing as freezing
from rjepa.home import Home
from tests.students.tiny import open_tiny

freezing._SHARD_PROBLEMS = 5

def progress(done, total, note=""):
    if len(list(home.shards("rollouts", "tiny-test").rglob("*.json"))) == 2:  # two shards of five problems are whole
        os.kill(os.getpid(), signal.SIGKILL)

home, student = Home(Path(sys.argv[1])), Path(sys.argv[2])
freezing.build_rollouts(home, open_tiny(home, student), "sums", num_candidates=3, seed=1, progress=progress)
"""


def shards(home: Home, kind: str = "rollouts") -> dict[str, int]:
    """When each file of a shard was written."""
    return {path.name: path.stat().st_mtime_ns for path in home.shards(kind, TAG).rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of five problems."""
    monkeypatch.setattr("rjepa.latents.freezing._SHARD_PROBLEMS", 5)


@pytest.fixture(scope="module")
def built_once(taught: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with rollouts, for all tests: they take a copy each."""
    home = Home(tmp_path_factory.mktemp("built"))
    write_sums(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rjepa.latents.freezing._SHARD_PROBLEMS", 5)
        build_rollouts(home, taught, DATASET, num_candidates=3, seed=1)
    return home.root


@pytest.fixture
def built(home: Home, built_once: Path) -> Home:
    shutil.copytree(built_once, home.root, dirs_exist_ok=True)
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
    again = build_rollouts(built, taught, DATASET, num_candidates=3, seed=1)
    assert shards(built) == before
    assert again.metadata["chains_sampled"] == again.metadata["chains_judged"] == 0
    other = build_rollouts(built, taught, DATASET, num_candidates=3, seed=2)
    assert other.metadata["chains_found"] == 0 and other.data_version != again.data_version
    hotter = taught.record.model_copy(
        update={"sampling": taught.record.sampling.model_copy(update={"temperature": 0.5})}
    )
    colder = build_rollouts(built, replace(taught, record=hotter), DATASET, num_candidates=3, seed=1)
    assert colder.metadata["chains_found"] == 0


def test_the_next_version_samples_for_its_new_problems_alone(built: Home, taught: Student) -> None:
    first = open_rollouts(built, TAG, DATASET)
    problems = read_records(built.dataset(DATASET) / "problems.parquet", Problem)
    new = [
        problem.model_copy(update={"problem_id": f"new-{n}", "statement": f"Mia has {n} and buys {n}0."})
        for n, problem in enumerate(p for p in problems if p.split == "test")
    ][:2]
    renamed = [problem.model_copy(update={"problem_id": f"v2-{problem.problem_id}"}) for problem in problems]
    write_records(built.dataset("more-sums") / "problems.parquet", Problem, [renamed[0], *new, *renamed[1:]])
    report = build_rollouts(built, taught, "more-sums", num_candidates=3, seed=1)
    assert report.metadata["chains_sampled"] == report.metadata["chains_judged"] == 2 * 4
    second = open_rollouts(built, TAG, "more-sums")
    at = {problem.problem_id: index for index, problem in enumerate(second.problems)}
    for index, problem in enumerate(first.problems):
        place = at[f"v2-{problem.problem_id}"]
        assert [c.model_copy(update={"problem_id": problem.problem_id}) for c in second.candidates[place]] == (
            first.candidates[index]
        )
        for sample in range(3):
            np.testing.assert_array_equal(
                second.latents.chain(3 * place + sample), first.latents.chain(3 * index + sample)
            )
    sampled = sample_chains(taught, [new[0].statement], num_candidates=3, seed=1)[0]
    assert [candidate.text for candidate in second.candidates[at["new-0"]]] == [chain.text for chain in sampled]


def test_a_larger_k_keeps_what_was_sampled_and_samples_the_rest(built: Home, taught: Student) -> None:
    first = open_rollouts(built, TAG, DATASET)
    report = build_rollouts(built, taught, DATASET, num_candidates=5, seed=1)
    assert report.metadata["chains_sampled"] == 2 * len(first.problems)
    second = open_rollouts(built, TAG, DATASET)
    assert [row[:3] for row in second.candidates] == first.candidates and second.greedy == first.greedy
    alone = sample_chains(taught, [problem.statement for problem in first.problems], num_candidates=5, seed=1)
    for index, (row, chains) in enumerate(zip(second.candidates, alone, strict=True)):
        assert [candidate.text for candidate in row] == [chain.text for chain in chains]
        for sample, chain in enumerate(chains):
            np.testing.assert_allclose(second.latents.chain(5 * index + sample), chain.latents, atol=1e-2)
        np.testing.assert_allclose(second.latents.sentences(5 * index), chains[0].sentences, atol=1e-2)
    smaller = build_rollouts(built, taught, DATASET, num_candidates=2, seed=1)
    assert smaller.metadata["chains_sampled"] == 0
    assert [row[:2] for row in first.candidates] == open_rollouts(built, TAG, DATASET).candidates


def test_another_gold_answer_judges_anew_and_samples_nothing(built: Home, taught: Student) -> None:
    first, path = open_rollouts(built, TAG, DATASET), built.dataset(DATASET) / "problems.parquet"
    problems = read_records(path, Problem)
    changed = next(index for index, problem in enumerate(problems) if problem.split == "test")
    problems[changed] = problems[changed].model_copy(update={"answer_gold": "never"})
    write_records(path, Problem, problems)
    before = build_rollouts(built, taught, DATASET, num_candidates=3, seed=1)
    assert before.metadata["chains_sampled"] == 0 and 0 < before.metadata["chains_judged"] <= 4
    second = open_rollouts(built, TAG, DATASET)
    for problem, row, old in zip(second.problems, second.candidates, first.candidates, strict=True):
        if problem.problem_id == problems[changed].problem_id:
            assert not any(candidate.is_correct for candidate in row)
        else:
            assert row == old


def test_another_checker_judges_anew(built: Home, taught: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rjepa.latents.freezing.checkers_folder", lambda _: "changed")
    monkeypatch.setattr(
        "rjepa.latents.verdicts.judge", lambda *_: Verdict(is_valid=False, is_correct=False, reason="never")
    )
    report = build_rollouts(built, taught, DATASET, num_candidates=3, seed=1)
    assert report.metadata["chains_sampled"] == 0 < report.metadata["chains_judged"]
    assert {c.reason for row in open_rollouts(built, TAG, DATASET).candidates for c in row} == {"never"}


@pytest.mark.parametrize("fault", ["tests_broken_tests", "broken_check"])
def test_a_check_that_cannot_run_is_no_verdict_and_is_counted(
    built: Home, taught: Student, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("rjepa.latents.freezing.checkers_folder", lambda _: fault)
    monkeypatch.setattr(
        "rjepa.latents.verdicts.judge", lambda *_: Verdict(is_valid=False, is_correct=False, reason=fault)
    )
    report = build_rollouts(built, taught, DATASET, num_candidates=3, seed=1)
    opened = open_rollouts(built, TAG, DATASET)
    flat = [candidate for row in opened.candidates for candidate in row]
    assert {(candidate.is_correct, candidate.is_valid, candidate.reason) for candidate in flat} == {(None, None, fault)}
    assert report.metadata["broken_checks"] >= len(flat)
    assert opened.regime() == {}


def test_killed_rollouts_go_on_after_the_last_whole_shard(home: Home, taught: Student) -> None:
    command = [sys.executable, "-c", KILLED, str(home.root), str(taught.path)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = shards(home)
    assert len(before) == 6
    with pytest.raises(NotFoundError, match="materialise the asset rollouts"):
        open_rollouts(home, TAG, DATASET)
    report = build_rollouts(home, taught, DATASET, num_candidates=3, seed=1)
    assert report.metadata["chains_found"] == 2 * 5 * 4
    assert {name: shards(home)[name] for name in before} == before
    shutil.rmtree(home.shards("rollouts", TAG))
    assert build_rollouts(home, taught, DATASET, num_candidates=3, seed=1).data_version == report.data_version


def test_rollouts_that_another_process_makes_are_refused(home: Home, taught: Student) -> None:
    with stage_lock(home, "rollouts", TAG, DATASET), pytest.raises(BusyError, match="rollouts of tiny-test on sums"):
        build_rollouts(home, taught, DATASET, num_candidates=1, seed=1)


def test_a_slow_student_writes_shards_of_two_batches(home: Home, taught: Student) -> None:
    sampling = taught.record.sampling.model_copy(update={"batch_size": 8})
    slow = replace(taught, record=taught.record.model_copy(update={"sampling": sampling}))
    report = build_rollouts(home, slow, DATASET, num_candidates=3, seed=1)
    assert report.metadata["shards"] == 6 and report.metadata["problems"] == 24


def test_two_problems_with_one_statement_share_their_chains(home: Home, taught: Student) -> None:
    path = home.dataset(DATASET) / "problems.parquet"
    problems = read_records(path, Problem)
    double = next(p for p in problems if p.split == "test").model_copy(update={"problem_id": "again"})
    write_records(path, Problem, [*problems, double])
    build_rollouts(home, taught, DATASET, num_candidates=3, seed=1)
    found = open_rollouts(home, TAG, DATASET)
    texts = {p.problem_id: [c.text for c in row] for p, row in zip(found.problems, found.candidates, strict=True)}
    first = next(p.problem_id for p in found.problems if p.statement == double.statement)
    assert texts["again"] == texts[first] and first != "again"


def test_training_problems_are_sampled_for_apart_from_the_others(built: Home, taught: Student) -> None:
    before = shards(built)
    train = [problem for problem in sums()[0] if problem.split == "train"]
    report = build_rollouts(built, taught, DATASET, num_candidates=2, seed=1, asset="train_rollouts", max_problems=7)
    found = open_rollouts(built, TAG, DATASET, asset="train_rollouts")
    assert report.metadata["problems"] == len(found.problems) == 7 < len(train)
    chosen = {problem.problem_id for problem in found.problems}
    for domain in ("math", "code"):
        own = [problem.problem_id for problem in train if problem.domain == domain]
        places = [place for place, name in enumerate(own) if name in chosen]
        gaps = np.diff(places)
        assert len(places) in (3, 4) and gaps.min() >= 2 and gaps.max() - gaps.min() <= 1, "evenly spread"
    assert before.items() <= shards(built).items()
    assert {problem.split for problem in open_rollouts(built, TAG, DATASET).problems} == {"validation", "test"}
    everything = build_rollouts(
        built, taught, DATASET, num_candidates=2, seed=1, asset="train_rollouts", max_problems=10**6
    )
    assert everything.metadata["problems"] == len(train)


@pytest.mark.parametrize("limit", [6, 8, 12])
def test_some_of_many_problems_are_of_every_domain_in_whatever_order_a_dataset_lists_them(limit: int) -> None:
    """Generated versions list code, logic and math in turn: a stride over all of them meets one."""
    problems = [
        Problem(problem_id=f"p-{n:02d}", domain=("code", "logic", "math")[n % 3], source="test", statement=str(n))
        for n in range(24)
    ]
    chosen = spread_evenly(problems, limit)
    counts = [sum(problem.domain == domain for problem in chosen) for domain in ("code", "logic", "math")]
    assert len(chosen) == limit and max(counts) - min(counts) <= 1
    assert [problem.problem_id for problem in chosen] == sorted(problem.problem_id for problem in chosen)


def test_baselines_learn_from_the_training_problems_where_they_were_sampled_for(built: Home, taught: Student) -> None:
    frozen = open_frozen(built, TAG, DATASET)
    assert train_candidates(frozen, built, TAG, DATASET) is None
    build_rollouts(built, taught, DATASET, num_candidates=2, seed=1, asset="train_rollouts", max_problems=7)
    found = train_candidates(frozen, built, TAG, DATASET)
    assert found is not None and {problem.split for problem in found.problems} == {"train"}


@pytest.mark.parametrize("suffix", ["parquet", "safetensors"])
def test_a_damaged_rollout_shard_is_named_and_made_again(built: Home, taught: Student, suffix: str) -> None:
    version = build_rollouts(built, taught, DATASET, num_candidates=3, seed=1).data_version
    damaged = min(built.shards("rollouts", TAG).rglob(f"*.{suffix}"))
    raw = bytearray(damaged.read_bytes())
    raw[10] ^= 1
    damaged.write_bytes(raw)
    with pytest.raises(CorruptError, match=f"{damaged.name} has hash"):
        open_rollouts(built, TAG, DATASET)
    assert build_rollouts(built, taught, DATASET, num_candidates=3, seed=1).data_version == version


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


def test_without_a_gold_answer_there_is_no_verdict(home: Home, taught: Student) -> None:
    path = home.dataset(DATASET) / "problems.parquet"
    problems = [p.model_copy(update={"answer_gold": None}) for p in read_records(path, Problem)]
    write_records(path, Problem, problems)
    build_rollouts(home, taught, DATASET, num_candidates=2, seed=1)
    found = [candidate for row in open_rollouts(home, TAG, DATASET).candidates for candidate in row]
    assert {(candidate.is_correct, candidate.is_valid) for candidate in found} == {(None, None)}
    assert any(candidate.steps for candidate in found)


def test_the_first_error_of_a_wrong_chain_is_a_segment_it_has() -> None:
    assert first_error_segment(True, None, 4) == -1
    assert first_error_segment(False, 0, 4) == 1
    assert first_error_segment(False, 2, 4) == 3
    assert first_error_segment(False, 3, 4) == 3  # the answer line that never came
    assert first_error_segment(False, None, 4) == 3
    assert first_error_segment(False, 0, 1) == 0
