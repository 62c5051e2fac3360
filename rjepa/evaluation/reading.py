"""Read what the last benchmark of a student and dataset found. Quick: nothing here loads a model."""

from typing import Final

from rjepa.evaluation.results import EvaluationResult
from rjepa.home import Home

REPORT_FILE: Final = "report.json"


def read_report(home: Home, llm_tag: str, dataset: str) -> EvaluationResult:
    """What the last benchmark found.

    Raises:
        NotFoundError: there was none.
        CorruptError: it is not an evaluation.
    """
    return EvaluationResult.load(home.reports(llm_tag, dataset) / REPORT_FILE)


def served_method(result: EvaluationResult) -> str:
    """The leaderboard's key of what mode `rerank` hands out."""
    served = "rjepa_logprob_served"
    if any(row.method == served for row in result.leaderboard.rows):
        return served
    # Reports from before there was such a row.
    return "rjepa_logprob" if result.selection == "best_of" else "rjepa_logprob_vote"
