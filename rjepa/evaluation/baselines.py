"""Every way of choosing an answer from the same candidates, R-JEPA's among them.

A method turns features into a choice; it never sees which candidate is right. Accuracies and intervals are
worked out in `rjepa.evaluation.leaderboard`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from rjepa.arrays import Bools, Float64, Int64
from rjepa.evaluation.pool import CandidatePool
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.choice import choose
from rjepa.inference.score import CompositeScore
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import of_chosen, vote_shares

Group = Literal["free", "fitted", "label_free", "supervised", "rjepa", "ceiling"]
"""free: nothing is fitted but how sharply a score weighs votes; fitted: weights of log-probability and length;
label_free: fitted to right training chains; supervised: fitted to labelled candidates."""

GROUPS: Final[tuple[Group, ...]] = ("free", "fitted", "label_free", "supervised", "rjepa", "ceiling")
"""The order of the leaderboard."""


@dataclass(frozen=True)
class Method:
    """One row of the leaderboard: its key, its name for people, and what it needs."""

    key: str
    label: str
    group: Group

    def variant(self, suffix: str, words: str) -> "Method":
        """The same score used in another way: `majority` weights, with log-probability."""
        return Method(f"{self.key}_{suffix}", f"{self.label}{words}", self.group)


METHODS: Final = (
    Method("greedy", "Greedy", "free"),
    Method("mean_at_1", "One sample (mean@1)", "free"),
    Method("majority", "Majority", "free"),
    Method("shortest", "Shortest", "free"),
    Method("logprob_sum", "Log-probability, sum", "free"),
    Method("logprob_mean", "Log-probability, mean", "free"),
    Method("logprob_min", "Log-probability, minimum", "free"),
    Method("logprob_tail", "Log-probability, tail", "free"),
    Method("self_certainty", "Self-certainty", "free"),
    Method("logprob_length", "Log-probability + length", "fitted"),
    Method("logprob_length_vote", "Log-probability + length, weighted vote", "fitted"),
    Method("rjepa", "R-JEPA", "rjepa"),
    Method("rjepa_vote", "R-JEPA, weighted vote", "rjepa"),
    Method("rjepa_logprob", "R-JEPA + log-probability", "rjepa"),
    Method("rjepa_logprob_vote", "R-JEPA + log-probability, weighted vote", "rjepa"),
    Method("rjepa_logprob_served", "R-JEPA + log-probability, as served", "rjepa"),
    Method("oracle", "Oracle (pass@K)", "ceiling"),
)
METHOD: Final = {method.key: method for method in METHODS}

VOTE: Final = ("vote", ", weighted vote")
WITH_LOGPROB: Final = ("logprob", " + log-probability")
SERVED: Final = ("served", ", as served")
"""By the selection that did better on validation, and without R-JEPA where it knows no such problems."""

SINGLE_LOGPROB: Final = ("logprob_sum", "logprob_mean", "logprob_min", "logprob_tail")
"""The unfitted log-probability scores: R-JEPA is tested against whichever does best on the test problems themselves."""


def is_headline(key: str, group: Group) -> bool:
    """Whether a row is shown where there is little room: all but the votes made of a baseline's score, unless in
    `METHODS`. A baseline with log-probability is shown: R-JEPA with log-probability stands beside it.
    """
    return key in METHOD or group == "rjepa" or not key.endswith(f"_{VOTE[0]}")


@dataclass(frozen=True)
class Choice:
    """What a method chose.

    Attributes:
        method: what chose.
        correct: float64 `[problems]`: 1 where the chosen answer is right (a mean over samples for mean@1).
        chosen: int64 `[problems]`, or None where no single candidate is chosen.
        scores: float64 `[problems, candidates]`, higher is better, or None where candidates are not scored.
        tokens: float64 `[problems]`, tokens generated to get the answer.
    """

    method: Method
    correct: Float64
    chosen: Int64 | None
    scores: Float64 | None
    tokens: Float64

    @property
    def indices(self) -> Int64:
        """`chosen` of a method that chooses one candidate.

        Raises:
            ValueError: this method chooses none.
        """
        if self.chosen is None:
            raise ValueError(f"{self.method.key} chooses no single candidate")
        return self.chosen

    @property
    def ranking(self) -> Float64:
        """`scores` of a method that scores candidates.

        Raises:
            ValueError: this method scores none.
        """
        if self.scores is None:
            raise ValueError(f"{self.method.key} scores no candidates")
        return self.scores


@dataclass(frozen=True)
class JudgedTable(CandidateTable):
    """A pool's sampled candidates with what is right: `correct` is bool `[problems, candidates]`."""

    correct: Bools

    @classmethod
    def of(cls, pool: CandidatePool) -> "JudgedTable":
        """The table of a pool."""
        return cls(pool.features, pool.ids, pool.correct)


@dataclass(frozen=True)
class RivalFit:
    """A score beside R-JEPA's, as fitted on validation: alone and, where it is given that too, with log-probability and
    length. `is_new` is False for a score that is in `METHODS` already: then only its vote is added.
    """

    method: Method
    alone: CompositeScore
    combined: CompositeScore | None = None
    is_new: bool = True


@dataclass(frozen=True)
class Variant:
    """One R-JEPA in a leaderboard: its method (the energy alone), the candidates with its energies, its calibration."""

    method: Method
    table: JudgedTable
    calibration: ScoreCalibration

    def part(self, start: int, stop: int) -> "Variant":
        """Only these samples of each problem."""
        return Variant(self.method, self.table.part(start, stop), self.calibration)

    @property
    def combined(self) -> Method:
        """The method with log-probability."""
        return self.method.variant(*WITH_LOGPROB)

    @property
    def served(self) -> Method:
        """What a release of it serves."""
        return self.combined.variant(*SERVED)

    @property
    def selected(self) -> str:
        """Key of best of K or weighted vote, whichever did better on validation."""
        return self.combined.key if self.calibration.selection == "best_of" else f"{self.combined.key}_{VOTE[0]}"


def choose_by_each(
    table: JudgedTable,
    calibration: ScoreCalibration,
    rivals: Sequence[RivalFit] = (),
    method: Method = METHOD["rjepa"],
) -> dict[str, Choice]:
    """The choice of every method that works on samples alone (all but greedy), by key, in the leaderboard's order.

    Args:
        rivals: further scores, whose features the table holds.
        method: the name under which R-JEPA's energy alone appears.
    """
    features, heads = table.features, vote_shares(table.ids)
    single = {"shortest": -features["tokens"], "self_certainty": features["self_certainty"]}
    single |= {name: features[name] for name in SINGLE_LOGPROB}
    choices = {
        "mean_at_1": Choice(
            METHOD["mean_at_1"],
            np.asarray(table.correct.mean(axis=1)),
            None,
            None,
            np.asarray(features["tokens"].mean(axis=1)),
        ),
        "majority": _choice(table, METHOD["majority"], choose(table.ids, heads, "majority")[0], heads),
        "oracle": Choice(
            METHOD["oracle"], np.asarray(table.correct.any(axis=1), dtype=np.float64), None, None, _tokens(table)
        ),
    }
    for name, scores in single.items():
        clean = np.where(np.isfinite(scores), scores, -np.inf)
        choices[name] = _choice(table, METHOD[name], choose(table.ids, clean, "best_of")[0], clean)
    choices |= _best_and_vote(table, METHOD["logprob_length"], calibration.logprob_length)
    choices |= choose_by_rjepa(Variant(method, table, calibration))
    for rival in rivals:
        both = _best_and_vote(table, rival.method, rival.alone)
        choices |= both if rival.is_new else {key: choices.get(key, choice) for key, choice in both.items()}
        if rival.combined is not None:
            choices |= _best_and_vote(table, rival.method.variant(*WITH_LOGPROB), rival.combined)
    return in_order(choices)


def choose_by_rjepa(variant: Variant) -> dict[str, Choice]:
    """The choices of one R-JEPA: its energy alone and with log-probability and length, best of K and weighted vote, and
    as served.
    """
    table, calibration = variant.table, variant.calibration
    choices = _best_and_vote(table, variant.method, calibration.energy)
    choices |= _best_and_vote(table, variant.combined, calibration.combined)
    decided = calibration.decide(table).choice
    served = _choice(table, variant.served, decided.chosen, decided.scores)
    return choices | {variant.served.key: served}


def in_order(choices: Mapping[str, Choice]) -> dict[str, Choice]:
    """By group, as `GROUPS`; inside a group those of `METHODS` in their order, then the others as they came, and each
    weighted vote right behind its score.
    """
    known = {method.key: place for place, method in enumerate(METHODS)}
    came = {key: place for place, key in enumerate(choices)}

    def place(key: str) -> tuple[int, int, int, bool]:
        base = key.removesuffix(f"_{VOTE[0]}")
        group = GROUPS.index(choices[key].method.group)
        return group, known.get(base, len(known)), came.get(base, came[key]), base != key

    return {key: choices[key] for key in sorted(choices, key=place)}


def choose_greedily(pool: CandidatePool) -> Choice:
    """The greedy chain of each problem."""
    return Choice(METHOD["greedy"], pool.greedy_correct.astype(np.float64), None, None, pool.greedy_tokens)


def _best_and_vote(table: JudgedTable, method: Method, score: CompositeScore) -> dict[str, Choice]:
    voting, scores = method.variant(*VOTE), score.score(table.features)
    best, _ = choose(table.ids, scores, "best_of")
    vote, shares = choose(table.ids, scores, "vote", sharpness=score.sharpness)
    return {method.key: _choice(table, method, best, scores), voting.key: _choice(table, voting, vote, shares)}


def _choice(table: JudgedTable, method: Method, chosen: Int64, scores: Float64) -> Choice:
    correct = of_chosen(table.correct, chosen)
    return Choice(method, correct.astype(np.float64), chosen, scores, _tokens(table))


def _tokens(table: JudgedTable) -> Float64:
    return np.asarray(table.features["tokens"].sum(axis=1), dtype=np.float64)
