import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.inference.calibration import ScoreCalibration, fit_calibration
from rjepa.inference.fitting import fit_logistic, fit_pairwise, make_pairs, win_rate
from rjepa.inference.probability import ProbabilityModel
from rjepa.inference.rerank import choose
from tests.inference.making import ALPHA, BETA, GAMMA, Data, candidates_with, synthetic


@pytest.fixture(scope="module")
def fitted() -> ScoreCalibration:
    return fit_calibration(*synthetic(1500))


def test_the_fit_finds_the_weights_and_the_features_that_made_the_data(fitted: ScoreCalibration) -> None:
    assert [part.feature for part in fitted.combined.terms] == ["logprob_mean", "energy_max", "tokens"]
    found = [fitted.combined.alpha, fitted.combined.beta, fitted.combined.gamma]
    np.testing.assert_allclose(found, [ALPHA, BETA, GAMMA], atol=0.15)
    assert fitted.energy.terms[0].feature == "energy_max"
    assert fitted.logprob_length.terms[0].feature == "logprob_mean"
    assert fitted.auroc["combined"] > fitted.auroc["energy"] > fitted.auroc["logprob_length"] > 0.5


def test_the_attribution_ranks_the_terms_by_what_they_are_worth(fitted: ScoreCalibration) -> None:
    shares = {part.symbol: part.share for part in fitted.attribution}
    assert shares["beta"] > shares["alpha"] > shares["gamma"] > 0
    assert sum(shares.values()) == pytest.approx(1.0)
    losses = {part.symbol: part.loss_without for part in fitted.attribution}
    assert losses["beta"] > losses["alpha"] > losses["gamma"] > fitted.loss


def test_the_difficulty_of_a_problem_does_not_bend_the_weights() -> None:
    features, correct, ids = synthetic(1500)
    shift = np.random.default_rng(9).normal(scale=3.0, size=(1500, 1))
    shifted = features | {"tokens": features["tokens"] + shift}
    combined = fit_calibration(shifted, correct, ids).combined
    per_unit = combined.gamma / next(part.scale for part in combined.terms if part.term == "length")
    assert per_unit == pytest.approx(GAMMA, abs=0.1)


@pytest.mark.parametrize("candidates", [1, 3, 8])
@pytest.mark.parametrize("selection", ["best_of", "vote"])
def test_p_correct_of_the_chosen_answer_is_calibrated_on_new_problems(
    fitted: ScoreCalibration, candidates: int, selection: str
) -> None:
    features, correct, ids = synthetic(3000, seed=1)
    features = {name: values[:, :candidates] for name, values in features.items()}
    correct, ids = correct[:, :candidates], ids[:, :candidates]
    chosen, _ = choose(ids, fitted.combined.score(features), selection, sharpness=fitted.combined.sharpness)
    rows = np.arange(len(ids))
    chance, right = fitted.p_correct(features, ids)[rows, chosen], correct[rows, chosen]
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [abs(chance[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins.tolist())]
    assert sum(gaps) < 0.04


def test_the_answer_handed_out_has_a_model_of_its_own_and_is_nearer_to_the_truth_for_it() -> None:
    def gap(found: ScoreCalibration) -> float:
        features, correct, ids = _stubborn(4000, seed=1)
        chosen, _ = choose(ids, found.combined.score(features), found.selection, sharpness=found.combined.sharpness)
        rows = np.arange(len(ids))
        return abs(found.p_correct(features, ids)[rows, chosen].mean() - correct[rows, chosen].mean())

    found = fit_calibration(*_stubborn(2000, seed=0))
    assert [model.num_candidates for model in found.probability_handed_out] == list(range(1, 9))
    logistic = found.model_copy(
        update={
            "probability": _straight(found.probability),
            "probability_handed_out": _straight(found.probability_handed_out),
        }
    )
    assert gap(logistic) < 0.02 < gap(logistic.model_copy(update={"probability_handed_out": ()}))
    assert gap(found) < 0.005 and 3 * gap(found) < gap(found.model_copy(update={"probability_handed_out": ()}))


def test_hard_problems_are_told_from_easy_ones_though_their_candidates_score_alike() -> None:
    def made(seed: int) -> Data:
        features, _, _ = synthetic(2000, seed=seed)
        rng = np.random.default_rng(seed + 70)
        steps = rng.integers(3, 12, size=(2000, 1))
        features["steps"] = steps + rng.integers(0, 2, size=(2000, 8)).astype(float)
        logit = ALPHA * features["logprob_mean"] - BETA * features["energy_max"] - 0.6 * (steps - 7)
        correct = rng.random((2000, 8)) < expit(logit)
        return features, correct, np.where(correct, 0, rng.integers(1, 6, size=correct.shape))

    def gap(found: ScoreCalibration, most: bool) -> float:
        features, correct, ids = made(1)
        chosen, _ = choose(ids, found.combined.score(features), found.selection, sharpness=found.combined.sharpness)
        rows = np.flatnonzero((features["steps"].mean(axis=1) > 8) == most)
        return abs((found.p_correct(features, ids)[rows, chosen[rows]] - correct[rows, chosen[rows]]).mean())

    found = fit_calibration(*made(0))
    blind = found.model_copy(
        update={
            name: tuple(_blind(model) for model in getattr(found, name))
            for name in ("probability", "probability_handed_out")
        }
    )
    assert max(gap(found, True), gap(found, False)) < 0.04 < gap(blind, True)


def _blind(model: ProbabilityModel) -> ProbabilityModel:
    """The same, to whom every problem is as hard as the average."""
    return model.model_copy(update={"weights": (*model.weights[:3], 0.0, 0.0)})


def _straight(models: tuple[ProbabilityModel, ...]) -> tuple[ProbabilityModel, ...]:
    """The same logistics, without a curve over them."""
    return tuple(model.model_copy(update={"curve": ()}) for model in models)


def _stubborn(problems: int, seed: int) -> Data:
    """As `synthetic`, but wrong candidates often agree on one answer: some wrong answers have many votes."""
    features, correct, ids = synthetic(problems, seed=seed)
    rng = np.random.default_rng(seed + 50)
    return features, correct, np.where(~correct & (rng.random((problems, 1)) < 0.5), 1, ids)


def test_candidates_that_agree_share_their_probability_and_no_answer_has_none(fitted: ScoreCalibration) -> None:
    candidates = candidates_with("7", "8", "7.0", None, logprobs=[[-1.0], [-2.0], [-3.0], [-4.0]])
    ranking = fitted.rank(candidates, [[1.0], [1.2], [0.9], [0.1]])
    chances = [item.p_correct for item in ranking.candidates]
    assert chances[0] == chances[2] and chances[3] == 0.0
    assert all(chance is not None and 0 <= chance <= 1 for chance in chances)
    assert fitted.rank(candidates[:1], [[1.0]]).candidates[0].p_correct is not None
    without = fitted.rank(candidates, [[1.0], [1.2], [0.9], [0.1]], weights={"energy": 0.0})
    assert all(item.contributions["energy"] == 0.0 for item in without.candidates)


def test_a_saved_calibration_is_read_back_the_same(fitted: ScoreCalibration, tmp_path: Path) -> None:
    fitted.save(tmp_path / "calibration.json")
    assert ScoreCalibration.load(tmp_path / "calibration.json") == fitted


def test_a_calibration_of_an_older_release_is_still_read(fitted: ScoreCalibration, tmp_path: Path) -> None:
    older = fitted.model_dump(mode="json")
    del older["probability_handed_out"]
    (tmp_path / "calibration.json").write_text(json.dumps(older))
    features, _, ids = synthetic(20, seed=3)
    chances = ScoreCalibration.load(tmp_path / "calibration.json").p_correct(features, ids)
    assert ((chances > 0) & (chances < 1)).all()


def test_a_damaged_or_missing_calibration_is_named_with_a_cure(fitted: ScoreCalibration, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    with pytest.raises(NotFoundError):
        ScoreCalibration.load(path)
    broken = fitted.model_dump(mode="json")
    del broken["combined"]
    path.write_text(json.dumps(broken))
    with pytest.raises(CorruptError, match="materialise"):
        ScoreCalibration.load(path)


@pytest.mark.parametrize("problems", [0, 5])
def test_too_few_problems_are_refused_with_the_number_found(problems: int) -> None:
    features, correct, ids = synthetic(5)
    part = {name: values[:problems] for name, values in features.items()}
    with pytest.raises(InvalidInputError, match=f"found [0-5] of {problems}"):
        fit_calibration(part, correct[:problems], ids[:problems])


def test_problems_that_are_all_right_or_all_wrong_do_not_count() -> None:
    features, correct, ids = synthetic(100)
    with pytest.raises(InvalidInputError, match="found 0 of 100"):
        fit_calibration(features, np.ones_like(correct), ids)


def test_a_perfect_feature_and_a_constant_one_still_give_finite_weights() -> None:
    features, correct, ids = synthetic(100)
    features |= {"energy_max": np.where(correct, 0.0, 1.0), "tokens": np.full(correct.shape, 12.0)}
    calibration = fit_calibration(features, correct, ids)
    assert calibration.auroc["combined"] == pytest.approx(1.0)
    assert np.isfinite([calibration.combined.beta, calibration.combined.gamma]).all()
    assert ScoreCalibration.model_validate_json(calibration.model_dump_json()) == calibration


def test_candidates_without_a_value_are_left_out_of_the_fit() -> None:
    features, correct, ids = synthetic(300)
    holes = np.random.default_rng(0).random(correct.shape) < 0.1
    features = {name: np.where(holes, np.nan, values) for name, values in features.items()}
    calibration = fit_calibration(features, correct, np.where(holes, -1, ids))
    assert calibration.combined.beta == pytest.approx(BETA, abs=0.4)


def test_logistic_regression_recovers_known_weights_and_survives_one_class() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 2))
    weights, intercept = fit_logistic(x, rng.random(6000) < expit(x @ [1.0, -2.0] + 0.5))
    np.testing.assert_allclose([*weights, intercept], [1.0, -2.0, 0.5], atol=0.15)
    weights, intercept = fit_logistic(x, np.ones(6000, dtype=bool))
    assert weights.tolist() == [0.0, 0.0] and np.isfinite(intercept)


def test_every_mixed_problem_weighs_the_same_in_the_pairs() -> None:
    features = np.arange(8.0).reshape(2, 4, 1)
    pairs = make_pairs(features, np.array([[True, False, False, False], [True, True, False, False]]))
    assert pairs.problems == 2
    np.testing.assert_allclose(pairs.weights, [1 / 6] * 3 + [1 / 8] * 4)
    assert pairs.differences[:, 0].tolist() == [-1, -2, -3, -2, -3, -1, -2]
    assert win_rate(pairs, np.array([-1.0])) == 1.0
    weights, loss = fit_pairwise(pairs)
    assert weights[0] < 0 and loss < np.log(2)
