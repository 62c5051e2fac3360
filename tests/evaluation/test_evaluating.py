import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rjepa.errors import CorruptError, InvalidInputError
from rjepa.evaluation.baselines import METHODS
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.evaluating import Contender, calibrate, evaluate
from rjepa.evaluation.leaderboard import Leaderboard
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.results import EvaluationResult
from rjepa.evaluation.summary import domain_table
from rjepa.inference.calibration import ScoreCalibration
from rjepa.text_tables import render

Pools = Callable[..., CandidatePool]


@pytest.fixture(scope="module")
def calibration(pools: Pools) -> ScoreCalibration:
    return calibrate(pools(250, split="validation", seed=1))


@pytest.fixture(scope="module")
def result(pools: Pools, calibration: ScoreCalibration) -> EvaluationResult:
    return evaluate(pools(300, seed=2), calibration, 0, resamples=500)


def test_the_leaderboard_has_every_method_in_every_domain(result: EvaluationResult) -> None:
    board = result.leaderboard
    assert board.domains == [ALL, "code", "logic", "math"]
    for domain in board.domains:
        assert [row.method for row in board.domain(domain)] == [method.key for method in METHODS]
    for row in board.rows:
        assert 0 <= row.ci_low <= row.accuracy <= row.ci_high <= 1
        assert row.problems == (300 if row.domain == ALL else 100)


def test_choosing_lies_between_one_sample_and_the_oracle(result: EvaluationResult) -> None:
    board = result.leaderboard
    assert board.row("mean_at_1").gap_closed == 0.0 and board.row("oracle").gap_closed == 1.0
    assert all(row.accuracy <= board.row("oracle", row.domain).accuracy for row in board.rows)
    assert board.row("rjepa_logprob").accuracy > board.row("logprob_length").accuracy
    assert board.row("rjepa").first_error_auroc == result.first_error[0].auroc > 0.6
    assert 0 < result.first_error[0].f1 < 1


def test_energies_that_know_the_truth_reach_the_oracle(pools: Pools) -> None:
    def perfect(pool: CandidatePool) -> CandidatePool:
        labels = [[np.array([0.0 if c.is_correct else 1.0]) for c in row] for row in pool.candidates]
        return replace(pool, energies=labels)

    calibration = calibrate(perfect(pools(100, split="validation", seed=1)))
    board = evaluate(perfect(pools(100, seed=2)), calibration, 0, resamples=50).leaderboard
    for method in ("rjepa", "rjepa_logprob", "rjepa_vote"):
        assert board.row(method).accuracy == board.row("oracle").accuracy
    assert board.row("rjepa").within_auroc == 1.0 and board.row("rjepa").gap_closed == 1.0


def test_random_energies_have_a_within_problem_auroc_of_one_half(pools: Pools) -> None:
    board = evaluate(
        pools(600, seed=3, signal=0.0), calibrate(pools(200, split="validation", seed=4, signal=0.0)), 0, resamples=200
    ).leaderboard
    row = board.row("rjepa")
    assert row.within_auroc == pytest.approx(0.5, abs=0.03)
    assert row.within_low is not None and row.within_high is not None
    assert row.within_low - 0.01 < 0.5 < row.within_high + 0.01
    assert row.accuracy == pytest.approx(board.row("mean_at_1").accuracy, abs=0.06)


def test_equal_seeds_give_equal_results_and_other_seeds_other_intervals(
    pools: Pools, calibration: ScoreCalibration
) -> None:
    pool = pools(60, seed=5)
    first, again, other = (evaluate(pool, calibration, seed, resamples=100) for seed in (0, 0, 1))
    assert first == again
    assert [row.accuracy for row in first.leaderboard.rows] == [row.accuracy for row in other.leaderboard.rows]
    assert [row.ci_low for row in first.leaderboard.rows] != [row.ci_low for row in other.leaderboard.rows]


def test_each_combination_is_tested_against_majority_and_the_scores_without_rjepa(result: EvaluationResult) -> None:
    overall = [test for test in result.comparisons if test.domain == ALL and test.metric == "accuracy"]
    assert {(test.method, test.against) for test in overall} == {
        (method, rival)
        for method in ("rjepa_logprob", "rjepa_logprob_vote")
        for rival in ("majority", result.best_logprob, "logprob_length", "logprob_length_vote")
    }
    for test in overall:
        assert test.ci_low <= test.difference <= test.ci_high
        assert test.difference == pytest.approx((test.only_method - test.only_against) / test.problems)
        assert test.p_mcnemar <= test.p_mcnemar_holm and test.p_bootstrap <= test.p_bootstrap_holm


def test_the_energy_alone_is_tested_against_every_score_without_labels(result: EvaluationResult) -> None:
    alone = [test for test in result.comparisons if test.metric == "within_auroc" and test.method == "rjepa"]
    ranked = {test.against: test for test in alone}
    assert set(ranked) == {
        "majority",
        "shortest",
        "logprob_sum",
        "logprob_mean",
        "logprob_min",
        "logprob_tail",
        "self_certainty",
        "logprob_length",
    }
    board = result.leaderboard
    for key, test in ranked.items():
        difference = (board.row("rjepa").within_auroc or 0) - (board.row(key).within_auroc or 0)
        assert test.difference == pytest.approx(difference) and test.p_mcnemar is None
        assert test.problems == result.mixed_problems


def test_several_runs_of_rjepa_share_the_candidates(pools: Pools, calibration: ScoreCalibration) -> None:
    pool = pools(120, seed=2)
    truth = [np.array([0.0 if c.is_correct else 1.0]) for row in pool.candidates for c in row]
    noise = [np.array([value]) for value in np.random.default_rng(0).random(len(truth))]
    runs = [Contender("pure", 1, noise, calibration), Contender("rank", 0, truth, calibration)]
    found = evaluate(pool, calibration, resamples=100, contenders=runs, variant=("pure", 0))
    board = found.leaderboard
    assert board.row("rjepa").label == "R-JEPA pure" and board.row("rjepa_rank").label == "R-JEPA rank"
    assert board.row("rjepa_rank").within_auroc == 1.0
    assert board.row("rjepa_rank").accuracy == board.row("oracle").accuracy
    assert {"rjepa_rank_vote", "rjepa_rank_logprob", "rjepa_rank_logprob_vote"} <= {row.method for row in board.rows}
    assert [(run.variant, run.seed) for run in found.seeds] == [("pure", 0), ("pure", 1), ("rank", 0)]
    spread = {row.figure: row for row in found.spreads if row.variant == "pure"}["within_auroc"]
    first, second = (run.within_auroc or 0 for run in found.seeds[:2])
    assert (spread.seeds, spread.mean) == (2, pytest.approx((first + second) / 2))
    assert spread.deviation == pytest.approx(np.std([first, second], ddof=1)) and second == pytest.approx(0.5, abs=0.05)
    assert {target.name for target in found.targets} >= {"pure, alone", "rank + log-probability", "P(correct)"}
    assert not next(target for target in found.targets if target.name == "pure, alone").met
    assert EvaluationResult.model_validate_json(found.model_dump_json()) == found


def test_accuracy_against_k_starts_at_one_sample_and_ends_at_the_leaderboard(result: EvaluationResult) -> None:
    points = {(point.method, point.k): point.accuracy for point in result.curve}
    assert sorted({k for _, k in points}) == [1, 2, 4, 8]
    for method in ("majority", "rjepa_logprob", "rjepa_logprob_vote", "oracle"):
        assert points[method, 8] == pytest.approx(result.leaderboard.row(method).accuracy)
    assert points["majority", 1] == points["rjepa", 1]
    assert points["oracle", 1] == pytest.approx(points["mean_at_1", 1])
    assert points["oracle", 1] < points["oracle", 2] < points["oracle", 4] < points["oracle", 8]


def test_the_histogram_counts_every_candidate_once(result: EvaluationResult) -> None:
    assert sum(result.histogram.right) + sum(result.histogram.wrong) == 300 * 8


def test_a_calibration_is_fitted_on_validation_problems_only(pools: Pools, calibration: ScoreCalibration) -> None:
    with pytest.raises(ValueError, match="validation problems only"):
        calibrate(pools(30, split="test"))
    with pytest.raises(ValueError, match="takes test problems"):
        evaluate(pools(30, split="validation"), calibration)


def test_a_pool_without_gold_answers_is_refused_and_single_ones_are_counted(
    pools: Pools, calibration: ScoreCalibration
) -> None:
    pool = pools(40, 4, seed=6)
    unknown = [c.model_copy(update={"is_correct": None}) for c in pool.candidates[0]]
    some = replace(pool, candidates=[unknown, *pool.candidates[1:]])
    found = evaluate(some, calibration, resamples=50)
    assert (found.problems, found.unjudged_problems) == (39, 1)
    with pytest.raises(InvalidInputError, match="gold answer"):
        evaluate(some.select([0]), calibration)
    with pytest.raises(InvalidInputError, match="gold answer"):
        evaluate(pool.select([]), calibration)


@pytest.mark.parametrize("candidates", [1, 3])
def test_few_candidates_and_a_single_problem_can_be_evaluated(
    pools: Pools, calibration: ScoreCalibration, candidates: int
) -> None:
    for count in (1, 7):
        found = evaluate(pools(count, candidates, seed=8), calibration, resamples=20)
        assert EvaluationResult.model_validate_json(found.model_dump_json()) == found


def test_a_saved_evaluation_is_read_back_the_same(result: EvaluationResult, tmp_path: Path) -> None:
    result.save(tmp_path / "report.json")
    assert EvaluationResult.load(tmp_path / "report.json") == result
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(CorruptError, match="not an evaluation"):
        EvaluationResult.load(tmp_path / "report.json")


def test_the_leaderboard_is_rows_json_text_and_markdown(result: EvaluationResult) -> None:
    board = result.leaderboard
    assert Leaderboard.model_validate_json(board.model_dump_json()) == board
    assert json.loads(json.dumps(board.to_rows()))[0]["method"] == "greedy"
    text = render(domain_table(board))
    assert len(text.splitlines()) == len(METHODS) + 2 and "Oracle (pass@K)" in text
    markdown = board.to_markdown()
    assert markdown.count("| Majority |") == 4 and "**math**" in markdown
    with pytest.raises(KeyError):
        board.row("nothing")


def test_a_domain_name_cannot_break_the_markdown(pools: Pools, calibration: ScoreCalibration) -> None:
    pool = pools(6, 2, seed=9)
    odd = replace(pool, problems=[p.model_copy(update={"domain": "a|b\n<img src=x>"}) for p in pool.problems])
    markdown = evaluate(odd, calibration, resamples=20).leaderboard.to_markdown()
    assert "<img" not in markdown and "a\\|b &lt;img src=x&gt;" in markdown


def test_a_step_is_told_by_the_share_of_right_steps_with_less_energy(pools: Pools) -> None:
    # Right steps have energies around 1.0 with a deviation of 0.3; wrong ones lie 3.0 higher and do not count.
    calibration = calibrate(pools(250, split="validation", seed=1, signal=10.0))
    share = calibration.share_of_right_steps_below
    assert share(1.0) == pytest.approx(0.5, abs=0.03)
    assert share(1.0 + 2 * 0.3) == pytest.approx(0.977, abs=0.01)
    assert share(3.0) == 1.0 and share(-1.0) == 0.0
    everywhere, *domains = calibration.step_energies
    assert everywhere.domain == ALL and [found.domain for found in domains] == ["code", "logic", "math"]
    assert everywhere.right is not None and everywhere.wrong is not None
    assert everywhere.right.median == pytest.approx(1.0, abs=0.03)
    assert everywhere.wrong.low > 3.0 > everywhere.right.high


def test_few_right_steps_give_no_share(pools: Pools) -> None:
    calibration = calibrate(pools(2, candidates=4, split="validation", seed=3), minimum_mixed=0)
    assert calibration.step_quantiles == () and calibration.share_of_right_steps_below(1.0) is None
