"""The noise that a chain is drawn with: a function of the seed, its statement, its sample index and its forks alone.

Position n of a row's noise draws the chain's token n, independent of the rows beside it and of the time. A forked row
has a stream of its own from its first own token on. How a token is drawn from noise lies in `rjepa.students.session`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.arrays import Float32

_BELOW_ONE: Final = np.float32(1 - 2**-20)
"""Noise stays this far from 1: scaled by a float32 sum of probabilities it must not reach that sum."""


@dataclass(frozen=True)
class Branch:
    """One fork on the way to a row: how many of its parent's tokens were kept, and the sample index of the fork."""

    kept_tokens: int
    sample_index: int


def row_noise(seed: int, statement: str, sample_index: int, tokens: int, branches: Sequence[Branch] = ()) -> Float32:
    """float32 [tokens] in [0, 1). The key of a row that was never forked is `seed/index/statement`; of a forked one
    `fork/seed/index@kept:index@kept:index/statement`, a branch for each fork from the oldest to the newest.
    """
    path = "".join(f"@{branch.kept_tokens}:{branch.sample_index}" for branch in branches)
    key = f"{'fork/' if branches else ''}{seed}/{sample_index}{path}/{statement}"
    digest = hashlib.sha256(key.encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return np.minimum(generator.random(tokens, dtype=np.float32), _BELOW_ONE)


def uniform_noise(seed: int, statements: Sequence[str], samples: Sequence[int], tokens: int) -> Float32:
    """float32 [statements * samples, tokens]: the noise of every sample of every statement, statement by statement."""
    rows = [row_noise(seed, statement, sample, tokens) for statement in statements for sample in samples]
    return np.stack(rows) if rows else np.empty((0, tokens), dtype=np.float32)
