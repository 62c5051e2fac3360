import json
from pathlib import Path

import numpy as np
import pytest

from rjepa.inference.aggregate import chain_features, problem_means
from rjepa.inference.calibration import ScoreCalibration, fit_calibration
from rjepa.inference.familiarity import FAMILIAR_SHARE, fit_familiar_energy, is_familiar
from rjepa.inference.rerank import UNFAMILIAR, choose
from tests.inference.making import candidates_with, synthetic


@pytest.fixture(scope="module")
def fitted() -> ScoreCalibration:
    return fit_calibration(*synthetic(1500))


def test_the_mean_of_a_problem_is_that_of_the_candidates_that_have_a_value() -> None:
    energy = np.array([[1.0, 3.0], [2.0, np.nan], [np.nan, np.nan], [-np.inf, 0.5]])
    np.testing.assert_array_equal(problem_means(energy), [2.0, 2.0, np.nan, 0.5])


def test_the_rule_spares_the_promised_share_of_problems_like_those_of_validation() -> None:
    rng = np.random.default_rng(0)
    seen, new = ({"energy_log": rng.normal(size=(20_000, 8))} for _ in range(2))
    most = fit_familiar_energy(seen)
    assert is_familiar(seen, most).mean() == pytest.approx(FAMILIAR_SHARE, abs=1e-4)
    assert is_familiar(new, most).mean() == pytest.approx(FAMILIAR_SHARE, abs=0.003)
    assert not is_familiar({"energy_log": new["energy_log"] + 3.0}, most).any()


def test_without_energies_or_a_rule_nothing_is_foreign() -> None:
    empty = {"energy_log": np.full((3, 2), np.nan)}
    assert fit_familiar_energy(empty) is None
    assert is_familiar(empty, 0.0).all() and is_familiar({"energy_log": np.full((3, 2), 9.0)}, None).all()


def test_foreign_problems_are_handed_out_without_rjepa_and_the_others_with_it(fitted: ScoreCalibration) -> None:
    features, _, ids = synthetic(400, seed=2)
    foreign = np.arange(400) % 2 == 0
    features["energy_log"] = np.where(foreign[:, None], 5.0, features["energy_log"] - 1.0)
    assert fitted.is_familiar(features).tolist() == (~foreign).tolist()
    chosen, scores = fitted.hand_out(features, ids)
    for score, selection, mask in (
        (fitted.combined, fitted.selection, ~foreign),
        (fitted.logprob_length, fitted.fallback_selection, foreign),
    ):
        expected, _ = choose(ids, score.score(features), selection, sharpness=score.sharpness)
        assert chosen[mask].tolist() == expected[mask].tolist()
        np.testing.assert_array_equal(scores[mask], score.score(features)[mask])


CANDIDATES = candidates_with("7", "8", "9", logprobs=[[-1.0], [-2.0], [-3.0]])


def test_one_question_is_ranked_as_a_whole_set_is(fitted: ScoreCalibration) -> None:
    known = fitted.rank(CANDIDATES, [[1.0], [1.2], [0.2]])
    foreign = fitted.rank(CANDIDATES, [[90.0], [95.0], [20.0]])
    for ranking in (known, foreign):
        energies = [item.energies for item in ranking.candidates]
        features = {name: values[None] for name, values in chain_features(CANDIDATES, energies).items()}
        assert fitted.is_familiar(features).tolist() == [ranking.familiar]
        assert fitted.hand_out(features, np.arange(3)[None])[0].tolist() == [ranking.chosen]
    assert known.familiar and all(item.p_correct is not None for item in known.candidates)
    assert UNFAMILIAR not in known.describe() and "energy" in known.candidates[0].contributions
    assert not foreign.familiar and all(item.p_correct is None for item in foreign.candidates)
    assert foreign.describe().endswith(UNFAMILIAR) and "energy" not in foreign.candidates[0].contributions
    assert foreign.chosen == 0, "the likeliest, whatever R-JEPA thinks of it"
    assert [item.energies for item in foreign.candidates] == [[90.0], [95.0], [20.0]], "energies are still shown"


def test_who_names_a_score_or_weights_gets_them(fitted: ScoreCalibration) -> None:
    energies = [[90.0], [95.0], [20.0]]
    for ranking in (
        fitted.rank(CANDIDATES, energies, score="energy"),
        fitted.rank(CANDIDATES, energies, weights={"energy": 3.0}),
    ):
        assert ranking.familiar and "energy" in ranking.candidates[0].contributions


def test_a_release_from_before_the_rule_leaves_nothing_out(fitted: ScoreCalibration, tmp_path: Path) -> None:
    older = fitted.model_dump(mode="json")
    del older["familiar_energy"], older["fallback_selection"]
    (tmp_path / "calibration.json").write_text(json.dumps(older))
    read = ScoreCalibration.load(tmp_path / "calibration.json")
    assert read.rank(CANDIDATES, [[90.0], [95.0], [20.0]]).familiar
