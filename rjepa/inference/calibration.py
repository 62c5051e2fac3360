"""What a release needs to score and choose, and the one decision that it makes of a table of candidates.

Three scores stand side by side: the energy alone, the best combination without R-JEPA (log-probability and length: the
fair baseline) and the combination with it. They are fitted in `rjepa.inference.calibrating`, on validation problems
only; a decision is put into words in `rjepa.inference.ranking`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool
from pydantic import Field, ValidationError

from rjepa.arrays import Bools
from rjepa.errors import CorruptError
from rjepa.files import read_json, write_json
from rjepa.inference.aggregate import Features
from rjepa.inference.choice import Choice, Rule
from rjepa.inference.familiarity import is_familiar
from rjepa.inference.prefix import PrefixCalibration
from rjepa.inference.probability import ProbabilityModel, answer_inputs, gives_chosen_answer
from rjepa.inference.risk import RiskTable
from rjepa.inference.score import CompositeScore, TermName
from rjepa.inference.surprise import StepEnergies, share_of_right_steps_below
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import NO_ANSWER, Chosen, Scores
from rjepa.values import FrozenValue

ScoreName = Literal["energy", "logprob_length", "combined"]


class TermAttribution(FrozenValue):
    """What one term of the combination is worth, on validation."""

    term: TermName
    symbol: str
    feature: str
    weight: float
    share: float = Field(description="of the score's movement within problems: |weight| times the feature's spread")
    auroc_without: float = Field(description="within-problem AUROC of the other terms, refitted")
    loss_without: float = Field(description="pairwise loss of the other terms, refitted")


@dataclass(frozen=True)
class Decision:
    """What a calibration makes of a table.

    Attributes:
        choice: what is served.
        familiar: whether R-JEPA took part.
        p_correct: P(each candidate's final answer is right): 0 without an answer, NaN
            for problems of a kind that R-JEPA does not know, as it is not measured there.
        rules: the rule of familiar problems, and that of the others.
    """

    choice: Choice
    familiar: Bool[Bools, " problems"]
    p_correct: Scores
    rules: tuple[Rule, Rule]

    @property
    def chosen(self) -> Chosen:
        """Index of the candidate that is served, of each problem."""
        return self.choice.chosen

    def rule_of(self, problem: int) -> Rule:
        """The rule that a problem's candidate was chosen by."""
        return self.rules[0] if self.familiar[problem] else self.rules[1]


class ScoreCalibration(FrozenValue):
    """Everything a release needs to score and choose, and what it looked like on validation."""

    energy: CompositeScore
    logprob_length: CompositeScore
    combined: CompositeScore
    selection: Literal["best_of", "vote"] = Field(description="better of the two for `combined`, on validation")
    fallback_selection: Literal["best_of", "vote"] = Field("best_of", description="the same for `logprob_length`")
    familiar_energy: tuple[float, ...] = Field(
        (), description="by 1, 2, ... candidates: problems with more are chosen from by `logprob_length`; none: no such"
    )
    probability: tuple[ProbabilityModel, ...] = Field(min_length=1, description="one a number of candidates, ascending")
    probability_chosen: tuple[ProbabilityModel, ...] = Field(
        min_length=1, description="the same for the answer that `combined` chooses"
    )
    attribution: tuple[TermAttribution, ...]
    auroc: dict[ScoreName, float] = Field(description="within-problem AUROC on validation, in sample")
    loss: float = Field(description="pairwise loss of `combined` on validation, in nats")
    step_threshold: float | None = Field(
        None, description="a step with more energy is named as wrong: best F1 on validation chains with judged steps"
    )
    step_quantiles: tuple[float, ...] = Field(
        (), description="energies that 0 %, 1 %, ..., 100 % of right validation steps do not exceed; none: not known"
    )
    risk: RiskTable = Field(RiskTable(), description="what answering at a P(correct) came to, for the risk dial")
    step_energies: tuple[StepEnergies, ...] = Field((), description="of validation steps, in each domain")
    prefix: PrefixCalibration = Field(PrefixCalibration(), description="P(correct) of chains that are not whole yet")
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
        """One of the three scores."""
        return {"energy": self.energy, "logprob_length": self.logprob_length, "combined": self.combined}[name]

    def share_of_right_steps_below(self, energy: float) -> float | None:
        """Share of right steps that have less energy than this one; None where the release does not know."""
        return share_of_right_steps_below(self.step_quantiles, energy)

    def is_familiar(self, features: Features) -> Bool[Bools, " problems"]:
        """Which problems are of a kind that R-JEPA was calibrated on."""
        return is_familiar(features, self.familiar_energy)

    def decide(self, table: CandidateTable, rule: Rule | None = None) -> Decision:
        """Choose a candidate of each problem, with P(correct) of each.

        Familiar problems are chosen from by `combined`, the others by `logprob_length`, without R-JEPA.

        Args:
            table: the candidates.
            rule: replaces all of that: it chooses for every problem, familiar or not. P(correct) stays the fitted one.
        """
        if rule is not None:
            everywhere = np.ones(len(table.ids), dtype=bool)
            return Decision(rule.apply(table), everywhere, self.p_correct(table), (rule, rule))
        rules = (Rule(self.combined, self.selection), Rule(self.logprob_length, self.fallback_selection))
        familiar, with_rjepa, without = self.is_familiar(table.features), *(each.apply(table) for each in rules)
        column = familiar[:, None]
        choice = Choice(
            chosen=np.where(familiar, with_rjepa.chosen, without.chosen),
            scores=np.where(column, with_rjepa.scores, without.scores),
            values=np.where(column, with_rjepa.values, without.values),
        )
        chances = np.where(column, self.p_correct(table), np.nan)
        return Decision(choice, familiar, chances, rules)

    def p_correct(self, table: CandidateTable) -> Scores:
        """P(each candidate's final answer is right); 0 without an answer.

        It was fitted to familiar problems, and is wrong elsewhere: `decide` withholds it there.
        There is one model for each number of candidates up to 16; the nearest one below is used. The answer that the
        fitted score and selection choose has models of its own.
        """
        any_answer = _nearest(self.probability, table.num_candidates)
        chosen_answer = _nearest(self.probability_chosen, table.num_candidates)
        inputs = answer_inputs(self.combined, table, any_answer.problem_features)
        chances = np.where(
            gives_chosen_answer(Rule(self.combined, self.selection), table),
            chosen_answer.probability(inputs),
            any_answer.probability(inputs),
        )
        return np.where(table.ids == NO_ANSWER, 0.0, chances)


def _nearest(models: Sequence[ProbabilityModel], candidates: int) -> ProbabilityModel:
    """The model for so many candidates, or the next below."""
    return next((model for model in reversed(models) if model.num_candidates <= candidates), models[0])
