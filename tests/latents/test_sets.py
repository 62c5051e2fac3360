"""The boundary value between latents and the world model."""

import numpy as np
import pytest

from rjepa.latents.sets import LatentSet


def latent_set() -> LatentSet:
    return LatentSet(
        latents=np.arange(14, dtype=np.float16).reshape(7, 2),
        offsets=np.array([0, 3, 4, 7]),
        domains=np.array([0, 1, 0]),
        domain_names=("code", "math"),
        first_error=np.array([-1, -1, 2]),
        problem_ids=["a", "b", "c"],
        chain_ids=["a1", "b1", "c1"],
        splits=["train", "validation", "train"],
        types=np.array([0, 2, 8, 0, 0, 3, 8], dtype=np.uint8),
    )


def test_chains_are_selected_by_mask_or_index_in_the_order_asked_for() -> None:
    chosen = latent_set().select([2, 0])
    assert chosen.chain_ids == ["c1", "a1"] and chosen.first_error.tolist() == [2, -1]
    assert chosen.latents[:, 0].tolist() == [8, 10, 12, 0, 2, 4]
    assert chosen.offsets.tolist() == [0, 3, 6]
    assert chosen.types is not None and chosen.types.tolist() == [0, 3, 8, 0, 2, 8]
    assert latent_set().select(np.array([False, True, False])).chain(0).tolist() == [[6, 7]]


def test_a_split_holds_its_chains_alone() -> None:
    assert latent_set().split("train").problem_ids == ["a", "c"]
    assert len(latent_set().split("test")) == 0


def test_chains_that_lie_one_after_the_other_are_a_view_and_others_a_copy() -> None:
    whole = latent_set()
    for chosen in ([1, 2], np.array([False, True, True])):
        run = whole.select(chosen)
        assert np.shares_memory(run.latents, whole.latents)
        assert run.latents.tolist() == whole.latents[3:].tolist() and run.offsets.tolist() == [0, 1, 4]
        assert run.types is not None and run.types.tolist() == [0, 0, 3, 8]
    assert not np.shares_memory(whole.select([0, 2]).latents, whole.latents)
    assert whole.select([]).latents.shape == (0, 2)


def test_shape_is_read_off_the_arrays() -> None:
    assert (len(latent_set()), latent_set().width, latent_set().lengths.tolist()) == (3, 2, [3, 1, 3])


@pytest.mark.parametrize(
    "wrong",
    [
        {"offsets": np.array([0, 3, 4, 6])},
        {"offsets": np.array([0, 4, 3, 7])},
        {"splits": ["train"]},
        {"types": np.zeros(6, np.uint8)},
    ],
)
def test_columns_that_do_not_fit_each_other_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        LatentSet(**{**latent_set().__dict__, **wrong})


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="mask of 3"):
        latent_set().select(np.array([True]))
