"""Muon against torch's own, and in the precision of the machine."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rjepa import muon
from rjepa.muon import Muon, orthogonalised

DEFAULTS = torch.optim.Muon([torch.zeros(2, 2)]).defaults
NEWTON_SCHULZ = (DEFAULTS["ns_coefficients"], DEFAULTS["ns_steps"], DEFAULTS["eps"])


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_singular_values_of_a_step_are_all_near_one(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    values = torch.linalg.svdvals(orthogonalised(matrix, *NEWTON_SCHULZ).float())
    large = torch.linalg.svdvals(matrix) > 0.02 * matrix.norm()  # five iterations do not lift the smallest ones
    assert ((values[large] > 0.5) & (values[large] < 1.3)).all()


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
def test_it_goes_where_the_optimiser_of_torch_goes(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    options = {"lr": 0.02, "weight_decay": 0.1}
    steps = ((ours, Muon([ours], **options)), (theirs, torch.optim.Muon([theirs], adjust_lr_fn="original", **options)))
    for _ in range(5):
        gradient = torch.randn(shape, generator=generator)
        for parameter, optimizer in steps:
            parameter.grad = gradient.clone()
            optimizer.step()
    moved, expected = ours.detach() - start, theirs.detach() - start
    assert (moved - expected).norm() < 0.02 * expected.norm()  # theirs is always in bfloat16


def test_a_machine_that_does_not_multiply_bfloat16_uses_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr(muon, "multiplies_bf16", lambda kind, native=native: native)
        assert orthogonalised(torch.ones(3, 2), *NEWTON_SCHULZ).dtype == dtype
