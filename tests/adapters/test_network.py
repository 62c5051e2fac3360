"""Networks learn what affine maps cannot, and are the same map in torch, in numpy and on disk."""

import numpy as np
import pytest
import torch

from rjepa.adapters.fitting import fit_ridge, r_squared
from rjepa.adapters.maps import LatentMap
from rjepa.adapters.network import Network, NetworkSettings, fit_network
from rjepa.adapters.pairs import Pairs, pairs_of
from rjepa.latents.normalizer import normalizer_of
from tests.adapters.students import matched_students

SMALL = NetworkSettings(hidden=64, updates=300, batch=64, noise=0.0, rate=0.1)


def _pairs(seed: int = 0) -> Pairs:
    return pairs_of(matched_students(100, seed))


def _ridge(pairs: Pairs) -> LatentMap:
    inputs, outputs = normalizer_of(pairs.target), normalizer_of(pairs.source)
    return fit_ridge(inputs, outputs, pairs.target, pairs.source, 1e-2)


def test_a_network_begins_as_the_affine_map_that_it_is_given() -> None:
    pairs = _pairs()
    start = _ridge(pairs)
    network = Network(start, 16, 2, torch.Generator().manual_seed(0))
    assert np.allclose(network.to_map().apply(pairs.target), start.apply(pairs.target), atol=1e-4)


@pytest.mark.parametrize("inner", [0, 1, 2])
def test_what_is_kept_of_a_network_maps_as_it_does_and_can_be_trained_on(inner: int) -> None:
    pairs = _pairs()
    start = _ridge(pairs)
    network = Network(start, 16, inner, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    standard = start.inputs.apply(pairs.target)
    with torch.no_grad():
        wanted = network(torch.from_numpy(standard)).numpy()
    kept = network.to_map()
    assert np.allclose(kept.between(standard), wanted, atol=1e-4)
    assert np.allclose(LatentMap.of_tensors(kept.tensors()).between(standard), wanted, atol=1e-4)
    with torch.no_grad():
        again = Network.of_map(kept)(torch.from_numpy(standard)).numpy()
    assert np.allclose(again, wanted, atol=1e-4)


def test_an_affine_map_has_no_network() -> None:
    with pytest.raises(ValueError, match="no network"):
        Network.of_map(_ridge(_pairs()))


def test_a_network_explains_what_the_affine_map_leaves_on_other_problems_too() -> None:
    pairs, held_out = _pairs(), _pairs(1)
    start = _ridge(pairs)
    fitted = fit_network(start, pairs.target, pairs.source, SMALL, seed=0)
    affine = 1 - r_squared(start, held_out.target, held_out.source)
    assert 1 - r_squared(fitted, held_out.target, held_out.source) < 0.6 * affine


def test_equal_seeds_give_equal_maps_and_others_do_not() -> None:
    pairs = _pairs()
    start, short = _ridge(pairs), NetworkSettings(hidden=8, updates=5, batch=32)
    one, two, other = (fit_network(start, pairs.target, pairs.source, short, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.weight, two.weight)
    assert not np.array_equal(one.weight, other.weight)


@pytest.mark.parametrize(("pairs", "wanted"), [(1, 60), (100, 60), (2560, 600), (10**6, 1000)])
def test_few_pairs_are_trained_on_for_fewer_updates(pairs: int, wanted: int) -> None:
    assert NetworkSettings().updates_for(pairs) == wanted
