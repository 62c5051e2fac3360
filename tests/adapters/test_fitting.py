"""Fits in closed form find the maps that they are meant to find, and no better ones than there are."""

import numpy as np
import pytest

from rjepa.adapters.fitting import (
    fit_procrustes,
    fit_random,
    fit_reduced_rank,
    fit_ridge,
    fit_standardised,
    r_squared,
)
from rjepa.errors import InvalidInputError
from rjepa.latents.normalizer import Normalizer, normalizer_of


def _rows(count: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def _plain(width: int) -> Normalizer:
    return Normalizer(np.zeros(width, np.float32), np.ones(width, np.float32))


def _rotation(width: int, seed: int) -> np.ndarray:
    return np.linalg.qr(_rows(width, width, seed))[0].astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_procrustes_finds_a_rotation_a_scale_and_a_shift(seed: int) -> None:
    into, rotation = _rows(60, 5, seed), _rotation(5, seed + 10)
    out = 1.7 * into @ rotation + _rows(1, 5, seed + 20)
    fitted = fit_procrustes(_plain(5), _plain(5), into, out)
    assert np.allclose(fitted.weight, 1.7 * rotation, atol=1e-4)
    assert np.allclose(fitted.apply(into), out, atol=1e-4)


@pytest.mark.parametrize(("width_in", "width_out"), [(3, 5), (5, 3)])
def test_procrustes_between_widths_keeps_directions_orthogonal(width_in: int, width_out: int) -> None:
    fitted = fit_procrustes(_plain(width_in), _plain(width_out), _rows(80, width_in, 0), _rows(80, width_out, 1))
    weight = fitted.weight if width_in > width_out else fitted.weight.T
    gram = weight.T @ weight
    assert np.allclose(gram, np.eye(3) * gram[0, 0], atol=1e-5)


@pytest.mark.parametrize(("width_in", "width_out"), [(3, 5), (5, 3)])
def test_ridge_finds_any_affine_map_between_widths(width_in: int, width_out: int) -> None:
    into = 3 * _rows(200, width_in, 0) + 1
    out = into @ _rows(width_in, width_out, 1) + _rows(1, width_out, 2)
    inputs, outputs = normalizer_of(into), normalizer_of(out)
    fitted = fit_ridge(inputs, outputs, into, out, 1e-8)
    new = 3 * _rows(50, width_in, 3) + 1
    assert r_squared(fitted, new, new @ _rows(width_in, width_out, 1) + _rows(1, width_out, 2)) > 0.999
    assert np.allclose(fitted.apply(into), out, atol=2e-3)


def test_a_stronger_ridge_is_nearer_to_the_mean() -> None:
    into, out = _rows(50, 4, 0), _rows(50, 3, 1)
    sizes = [np.abs(fit_ridge(_plain(4), _plain(3), into, out, each).weight).sum() for each in (1e-4, 1.0, 1e6)]
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[2] < 1e-4
    assert np.allclose(fit_ridge(_plain(4), _plain(3), into, out, 1e6).apply(into), out.mean(0), atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2, 9])
def test_reduced_rank_has_that_rank_and_no_more(rank: int) -> None:
    into, out = _rows(100, 6, 0), _rows(100, 5, 1)
    fitted = fit_reduced_rank(_plain(6), _plain(5), into, out, 1e-4, rank)
    assert np.linalg.matrix_rank(fitted.weight, tol=1e-5) == min(rank, 5)


def test_reduced_rank_loses_nothing_where_the_truth_has_that_rank() -> None:
    into = _rows(200, 6, 0)
    out = into @ _rows(6, 2, 1) @ _rows(2, 5, 2)
    fitted = fit_reduced_rank(_plain(6), _plain(5), into, out, 1e-8, 2)
    assert r_squared(fitted, into, np.clip(out, -8, 8)) > 0.999


def test_what_is_fitted_with_fewer_pairs_than_columns_is_finite() -> None:
    into, out = _rows(4, 30, 0), _rows(4, 20, 1)
    for fitted in (
        fit_ridge(_plain(30), _plain(20), into, out, 1e-4),
        fit_reduced_rank(_plain(30), _plain(20), into, out, 1e-4, 5),
        fit_procrustes(_plain(30), _plain(20), into, out),
    ):
        assert np.isfinite(fitted.apply(into)).all()


def test_affine_beats_rotation_where_columns_are_mixed_and_random_explains_nothing() -> None:
    into = _rows(400, 8, 0)
    out = into @ _rows(8, 8, 1)
    inputs, outputs = normalizer_of(into), normalizer_of(out)
    affine = r_squared(fit_ridge(inputs, outputs, into, out, 1e-6), into, out)
    rotated = r_squared(fit_procrustes(inputs, outputs, into, out), into, out)
    assert affine > rotated > 0 > r_squared(fit_random(inputs, outputs, 0), into, out)


def test_standardising_keeps_the_place_in_the_distribution_and_needs_one_width() -> None:
    into = _rows(500, 4, 0)
    out = 5 * into - 2
    fitted = fit_standardised(normalizer_of(into), normalizer_of(out))
    assert np.allclose(fitted.apply(into), out, atol=1e-3)
    with pytest.raises(InvalidInputError, match="from 4 to 3"):
        fit_standardised(_plain(4), _plain(3))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="rows"):
        fit_ridge(_plain(2), _plain(2), _rows(3, 2, 0), _rows(4, 2, 0), 1.0)
    with pytest.raises(ValueError, match="rank"):
        fit_reduced_rank(_plain(2), _plain(2), _rows(3, 2, 0), _rows(3, 2, 0), 1.0, 0)
