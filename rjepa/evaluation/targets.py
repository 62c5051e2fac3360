"""Figures of every seed, their spread, and whether science.md's targets are met on these test problems.

A target that asks for "significantly" is met where the paired bootstrap's Holm-adjusted p-value lies below 0.05 for
every rival it names, and the difference is positive.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np

from rjepa.evaluation.baselines import METHOD, JudgedTable, Variant, choose_by_rjepa
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.first_error import first_error_steps
from rjepa.evaluation.leaderboard import Leaderboard, LeaderboardRow
from rjepa.evaluation.measures import judged_steps
from rjepa.evaluation.metrics import (
    expected_calibration_error,
    gap_closed,
    mean_if_any,
    none_if_undefined,
    within_problem_auroc,
)
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.results import Comparison, FirstErrorReport, ProbabilityReport, SeedFigures, Spread, Target
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.voting import of_chosen

LEVEL: Final = 0.05
WITHIN_AUROC: Final = 0.80
PURE_GAP: Final = 0.50
RANK_GAP: Final = 0.65
FIRST_ERROR: Final = 0.80
ECE: Final = 0.03
_Test = tuple[str, str, Literal["accuracy", "within_auroc"]]
"""Method, rival and metric of a comparison."""
_NAMES: Final = ("rjepa", "rjepa_rank")
"""Keys of the `pure` and the `rank` variant in a report of both."""


def seed_figures(pool: CandidatePool, calibration: ScoreCalibration, variant: str, seed: int) -> SeedFigures:
    """What one training run reaches on the candidates of a pool that holds its energies."""
    table = JudgedTable.of(pool)
    run = Variant(METHOD["rjepa"], table, calibration)
    choices = choose_by_rjepa(run)
    alone, combined = choices["rjepa"], choices[run.selected]
    floor, ceiling = float(table.correct.mean()), float(table.correct.any(axis=1).mean())
    p_correct = of_chosen(calibration.p_correct(table), combined.indices)
    return SeedFigures(
        variant=variant,
        seed=seed,
        within_auroc=mean_if_any(within_problem_auroc(alone.ranking, table.correct)),
        within_auroc_combined=mean_if_any(within_problem_auroc(choices["rjepa_logprob"].ranking, table.correct)),
        accuracy=float(alone.correct.mean()),
        gap_closed=none_if_undefined(float(gap_closed(alone.correct.mean(), floor, np.array(ceiling)))),
        accuracy_combined=float(combined.correct.mean()),
        gap_closed_combined=none_if_undefined(float(gap_closed(combined.correct.mean(), floor, np.array(ceiling)))),
        first_error_auroc=none_if_undefined(first_error_steps(*judged_steps(pool)).auroc()),
        ece=expected_calibration_error(p_correct, combined.correct > 0.5),
    )


def spread_over_seeds(figures: Sequence[SeedFigures]) -> tuple[Spread, ...]:
    """Mean, deviation and range of every figure over the seeds of each variant."""
    rows = []
    for variant in dict.fromkeys(run.variant for run in figures):
        runs = [run.model_dump(exclude={"variant", "seed"}) for run in figures if run.variant == variant]
        for name in runs[0]:
            values = np.array([run[name] for run in runs if run[name] is not None], dtype=np.float64)
            if values.size:
                rows.append(
                    Spread(
                        variant=variant,
                        figure=name,
                        seeds=len(values),
                        mean=float(values.mean()),
                        deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
                        lowest=float(values.min()),
                        highest=float(values.max()),
                    )
                )
    return tuple(rows)


def judge_targets(
    board: Leaderboard,
    comparisons: Sequence[Comparison],
    first_error: Sequence[FirstErrorReport],
    probability: ProbabilityReport,
    selected: Mapping[str, str],
) -> tuple[Target, ...]:
    """The targets of science.md. Those of the `rank` variant are there where the report holds it.

    Args:
        selected: by key of a variant, key of best of K or weighted vote, whichever did better on validation.
    """
    rows = {row.method: row for row in board.domain(ALL)}
    tests = {(test.method, test.against, test.metric): test for test in comparisons if test.domain == ALL}
    pure, rank = _NAMES
    free = [row.method for row in rows.values() if row.group in ("free", "fitted", "label_free")]
    labelled = [row.method for row in rows.values() if row.group == "supervised"]
    found = [_ranking(rows[pure], free, tests, rows)]
    without = ["logprob_length", "logprob_length_vote"]
    found.append(_gap("pure + log-probability", selected[pure], PURE_GAP, without, rows, tests))
    if rank in rows:
        found.append(_gap("rank + log-probability", selected[rank], RANK_GAP, labelled, rows, tests))
    for report in first_error:
        if report.domain == ALL:
            reached = report.auroc is not None and report.auroc >= FIRST_ERROR
            name = f"first wrong step, {rows[report.method].label}"
            found.append(
                Target(name=name, figure="AUROC", wanted=f">= {FIRST_ERROR:.2f}", value=report.auroc, met=bool(reached))
            )
    found.append(
        Target(
            name="P(correct)", figure="ECE", wanted=f"<= {ECE:.2f}", value=probability.ece, met=probability.ece <= ECE
        )
    )
    return tuple(found)


def _ranking(
    row: LeaderboardRow,
    rivals: Sequence[str],
    tests: Mapping[_Test, Comparison],
    rows: Mapping[str, LeaderboardRow],
) -> Target:
    beaten, hardest = _against(row.method, rivals, "within_auroc", tests, rows)
    return Target(
        name="pure, alone",
        figure="within-problem AUROC",
        wanted=f">= {WITHIN_AUROC:.2f}, above every free and label-free baseline",
        value=row.within_auroc,
        ci_low=row.within_low,
        ci_high=row.within_high,
        **hardest,
        met=row.within_auroc is not None and row.within_auroc >= WITHIN_AUROC and beaten,
    )


def _gap(
    name: str,
    ours: str,
    wanted: float,
    rivals: Sequence[str],
    rows: Mapping[str, LeaderboardRow],
    tests: Mapping[_Test, Comparison],
) -> Target:
    """A variant with log-probability, by the selection of its calibration, against the rivals it is tested with."""
    beaten, hardest = _against(ours, rivals, "accuracy", tests, rows)
    row = rows[ours]
    return Target(
        name=name,
        figure="gap closed",
        wanted=f">= {wanted:.2f}, above {'supervised baselines' if 'rank' in name else 'the best without R-JEPA'}",
        value=row.gap_closed,
        ci_low=row.gap_low,
        ci_high=row.gap_high,
        **hardest,
        met=row.gap_closed is not None and row.gap_closed >= wanted and beaten,
    )


def _against(
    ours: str,
    rivals: Sequence[str],
    metric: Literal["accuracy", "within_auroc"],
    tests: Mapping[_Test, Comparison],
    rows: Mapping[str, LeaderboardRow],
) -> tuple[bool, dict[str, Any]]:
    """Whether every rival is beaten significantly, and a target's fields on the one that came closest."""
    asked = [tests[key] for rival in rivals if (key := (ours, rival, metric)) in tests]
    if not asked:
        return False, {}
    hardest = min(asked, key=lambda test: test.difference)
    beaten = all(test.difference > 0 and test.p_bootstrap_holm < LEVEL for test in asked)
    return beaten, {
        "against": rows[hardest.against].label,
        "difference": hardest.difference,
        "p_holm": hardest.p_bootstrap_holm,
    }
