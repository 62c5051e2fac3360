"""lm-evaluation-harness: what it measures through the service is what it measures with the weights in its own hands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rjepa.home import Home
from rjepa.students.loading import Student
from tests.tiny_release import TAG

from .conftest import Client

pytestmark = pytest.mark.slow


@pytest.fixture
def runs(client: Client, tiny_service: str, tiny_release: tuple[Home, Student]) -> dict[str, Any]:
    """Every run, from one process: the harness takes torch and transformers from this project's own environment."""
    student = tiny_release[1]
    found: dict[str, Any] = client(
        "with_lm_eval.py",
        tiny_service,
        TAG,
        str(student.path),
        str(student.context_length),
        PYTHONPATH=str(Path(torch.__file__).parents[1]),
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
    )
    return found


def test_log_likelihoods_and_texts_are_those_of_the_harness_own_model(runs: dict[str, Any]) -> None:
    own = runs["hf"]
    for name in ("ids", "strings"):
        for task in ("rjepa_choices", "rjepa_rolling"):
            for mine, its in zip(runs[name][task], own[task], strict=True):
                told, expected = np.ravel(np.array(mine, dtype=float)), np.ravel(np.array(its, dtype=float))
                np.testing.assert_allclose(told, expected, atol=2e-3)  # log-likelihood, and 1.0 where it was greedy
        for metric in ("acc,none", "acc_norm,none"):
            assert runs[name]["results"]["rjepa_choices"][metric] == own["results"]["rjepa_choices"][metric]
    assert any(greedy for sample in own["rjepa_choices"] for ((_, greedy),) in sample)  # neither is always the same
    assert runs["ids"]["rjepa_written"] == own["rjepa_written"]
    assert runs["chat"]["rjepa_written"] == own["rjepa_written"]
