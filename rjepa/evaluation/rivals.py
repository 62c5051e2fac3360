"""The baselines that read latents or text: scored on validation and test candidates, then weighed like R-JEPA's energy.

Label-free ones see latents of right training chains; supervised ones see labelled candidates: those of the train split
where rollouts have them, else those of the validation split. In the second case their validation scores are held out,
problem by problem, so that the weights fitted on them are honest. What each computes: `label_free`, `supervised`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.arrays import Bools, Float32, Float64, Int64
from rjepa.evaluation.baselines import METHOD, SINGLE_LOGPROB, Method, RivalFit
from rjepa.evaluation.label_free import chain_of_embedding, fit_gaussian, mahalanobis, nearest_neighbours
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.supervised import RIDGES, TextVerifier, fit_gated_reward, fit_probe, mean_log_loss
from rjepa.evaluation.views import StepRows, mean_and_answer
from rjepa.inference.calibrating import fit_alone, fit_with_logprob
from rjepa.latents.normalizer import Normalizer
from rjepa.latents.sets import LatentSet
from rjepa.schemas import Candidate

LABEL_FREE: Final = (
    Method("mahalanobis", "Mahalanobis to right chains", "label_free"),
    Method("neighbours", "Nearest right chains (kNN)", "label_free"),
    Method("coe_r", "Chain of embedding, CoE-R", "label_free"),
    Method("coe_c", "Chain of embedding, CoE-C", "label_free"),
    Method("untrained", "R-JEPA, untrained", "label_free"),
)
SUPERVISED: Final = (
    Method("probe", "Logistic probe on latents", "supervised"),
    Method("gated", "Gated linear reward (SWIFT)", "supervised"),
    Method("text", "Text verifier (hashed n-grams)", "supervised"),
)
RIVALS: Final = {method.key: method for method in (*LABEL_FREE, *SUPERVISED)}

Scorer = Callable[..., Float64]

FOLDS: Final = 3


@dataclass(frozen=True)
class Labelled:
    """Candidates as the supervised baselines see them.

    Attributes:
        steps: their latents.
        texts: statement and chain.
        right: bool `[chains]`.
        known: bool `[chains]`, whether the chain was judged: the others are scored and never learnt from.
        problem: int64 `[chains]`, equal for candidates of one problem.
    """

    steps: StepRows
    texts: list[str]
    right: Bools
    known: Bools
    problem: Int64

    @classmethod
    def of(
        cls, statements: Sequence[str], candidates: Sequence[Sequence[Candidate]], latents: LatentSet, by: Normalizer
    ) -> "Labelled":
        """Candidates `[problems][K]` with their latents, problem by problem."""
        pairs = [(index, text, c) for index, text in enumerate(statements) for c in candidates[index]]
        return cls(
            StepRows.of(latents, by),
            [f"{text}\n{candidate.text}" for _, text, candidate in pairs],
            np.array([bool(candidate.is_correct) for _, _, candidate in pairs], dtype=bool),
            np.array([candidate.is_correct is not None for _, _, candidate in pairs], dtype=bool),
            np.array([index for index, _, _ in pairs], dtype=np.int64),
        )


def score_label_free(right: LatentSet, steps: Sequence[StepRows], by: Normalizer) -> dict[str, list[Float64]]:
    """Scores `[chains]` of each set of chains under every label-free baseline but the untrained R-JEPA.

    Args:
        right: right chains of the train split.
        steps: the sets to score.
    """
    known = StepRows.of(right, by)
    gaussian, vectors = fit_gaussian(known.values), mean_and_answer(known)
    vectors = vectors[np.isfinite(vectors).all(axis=1)]
    return {
        "mahalanobis": [mahalanobis(part, gaussian) for part in steps],
        "neighbours": [nearest_neighbours(mean_and_answer(part), vectors) for part in steps],
    }


def score_paths(latents: LatentSet, by: Normalizer) -> dict[str, Float64]:
    """CoE-R and CoE-C `[chains]` of every chain's path from the prompt to its last segment."""
    found = [chain_of_embedding(by.apply(latents.chain(index))) for index in range(len(latents))]
    table = np.array(found, dtype=np.float64).reshape(-1, 2)
    return {"coe_r": table[:, 0], "coe_c": table[:, 1]}


def score_supervised(train: Labelled | None, validation: Labelled, test: Labelled) -> dict[str, list[Float64]]:
    """Scores `[chains]` of validation and test under every supervised baseline.

    Args:
        train: labelled candidates of the train split; None to learn from validation, where scores are then held out.
    """
    learn = validation if train is None else train
    if learn.right[learn.known].all() or not learn.right.any():
        return {}
    return {
        "probe": _probe(learn, validation, test, train is None),
        "gated": _gated(learn, validation, test, train is None),
        "text": _text(learn, validation, test, train is None),
    }


def fit_rivals(validation: CandidatePool) -> tuple[RivalFit, ...]:
    """Fit, on validation candidates, how each score weighs votes, and the weights of those that get log-probability.

    Raises:
        ValueError: a problem is not of the validation split.
    """
    if any(problem.split != "validation" for problem in validation.problems):
        raise ValueError("rivals are fitted on validation problems only: use pool.split")
    pool = validation.judged()
    fits = []
    for key in ("shortest", *SINGLE_LOGPROB, "self_certainty"):
        feature, sign = ("tokens", -1.0) if key == "shortest" else (key, 1.0)
        alone = fit_alone(pool.features, pool.correct, pool.ids, feature, sign)
        fits.append(RivalFit(METHOD[key], alone, is_new=False))
    for key, method in RIVALS.items():
        if key in pool.extra:
            alone = fit_alone(pool.features, pool.correct, pool.ids, key)
            fits.append(RivalFit(method, alone, fit_with_logprob(pool.features, pool.correct, pool.ids, key)))
    return tuple(fits)


def as_extra(scores: Mapping[str, Float64], problems: int) -> dict[str, Float64]:
    """Scores a chain `[problems * K]` as a pool's `extra` `[problems, K]`: -inf where there is none."""
    return {key: np.where(np.isfinite(part), part, -np.inf).reshape(problems, -1) for key, part in scores.items()}


def _probe(learn: Labelled, validation: Labelled, test: Labelled, held_out: bool) -> list[Float64]:
    inputs = mean_and_answer(learn.steps)
    usable = np.isfinite(inputs).all(axis=1)
    seen = inputs if held_out else mean_and_answer(validation.steps)

    def fit(rows: Bools, ridge: float) -> Callable[[Float32], Float64]:
        return fit_probe(inputs[rows & usable], learn.right[rows & usable], ridge).score

    ridge, on_validation = _choose_ridge(fit, lambda score: score(seen), learn, validation, held_out)
    return [on_validation, fit(learn.known, ridge)(mean_and_answer(test.steps))]


def _gated(learn: Labelled, validation: Labelled, test: Labelled, held_out: bool) -> list[Float64]:
    def fit(rows: Bools, ridge: float) -> Callable[[StepRows], Float64]:
        return fit_gated_reward(_keep(learn.steps, rows), learn.right[rows], ridge).score

    ridge, on_validation = _choose_ridge(fit, lambda score: score(validation.steps), learn, validation, held_out)
    return [on_validation, fit(learn.known, ridge)(test.steps)]


def _text(learn: Labelled, validation: Labelled, test: Labelled, held_out: bool) -> list[Float64]:
    verifier = TextVerifier()
    read = verifier.read(learn.texts)
    if held_out:
        on_validation = np.empty(len(learn.right))
        for out in _folds(learn):
            rows = learn.known & ~out
            on_validation[out] = TextVerifier().fit(read[rows], learn.right[rows]).score(read[out])
    verifier.fit(read[learn.known], learn.right[learn.known])
    if not held_out:
        on_validation = verifier.score(verifier.read(validation.texts))
    return [on_validation, verifier.score(verifier.read(test.texts))]


def _choose_ridge(
    fit: Callable[[Bools, float], Scorer],
    score: Callable[[Scorer], Float64],
    learn: Labelled,
    validation: Labelled,
    held_out: bool,
) -> tuple[float, Float64]:
    """The ridge with the least loss on validation, and the scores it gave there."""
    found = {}
    for ridge in RIDGES:
        if held_out:
            found[ridge] = np.empty(len(learn.right))
            for out in _folds(learn):
                found[ridge][out] = score(fit(learn.known & ~out, ridge))[out]
        else:
            found[ridge] = score(fit(learn.known, ridge))
    known = validation.known
    best = min(found, key=lambda ridge: mean_log_loss(found[ridge][known], validation.right[known]))
    return best, found[best]


def _folds(learn: Labelled) -> list[Bools]:
    """Chains of every third problem, in turn."""
    return [learn.problem % FOLDS == fold for fold in range(FOLDS)]


def _keep(steps: StepRows, chains: Bools) -> StepRows:
    if chains.all():
        return steps
    number = np.cumsum(chains) - 1
    inside = chains[steps.chain]
    return StepRows(steps.values[inside], number[steps.chain[inside]], int(chains.sum()))
