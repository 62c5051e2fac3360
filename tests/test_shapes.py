"""Shapes in signatures are checked in tests: a call that does not fit fails, even where numbers would broadcast."""

import importlib
import sys

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from rjepa.inference.voting import vote_shares
from rjepa.jepa.losses import masked_mean, rank_term

from .shapes import CHECKED


def test_a_tensor_that_does_not_fit_is_refused() -> None:
    rank_term(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(TypeCheckError, match="wrong"):
        rank_term(torch.zeros(3), torch.ones(4, dtype=torch.bool))


def test_a_tensor_that_would_broadcast_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="mask"):
        masked_mean(torch.zeros(2, 3), torch.ones(1, 3, dtype=torch.bool))


def test_an_array_of_another_type_is_refused() -> None:
    vote_shares(np.zeros((1, 2), dtype=np.int64))
    with pytest.raises(TypeCheckError, match="ids"):
        vote_shares(np.zeros((1, 2)))


def test_every_module_on_the_list_is_checked() -> None:
    """A renamed module, or one that was imported too early, would silently go unchecked."""
    for name in CHECKED:
        importlib.import_module(name)
        assert type(sys.modules[name].__loader__).__module__ == "jaxtyping._import_hook", name
