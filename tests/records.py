"""Evaluation records with outcomes that a test chooses."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from rjepa.evaluation.records import BASELINES, CandidateSet, EvaluationRecord
from rjepa.parts import Content

SAME = "c" * 64
"""Hash of the candidates that records share unless a test says otherwise."""


def make_record(
    content: Content | str,
    right: Sequence[bool] | np.ndarray,
    *,
    domains: Sequence[str] | None = None,
    candidates: str = SAME,
    dataset: str = "v1.0.0",
    num_candidates: int = 8,
    p_correct: Sequence[float | None] | None = None,
) -> EvaluationRecord:
    """The record of a release that was right on these problems. Without `domains` all are of one; without `p_correct`
    it knew each time.
    """
    outcomes = "".join("1" if value else "0" for value in right)
    named = isinstance(content, Content)
    return EvaluationRecord(
        llm_tag=content.llm_tag if named else "tiny-a",
        content=content.sha256 if named else content,
        trained_on=content.dataset if named else dataset,
        candidates=CandidateSet(
            sha256=candidates,
            dataset=dataset,
            split="test",
            student_fingerprint=content.student_fingerprint if named else "s" * 64,
            num_candidates=num_candidates,
            seed=0,
            temperature=0.8,
        ),
        problem_ids=tuple(f"problem-{number}" for number in range(len(outcomes))),
        domains=tuple(domains or ["math"] * len(outcomes)),
        served=outcomes,
        baselines=dict.fromkeys(BASELINES, outcomes),
        p_correct=tuple([float(value) for value in right] if p_correct is None else p_correct),
        right_candidates=(num_candidates // 2,) * len(outcomes),
        tokens={"served": 800.0, "mean_at_1": 100.0},
        ece=0.05,
        created_at=datetime.now(UTC),
    )


def outcomes(problems: int, accuracy: float) -> list[bool]:
    """Right on the first problems, wrong on the last: two of these differ as little as their accuracies do."""
    return [number < round(accuracy * problems) for number in range(problems)]
