"""A report's leaderboard as a table of Dagster's."""

from pathlib import Path
from typing import Final

import dagster as dg

_COLUMNS: Final = {
    "choosing": ("string", "way of choosing one of the candidates"),
    "accuracy": ("string", "share of problems answered right, in %, with its 95 % interval"),
    "gap_closed": ("string", "0 at one sample, 1 at the best choice possible"),
    "within_auroc": ("string", "chance that a right candidate is above a wrong one of the same problem"),
    "tokens": ("int", "generated for one problem, mean"),
}


def leaderboard_table(path: Path) -> dg.TableMetadataValue:
    """Every way of choosing on all problems of a report.

    Raises:
        RjepaError: there is no report at `path`, or it cannot be read.
    """
    from rjepa.evaluation.domains import ALL
    from rjepa.evaluation.results import EvaluationResult

    records = [
        dg.TableRecord(
            {
                "choosing": row.label,
                "accuracy": f"{100 * row.accuracy:.1f} [{100 * row.ci_low:.1f} {100 * row.ci_high:.1f}]",
                "gap_closed": _figure(row.gap_closed),
                "within_auroc": _figure(row.within_auroc),
                "tokens": round(row.tokens),
            }
        )
        for row in EvaluationResult.load(path).leaderboard.domain(ALL)
    ]
    columns = [dg.TableColumn(name, kind, description) for name, (kind, description) in _COLUMNS.items()]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
