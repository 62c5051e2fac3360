"""What a run that goes on from a trained model shows again, and what it holds."""

import numpy as np
import pytest
import torch
from torch import nn

from rjepa.ewc import Anchor, fisher_diagonal, make_anchor
from rjepa.jepa.config import JepaConfig, ReplayConfig, load_jepa_config
from rjepa.jepa.replay import ReplayOrder, batch_sizes, choose_reservoir
from tests.jepa.synthetic import synthetic_set

DATA = synthetic_set(60, seed=1)
RIGHT = np.flatnonzero(DATA.first_error < 0)


def order(
    new_problems: int,
    share: float = 0.5,
    batch_size: int = 16,
    reservoir: int = 30,
    weights: np.ndarray | None = None,
) -> ReplayOrder:
    problems = DATA.problem_ids.numbers()
    is_new = problems < new_problems
    return ReplayOrder(
        DATA,
        problems,
        batch_size,
        seed=3,
        is_new=is_new,
        reservoir=RIGHT[~is_new[RIGHT]][:reservoir],
        share=share,
        weights=weights,
    )


def test_half_of_every_batch_is_old_and_every_new_chain_comes_once_an_epoch() -> None:
    batches = order(24)
    seen = []
    for update in range(batches.per_epoch):
        chains = batches.chains(update)
        is_new = np.isin(chains, batches.new)
        assert is_new.sum() == 8
        assert np.isin(chains[~is_new], batches.old).all() and len(chains) == 16
        seen.extend(chains[is_new])
    assert sorted(seen) == sorted(batches.new)


def test_a_new_chain_is_shown_as_often_as_its_weight_says() -> None:
    plain = order(24)
    weights = np.ones(len(DATA))
    often, seldom = plain.new[0], plain.new[1]
    weights[often], weights[seldom] = 3.0, 0.25
    weighted = order(24, weights=weights)
    assert (weighted.new_size, weighted.old_size) == (plain.new_size, plain.old_size)
    assert abs(weighted.per_epoch - plain.per_epoch) <= 1, "an epoch takes about as long as without weights"
    passes = 16
    seen = np.concatenate([weighted.chains(update) for update in range(passes * weighted.per_epoch)])
    counts = {chain: int((seen == chain).sum()) for chain in plain.new}
    others = np.mean([count for chain, count in counts.items() if chain not in (often, seldom)])
    assert abs(counts[often] / others - 3.0) < 0.4 and abs(counts[seldom] / others - 0.25) < 0.15
    assert set(seen) >= set(plain.new), "none is left out"


def test_the_order_is_a_function_of_the_seed_and_the_update() -> None:
    there, again = order(24), order(24)
    later = there.chains(7)
    assert np.array_equal(again.chains(7), later)
    assert not np.array_equal(there.chains(8), later)


@pytest.mark.parametrize(
    ("new", "old", "share", "expected"),
    [
        (1000, 1000, 0.5, (48, 48)),
        (1000, 1000, 0.25, (72, 24)),
        (1000, 1000, 0.0, (96, 0)),
        (10, 1000, 0.5, (10, 10)),
        (1000, 7, 0.5, (48, 7)),
        (0, 1000, 0.5, (0, 96)),
    ],
)
def test_a_batch_keeps_its_share_where_there_are_few(
    new: int, old: int, share: float, expected: tuple[int, int]
) -> None:
    assert batch_sizes(new, old, 96, share) == expected


def test_where_nothing_is_new_old_chains_alone_are_shown() -> None:
    batches = order(0)
    assert np.isin(batches.chains(0), batches.old).all() and len(batches.chains(0)) == 16


def test_each_domain_has_its_own_reservoir_without_repeats() -> None:
    chains = np.arange(100, 1100)
    domains = np.repeat([0, 1, 2], [900, 95, 5])
    chosen = choose_reservoir(
        chains, np.ones(1000), domains, ReplayConfig(per_domain=50), random=np.random.default_rng(0)
    )
    assert len(set(chosen)) == len(chosen)
    counts = [int((domains[chosen - 100] == domain).sum()) for domain in range(3)]
    assert counts == [50, 50, 5]


@pytest.mark.parametrize(("by_energy", "least", "most"), [(0.0, 0.45, 0.55), (0.5, 0.58, 0.68), (1.0, 0.68, 0.8)])
def test_what_the_old_model_finds_hard_is_kept_more_often(by_energy: float, least: float, most: float) -> None:
    energies = np.repeat([1.0, 3.0], 5000)
    config = ReplayConfig(per_domain=1000, by_energy=by_energy)
    chosen = choose_reservoir(
        np.arange(10_000), energies, np.zeros(10_000, dtype=np.int64), config, np.random.default_rng(1)
    )
    assert least < float((chosen >= 5000).mean()) < most


def test_energies_of_zero_are_drawn_alike() -> None:
    chosen = choose_reservoir(
        np.arange(10), np.zeros(10), np.zeros(10, dtype=np.int64), ReplayConfig(per_domain=4), np.random.default_rng(1)
    )
    assert len(chosen) == 4


def test_the_fisher_diagonal_is_the_mean_squared_gradient_of_single_samples() -> None:
    model = nn.Linear(3, 1)
    inputs, wanted = torch.randn(20, 3), torch.randn(20)
    losses = [(model(row).squeeze() - goal).square() / 2 for row, goal in zip(inputs, wanted, strict=True)]
    found = fisher_diagonal(model, losses)
    with torch.no_grad():
        error = model(inputs).squeeze(1) - wanted
    torch.testing.assert_close(found["weight"][0], (error[:, None] * inputs).square().mean(0))
    torch.testing.assert_close(found["bias"], error.square().mean()[None])


def test_the_pull_is_half_the_weighted_squared_distance() -> None:
    model = nn.Linear(2, 1, bias=False)
    anchor = Anchor({"weight": torch.tensor([[1.0, -1.0]])}, {"weight": torch.tensor([[2.0, 0.5]])})
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, 1.0]]))
    assert float(anchor.penalty(model).detach()) == pytest.approx((2.0 * 1 + 0.5 * 4) / 2)


def test_importance_is_one_on_average_and_the_pull_starts_at_zero() -> None:
    model = nn.Linear(3, 2)
    anchor = make_anchor(model, (model(torch.randn(3)).square().sum() for _ in range(10)))
    values = torch.cat([value.flatten() for value in anchor.importance.values()])
    assert float(values.mean()) == pytest.approx(1.0)
    assert float(anchor.penalty(model).detach()) == 0.0
    with torch.no_grad():
        model.bias.add_(0.1)
    assert float(anchor.penalty(model).detach()) > 0


def test_the_nightly_run_goes_on_from_what_is_served_with_half_old_data() -> None:
    config = load_jepa_config("nightly")
    assert config.init_from == "served" and config.replay is not None and config.replay.share == 0.5


def test_replay_without_a_release_to_go_on_from_is_refused() -> None:
    with pytest.raises(ValueError, match="belong together"):
        JepaConfig(name="x", replay=ReplayConfig())


def test_a_run_that_starts_from_nothing_says_nothing_of_it() -> None:
    assert not {"init_from", "replay"} & set(JepaConfig(name="x").model_dump(mode="json"))
    config = load_jepa_config("nightly")
    assert JepaConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_rate_moves_both_optimisers_in_proportion() -> None:
    optim = load_jepa_config("nightly").optim
    half = optim.at_rate(optim.learning_rate / 2)
    assert half.learning_rate == optim.learning_rate / 2
    assert half.matrix_rate == pytest.approx((optim.matrix_rate or 0) / 2)
