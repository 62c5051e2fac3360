"""P(correct) of a prefix: it comes true at every step, and falls with a surprising step."""

import numpy as np
import pytest

from rjepa.evaluation.metrics import expected_calibration_error
from rjepa.inference.prefix import FEWEST_CHAINS, PrefixCalibration, candidate_prefixes, fit_prefixes, prefix_inputs
from rjepa.schemas import Candidate


def _chains(count: int, seed: int) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Chains of one to five steps; each wrong step has more energy, and a chain with one mostly ends wrong."""
    rng = np.random.default_rng(seed)
    prefixes, right = [], []
    for _ in range(count):
        steps = int(rng.integers(1, 6))
        wrong = rng.random(steps) < 0.15
        energies = np.exp(rng.normal(size=steps) * 0.6 + 1.2 * wrong)
        logprobs = -np.cumsum(rng.exponential(size=steps) + wrong)
        prefixes.append(
            [
                prefix_inputs(energies[: step + 1].tolist(), float(logprobs[step]), 10 * (step + 1))
                for step in range(steps)
            ]
        )
        right.append(rng.random() < (0.1 if wrong.any() else 0.9))
    return prefixes, np.array(right)


@pytest.fixture(scope="module")
def fitted() -> PrefixCalibration:
    return PrefixCalibration(models=fit_prefixes(*_chains(6000, 0)))


def test_it_comes_true_after_every_step_of_new_chains(fitted: PrefixCalibration) -> None:
    prefixes, right = _chains(6000, 1)
    for steps, model in enumerate(fitted.models, start=1):
        rows = [index for index, chain in enumerate(prefixes) if len(chain) >= steps]
        chances = model.probability(np.stack([prefixes[index][steps - 1] for index in rows]))
        assert expected_calibration_error(chances, right[rows]) < 0.04


def test_a_surprising_step_lowers_it_for_good(fitted: PrefixCalibration) -> None:
    calm = fitted.p_correct([0.8, 0.8, 0.8], -3.0, 30)
    shaken = fitted.p_correct([0.8, 9.0, 0.8], -3.0, 30)
    assert calm is not None and shaken is not None and shaken < calm - 0.2


def test_longer_chains_than_any_seen_are_judged_and_nothing_is_known_without_a_model(fitted: PrefixCalibration) -> None:
    assert fitted.p_correct([1.0] * 40, -40.0, 400) is not None
    assert fitted.p_correct([], 0.0, 0) is None and PrefixCalibration().p_correct([1.0], -1.0, 10) is None
    prefixes, right = _chains(FEWEST_CHAINS - 1, 0)
    assert fit_prefixes(prefixes, right) == ()


def test_a_frozen_candidate_has_a_prefix_a_step() -> None:
    candidate = Candidate(
        problem_id="p",
        sample_index=0,
        text="",
        steps=["a" * 10, "b" * 20],
        final_answer="c" * 10,
        finished=True,
        token_logprobs=[-1.0] * 8,
    )
    first, second = candidate_prefixes(candidate, np.array([1.0, 2.0, 3.0]))
    assert (first[3], second[3]) == (-2.0, -6.0) and (first[5], second[5]) == (1, 2)
    assert candidate_prefixes(candidate, np.array([np.nan, 1.0])) == []
