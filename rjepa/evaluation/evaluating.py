"""Calibrate on validation problems, evaluate on test problems: the two functions that assets and commands call.

Here lies the rule that no test problem reaches a fit. Each measurement has its own module beside this one.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from rjepa.errors import InvalidInputError
from rjepa.evaluation.baselines import METHOD, SINGLE_LOGPROB, CandidateTable, Choice, choose_by_each, choose_greedily
from rjepa.evaluation.gallery import pick_gallery
from rjepa.evaluation.leaderboard import ALL, build_leaderboard
from rjepa.evaluation.metrics import (
    area_under_risk_coverage,
    auroc,
    calibration_error_by_chance,
    expected_calibration_error,
    first_error_steps,
    none_if_undefined,
    pass_at_k,
    reliability,
    within_problem_auroc,
)
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.results import (
    Bin,
    Comparison,
    CurvePoint,
    EvaluationResult,
    FeatureRow,
    FirstErrorReport,
    Histogram,
    ProbabilityReport,
    TermEffect,
)
from rjepa.evaluation.statistics import RESAMPLES, Resamples, bootstrap_p_value, holm, interval, mcnemar
from rjepa.inference.aggregate import ENERGY_FEATURES, LOGPROB_FEATURES, FloatArray
from rjepa.inference.calibration import MINIMUM_MIXED, ScoreCalibration, fit_calibration
from rjepa.inference.rerank import choose
from rjepa.inference.voting import BoolArray

COMPARED: Final = ("rjepa_logprob", "rjepa_logprob_vote")
"""Methods that the tests are about."""

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


def calibrate(pool: CandidatePool, *, minimum_mixed: int = MINIMUM_MIXED) -> ScoreCalibration:
    """Fit a calibration on a pool of validation problems.

    Raises:
        ValueError: a problem is not of the validation split.
        InvalidInputError: too few problems have both right and wrong candidates.
    """
    strangers = sorted({str(problem.split) for problem in pool.problems} - {"validation"})
    if strangers:
        raise ValueError(f"a calibration is fitted on validation problems only, found {strangers}: use pool.split")
    judged = pool.judged()
    return fit_calibration(judged.features, judged.correct, judged.ids, minimum_mixed=minimum_mixed)


def evaluate(
    pool: CandidatePool, calibration: ScoreCalibration, seed: int = 0, *, resamples: int = RESAMPLES
) -> EvaluationResult:
    """Judge every method on the same frozen candidates.

    Args:
        pool: test problems (or problems of no split, as imported).
        calibration: fitted on validation problems by `calibrate`.
        seed: of every bootstrap; equal seeds give equal results.

    Raises:
        ValueError: a problem is of the train or validation split.
        InvalidInputError: no problem has a gold answer.
    """
    seen = sorted({problem.split for problem in pool.problems if problem.split in ("train", "validation")})
    if seen:
        raise ValueError(f"an evaluation takes test problems, found {seen}: use pool.split('test')")
    judged = pool.judged()
    if not len(judged):
        raise InvalidInputError(
            f"none of the {len(pool)} problems has a gold answer and judged candidates, so nothing can be measured",
            cure="evaluate a data set with answers and a test split",
        )
    table, rng = CandidateTable.of(judged), np.random.default_rng(seed)
    choices = {"greedy": choose_greedily(judged), **choose_by_each(table, calibration)}
    first_error = _first_errors(judged)
    leaderboard = build_leaderboard(
        choices,
        table.correct,
        [problem.domain for problem in judged.problems],
        {report.domain: report.auroc for report in first_error},
        seed=seed,
        resamples=resamples,
    )
    best_logprob = max(SINGLE_LOGPROB, key=lambda key: leaderboard.row(key).accuracy)
    handed_out = choices["rjepa_logprob" if calibration.selection == "best_of" else "rjepa_logprob_vote"]
    p_correct = calibration.p_correct(table.features, table.ids)
    return EvaluationResult(
        leaderboard=leaderboard,
        comparisons=_compare(judged, choices, best_logprob, rng, resamples),
        best_logprob=best_logprob,
        selection=calibration.selection,
        probability=_probability(p_correct, handed_out, rng),
        curve=_curve(table, calibration, rng, resamples),
        features=tuple(_feature_row(table, name) for name in (*ENERGY_FEATURES, *LOGPROB_FEATURES, "tokens")),
        terms=_term_effects(table, calibration),
        histogram=_histogram(table, calibration.energy.terms[0].feature),
        first_error=first_error,
        gallery=pick_gallery(judged, handed_out, choices["majority"], p_correct, choices["rjepa_logprob"].scores),
        problems=len(judged),
        mixed_problems=int((table.correct.any(axis=1) & ~table.correct.all(axis=1)).sum()),
        unjudged_problems=len(pool) - len(judged),
        num_candidates=judged.num_candidates,
        seed=seed,
    )


def _masks(pool: CandidatePool) -> dict[str, BoolArray]:
    names = np.array([problem.domain for problem in pool.problems])
    return {ALL: np.ones(len(names), dtype=bool)} | {name: names == name for name in pool.domains if name != ALL}


def _compare(
    pool: CandidatePool, choices: Mapping[str, Choice], best_logprob: str, rng: np.random.Generator, resamples: int
) -> tuple[Comparison, ...]:
    """Each compared method against majority, the best log-probability score and the best without R-JEPA."""
    rivals = ("majority", best_logprob, "logprob_length", "logprob_length_vote")
    tests = [(method, rival) for method in COMPARED for rival in rivals]
    found = []
    for domain, mask in _masks(pool).items():
        differences = np.stack([choices[m].correct[mask] - choices[r].correct[mask] for m, r in tests], axis=1)
        drawn = Resamples(len(differences), rng=rng, resamples=resamples).means(differences)
        low, high = interval(drawn)
        p_bootstrap = [bootstrap_p_value(drawn[:, column]) for column in range(len(tests))]
        exact = [mcnemar(choices[m].correct[mask] > 0.5, choices[r].correct[mask] > 0.5) for m, r in tests]
        adjusted_bootstrap, adjusted_exact = holm(p_bootstrap), holm([test.p_value for test in exact])
        found += [
            Comparison(
                method=method,
                against=rival,
                domain=domain,
                problems=len(differences),
                difference=float(differences[:, column].mean()),
                ci_low=float(low[column]),
                ci_high=float(high[column]),
                p_bootstrap=p_bootstrap[column],
                p_bootstrap_holm=adjusted_bootstrap[column],
                only_method=exact[column].only_first,
                only_against=exact[column].only_second,
                p_mcnemar=exact[column].p_value,
                p_mcnemar_holm=adjusted_exact[column],
            )
            for column, (method, rival) in enumerate(tests)
        ]
    return tuple(found)


def _probability(p_correct: FloatArray, handed_out: Choice, rng: np.random.Generator) -> ProbabilityReport:
    chosen = np.take_along_axis(p_correct, handed_out.chosen[:, None], axis=1)[:, 0]
    right = handed_out.correct > 0.5
    return ProbabilityReport(
        ece=expected_calibration_error(chosen, right),
        ece_by_chance=calibration_error_by_chance(chosen, rng=rng),
        aurc=area_under_risk_coverage(chosen, right),
        bins=tuple(Bin(**vars(part)) for part in reliability(chosen, right)),
    )


def _curve(
    table: CandidateTable, calibration: ScoreCalibration, rng: np.random.Generator, resamples: int
) -> tuple[CurvePoint, ...]:
    total = table.correct.shape[1]
    sizes = sorted({2**power for power in range(total.bit_length()) if 2**power <= total} | {total})
    columns = []
    for k in sizes:
        choices = choose_by_each(table.first(k), calibration)
        hits = {key: choices[key].correct for key in CURVE_METHODS}
        # All K samples give the steadier estimates of these two, at the same k.
        hits |= {"oracle": pass_at_k(table.correct, k), "mean_at_1": table.correct.mean(axis=1)}
        columns += [(key, k, hits[key]) for key in CURVE_METHODS]
    values = np.stack([hit for _, _, hit in columns], axis=1)
    low, high = interval(Resamples(len(values), rng=rng, resamples=resamples).means(values))
    return tuple(
        CurvePoint(
            method=key,
            label=METHOD[key].label,
            k=k,
            accuracy=float(hit.mean()),
            ci_low=float(low[column]),
            ci_high=float(high[column]),
        )
        for column, (key, k, hit) in enumerate(columns)
    )


def _mean_within(scores: FloatArray, correct: BoolArray) -> float | None:
    within = within_problem_auroc(scores, correct)
    return float(np.nanmean(within)) if np.isfinite(within).any() else None


def _best_of(table: CandidateTable, scores: FloatArray) -> float:
    chosen, _ = choose(table.ids, scores, "best_of")
    return float(np.take_along_axis(table.correct, chosen[:, None], axis=1).mean())


def _feature_row(table: CandidateTable, feature: str) -> FeatureRow:
    values = -table.features[feature] if feature in (*ENERGY_FEATURES, "tokens") else table.features[feature]
    scores = np.where(np.isfinite(values), values, -np.inf)
    return FeatureRow(
        feature=feature,
        within_auroc=_mean_within(scores, table.correct),
        pooled_auroc=none_if_undefined(auroc(scores, table.correct)),
        best_of=_best_of(table, scores),
    )


def _term_effects(table: CandidateTable, calibration: ScoreCalibration) -> tuple[TermEffect, ...]:
    effects = []
    for part in calibration.attribution:
        scores = calibration.combined.reweighted(**{part.term: 0.0}).score(table.features)
        effects.append(
            TermEffect(
                validation=part,
                accuracy_without=_best_of(table, scores),
                within_auroc_without=_mean_within(scores, table.correct),
            )
        )
    return tuple(effects)


def _histogram(table: CandidateTable, feature: str) -> Histogram:
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


def _first_errors(pool: CandidatePool) -> tuple[FirstErrorReport, ...]:
    reports = []
    for domain, mask in _masks(pool).items():
        part = pool.select(mask)
        chains = [candidate for row in part.candidates for candidate in row]
        steps = first_error_steps(
            [energy for row in part.energies for energy in row],
            [candidate.first_error_step for candidate in chains],
            [candidate.is_valid is True for candidate in chains],
        )
        reports.append(
            FirstErrorReport(
                domain=domain,
                auroc=none_if_undefined(steps.auroc()),
                position_auroc=none_if_undefined(steps.position_auroc()),
                chains=steps.chains,
                segments=len(steps.energies),
                unaligned=steps.unaligned,
            )
        )
    return tuple(reports)
