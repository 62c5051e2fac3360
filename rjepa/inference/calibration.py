"""Fit, on validation candidates only, how a release scores: alpha, beta, gamma, standardisation and P(correct).

Three scores are fitted side by side: the energy alone, the best combination without R-JEPA (log-probability and
length: the fair baseline) and the combination with it. The fits themselves live in `rjepa.inference.fitting`, the
use of a score in `rjepa.inference.rerank`, and the rule that only validation problems come here in
`rjepa.evaluation.evaluating`.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from rjepa.errors import CorruptError, InvalidInputError
from rjepa.files import read_json, write_json
from rjepa.inference.aggregate import ENERGY_FEATURES, LOGPROB_FEATURES, Features, FloatArray
from rjepa.inference.familiarity import FAMILIAR_FEATURE, fit_familiar_energy, is_familiar
from rjepa.inference.fitting import Pairs, fit_pairwise, fit_sharpness, make_pairs, pair_loss, win_rate
from rjepa.inference.probability import (
    PROBLEM_FEATURES,
    ProbabilityModel,
    answer_inputs,
    fit_probability,
    is_handed_out,
)
from rjepa.inference.rerank import (
    CompositeScore,
    FrozenValue,
    Ranking,
    ScoreTerm,
    Selection,
    TermName,
    choose,
    rank_candidates,
)
from rjepa.inference.voting import NO_ANSWER, BoolArray, IntArray, answer_ids, of_chosen
from rjepa.schemas import Candidate

ScoreName = Literal["energy", "logprob_length", "combined"]

MINIMUM_MIXED: Final = 20
"""Problems with both right and wrong candidates. Three weights fitted on fewer are mostly noise."""

LENGTH_FEATURE: Final = "tokens"
_FITTED: Final = (*ENERGY_FEATURES, *LOGPROB_FEATURES, LENGTH_FEATURE)
_SYMBOLS: Final[dict[TermName, str]] = {"logprob": "alpha", "energy": "beta", "length": "gamma"}


class TermAttribution(FrozenValue):
    """What one term of the combination is worth, on validation."""

    term: TermName
    symbol: str
    feature: str
    weight: float
    share: float = Field(description="of the score's movement within problems: |weight| times the feature's spread")
    auroc_without: float = Field(description="within-problem AUROC of the other terms, refitted")
    loss_without: float = Field(description="pairwise loss of the other terms, refitted")


class ScoreCalibration(FrozenValue):
    """Everything a release needs to score and choose, and what it looked like on validation."""

    energy: CompositeScore
    logprob_length: CompositeScore
    combined: CompositeScore
    selection: Literal["best_of", "vote"] = Field(description="better of the two for `combined`, on validation")
    fallback_selection: Literal["best_of", "vote"] = Field("best_of", description="the same for `logprob_length`")
    familiar_energy: float | None = Field(
        None, description="problems with more are handed out by `logprob_length`; None (older releases): none are"
    )
    probability: tuple[ProbabilityModel, ...] = Field(min_length=1, description="one a number of candidates, ascending")
    probability_handed_out: tuple[ProbabilityModel, ...] = Field(
        (), description="the same for the answer handed out; releases made before this was known have none"
    )
    attribution: tuple[TermAttribution, ...]
    auroc: dict[ScoreName, float] = Field(description="within-problem AUROC on validation, in sample")
    loss: float = Field(description="pairwise loss of `combined` on validation, in nats")
    step_threshold: float | None = Field(
        None, description="a step with more energy is named as wrong: best F1 on validation chains with judged steps"
    )
    problems: int
    mixed_problems: int
    num_candidates: int

    def save(self, path: Path) -> None:
        """Atomically write as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> "ScoreCalibration":
        """Read what `save` wrote.

        Raises:
            NotFoundError: there is no such file.
            CorruptError: it is not a calibration.
        """
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise CorruptError(
                f"{path} is not a score calibration ({error.error_count()} fields do not fit)",
                cure="materialise the calibration again",
            ) from error

    def score(self, name: ScoreName) -> CompositeScore:
        return {"energy": self.energy, "logprob_length": self.logprob_length, "combined": self.combined}[name]

    def is_familiar(self, features: Features) -> BoolArray:
        """Which problems are of a kind that R-JEPA was calibrated on, bool `[problems]`."""
        return is_familiar(features, self.familiar_energy)

    def hand_out(self, features: Features, ids: IntArray) -> tuple[IntArray, FloatArray]:
        """What is served: by `combined` for familiar problems, without R-JEPA for the others.

        Returns:
            Indices of the chosen candidates, int64 `[problems]`, and the scores they were chosen by, float64
            `[problems, candidates]`.
        """
        chosen, scores = _choose(self.combined, self.selection, features, ids)
        plain, plain_scores = _choose(self.logprob_length, self.fallback_selection, features, ids)
        familiar = self.is_familiar(features)
        return np.where(familiar, chosen, plain), np.where(familiar[:, None], scores, plain_scores)

    def p_correct(self, features: Features, ids: IntArray) -> FloatArray:
        """P(each candidate's final answer is right), float64 `[problems, candidates]`; 0 without an answer.

        It was fitted to familiar problems, and is wrong elsewhere: `rank` withholds it there.
        There is one model for each number of candidates up to 16; the nearest one below is used. The answer that the
        fitted score and selection hand out has models of its own.
        """
        inputs = answer_inputs(self.combined, features, ids)
        chances = _nearest(self.probability, ids.shape[1]).probability(inputs)
        if self.probability_handed_out:
            chosen = is_handed_out(self.combined, features, ids, self.selection)
            chances = np.where(chosen, _nearest(self.probability_handed_out, ids.shape[1]).probability(inputs), chances)
        return np.where(ids == NO_ANSWER, 0.0, chances)

    def rank(
        self,
        candidates: Sequence[Candidate],
        energies: Sequence[npt.ArrayLike],
        *,
        score: ScoreName = "combined",
        selection: Selection | None = None,
        top_k: int = 4,
        weights: dict[TermName, float] | None = None,
    ) -> Ranking:
        """Rank the candidates of one problem, choose one, with P(correct) of each.

        A problem of a kind that R-JEPA does not know is ranked without it, and P(correct) is None: nobody has measured
        it there. That holds for the fitted `combined` only; a caller who names another score or weights gets those.

        Args:
            candidates: at least one.
            energies: of each candidate's segments 1..
            selection: None for the one that did better on validation.
            weights: replaces alpha (`logprob`), beta (`energy`) or gamma (`length`). P(correct) keeps the fitted ones.

        Raises:
            ValueError: no candidate, lists of different lengths, or a weight of a term the score does not have.
        """
        ranking = rank_candidates(
            candidates,
            energies,
            self.score(score).reweighted(**(weights or {})),
            selection=selection or self.selection,
            top_k=top_k,
        )
        names = {FAMILIAR_FEATURE, *PROBLEM_FEATURES, *(part.feature for part in self.combined.terms)}
        features = {
            name: np.array([[item.features.get(name, np.nan) for item in ranking.candidates]]) for name in names
        }
        if score == "combined" and not weights and not self.is_familiar(features)[0]:
            plain = rank_candidates(
                candidates, energies, self.logprob_length, selection=selection or self.fallback_selection, top_k=top_k
            )
            return plain.model_copy(update={"familiar": False})
        ids = answer_ids([[candidate.final_answer for candidate in candidates]])
        chances = self.p_correct(features, ids)[0]
        ranked = tuple(
            item.model_copy(update={"p_correct": float(chance)})
            for item, chance in zip(ranking.candidates, chances, strict=True)
        )
        return ranking.model_copy(update={"candidates": ranked})


def fit_calibration(
    features: Features, correct: BoolArray, ids: IntArray, *, minimum_mixed: int = MINIMUM_MIXED
) -> ScoreCalibration:
    """Fit every score on the candidates of validation problems.

    The log-probability and energy features are those with the lowest pairwise loss on validation, chosen for the
    baseline and for the combination separately; the energy alone takes the one with the best within-problem AUROC.

    Args:
        features: each of `FEATURES`, float64 `[problems, candidates]`.
        correct: whether the final answer is right, bool, same shape.
        ids: answers, as from `rjepa.inference.voting.answer_ids`, same shape.

    Raises:
        InvalidInputError: fewer than `minimum_mixed` problems have both right and wrong candidates.
    """
    table = _Table(features, correct, _FITTED)
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
    selection = _better_selection(combined, features, ids, correct)
    return ScoreCalibration(
        energy=alone,
        logprob_length=baseline,
        combined=combined,
        selection=selection,
        fallback_selection=_better_selection(baseline, features, ids, correct),
        familiar_energy=fit_familiar_energy(features),
        probability=fit_probability(combined, features, ids, correct),
        probability_handed_out=fit_probability(combined, features, ids, correct, selection),
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


def fit_alone(features: Features, correct: BoolArray, ids: IntArray, name: str, sign: float = 1.0) -> CompositeScore:
    """One feature as a score, standardised, with the sharpness at which it weighs votes best.

    Args:
        features: at least `name`, float64 `[problems, candidates]`.
        sign: -1 for a feature of which less is better.
    """
    alone = CompositeScore(terms=(_Table(features, correct, [name]).term("rival", name, sign),))
    return alone.model_copy(update={"sharpness": fit_sharpness(alone.score(features), ids, correct)})


def fit_with_logprob(features: Features, correct: BoolArray, ids: IntArray, name: str) -> CompositeScore:
    """What R-JEPA's energy is given in `combined`, for another score: the best log-probability feature and length."""
    table = _Table(features, correct, [name, *LOGPROB_FEATURES, LENGTH_FEATURE])
    choices = [(logprob, name, LENGTH_FEATURE) for logprob in LOGPROB_FEATURES]
    combined = _best_fit(table, ("logprob", "rival", "length"), choices)
    return combined.model_copy(update={"sharpness": fit_sharpness(combined.score(features), ids, correct)})


def _nearest(models: Sequence[ProbabilityModel], candidates: int) -> ProbabilityModel:
    """The model for so many candidates, or the next below."""
    return next((model for model in reversed(models) if model.num_candidates <= candidates), models[0])


class _Table:
    """Features with mean 0 and deviation 1 over all candidates that have a value, and their (right, wrong) pairs."""

    def __init__(self, features: Features, correct: BoolArray, names: Sequence[str]) -> None:
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

    def score_pairs(self, score: CompositeScore) -> tuple[Pairs, FloatArray]:
        """Pairs of a score's features, and its weights with their signs."""
        return self.keep([part.feature for part in score.terms]), _signs(
            [part.term for part in score.terms]
        ) * np.array([part.weight for part in score.terms])


def _signs(terms: Sequence[TermName]) -> FloatArray:
    return np.array([-1.0 if term == "energy" else 1.0 for term in terms])


def _best_fit(table: _Table, terms: tuple[TermName, ...], choices: list[tuple[str, ...]]) -> CompositeScore:
    """The fit with the lowest loss among choices of features, one feature a term."""
    fits = [(*fit_pairwise(table.keep(names)), names) for names in choices]
    weights, _, names = min(fits, key=lambda fit: fit[1])
    return CompositeScore(
        terms=tuple(
            table.term(term, name, float(weight))
            for term, name, weight in zip(terms, names, _signs(terms) * weights, strict=True)
        )
    )


def _choose(
    score: CompositeScore, selection: Selection, features: Features, ids: IntArray
) -> tuple[IntArray, FloatArray]:
    """Chosen candidates `[problems]`, and the score of each `[problems, candidates]`."""
    scores = score.score(features)
    return choose(ids, scores, selection, sharpness=score.sharpness)[0], scores


def _better_selection(
    score: CompositeScore, features: Features, ids: IntArray, correct: BoolArray
) -> Literal["best_of", "vote"]:
    best, vote = (
        of_chosen(correct, _choose(score, selection, features, ids)[0]).mean() for selection in ("best_of", "vote")
    )
    return "best_of" if best > vote else "vote"


def _attribute(score: CompositeScore, table: _Table) -> tuple[TermAttribution, ...]:
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
