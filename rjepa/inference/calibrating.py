"""Fit, on validation candidates only, how a release scores: alpha, beta, gamma, standardisation and P(correct).

The fits themselves live in `rjepa.inference.fitting`, what they make in `rjepa.inference.calibration`, and the rule
that only validation problems come here in `rjepa.evaluation.evaluating`.
"""

from collections.abc import Sequence
from itertools import product
from typing import Final, Literal

import numpy as np

from rjepa.arrays import Bools, Float64, Int64
from rjepa.errors import InvalidInputError
from rjepa.inference.aggregate import ENERGY_FEATURES, LOGPROB_FEATURES, Features
from rjepa.inference.calibration import ScoreCalibration, TermAttribution
from rjepa.inference.choice import Rule
from rjepa.inference.familiarity import fit_familiar_energy
from rjepa.inference.fitting import Pairs, fit_pairwise, fit_sharpness, make_pairs, pair_loss, win_rate
from rjepa.inference.probability import fit_probability
from rjepa.inference.score import CompositeScore, ScoreTerm, TermName
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import of_chosen

MINIMUM_MIXED: Final = 20
"""Problems with both right and wrong candidates. Three weights fitted on fewer are mostly noise."""

LENGTH_FEATURE: Final = "tokens"
_FITTED: Final = (*ENERGY_FEATURES, *LOGPROB_FEATURES, LENGTH_FEATURE)
_SYMBOLS: Final[dict[TermName, str]] = {"logprob": "alpha", "energy": "beta", "length": "gamma"}


def fit_calibration(
    candidates: CandidateTable, correct: Bools, *, minimum_mixed: int = MINIMUM_MIXED
) -> ScoreCalibration:
    """Fit every score on the candidates of validation problems.

    The log-probability and energy features are those with the lowest pairwise loss on validation, chosen for the
    baseline and for the combination separately; the energy alone takes the one with the best within-problem AUROC.

    Args:
        candidates: P problems with K candidates each.
        correct: whether the final answer is right, bool `[problems, candidates]`.

    Raises:
        InvalidInputError: fewer than `minimum_mixed` problems have both right and wrong candidates.
    """
    features, ids = candidates.features, candidates.ids
    table = _StandardisedFeatures(features, correct, _FITTED)
    if table.pairs.problems < max(minimum_mixed, 1):
        raise InvalidInputError(
            f"the calibration needs at least {minimum_mixed} validation problems with both right and wrong "
            f"candidates, found {table.pairs.problems} of {len(correct)}",
            cure="use more validation problems or candidates, or a student that is right on some and wrong on others",
        )
    energy = max(ENERGY_FEATURES, key=lambda name: win_rate(table.keep([name]), -np.ones(1)))
    baseline = _best_fit(table, ("logprob", "length"), [(logprob, LENGTH_FEATURE) for logprob in LOGPROB_FEATURES])
    combined = _best_fit(
        table,
        ("logprob", "energy", "length"),
        [(logprob, energy, LENGTH_FEATURE) for logprob, energy in product(LOGPROB_FEATURES, ENERGY_FEATURES)],
    )
    alone = CompositeScore(terms=(table.term("energy", energy, 1.0),))
    alone, baseline, combined = (
        score.model_copy(update={"sharpness": fit_sharpness(score.score(features), ids, correct)})
        for score in (alone, baseline, combined)
    )
    pairs, signed = table.score_pairs(combined)
    selection = _better_selection(combined, candidates, correct)
    return ScoreCalibration(
        energy=alone,
        logprob_length=baseline,
        combined=combined,
        selection=selection,
        fallback_selection=_better_selection(baseline, candidates, correct),
        familiar_energy=fit_familiar_energy(features),
        probability=fit_probability(combined, candidates, correct),
        probability_chosen=fit_probability(combined, candidates, correct, selection),
        attribution=_attribute(combined, table),
        auroc={
            "energy": win_rate(*table.score_pairs(alone)),
            "logprob_length": win_rate(*table.score_pairs(baseline)),
            "combined": win_rate(pairs, signed),
        },
        loss=pair_loss(pairs, signed),
        problems=len(correct),
        mixed_problems=pairs.problems,
        num_candidates=correct.shape[1],
    )


def fit_alone(features: Features, correct: Bools, ids: Int64, name: str, sign: float = 1.0) -> CompositeScore:
    """One feature as a score, standardised, with the sharpness at which it weighs votes best.

    Args:
        features: at least `name`, float64 `[problems, candidates]`.
        sign: -1 for a feature of which less is better.
    """
    alone = CompositeScore(terms=(_StandardisedFeatures(features, correct, [name]).term("rival", name, sign),))
    return alone.model_copy(update={"sharpness": fit_sharpness(alone.score(features), ids, correct)})


def fit_with_logprob(features: Features, correct: Bools, ids: Int64, name: str) -> CompositeScore:
    """What R-JEPA's energy is given in `combined`, for another score: the best log-probability feature and length."""
    table = _StandardisedFeatures(features, correct, [name, *LOGPROB_FEATURES, LENGTH_FEATURE])
    choices = [(logprob, name, LENGTH_FEATURE) for logprob in LOGPROB_FEATURES]
    combined = _best_fit(table, ("logprob", "rival", "length"), choices)
    return combined.model_copy(update={"sharpness": fit_sharpness(combined.score(features), ids, correct)})


class _StandardisedFeatures:
    """Features with mean 0 and deviation 1 over all candidates that have a value, and their (right, wrong) pairs."""

    def __init__(self, features: Features, correct: Bools, names: Sequence[str]) -> None:
        self._names = list(names)
        self._moments: dict[str, tuple[float, float]] = {}
        for name in self._names:
            known = features[name][np.isfinite(features[name])]
            spread = float(known.std()) if known.size else 0.0
            # A constant feature says nothing: left unscaled, its standardised value is 0.
            self._moments[name] = (float(known.mean()) if known.size else 0.0, spread if spread > 1e-12 else 1.0)
        columns = [(features[name] - center) / scale for name, (center, scale) in self._moments.items()]
        self.pairs = make_pairs(np.stack(columns, axis=-1), correct)

    def term(self, term: TermName, feature: str, weight: float) -> ScoreTerm:
        center, scale = self._moments[feature]
        return ScoreTerm(term=term, feature=feature, weight=weight, center=center, scale=scale)

    def keep(self, names: Sequence[str]) -> Pairs:
        return self.pairs.keep([self._names.index(name) for name in names])

    def score_pairs(self, score: CompositeScore) -> tuple[Pairs, Float64]:
        """Pairs of a score's features, and its weights with their signs."""
        return self.keep([part.feature for part in score.terms]), _signs(
            [part.term for part in score.terms]
        ) * np.array([part.weight for part in score.terms])


def _signs(terms: Sequence[TermName]) -> Float64:
    return np.array([-1.0 if term == "energy" else 1.0 for term in terms])


def _best_fit(
    table: _StandardisedFeatures, terms: tuple[TermName, ...], choices: Sequence[tuple[str, ...]]
) -> CompositeScore:
    """The fit with the lowest loss among choices of features, one feature a term."""
    fits = [(*fit_pairwise(table.keep(names)), names) for names in choices]
    weights, _, names = min(fits, key=lambda fit: fit[1])
    return CompositeScore(
        terms=tuple(
            table.term(term, name, float(weight))
            for term, name, weight in zip(terms, names, _signs(terms) * weights, strict=True)
        )
    )


def _better_selection(score: CompositeScore, table: CandidateTable, correct: Bools) -> Literal["best_of", "vote"]:
    best, vote = (
        float(of_chosen(correct, Rule(score, selection).apply(table).chosen).mean())
        for selection in ("best_of", "vote")
    )
    return "best_of" if best > vote else "vote"


def _attribute(score: CompositeScore, table: _StandardisedFeatures) -> tuple[TermAttribution, ...]:
    pairs, signed = table.score_pairs(score)
    movement = np.abs(signed) * np.sqrt(pairs.weights @ pairs.differences**2)
    shares = movement / movement.sum() if movement.sum() > 0 else np.zeros_like(movement)
    parts = []
    for position, part in enumerate(score.terms):
        others = pairs.keep([column for column in range(len(score.terms)) if column != position])
        weights, loss = fit_pairwise(others)
        parts.append(
            TermAttribution(
                term=part.term,
                symbol=_SYMBOLS[part.term],
                feature=part.feature,
                weight=part.weight,
                share=float(shares[position]),
                auroc_without=win_rate(others, weights),
                loss_without=loss,
            )
        )
    return tuple(parts)
