"""The parts of a report beside the leaderboard: curves, features, terms, histogram, P(correct), first wrong steps.

Each function turns candidates and choices into one plain value of `rjepa.evaluation.results`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from rjepa.arrays import Bools, Float64
from rjepa.evaluation.baselines import Choice, JudgedTable, Variant, choose_by_each, choose_by_rjepa
from rjepa.evaluation.first_error import first_error_f1, first_error_steps
from rjepa.evaluation.length import length_measures, without_length
from rjepa.evaluation.metrics import (
    area_under_risk_coverage,
    auroc,
    calibration_error_by_chance,
    debiased_calibration_error,
    expected_calibration_error,
    mean_if_any,
    none_if_undefined,
    pass_at_k,
    reliability,
    within_problem_auroc,
)
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.results import (
    Bin,
    CurvePoint,
    FeatureRow,
    FirstErrorReport,
    Histogram,
    ProbabilityReport,
    TermEffect,
)
from rjepa.evaluation.statistics import Resamples, interval
from rjepa.inference.aggregate import ENERGY_FEATURES, LOGPROB_FEATURES
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.choice import choose
from rjepa.inference.surprise import StepEnergies, StepSpread
from rjepa.inference.voting import of_chosen

CURVE_METHODS: Final = (
    "mean_at_1",
    "majority",
    "logprob_length",
    "rjepa",
    "rjepa_logprob",
    "rjepa_logprob_vote",
    "oracle",
)
_HISTOGRAM_BINS: Final = 30


def probability_of(p_correct: Float64, served: Choice, rng: np.random.Generator) -> ProbabilityReport:
    """P(correct) of the answers that are served. `p_correct` is `[problems, candidates]`."""
    chosen = of_chosen(p_correct, served.indices)
    right = served.correct > 0.5
    return ProbabilityReport(
        ece=expected_calibration_error(chosen, right),
        ece_debiased=none_if_undefined(debiased_calibration_error(chosen, right)),
        ece_by_chance=calibration_error_by_chance(chosen, rng=rng),
        aurc=area_under_risk_coverage(chosen, right),
        bins=tuple(Bin(**vars(part)) for part in reliability(chosen, right)),
    )


def accuracy_by_k(
    main: Variant, others: Sequence[Variant], rng: np.random.Generator, resamples: int
) -> tuple[CurvePoint, ...]:
    """Accuracy where only k of the frozen candidates are given, averaged over the disjoint runs of k that K holds.

    Of the `others` only the combination with log-probability is drawn.
    """
    table = main.table
    total = table.correct.shape[1]
    sizes = sorted({2**power for power in range(total.bit_length()) if 2**power <= total} | {total})
    columns = []
    for k in sizes:
        runs = [_choices_of_run(main, others, start, start + k) for start in range(0, total - k + 1, k)]
        hits = {key: np.mean([run[key].correct for run in runs], axis=0) for key in runs[0]}
        # All K samples give the steadier estimates of these two, at the same k.
        hits |= {"oracle": pass_at_k(table.correct, k), "mean_at_1": table.correct.mean(axis=1)}
        spent = {key: float(np.mean([run[key].tokens.mean() for run in runs])) for key in runs[0]}
        columns += [(key, runs[0][key].method.label, k, hits[key], spent[key]) for key in runs[0]]
    values = np.stack([hit for _, _, _, hit, _ in columns], axis=1)
    low, high = interval(Resamples(len(values), rng=rng, resamples=resamples).means(values))
    return tuple(
        CurvePoint(
            method=key,
            label=label,
            k=k,
            accuracy=float(hit.mean()),
            ci_low=float(low[column]),
            ci_high=float(high[column]),
            tokens=tokens,
        )
        for column, (key, label, k, hit, tokens) in enumerate(columns)
    )


def feature_rows(table: JudgedTable) -> tuple[FeatureRow, ...]:
    """Every energy and log-probability feature, and length, alone."""
    return tuple(_feature_row(table, name) for name in (*ENERGY_FEATURES, *LOGPROB_FEATURES, "tokens"))


def term_effects(table: JudgedTable, calibration: ScoreCalibration) -> tuple[TermEffect, ...]:
    """What removing alpha, beta or gamma costs: refitted on validation, and on test with the others as they were."""
    effects = []
    for part in calibration.attribution:
        scores = calibration.combined.reweighted(**{part.term: 0.0}).score(table.features)
        effects.append(
            TermEffect(
                validation=part,
                accuracy_without=best_of(table, scores),
                within_auroc_without=mean_if_any(within_problem_auroc(scores, table.correct)),
            )
        )
    return tuple(effects)


def energy_histogram(table: JudgedTable, feature: str) -> Histogram:
    """Counts of one energy feature for right and wrong candidates."""
    values = table.features[feature]
    known = np.isfinite(values)
    # The farthest per cent of the energies would squeeze all the others into two bins: it goes into the last one.
    low, high = np.quantile(values[known], [0.0, 0.99]) if known.any() else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-6), _HISTOGRAM_BINS + 1)
    clipped = np.minimum(values, edges[-1])
    right, wrong = (np.histogram(clipped[known & kind], edges)[0] for kind in (table.correct, ~table.correct))
    return Histogram(
        feature=feature, edges=tuple(edges.tolist()), right=tuple(right.tolist()), wrong=tuple(wrong.tolist())
    )


def first_errors(
    pool: CandidatePool, masks: Mapping[str, Bools], threshold: float | None, method: str = "rjepa"
) -> tuple[FirstErrorReport, ...]:
    """How well energies find the first wrong step, in each domain; F1 at a threshold fitted on validation."""
    reports = []
    for domain, mask in masks.items():
        energies, located, right = judged_steps(pool.select(mask))
        steps = first_error_steps(energies, located, right)
        marks = None if threshold is None else first_error_f1(energies, located, right, threshold)
        reports.append(
            FirstErrorReport(
                domain=domain,
                method=method,
                auroc=none_if_undefined(steps.auroc()),
                f1=None if marks is None else none_if_undefined(marks.f1),
                found=None if marks is None else none_if_undefined(marks.found),
                spared=None if marks is None else none_if_undefined(marks.spared),
                position_auroc=none_if_undefined(steps.position_auroc()),
                chains=steps.chains,
                segments=len(steps.energies),
                unaligned=steps.unaligned,
            )
        )
    return tuple(reports)


def judged_steps(pool: CandidatePool) -> tuple[Sequence[Float64], list[int | None], list[bool]]:
    """What `rjepa.evaluation.first_error` asks of a pool: energies, first errors, chains that are right throughout."""
    chains = [candidate for row in pool.candidates for candidate in row]
    return (
        [energy for row in pool.energies for energy in row],
        [candidate.first_error_step for candidate in chains],
        [candidate.is_valid is True for candidate in chains],
    )


def step_energies(pool: CandidatePool, masks: Mapping[str, Bools]) -> tuple[StepEnergies, ...]:
    """How surprising right steps and first wrong ones are, in each domain."""
    found = []
    for domain, mask in masks.items():
        steps = first_error_steps(*judged_steps(pool.select(mask)))
        right, wrong = (StepSpread.of(steps.energies[kind]) for kind in (~steps.is_first_error, steps.is_first_error))
        found.append(StepEnergies(domain=domain, right=right, wrong=wrong))
    return tuple(found)


def best_of(table: JudgedTable, scores: Float64) -> float:
    """Accuracy of the best scored candidate of each problem."""
    chosen, _ = choose(table.ids, scores, "best_of")
    return float(of_chosen(table.correct, chosen).mean())


def _choices_of_run(main: Variant, others: Sequence[Variant], start: int, stop: int) -> dict[str, Choice]:
    choices = choose_by_each(main.table.part(start, stop), main.calibration, method=main.method)
    kept = {key: choices[key] for key in CURVE_METHODS if key != "oracle"}
    for other in others:
        kept[other.combined.key] = choose_by_rjepa(other.part(start, stop))[other.combined.key]
    return kept | {"oracle": choices["oracle"]}


def _feature_row(table: JudgedTable, feature: str) -> FeatureRow:
    values = -table.features[feature] if feature in (*ENERGY_FEATURES, "tokens") else table.features[feature]
    scores = np.where(np.isfinite(values), values, -np.inf)
    residual = without_length(scores, length_measures(table.features))
    return FeatureRow(
        feature=feature,
        within_auroc=mean_if_any(within_problem_auroc(scores, table.correct)),
        within_no_length=mean_if_any(within_problem_auroc(residual, table.correct)),
        within_same_steps=mean_if_any(within_problem_auroc(scores, table.correct, table.features["steps"])),
        pooled_auroc=none_if_undefined(auroc(scores, table.correct)),
        best_of=best_of(table, scores),
    )
