"""Calibrate on validation problems, evaluate on test problems: the two functions that assets and commands call.

Here lies the rule that no test problem reaches a fit. Each measurement has its own module beside this one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Bools
from rjepa.errors import InvalidInputError
from rjepa.evaluation.baselines import (
    METHOD,
    SINGLE_LOGPROB,
    Choice,
    JudgedTable,
    RivalFit,
    Variant,
    choose_by_each,
    choose_by_rjepa,
    choose_greedily,
    in_order,
)
from rjepa.evaluation.comparisons import compare
from rjepa.evaluation.domains import ALL
from rjepa.evaluation.first_error import first_error_steps, fit_threshold
from rjepa.evaluation.gallery import pick_gallery
from rjepa.evaluation.leaderboard import Leaderboard, build_leaderboard
from rjepa.evaluation.length import length_measures
from rjepa.evaluation.measures import (
    accuracy_by_k,
    energy_histogram,
    feature_rows,
    first_errors,
    judged_steps,
    probability_of,
    step_energies,
    term_effects,
)
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.prefixes import calibrate_prefixes, judge_prefixes
from rjepa.evaluation.promises import calibrate_risk, keep_promises
from rjepa.evaluation.replay import replay
from rjepa.evaluation.results import EvaluationResult, FirstErrorReport
from rjepa.evaluation.statistics import RESAMPLES
from rjepa.evaluation.targets import judge_targets, seed_figures, spread_over_seeds
from rjepa.evaluation.trials import compare_trials
from rjepa.inference.calibrating import MINIMUM_MIXED, fit_calibration
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.surprise import fit_step_quantiles


@dataclass(frozen=True)
class Contender:
    """Another trained R-JEPA on the same candidates: another recipe, or the same one under another seed.

    energies: one array a sampled chain, problem by problem. calibration: fitted on validation under these energies.
    """

    name: str
    seed: int
    energies: Sequence[npt.ArrayLike]
    calibration: ScoreCalibration


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
    found = fit_calibration(judged.table, judged.correct, minimum_mixed=minimum_mixed)
    risk = calibrate_risk(judged, minimum_mixed)
    steps = judged_steps(judged)
    threshold = fit_threshold(*steps)
    compared = first_error_steps(*steps)
    return found.model_copy(
        update={
            "step_threshold": threshold if np.isfinite(threshold) else None,
            "prefix": calibrate_prefixes(judged),
            "risk": risk,
            "step_quantiles": fit_step_quantiles(compared.energies[~compared.is_first_error]),
            "step_energies": step_energies(judged, _masks(judged)),
        }
    )


def evaluate(
    pool: CandidatePool,
    calibration: ScoreCalibration,
    seed: int = 0,
    *,
    resamples: int = RESAMPLES,
    rivals: Sequence[RivalFit] = (),
    contenders: Sequence[Contender] = (),
    variant: tuple[str, int] | None = None,
) -> EvaluationResult:
    """Judge every method on the same frozen candidates.

    Args:
        pool: test problems (or problems of no split, as imported).
        calibration: fitted on validation problems by `calibrate`.
        seed: of every bootstrap; equal seeds give equal results.
        rivals: further baselines, fitted on validation; the pool's `extra` holds their scores.
        contenders: further R-JEPAs. The first of each name gets rows of its own, all of them the table over seeds.
        variant: name and seed of the run whose energies the pool holds.

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
    rng = np.random.default_rng(seed)
    label = METHOD["rjepa"].label if variant is None else f"{METHOD['rjepa'].label} {variant[0]}"
    main = Variant(replace(METHOD["rjepa"], label=label), JudgedTable.of(judged), calibration)
    pools, others = _contenders(pool, contenders, variant)
    choices = {"greedy": choose_greedily(judged), **choose_by_each(main.table, calibration, rivals, main.method)}
    choices = in_order(choices | {key: choice for other in others for key, choice in choose_by_rjepa(other).items()})
    masks = _masks(judged)
    first_error = first_errors(judged, masks, calibration.step_threshold)
    for other in others:
        first_error += first_errors(pools[other.method.key], masks, other.calibration.step_threshold, other.method.key)
    leaderboard = _leaderboard(judged, main.table, choices, first_error, seed, resamples)
    best_logprob = max(SINGLE_LOGPROB, key=lambda key: leaderboard.row(key).accuracy)
    variants = [main.method.key, *(other.method.key for other in others)]
    comparisons = compare(choices, variants, best_logprob, main.table.correct, masks, rng, resamples)
    served = choices[main.served.key]
    p_correct = calibration.p_correct(main.table)
    probability = probability_of(p_correct, choices[main.selected], rng)
    seeds = []
    if variant is not None:
        seeds = [seed_figures(judged, calibration, *variant)]
        seeds += [
            seed_figures(pool.with_energies(other.energies).judged(), other.calibration, other.name, other.seed)
            for other in contenders
        ]
    return EvaluationResult(
        leaderboard=leaderboard,
        comparisons=comparisons,
        best_logprob=best_logprob,
        selection=calibration.selection,
        probability=probability,
        curve=accuracy_by_k(main, others, rng, resamples),
        features=feature_rows(main.table),
        terms=term_effects(main.table, calibration),
        histogram=energy_histogram(main.table, calibration.energy.terms[0].feature),
        first_error=first_error,
        gallery=pick_gallery(judged, served, choices["majority"], p_correct, choices["rjepa_logprob"].ranking),
        problems=len(judged),
        mixed_problems=int((main.table.correct.any(axis=1) & ~main.table.correct.all(axis=1)).sum()),
        unjudged_problems=len(pool) - len(judged),
        unfamiliar_problems=int((~calibration.is_familiar(main.table.features)).sum()),
        num_candidates=judged.num_candidates,
        seed=seed,
        variant=None if variant is None else variant[0],
        spending=tuple(compare_trials([], replay(judged, calibration), seed, resamples)),
        prefixes=judge_prefixes(judged, calibration.prefix),
        promises=keep_promises(judged, calibration),
        seeds=tuple(seeds),
        spreads=spread_over_seeds(seeds),
        targets=()
        if variant is None
        else judge_targets(
            leaderboard,
            comparisons,
            first_error,
            probability,
            {each.method.key: each.selected for each in (main, *others)},
        ),
    )


def _contenders(
    pool: CandidatePool, contenders: Sequence[Contender], variant: tuple[str, int] | None
) -> tuple[dict[str, CandidatePool], list[Variant]]:
    """Pools by method, and the rows of the leaderboard: one a name that is not the main run's."""
    pools, rows = {}, []
    for contender in contenders:
        method = replace(
            METHOD["rjepa"], key=f"rjepa_{contender.name}", label=f"{METHOD['rjepa'].label} {contender.name}"
        )
        if method.key not in pools and (variant is None or contender.name != variant[0]):
            pools[method.key] = pool.with_energies(contender.energies).judged()
            rows.append(Variant(method, JudgedTable.of(pools[method.key]), contender.calibration))
    return pools, rows


def _leaderboard(
    pool: CandidatePool,
    table: JudgedTable,
    choices: Mapping[str, Choice],
    first_error: Sequence[FirstErrorReport],
    seed: int,
    resamples: int,
) -> Leaderboard:
    by_method: dict[str, dict[str, float | None]] = {}
    for report in first_error:
        by_method.setdefault(report.method, {})[report.domain] = report.auroc
    return build_leaderboard(
        choices,
        table.correct,
        [problem.domain for problem in pool.problems],
        by_method,
        length_measures(table.features),
        seed=seed,
        resamples=resamples,
    )


def _masks(pool: CandidatePool) -> dict[str, Bools]:
    names = np.array([problem.domain for problem in pool.problems])
    return {ALL: np.ones(len(names), dtype=bool)} | {name: names == name for name in pool.domains if name != ALL}
