from pathlib import Path

import numpy as np
import pytest

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.latents.normalizer import CLIP, fit_normalizer, load_normalizer, save_normalizer
from rjepa.latents.sets import LatentSet


def set_of(rows: np.ndarray) -> LatentSet:
    one, offsets = np.zeros(1, dtype=np.int64), np.array([0, len(rows)])
    return LatentSet(rows.astype(np.float16), offsets, one, ("math",), one - 1, ["p"], ["c"], ["train"])


def test_standardised_latents_have_location_0_and_scale_1() -> None:
    rows = np.random.default_rng(0).standard_normal((4000, 3)) * [1, 10, 0.1] + [5, 0, -1]
    standard = fit_normalizer(set_of(rows)).apply(rows.astype(np.float16))
    assert standard.dtype == np.float32
    assert np.allclose(np.median(standard, axis=0), 0, atol=0.01)
    assert np.allclose(standard.std(axis=0), 1, atol=0.06)


def test_a_few_huge_values_do_not_move_the_scale_and_are_clipped() -> None:
    rows = np.random.default_rng(0).standard_normal((2000, 2))
    plain = fit_normalizer(set_of(rows))
    rows[:20, 0] = 5000
    spoilt = fit_normalizer(set_of(rows))
    assert spoilt.scale[0] == pytest.approx(plain.scale[0], rel=0.05)
    assert spoilt.apply(rows)[:20, 0].max() == CLIP


def test_a_dimension_that_never_moves_stays_finite() -> None:
    normalizer = fit_normalizer(set_of(np.full((100, 2), 3.0)))
    assert np.array_equal(normalizer.apply(np.full((1, 2), 3.0)), np.zeros((1, 2)))


def test_inverting_gives_the_latents_back() -> None:
    rows = np.random.default_rng(0).standard_normal((500, 4)) * 7
    normalizer = fit_normalizer(set_of(rows))
    assert np.allclose(normalizer.invert(normalizer.apply(rows)), rows, atol=1e-4)


def test_a_saved_normaliser_is_the_same_when_read(tmp_path: Path) -> None:
    normalizer = fit_normalizer(set_of(np.random.default_rng(0).standard_normal((50, 4))))
    digest = save_normalizer(tmp_path / "n.safetensors", normalizer)
    loaded = load_normalizer(tmp_path / "n.safetensors")
    assert np.array_equal(loaded.location, normalizer.location) and np.array_equal(loaded.scale, normalizer.scale)
    assert save_normalizer(tmp_path / "again.safetensors", loaded) == digest


def test_bad_files_and_bad_latents_are_refused_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="materialise"):
        load_normalizer(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(CorruptError, match="materialise"):
        load_normalizer(tmp_path / "bad.safetensors")
    with pytest.raises(InvalidInputError, match="not finite"):
        fit_normalizer(set_of(np.array([[np.inf, 1.0], [0.0, 1.0]])))
    with pytest.raises(InvalidInputError, match="no latents"):
        fit_normalizer(set_of(np.empty((0, 2))))
    with pytest.raises(ValueError, match="3 wide"):
        fit_normalizer(set_of(np.ones((9, 2)))).apply(np.ones((1, 3)))
