"""Candidates and features that were never sampled, with a known truth."""

import numpy as np
from scipy.special import expit

from rjepa.inference.aggregate import FEATURES
from rjepa.inference.calibration import Decision, ScoreCalibration
from rjepa.inference.choice import Rule
from rjepa.inference.ranking import Ranking, explain
from rjepa.inference.table import CandidateTable
from rjepa.schemas import Candidate

ALPHA, BETA, GAMMA = 1.0, 1.5, -0.5
Data = tuple[CandidateTable, np.ndarray]


def synthetic(problems: int, candidates: int = 8, seed: int = 0) -> Data:
    """Unit-variance features; P(right) is logistic in three of them and in the problem's own difficulty."""
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(problems, candidates)) for name in FEATURES}
    logit = ALPHA * features["logprob_mean"] - BETA * features["energy_max"] + GAMMA * features["tokens"]
    correct = rng.random((problems, candidates)) < expit(logit + 1.5 * rng.normal(size=(problems, 1)) - 1.0)
    ids = np.where(correct, 0, rng.integers(1, 6, size=correct.shape))
    return CandidateTable(features, ids), correct


def ranked(candidates: list[Candidate], energies: list[list[float]], rule: Rule) -> Ranking:
    """The ranking of one problem by a rule that was not fitted to anything."""
    table = CandidateTable.of_question(candidates, energies)
    unknown = np.full(table.ids.shape, np.nan)
    decision = Decision(rule.apply(table), np.ones(1, dtype=bool), unknown, (rule, rule))
    return explain(table, decision, [candidate.final_answer for candidate in candidates])


def decided(
    calibration: ScoreCalibration, candidates: list[Candidate], energies: list[list[float]], rule: Rule | None = None
) -> Ranking:
    """The ranking of one problem by a calibration."""
    table = CandidateTable.of_question(candidates, energies)
    return explain(table, calibration.decide(table, rule), [candidate.final_answer for candidate in candidates])


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
