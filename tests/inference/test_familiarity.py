import numpy as np
import pytest

from rjepa.inference.aggregate import problem_means
from rjepa.inference.calibrating import fit_calibration
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.choice import Rule
from rjepa.inference.familiarity import FAMILIAR_SHARE, fit_familiar_energy, is_familiar
from rjepa.inference.ranking import UNFAMILIAR
from rjepa.inference.table import CandidateTable
from tests.inference.making import candidates_with, decided, synthetic


@pytest.fixture(scope="module")
def fitted() -> ScoreCalibration:
    return fit_calibration(*synthetic(1500))


def test_the_mean_of_a_problem_is_that_of_the_candidates_that_have_a_value() -> None:
    energy = np.array([[1.0, 3.0], [2.0, np.nan], [np.nan, np.nan], [-np.inf, 0.5]])
    np.testing.assert_array_equal(problem_means(energy), [2.0, 2.0, np.nan, 0.5])


def test_the_rule_spares_the_promised_share_of_problems_like_those_of_validation() -> None:
    rng = np.random.default_rng(0)
    seen, new = ({"energy_log": rng.normal(size=(20_000, 8))} for _ in range(2))
    limit = fit_familiar_energy(seen)
    assert is_familiar(seen, limit).mean() == pytest.approx(FAMILIAR_SHARE, abs=1e-4)
    assert is_familiar(new, limit).mean() == pytest.approx(FAMILIAR_SHARE, abs=0.003)
    assert not is_familiar({"energy_log": new["energy_log"] + 3.0}, limit).any()


def test_few_candidates_may_vary_more_than_many() -> None:
    rng = np.random.default_rng(0)
    seen, new = ({"energy_log": rng.normal(size=(20_000, 8))} for _ in range(2))
    limits = fit_familiar_energy(seen)
    assert limits[0] > limits[3] > limits[7]
    for count in (1, 4, 8):
        first = {"energy_log": new["energy_log"][:, :count]}
        assert is_familiar(first, limits).mean() == pytest.approx(FAMILIAR_SHARE, abs=0.003)


def test_without_energies_or_a_rule_nothing_is_foreign() -> None:
    empty = {"energy_log": np.full((3, 2), np.nan)}
    assert fit_familiar_energy(empty) == ()
    assert is_familiar(empty, (0.0,)).all() and is_familiar({"energy_log": np.full((3, 2), 9.0)}, ()).all()


def test_foreign_problems_are_chosen_from_without_rjepa_and_the_others_with_it(fitted: ScoreCalibration) -> None:
    table, _ = synthetic(400, seed=2)
    foreign = np.arange(400) % 2 == 0
    log = np.where(foreign[:, None], 5.0, table.features["energy_log"] - 1.0)
    table = CandidateTable({**table.features, "energy_log": log}, table.ids)
    decision = fitted.decide(table)
    assert decision.familiar.tolist() == (~foreign).tolist()
    for rule, mask in (
        (Rule(fitted.combined, fitted.selection), ~foreign),
        (Rule(fitted.logprob_length, fitted.fallback_selection), foreign),
    ):
        expected = rule.apply(table)
        assert decision.choice.chosen[mask].tolist() == expected.chosen[mask].tolist()
        np.testing.assert_array_equal(decision.choice.scores[mask], expected.scores[mask])
    assert np.isnan(decision.p_correct[foreign]).all() and not np.isnan(decision.p_correct[~foreign]).any()


CANDIDATES = candidates_with("7", "8", "9", logprobs=[[-1.0], [-2.0], [-3.0]])


def test_an_unfamiliar_question_is_ranked_without_rjepa_and_says_so(fitted: ScoreCalibration) -> None:
    known = decided(fitted, CANDIDATES, [[1.0], [1.2], [0.2]])
    foreign = decided(fitted, CANDIDATES, [[90.0], [95.0], [20.0]])
    assert known.familiar and all(item.p_correct is not None for item in known.standings)
    assert UNFAMILIAR not in known.text and "energy" in known.standings[0].contributions
    assert not foreign.familiar and all(item.p_correct is None for item in foreign.standings)
    assert foreign.text.endswith(UNFAMILIAR) and "energy" not in foreign.standings[0].contributions
    assert foreign.chosen == 0, "the likeliest, whatever R-JEPA thinks of it"


def test_a_caller_who_names_a_rule_gets_it(fitted: ScoreCalibration) -> None:
    energies = [[90.0], [95.0], [20.0]]
    for score in (fitted.energy, fitted.combined.reweighted(energy=3.0)):
        ranking = decided(fitted, CANDIDATES, energies, Rule(score))
        assert ranking.familiar and "energy" in ranking.standings[0].contributions
