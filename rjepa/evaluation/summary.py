"""An evaluation as tables for a terminal. Markdown and HTML are in `leaderboard` and `report`, figures in `results`.

Every function gives a `rich.table.Table`; `rjepa.text_tables.render` turns it into plain text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.table import Table

from rjepa.evaluation.baselines import is_headline
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.leaderboard import HEADINGS, Leaderboard, LeaderboardRow, display_cells
from rjepa.evaluation.reading import SERVED_METHOD
from rjepa.evaluation.results import CurvePoint, EvaluationResult
from rjepa.text_tables import add_row, new_table

if TYPE_CHECKING:
    from rjepa.evaluation.ab import Duel
    from rjepa.evaluation.uncertain import UncertainProblem

FEWEST_PROBLEMS: Final = 30
"""Below this a 95 % interval of an accuracy is wider than 35 points: it supports no conclusion."""

_CURVE: Final = ("mean_at_1", "majority", "logprob_length", "rjepa_logprob", "oracle")
_STATEMENT_LENGTH: Final = 60
"""Characters of a statement in a list of problems: enough to recognise it, and the row stays on one line."""


def warn_if_few(num_problems: int, what: str) -> str | None:
    """A warning where too few problems were judged to mean anything; None where there are enough."""
    if num_problems >= FEWEST_PROBLEMS:
        return None
    return (
        f"only {num_problems} problems of {what} were judged: with fewer than {FEWEST_PROBLEMS} the intervals are so "
        "wide that no way of choosing can be told from another"
    )


def short_table(board: Leaderboard) -> Table:
    """Six rows: one sample, majority, the best way without R-JEPA, R-JEPA, as served, and the ceiling, by domain."""
    rivals = [row for row in board.domain(ALL) if row.group not in ("rjepa", "ceiling")]
    others = [row for row in rivals if row.method not in ("mean_at_1", "majority")]
    best = max(others, key=lambda row: row.accuracy)
    return accuracy_table(board, ("mean_at_1", "majority", best.method, "rjepa", SERVED_METHOD, "oracle"))


def accuracy_table(board: Leaderboard, methods: Sequence[str] | None = None) -> Table:
    """One row a method, one column a domain: accuracy and its 95 % interval in per cent, and tokens a problem.

    Args:
        methods: None for all but the weighted votes of baselines, which are in the report alone.
    """
    shown = [row for row in board.domain(ALL) if is_headline(row.method, row.group)]
    if methods is not None:
        shown = [board.row(method) for method in methods]
    table = new_table("", *board.domains, "Tokens")
    for first in shown:
        rows = [board.row(first.method, domain) for domain in board.domains]
        mark = "*" if first.method == SERVED_METHOD else " "
        cells = [_accuracy_and_interval(row) for row in rows]
        add_row(table, f"{mark} {first.label}", *cells, f"{first.tokens:.0f}")
    return table


def domain_table(board: Leaderboard, domain: str = ALL) -> Table:
    """Every method in one domain with everything that is known of it."""
    table = new_table(*HEADINGS)
    for row in board.domain(domain):
        add_row(table, *display_cells(row))
    return table


def cost_table(result: EvaluationResult) -> Table:
    """Accuracy against tokens: one row a number of candidates, one column a way of choosing among them."""
    points: dict[int, dict[str, CurvePoint]] = {}
    for point in result.curve:
        points.setdefault(point.k, {})[point.method] = point
    labels = {point.method: point.label for point in result.curve}
    methods = [method for method in _CURVE if method in labels]
    table = new_table("Candidates", "Tokens", *(labels[method] for method in methods))
    for k, row in sorted(points.items()):
        # One sample is the same for any number of candidates: its tokens are those of one.
        tokens = row["majority"].tokens
        shares = [f"{100 * row[method].accuracy:.1f}" if method in row else "-" for method in methods]
        add_row(table, str(k), "-" if tokens is None else f"{tokens:.0f}", *shares)
    return table


def duel_table(found: "Duel") -> Table:
    """Two R-JEPAs on the same candidates, by domain."""
    table = new_table("domain", "A", "B", "A - B, 95 % interval", "only A / B right", "p (McNemar)")
    for test in found.served:
        add_row(
            table,
            test.domain,
            f"{100 * found.a.accuracy[test.domain]:.1f}",
            f"{100 * found.b.accuracy[test.domain]:.1f}",
            f"{100 * test.difference:+5.1f} [{100 * test.ci_low:+.1f}, {100 * test.ci_high:+.1f}]",
            f"{test.only_method} / {test.only_against}",
            f"{test.p_mcnemar_holm or 0.0:.4f}",
        )
    return table


def uncertain_table(rows: Sequence["UncertainProblem"]) -> Table:
    """Problems worth a label, the most uncertain first."""
    table = new_table("uncertainty", "P(correct)", "answers", "split", "domain", "problem")
    for row in rows:
        text = " ".join(row.statement.split())
        short = text if len(text) <= _STATEMENT_LENGTH else f"{text[:_STATEMENT_LENGTH]}..."
        add_row(
            table,
            f"{row.uncertainty:.3f}",
            "unknown" if row.p_correct is None else f"{row.p_correct:.2f}",
            f"{row.answers} of {row.num_candidates}",
            row.split or "-",
            row.domain,
            f"{row.problem_id}: {short}",
        )
    return table


def _accuracy_and_interval(row: LeaderboardRow) -> str:
    return f"{100 * row.accuracy:5.1f} [{100 * row.ci_low:4.1f} {100 * row.ci_high:5.1f}]"
