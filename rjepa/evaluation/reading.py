"""Read what the last benchmark of a student and dataset found. Quick: nothing here loads a model."""

from typing import Final

from rjepa.evaluation.results import EvaluationResult
from rjepa.home import Home

REPORT_FILE: Final = "report.json"

SERVED_METHOD: Final = "rjepa_logprob_served"
"""The leaderboard's key of what mode `rerank` answers."""


def read_report(home: Home, llm_tag: str, dataset: str) -> EvaluationResult:
    """What the last benchmark found.

    Raises:
        NotFoundError: there was none.
        CorruptError: it is not an evaluation.
    """
    return EvaluationResult.load(home.reports(llm_tag, dataset) / REPORT_FILE)
