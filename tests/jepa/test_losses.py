import math

import pytest
import torch

from rjepa.jepa import losses
from rjepa.jepa.config import OptimConfig
from rjepa.jepa.schedules import momentum, schedule, weight_decay


def test_latent_error_is_the_mean_absolute_difference() -> None:
    assert losses.latent_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).tolist() == [1.5]


def test_raw_error_is_square_near_zero_and_linear_far_away() -> None:
    # 0.5 * 0.5**2 = 0.125 and 3 - 0.5 = 2.5
    found = losses.raw_error(torch.tensor([[0.5, 3.0]]), torch.zeros(1, 2))
    assert found.tolist() == [pytest.approx((0.125 + 2.5) / 2)]


def test_masked_mean_counts_what_is_kept_only() -> None:
    values, mask = torch.tensor([1.0, 2.0, torch.nan]), torch.tensor([True, True, False])
    assert float(losses.masked_mean(values, mask)) == 1.5
    assert float(losses.masked_mean(values, torch.zeros(3, dtype=torch.bool))) == 0.0


def test_variance_term_is_the_missing_deviation() -> None:
    # Dimension 0 has deviation 0 (0.01 with the guard), dimension 1 has deviation 2.
    states = torch.tensor([[1.0, -2.0], [1.0, 2.0]])
    assert float(losses.variance_term(states)) == pytest.approx((1 - 0.01) / 2, abs=1e-6)


def test_covariance_term_is_the_squared_off_diagonal() -> None:
    # Centred columns (-1, 1) and (-2, 2), n - 1 = 1: covariance 4, so two off-diagonal squares of 16 over 2 dimensions.
    assert float(losses.covariance_term(torch.tensor([[0.0, 0.0], [2.0, 4.0]]))) == pytest.approx(16.0)


def test_info_nce_is_cross_entropy_over_the_usable_negatives() -> None:
    positive, negatives = torch.tensor([1.0]), torch.tensor([[0.5, 9.0]])
    usable = torch.tensor([[True, False]])
    expected = -math.log(math.exp(2.0) / (math.exp(2.0) + math.exp(1.0)))
    assert float(losses.info_nce(positive, negatives, usable, 0.5)) == pytest.approx(expected)
    assert float(losses.info_nce(positive, negatives, torch.zeros_like(usable), 0.5)) == 0.0


def test_rank_term_weighs_both_classes_alike() -> None:
    logits, wrong = torch.tensor([0.0, 0.0, 0.0, 2.0]), torch.tensor([False, False, False, True])
    expected = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert float(losses.rank_term(logits, wrong)) == pytest.approx(expected)


def test_step_type_term_is_the_mean_cross_entropy_of_the_types() -> None:
    logits, types = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]), torch.tensor([1, 0])
    expected = (math.log(3) + math.log(1 + 2 * math.exp(-2))) / 2
    assert float(losses.step_type_term(logits, types)) == pytest.approx(expected)
    assert float(losses.step_type_term(logits[:0], types[:0])) == 0.0


def test_schedules_start_and_end_where_the_config_says() -> None:
    config = OptimConfig(updates=1000, warmup=0.1, final_rate=0.01, weight_decay=(0.02, 0.1))
    assert schedule(config, 0) == pytest.approx(0.01)
    assert schedule(config, 99) == 1.0
    assert schedule(config, 1000) == pytest.approx(0.01)
    assert (weight_decay(config, 0), weight_decay(config, 1000)) == (pytest.approx(0.02), pytest.approx(0.1))


@pytest.mark.parametrize(("updates", "ends"), [(900, (0.99, 0.999)), (50_000, (0.996, 1.0))])
def test_the_momentum_of_the_target_fits_the_length_of_the_run(updates: int, ends: tuple[float, float]) -> None:
    config = OptimConfig(updates=updates)
    assert (momentum(config, 0), momentum(config, updates)) == (pytest.approx(ends[0]), pytest.approx(ends[1]))
