import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.inference.calibrating import fit_calibration
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.choice import Rule
from rjepa.inference.fitting import fit_logistic, fit_pairwise, make_pairs, win_rate
from rjepa.inference.probability import ProbabilityModel
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import of_chosen
from tests.inference.making import ALPHA, BETA, GAMMA, Data, candidates_with, decided, synthetic


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
    table, correct = synthetic(1500)
    shift = np.random.default_rng(9).normal(scale=3.0, size=(1500, 1))
    shifted = with_features(table, tokens=table.features["tokens"] + shift)
    combined = fit_calibration(shifted, correct).combined
    per_unit = combined.gamma / next(part.scale for part in combined.terms if part.term == "length")
    assert per_unit == pytest.approx(GAMMA, abs=0.1)


@pytest.mark.parametrize("candidates", [1, 3, 8])
@pytest.mark.parametrize("selection", ["best_of", "vote"])
def test_p_correct_of_the_chosen_answer_is_calibrated_on_new_problems(
    fitted: ScoreCalibration, candidates: int, selection: str
) -> None:
    table, correct = synthetic(3000, seed=1)
    chance, right = _of_chosen(fitted, table.first(candidates), correct[:, :candidates], selection)
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [abs(chance[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins.tolist())]
    assert sum(gaps) < 0.04


def test_the_chosen_answer_has_a_model_of_its_own_and_is_nearer_to_the_truth_for_it() -> None:
    """Means over three draws: a fit on 2 000 problems is off by a hundredth by chance alone."""

    def without(found: ScoreCalibration) -> ScoreCalibration:
        return found.model_copy(update={"probability_chosen": found.probability})

    def straight(found: ScoreCalibration) -> ScoreCalibration:
        models = {name: _straight(getattr(found, name)) for name in ("probability", "probability_chosen")}
        return found.model_copy(update=models)

    kinds = {"own": lambda it: it, "shared": without, "own, straight": straight}
    kinds["shared, straight"] = lambda it: without(straight(it))
    gaps: dict[str, list[float]] = {name: [] for name in kinds}
    for seed in (0, 10, 20):
        found = fit_calibration(*_stubborn(2000, seed=seed))
        assert [model.num_candidates for model in found.probability_chosen] == list(range(1, 9))
        for name, kind in kinds.items():
            chance, right = _of_chosen(kind(found), *_stubborn(4000, seed=seed + 1))
            gaps[name].append(float(chance.mean() - right.mean()))
    off = {name: abs(float(np.mean(each))) for name, each in gaps.items()}
    assert off["own"] < 0.015 and 2 * off["own"] < off["shared"], off
    assert off["own, straight"] < 0.015 and 2 * off["own, straight"] < off["shared, straight"], off


def test_hard_problems_are_told_from_easy_ones_though_their_candidates_score_alike() -> None:
    def made(seed: int) -> Data:
        features = dict(synthetic(2000, seed=seed)[0].features)
        rng = np.random.default_rng(seed + 70)
        steps = rng.integers(3, 12, size=(2000, 1))
        features["steps"] = steps + rng.integers(0, 2, size=(2000, 8)).astype(float)
        logit = ALPHA * features["logprob_mean"] - BETA * features["energy_max"] - 0.6 * (steps - 7)
        correct = rng.random((2000, 8)) < expit(logit)
        return CandidateTable(features, np.where(correct, 0, rng.integers(1, 6, size=correct.shape))), correct

    def gap(found: ScoreCalibration, hard: bool) -> float:
        table, correct = made(1)
        rows = (table.features["steps"].mean(axis=1) > 8) == hard
        chance, right = _of_chosen(found, table, correct)
        return abs((chance[rows] - right[rows]).mean())

    found = fit_calibration(*made(0))
    blind = found.model_copy(
        update={
            name: tuple(_blind(model) for model in getattr(found, name))
            for name in ("probability", "probability_chosen")
        }
    )
    assert max(gap(found, True), gap(found, False)) < 0.04 < gap(blind, True)


def test_a_kind_that_is_harder_at_the_same_scores_is_known_by_what_its_candidates_have_in_common() -> None:
    def made(seed: int, problems: int) -> tuple[CandidateTable, np.ndarray, np.ndarray]:
        table, _ = synthetic(problems, seed=seed)
        rng = np.random.default_rng(seed + 90)
        other = rng.random((problems, 1)) < 0.3
        features = dict(table.features)
        features["energy_log"] = features["energy_log"] + np.where(other, 2.0, 0.0)
        logit = ALPHA * features["logprob_mean"] - BETA * features["energy_max"] - np.where(other, 2.0, 0.0)
        correct = rng.random((problems, 8)) < expit(logit)
        return CandidateTable(features, np.where(correct, 0, rng.integers(1, 6, size=correct.shape))), correct, other

    table, correct, _ = made(0, 1200)
    found = fit_calibration(table, correct)
    table, correct, other = made(1, 4000)
    chance, right = _of_chosen(found, table, correct)
    for rows in (other[:, 0], ~other[:, 0]):
        assert abs((chance[rows] - right[rows]).mean()) < 0.04


def test_a_hundred_problems_do_not_make_chances_too_sure() -> None:
    """Of a dozen inputs some seem to tell right from wrong on so few."""
    judged, truth = synthetic(4000, seed=1)
    losses = []
    for seed in range(4):
        table, correct = synthetic(100, seed=seed + 10)
        chance, right = _of_chosen(fit_calibration(table, correct), judged, truth)
        losses.append(-np.log(np.clip(np.where(right, chance, 1 - chance), 1e-3, 1)).mean())
    chance, right = _of_chosen(fit_calibration(*synthetic(4000, seed=2)), judged, truth)
    best = -np.log(np.clip(np.where(right, chance, 1 - chance), 1e-3, 1)).mean()
    assert np.mean(losses) < best + 0.06, (losses, best)


def with_features(table: CandidateTable, **features: np.ndarray) -> CandidateTable:
    """The same candidates with other values of these features."""
    return CandidateTable({**table.features, **features}, table.ids)


def _of_chosen(
    calibration: ScoreCalibration, table: CandidateTable, correct: np.ndarray, selection: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """P(correct) and truth of what the combined score chooses, `[problems]` each."""
    chosen = Rule(calibration.combined, selection or calibration.selection).apply(table).chosen
    return of_chosen(calibration.p_correct(table), chosen), of_chosen(correct, chosen)


def _blind(model: ProbabilityModel) -> ProbabilityModel:
    """The same, to whom every problem is as hard as the average."""
    return model.model_copy(update={"weights": (*model.weights[:3], *(0.0 for _ in model.weights[3:]))})


def _straight(models: tuple[ProbabilityModel, ...]) -> tuple[ProbabilityModel, ...]:
    """The same logistics, without a curve over them."""
    return tuple(model.model_copy(update={"curve": ()}) for model in models)


def _stubborn(problems: int, seed: int) -> Data:
    """As `synthetic`, but wrong candidates often agree on one answer: some wrong answers have many votes."""
    table, correct = synthetic(problems, seed=seed)
    rng = np.random.default_rng(seed + 50)
    ids = np.where(~correct & (rng.random((problems, 1)) < 0.5), 1, table.ids)
    return CandidateTable(table.features, ids), correct


def test_candidates_that_agree_share_their_probability_and_no_answer_has_none(fitted: ScoreCalibration) -> None:
    candidates = candidates_with("7", "8", "7.0", None, logprobs=[[-1.0], [-2.0], [-3.0], [-4.0]])
    energies = [[1.0], [1.2], [0.9], [0.1]]
    chances = [item.p_correct for item in decided(fitted, candidates, energies).standings]
    assert chances[0] == chances[2] and chances[3] == 0.0
    assert all(chance is not None and 0 <= chance <= 1 for chance in chances)
    assert decided(fitted, candidates[:1], [[1.0]]).standings[0].p_correct is not None
    without = decided(fitted, candidates, energies, Rule(fitted.combined.reweighted(energy=0.0)))
    assert all(item.contributions["energy"] == 0.0 for item in without.standings)


def test_a_saved_calibration_is_read_back_the_same(fitted: ScoreCalibration, tmp_path: Path) -> None:
    fitted.save(tmp_path / "calibration.json")
    assert ScoreCalibration.load(tmp_path / "calibration.json") == fitted


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
    table, correct = synthetic(5)
    part = CandidateTable({name: each[:problems] for name, each in table.features.items()}, table.ids[:problems])
    with pytest.raises(InvalidInputError, match=f"found [0-5] of {problems}"):
        fit_calibration(part, correct[:problems])


def test_problems_that_are_all_right_or_all_wrong_do_not_count() -> None:
    table, correct = synthetic(100)
    with pytest.raises(InvalidInputError, match="found 0 of 100"):
        fit_calibration(table, np.ones_like(correct))


def test_a_perfect_feature_and_a_constant_one_still_give_finite_weights() -> None:
    table, correct = synthetic(100)
    perfect, constant = np.where(correct, 0.0, 1.0), np.full(correct.shape, 12.0)
    calibration = fit_calibration(with_features(table, energy_max=perfect, tokens=constant), correct)
    assert calibration.auroc["combined"] == pytest.approx(1.0)
    assert np.isfinite([calibration.combined.beta, calibration.combined.gamma]).all()
    assert ScoreCalibration.model_validate_json(calibration.model_dump_json()) == calibration


def test_candidates_without_a_value_are_left_out_of_the_fit() -> None:
    table, correct = synthetic(300)
    holes = np.random.default_rng(0).random(correct.shape) < 0.1
    features = {name: np.where(holes, np.nan, values) for name, values in table.features.items()}
    calibration = fit_calibration(CandidateTable(features, np.where(holes, -1, table.ids)), correct)
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
