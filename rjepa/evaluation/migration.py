"""What is left of an R-JEPA's worth when it goes from one LLM to another: its gain over a plain vote, before and after.

Each LLM is judged on its own frozen candidates, so that the two rows are no paired comparison: what can be compared is
how much each gains over its own baseline. Figures are those of the benchmark reports.
"""

from pydantic import Field
from rich.table import Table

from rjepa.adapters.describing import describe_origin
from rjepa.adapters.opening import files_in_use
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.reading import SERVED_METHOD, read_report
from rjepa.evaluation.results import Comparison, EvaluationResult
from rjepa.home import Home
from rjepa.text_tables import add_row, new_table
from rjepa.values import FrozenValue

BASELINE = "majority"
"""What an LLM answers without R-JEPA from the same candidates: a plain vote."""


class Worth(FrozenValue):
    """What the R-JEPA in use for an LLM adds on the test problems of a dataset; intervals are 95 %."""

    llm_tag: str
    dataset: str
    rjepa: str = Field(description="where it comes from, in words")
    problems: int
    num_candidates: int
    baseline: float = Field(description="accuracy of a plain vote")
    accuracy: float = Field(description="of what mode rerank answers")
    difference: float = Field(description="of the two, on the same problems")
    low: float
    high: float
    within_auroc: float | None = Field(description="right above wrong candidates of a problem, by energy alone")
    within_low: float | None
    within_high: float | None
    first_error_auroc: float | None = Field(description="first wrong steps above right ones, by energy")
    ece: float = Field(description="of P(correct)")


def read_worth(home: Home, llm_tag: str, dataset: str) -> Worth:
    """What the last benchmark of an LLM on a dataset found.

    Raises:
        NotFoundError: there was none.
        CorruptError: it cannot be read.
    """
    found = read_report(home, llm_tag, dataset)
    carried = files_in_use(home, llm_tag, dataset).carried()
    served, alone, gain = found.leaderboard.row(SERVED_METHOD), found.leaderboard.row("rjepa"), _gain(found)
    return Worth(
        llm_tag=llm_tag,
        dataset=dataset,
        rjepa=describe_origin(carried),
        problems=found.problems,
        num_candidates=found.num_candidates,
        baseline=found.leaderboard.row(BASELINE).accuracy,
        accuracy=served.accuracy,
        difference=gain.difference,
        low=gain.ci_low,
        high=gain.ci_high,
        within_auroc=alone.within_auroc,
        within_low=alone.within_low,
        within_high=alone.within_high,
        first_error_auroc=alone.first_error_auroc,
        ece=found.probability.ece,
    )


def worth_table(rows: dict[str, Worth]) -> Table:
    """One row a moment ("before", "after"), accuracies in per cent."""
    table = new_table("", "LLM", "R-JEPA", "Plain vote", "As served", "Gain in points", "AUROC of energy", "Problems")
    for moment, row in rows.items():
        gain = f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})"
        auroc = "-" if row.within_auroc is None else f"{row.within_auroc:.3f}"
        if row.within_low is not None and row.within_high is not None:
            auroc += f" ({row.within_low:.3f} to {row.within_high:.3f})"
        accuracies = f"{100 * row.baseline:.1f}", f"{100 * row.accuracy:.1f}"
        add_row(table, moment, row.llm_tag, row.rjepa, *accuracies, gain, auroc, str(row.problems))
    return table


def _gain(found: EvaluationResult) -> Comparison:
    """The paired comparison of what is served with a plain vote: a report has one for each way of choosing."""
    method = "rjepa_logprob" if found.selection == "best_of" else "rjepa_logprob_vote"
    return next(
        one
        for one in found.comparisons
        if (one.method, one.against, one.metric, one.domain) == (method, BASELINE, "accuracy", ALL)
    )
