"""What an evaluation found, as plain values with a JSON form. How it is found: `rjepa.evaluation.evaluating`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from rjepa.errors import CorruptError
from rjepa.evaluation.leaderboard import Leaderboard
from rjepa.files import read_json, write_json
from rjepa.inference.calibration import TermAttribution
from rjepa.inference.rerank import FrozenValue


class Comparison(FrozenValue):
    """Two methods on the same problems: paired bootstrap of the difference, and McNemar's exact test."""

    method: str
    against: str
    domain: str
    problems: int
    difference: float = Field(description="accuracy of `method` minus accuracy of `against`")
    ci_low: float
    ci_high: float
    p_bootstrap: float
    p_bootstrap_holm: float = Field(description="adjusted over the comparisons of this domain")
    only_method: int = Field(description="problems that only `method` got right")
    only_against: int
    p_mcnemar: float
    p_mcnemar_holm: float


class Bin(FrozenValue):
    """One bin of the reliability curve."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


class ProbabilityReport(FrozenValue):
    """P(correct) of the answer handed out, one a problem."""

    ece: float
    ece_by_chance: float = Field(description="ECE of perfect probabilities on as many answers: the floor")
    aurc: float = Field(description="area under risk against coverage; lower is better")
    bins: tuple[Bin, ...]


class CurvePoint(FrozenValue):
    """Accuracy of a method that is given only the first k samples."""

    method: str
    label: str
    k: int
    accuracy: float
    ci_low: float
    ci_high: float


class FeatureRow(FrozenValue):
    """One feature alone as a score (energies negated), on the test problems."""

    feature: str
    within_auroc: float | None
    pooled_auroc: float | None
    best_of: float = Field(description="accuracy of the best of K by this feature")


class TermEffect(FrozenValue):
    """One term of the combination: its worth on validation, and what its removal costs on the test problems."""

    validation: TermAttribution
    accuracy_without: float
    within_auroc_without: float | None


class Histogram(FrozenValue):
    """Counts of the chosen energy feature for candidates with right and wrong answers, over the same bins."""

    feature: str
    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]


class FirstErrorReport(FrozenValue):
    """Do first wrong steps have more energy than the right steps before them and in right chains?"""

    domain: str
    auroc: float | None
    position_auroc: float | None = Field(description="control: the step's position alone")
    chains: int = Field(description="chains with a located first error")
    segments: int
    unaligned: int = Field(description="chains left out: their error lies beyond their last segment")


class GalleryCandidate(FrozenValue):
    """One candidate as the gallery shows it. Text was written by a model: escape it."""

    sample_index: int
    steps: tuple[str, ...]
    final_answer: str | None
    is_correct: bool
    first_error_step: int | None
    reason: str
    energies: tuple[float, ...]
    score: float | None
    p_correct: float
    chosen: bool
    chosen_by_majority: bool


class GalleryItem(FrozenValue):
    """One problem worth looking at."""

    kind: Literal["lost", "won", "missed"] = Field(
        description="R-JEPA + log-probability lost what majority had right, won what it had wrong, "
        "or both missed a right candidate"
    )
    problem_id: str
    domain: str
    statement: str
    answer_gold: str | None
    candidates: tuple[GalleryCandidate, ...]


class EvaluationResult(FrozenValue):
    """Everything the report shows."""

    leaderboard: Leaderboard
    comparisons: tuple[Comparison, ...]
    best_logprob: str = Field(description="the log-probability score that did best on these very problems")
    selection: Literal["best_of", "vote"] = Field(description="how the calibration hands out an answer")
    probability: ProbabilityReport
    curve: tuple[CurvePoint, ...]
    features: tuple[FeatureRow, ...]
    terms: tuple[TermEffect, ...]
    histogram: Histogram
    first_error: tuple[FirstErrorReport, ...] = Field(description='"all" first, then by domain')
    gallery: tuple[GalleryItem, ...]
    problems: int
    mixed_problems: int
    unjudged_problems: int = Field(description="left out: no gold answer")
    num_candidates: int
    seed: int

    def save(self, path: Path) -> None:
        """Atomically write as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> "EvaluationResult":
        """Read what `save` wrote.

        Raises:
            NotFoundError: there is no such file.
            CorruptError: it is not an evaluation.
        """
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise CorruptError(
                f"{path} is not an evaluation ({error.error_count()} fields do not fit)",
                cure="materialise the benchmark report again",
            ) from error
