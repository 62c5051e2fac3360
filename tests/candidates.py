"""Candidates as a mode reports them, for tests of what becomes of answers."""

from typing import Any

from rjepa.reasoning.answer import CandidateReport


def report_candidate(index: int, steps: list[str], **others: Any) -> CandidateReport:
    """The candidate of a place; the first is the chosen one. `others` are fields that have another value than here."""
    values: dict[str, Any] = {
        "text": "",
        "final_answer": str(17 + index),
        "finished": True,
        "tokens": 20,
        "logprob": -3.5,
        "step_energies": [0.4, 0.8],
        "answer_energy": 0.2,
        "rank": index,
        "score": 1.0,
        "contributions": {},
        "votes": 1,
        "weighted_share": 0.5,
        "p_correct": 0.9,
        "chosen": index == 0,
    }
    return CandidateReport(index=index, steps=steps, **values | others)
