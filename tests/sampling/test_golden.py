"""Sessions write the chains that the loop before them wrote."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.sampling.golden import FILE, facts, open_student, streamed

GOLDEN = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_same_seeds_give_the_chains_that_were_recorded_before_there_were_sessions(
    name: str, tmp_path: Path
) -> None:
    student = open_student(name, tmp_path)
    for row, expected in zip(facts(student), GOLDEN[name]["chains"], strict=True):
        for chain, recorded in zip(row, expected, strict=True):
            for key, value in recorded.items():
                if key in ("token_ids", "finished", "segments"):
                    assert chain[key] == value
                else:
                    np.testing.assert_allclose(chain[key], value, atol=5e-3)
    assert streamed(student) == GOLDEN[name]["streamed"]
