from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rjepa.errors import CorruptError, InvalidInputError
from rjepa.evaluation.evaluating import calibrate, evaluate
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.reading import SERVED_METHOD
from rjepa.evaluation.records import (
    BASELINES,
    CandidateSet,
    describe_candidates,
    find_record,
    list_records,
    make_record,
    write_record,
)
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.parts import Content, describe_parts, reranking_parts

Pools = Callable[..., CandidatePool]


@pytest.fixture(scope="module")
def calibration(pools: Pools) -> ScoreCalibration:
    return calibrate(pools(150, split="validation", seed=1))


@pytest.fixture
def content(tmp_path: Path) -> Content:
    folder = tmp_path / "parts"
    for name in ("config.json", "model.safetensors", "normalizer.safetensors", "calibration.json"):
        write_json(folder / name, {"name": name})
    sources = reranking_parts(folder, folder / "normalizer.safetensors", folder / "calibration.json")
    return Content(
        llm_tag="tiny-a",
        dataset="v1.0.0",
        dataset_hash="d" * 64,
        student_fingerprint="s" * 64,
        parts=describe_parts(sources),
    )


def named(pool: CandidatePool, dataset: str = "v1.0.0", fingerprint: str = "s" * 64) -> CandidateSet:
    return describe_candidates(pool, dataset=dataset, split="test", fingerprint=fingerprint, seed=0, temperature=0.8)


def test_a_record_says_what_the_report_says(pools: Pools, calibration: ScoreCalibration, content: Content) -> None:
    pool = pools(120, seed=3)
    record, result = make_record(content, named(pool), pool, calibration), evaluate(pool, calibration, resamples=10)
    board = result.leaderboard
    assert record.accuracy == pytest.approx(board.row(SERVED_METHOD).accuracy)
    for domain, accuracy in record.accuracy_by_domain().items():
        assert accuracy == pytest.approx(board.row(SERVED_METHOD, domain).accuracy)
    shares = record.accuracy_by_method()
    for method in ("mean_at_1", *BASELINES):
        assert shares[method] == pytest.approx(board.row(method).accuracy), method
        assert record.tokens[method] == pytest.approx(board.row(method).tokens), method
    assert record.ece == pytest.approx(result.probability.ece)
    assert record.unfamiliar_problems == result.unfamiliar_problems


def test_candidates_are_named_by_what_they_are_and_not_by_where_they_lie(pools: Pools) -> None:
    pool = pools(12, seed=3)
    name = named(pool).sha256
    assert named(pool, dataset="v1.1.0").sha256 == name
    assert named(pool.with_energies([np.zeros(1)] * 96)).sha256 == name
    assert named(pool, fingerprint="7" * 64).sha256 != name
    assert named(pools(12, 16, seed=3)).sha256 != name
    assert named(pool.select([0, 1])).sha256 != name
    first = pool.candidates[0][0]
    for change in (
        {"text": "another chain"},
        {"is_correct": not first.is_correct},
        {"token_logprobs": [*first.token_logprobs[:-1], -9.0]},
    ):
        row = [first.model_copy(update=change), *pool.candidates[0][1:]]
        assert named(replace(pool, candidates=[row, *pool.candidates[1:]])).sha256 != name, change


def test_problems_without_a_gold_answer_are_left_out_and_counted(
    pools: Pools, calibration: ScoreCalibration, content: Content
) -> None:
    pool = pools(30, seed=3)
    row = [candidate.model_copy(update={"is_correct": None}) for candidate in pool.candidates[0]]
    partly = replace(pool, candidates=[row, *pool.candidates[1:]])
    record = make_record(content, named(partly), partly, calibration)
    assert (record.num_problems, record.unjudged_problems) == (29, 1)
    nothing = replace(partly.select([0]), candidates=[row])
    with pytest.raises(InvalidInputError, match="gold answer"):
        make_record(content, named(nothing), nothing, calibration)


def test_a_record_is_written_once_and_found_by_its_candidates(
    pools: Pools, calibration: ScoreCalibration, content: Content, tmp_path: Path
) -> None:
    home, pool, other = Home(tmp_path / "home"), pools(30, seed=3), pools(30, seed=4)
    record = make_record(content, named(pool), pool, calibration)
    path = write_record(home, record)
    before = path.stat().st_mtime_ns
    assert write_record(home, make_record(content, named(pool), pool, calibration)) == path
    assert path.stat().st_mtime_ns == before
    assert find_record(home, "tiny-a", content.sha256, named(pool)) == record
    assert find_record(home, "tiny-a", content.sha256, named(other)) is None
    assert find_record(home, "tiny-a", "0" * 64, named(pool)) is None


@pytest.mark.parametrize("change", [{"ece": 0.0}, {"served": "1" * 30}, {"served": "12"}, {"format": 9}])
def test_a_record_that_was_changed_is_refused_with_a_cure(
    pools: Pools, calibration: ScoreCalibration, content: Content, tmp_path: Path, change: dict[str, object]
) -> None:
    home, pool = Home(tmp_path / "home"), pools(30, seed=3)
    path = write_record(home, make_record(content, named(pool), pool, calibration))
    write_json(path, read_json(path) | change)
    with pytest.raises(CorruptError) as error:
        list_records(home, "tiny-a", content.sha256)
    assert "delete" in error.value.cure
