"""What a way of getting energies is worth, and how two of them are compared on the same problems."""

from collections.abc import Callable

import numpy as np
import pytest

from rjepa.evaluation.carried import Judged, OriginEnergies, compare_ways, judge_way, worth_markdown
from rjepa.evaluation.pool import CandidatePool

Pools = Callable[..., CandidatePool]


def _flat(pool: CandidatePool) -> list[np.ndarray]:
    return [energies for row in pool.energies for energies in row]


@pytest.fixture(scope="module")
def judged(pools: Pools) -> tuple[Judged, Judged]:
    """Energies as they are, and the same with noise added."""
    validation, test = pools(60, split="validation", seed=1), pools(90, split="test", seed=2)

    def way(name: str, noise: float) -> Judged:
        random = np.random.default_rng(3)
        energies = [
            [each + noise * random.exponential(size=each.shape) for each in _flat(pool)] for pool in (validation, test)
        ]
        return judge_way(OriginEnergies(name, *energies), validation, test)

    return way("clear", 0.0), way("noisy", 5.0)


def test_energies_with_noise_are_worth_less_and_intervals_hold_their_figures(judged: tuple[Judged, Judged]) -> None:
    clear, noisy = judged
    assert clear.worth.auroc.value > noisy.worth.auroc.value
    assert clear.worth.first_error.value > noisy.worth.first_error.value
    for worth in (clear.worth, noisy.worth):
        # Not the calibration error: resampling adds to it.
        for each in (worth.auroc, worth.accuracy, worth.gap_closed, worth.first_error):
            assert each.low <= each.value <= each.high
    lost = compare_ways(noisy, clear)
    assert lost.difference.high < 0
    assert lost.ratio.high < 1
    assert lost.first_error_difference.high < 0


def test_a_way_against_itself_differs_by_nothing(judged: tuple[Judged, Judged]) -> None:
    kept = compare_ways(judged[0], judged[0])
    assert (kept.difference.low, kept.difference.value, kept.difference.high) == (0, 0, 0)
    assert (kept.ratio.low, kept.ratio.value, kept.ratio.high) == (1, 1, 1)
    assert (kept.first_error_difference.low, kept.first_error_ratio.high) == (0, 1)


def test_the_tables_name_every_way_and_comparison(judged: tuple[Judged, Judged]) -> None:
    text = worth_markdown(judged, [compare_ways(judged[1], judged[0])])
    assert f"| clear | {judged[0].worth.auroc}" in text
    assert "| noisy | clear |" in text


def test_worth_is_not_measured_on_validation_problems(pools: Pools) -> None:
    validation = pools(60, split="validation", seed=1)
    with pytest.raises(ValueError, match="test problems"):
        judge_way(OriginEnergies("native", _flat(validation), _flat(validation)), validation, validation)
