"""Candidates and features that were never sampled, with a known truth."""

import numpy as np
from scipy.special import expit

from rjepa.inference.aggregate import FEATURES
from rjepa.schemas import Candidate

ALPHA, BETA, GAMMA = 1.0, 1.5, -0.5
Data = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]


def synthetic(problems: int, candidates: int = 8, seed: int = 0) -> Data:
    """Unit-variance features; P(right) is logistic in three of them and in the problem's own difficulty."""
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(problems, candidates)) for name in FEATURES}
    logit = ALPHA * features["logprob_mean"] - BETA * features["energy_max"] + GAMMA * features["tokens"]
    correct = rng.random((problems, candidates)) < expit(logit + 1.5 * rng.normal(size=(problems, 1)) - 1.0)
    return features, correct, np.where(correct, 0, rng.integers(1, 6, size=correct.shape))


def candidates_with(*answers: str | None, logprobs: list[list[float]] | None = None) -> list[Candidate]:
    return [
        Candidate(
            problem_id="p",
            sample_index=index,
            text="",
            steps=["s"],
            final_answer=answer,
            finished=True,
            token_logprobs=logprobs[index] if logprobs else [-1.0, -1.0],
        )
        for index, answer in enumerate(answers)
    ]
