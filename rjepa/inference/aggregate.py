"""One number per chain from many per segment or per token: the features that every score is made of.

Features only. How they are weighted lives in `rjepa.inference.score`, how the weights are fitted in
`rjepa.inference.calibrating`. A chain that is empty, or holds a value that is not
finite, has no value (NaN) for a feature that needs it, and ranks last.

Dimensions: chains, or problems and their candidates; rows of a ragged array.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from rjepa.arrays import Float64
from rjepa.jepa.config import ENERGY_FLOOR
from rjepa.schemas import Candidate

Features = Mapping[str, Float[Float64, "*chains"]]
"""Name of a feature -> float64 values, all of one shape: one of each chain, or one of each candidate of problems."""

TAIL_SHARE: Final = 0.25
"""The last quarter of a chain: where the answer is put together. At least one token or segment."""

ENERGY_FEATURES: Final = ("energy_sum", "energy_mean", "energy_max", "energy_tail", "energy_log")
"""`energy_log` is the mean of log energies: up to a constant, the negative log-likelihood of the steps where the size
of each step's error is not known beforehand, so that one blurred step does not drown the others."""

LOGPROB_FEATURES: Final = ("logprob_sum", "logprob_mean", "logprob_min", "logprob_tail")
OTHER_FEATURES: Final = ("self_certainty", "tokens", "steps")
TEXT_FEATURES: Final = ("digits", "letters")
"""Shares of the characters of a chain's steps. They tell kinds of problems apart, and nothing of right and wrong."""
FEATURES: Final = (*ENERGY_FEATURES, *LOGPROB_FEATURES, *OTHER_FEATURES, *TEXT_FEATURES)


def chain_features(
    candidates: Sequence[Candidate], energies: Sequence[npt.ArrayLike]
) -> dict[str, Float[Float64, " chains"]]:
    """Every feature of every chain.

    Args:
        candidates: chains, in any order.
        energies: for each chain the energies of its segments 1.. (the prompt has none), in the same order.

    Returns:
        float64 values for each of `FEATURES`. Log-probabilities and self-certainty are in nats.

    Raises:
        ValueError: the two lists differ in length.
    """
    if len(candidates) != len(energies):
        raise ValueError(f"{len(candidates)} candidates but energies of {len(energies)} chains")
    energy = _Ragged([np.asarray(values, dtype=np.float64).ravel() for values in energies])
    logprob = _Ragged([candidate.token_logprobs for candidate in candidates])
    return {
        "energy_sum": energy.sum(),
        "energy_mean": energy.mean(),
        "energy_max": energy.reduce(np.maximum),
        "energy_tail": energy.tail_mean(),
        "energy_log": energy.log_mean(ENERGY_FLOOR),
        "logprob_sum": logprob.sum(),
        "logprob_mean": logprob.mean(),
        "logprob_min": logprob.reduce(np.minimum),
        "logprob_tail": logprob.tail_mean(),
        "self_certainty": np.array([candidate.self_certainty for candidate in candidates], dtype=np.float64),
        "tokens": logprob.lengths.astype(np.float64),
        "steps": np.array([len(candidate.steps) for candidate in candidates], dtype=np.float64),
        "digits": _shares_of(candidates, str.isdigit),
        "letters": _shares_of(candidates, str.isalpha),
    }


def _shares_of(candidates: Sequence[Candidate], is_one: Callable[[str], bool]) -> Float[Float64, " chains"]:
    texts = ["".join(candidate.steps) for candidate in candidates]
    shares = [sum(map(is_one, text)) / len(text) if text else np.nan for text in texts]
    return np.array(shares, dtype=np.float64)


def problem_means(values: Float[Float64, "problems candidates"]) -> Float[Float64, " problems"]:
    """A feature's mean over a problem's candidates that have it; NaN where none has."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    means = np.full(len(values), np.nan)
    np.divide(total, known.sum(axis=1), out=means, where=known.any(axis=1))
    return means


class _Ragged:
    """Rows of different lengths, laid end to end so that each reduction is one numpy call."""

    def __init__(self, rows: Sequence[Sequence[float] | Float64]) -> None:
        self.lengths = np.array([len(row) for row in rows], dtype=np.int64)
        self._filled = self.lengths > 0
        values = np.fromiter(chain.from_iterable(rows), dtype=np.float64, count=int(self.lengths.sum()))
        # An infinite energy or log-probability says nothing about how bad a chain is: the chain has no value.
        self._values = np.where(np.isfinite(values), values, np.nan)
        ends = np.cumsum(self.lengths)[self._filled]
        self._ends = ends
        self._starts = ends - self.lengths[self._filled]

    def reduce(self, function: np.ufunc) -> Float[Float64, " rows"]:
        """NaN for an empty row."""
        return self._by_row(function.reduceat(self._values, self._starts) if self._starts.size else self._values)

    def sum(self) -> Float[Float64, " rows"]:
        return self.reduce(np.add)

    def mean(self) -> Float[Float64, " rows"]:
        return self.sum() / np.maximum(self.lengths, 1)

    def log_mean(self, floor: float) -> Float[Float64, " rows"]:
        """Mean of log(value + floor); values below 0 count as 0."""
        if not self._starts.size:
            return self._by_row(self._values)
        logs = np.log(np.maximum(self._values, 0.0) + floor)
        return self._by_row(np.add.reduceat(logs, self._starts)) / np.maximum(self.lengths, 1)

    def tail_mean(self) -> Float[Float64, " rows"]:
        """Mean of the last `TAIL_SHARE` of each row, rounded up."""
        if not self._starts.size:
            return self._by_row(self._values)
        counts = np.ceil(TAIL_SHARE * (self._ends - self._starts)).astype(np.int64)
        inside = np.arange(self._values.size) >= np.repeat(self._ends - counts, self._ends - self._starts)
        return self._by_row(np.add.reduceat(np.where(inside, self._values, 0.0), self._starts) / counts)

    def _by_row(self, values: Float[Float64, " filled"]) -> Float[Float64, " rows"]:
        spread = np.full(self.lengths.shape, np.nan)
        spread[self._filled] = values
        return spread
