import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rjepa.jepa.config import MaskConfig
from rjepa.jepa.masks import (
    causal_view,
    contiguous_hidden,
    draw_view,
    hierarchical_hidden,
    infill_view,
    random_hidden,
    suffix_hidden,
)


def valid_of(lengths: list[int]) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_a_causal_view_shows_a_step_only_what_lies_before_it() -> None:
    view = causal_view(valid_of([3, 4]))
    assert view.targets.tolist() == [[False, True, True, False], [False, True, True, True]]
    assert view.visible[0, 2].tolist() == [True, True, False, False]
    assert view.visible[1, 3].tolist() == [True, True, True, False]


def test_an_infill_view_hides_its_targets_from_encoder_and_predictor() -> None:
    valid = valid_of([4])
    view = infill_view(valid, torch.tensor([[True, False, True, True]]))
    assert view.targets.tolist() == [[False, False, True, True]], "the prompt is never hidden"
    assert view.readable.tolist() == [[True, True, False, False]]
    assert not (view.visible & view.targets[:, None, :]).any()


def test_a_hierarchical_mask_keeps_the_first_and_the_last_step() -> None:
    hidden = hierarchical_hidden(valid_of([2, 3, 4, 6]))
    assert hidden.int().tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 12), min_size=1, max_size=8), st.integers(0, 1000))
def test_drawn_masks_hide_real_steps_only_and_at_least_one(lengths: list[int], seed: int) -> None:
    valid, generator = valid_of(lengths), torch.Generator().manual_seed(seed)
    for hidden in (
        suffix_hidden(valid, generator),
        random_hidden(valid, 0.3, 0.7, generator),
        contiguous_hidden(valid, 0.3, 0.7, generator),
        hierarchical_hidden(valid),
    ):
        assert hidden.any(1).all()
        assert not (hidden & ~valid).any() and not hidden[:, 0].any()


def test_a_contiguous_mask_is_one_run_of_the_asked_share() -> None:
    hidden = contiguous_hidden(valid_of([11] * 50), 0.3, 0.7, torch.Generator().manual_seed(0))
    assert (hidden.int().diff(dim=1) == 1).sum(1).eq(1).all()
    assert int(hidden.sum(1).min()) >= 3 and int(hidden.sum(1).max()) <= 7


def test_a_random_mask_hides_the_asked_share() -> None:
    hidden = random_hidden(valid_of([11] * 50), 0.5, 0.5, torch.Generator().manual_seed(0))
    assert hidden.sum(1).eq(5).all()


@pytest.mark.parametrize("kind", ["causal", "suffix", "random", "contiguous", "hierarchical"])
def test_no_drawn_view_shows_a_target_to_its_own_prediction(kind: str) -> None:
    weights = {name: 0.0 for name in ("causal", "suffix", "random", "contiguous", "hierarchical")} | {kind: 1.0}
    view = draw_view(valid_of([3, 7, 9]), MaskConfig(**weights), torch.Generator().manual_seed(1))
    own = torch.diagonal(view.visible, dim1=1, dim2=2)
    assert not (own & view.targets).any()
    assert view.causal.all() == (kind == "causal")
