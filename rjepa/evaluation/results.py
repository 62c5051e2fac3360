"""What an evaluation found, as plain values with a JSON form. How it is found: `rjepa.evaluation.evaluating`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from rjepa.errors import CorruptError
from rjepa.evaluation.leaderboard import Leaderboard
from rjepa.evaluation.promises import KeptPromise
from rjepa.evaluation.trials import TrialRow
from rjepa.files import read_json, write_json
from rjepa.inference.calibration import TermAttribution
from rjepa.inference.prefix import StepReliability
from rjepa.values import FrozenValue


class Comparison(FrozenValue):
    """Two methods on the same problems: paired bootstrap of the difference and, of accuracies, McNemar's exact test.

    p-values are adjusted (Holm) over one family: all comparisons of one R-JEPA by one metric in one domain.
    """

    method: str
    against: str
    label: str = ""
    against_label: str = ""
    metric: Literal["accuracy", "within_auroc"] = "accuracy"
    domain: str
    problems: int = Field(description="that both have a value for: for within_auroc those with right and wrong ones")
    difference: float = Field(description="of `method` minus of `against`")
    ci_low: float
    ci_high: float
    p_bootstrap: float
    p_bootstrap_holm: float
    only_method: int | None = Field(None, description="problems that only `method` got right")
    only_against: int | None = None
    p_mcnemar: float | None = None
    p_mcnemar_holm: float | None = None


class Bin(FrozenValue):
    """One bin of the reliability curve."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


class ProbabilityReport(FrozenValue):
    """P(correct) of the answer chosen with R-JEPA, one a problem; unfamiliar ones, where it is withheld, included."""

    ece: float = Field(description="10 bins of equal width")
    ece_debiased: float | None = Field(
        None, description="15 bins of equal size, root mean square, less what chance adds to each"
    )
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
    tokens: float | None = Field(None, description="generated a problem, mean; None in reports from before")


class FeatureRow(FrozenValue):
    """One feature alone as a score (energies negated), on the test problems."""

    feature: str
    within_auroc: float | None
    pooled_auroc: float | None
    within_no_length: float | None = Field(None, description="of what a regression on tokens and steps leaves")
    within_same_steps: float | None = Field(None, description="among candidates of a problem with as many steps")
    best_of: float = Field(description="accuracy of the best of K by this feature")


class TermEffect(FrozenValue):
    """One term of the combination: its worth on validation, and what its removal costs on the test problems (the other
    weights as they were; refitted on validation where there is a refit).
    """

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
    method: str = "rjepa"
    auroc: float | None
    f1: float | None = Field(None, description="of `found` and `spared`, at the threshold fitted on validation")
    found: float | None = Field(None, description="share of wrong chains whose first wrong step was named exactly")
    spared: float | None = Field(None, description="share of right chains in which no step was flagged")
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


class SeedFigures(FrozenValue):
    """One training run of R-JEPA on the same candidates. `combined` is with log-probability and length, served as
    its own calibration says.
    """

    variant: str
    seed: int
    within_auroc: float | None
    within_auroc_combined: float | None
    accuracy: float
    gap_closed: float | None
    accuracy_combined: float
    gap_closed_combined: float | None
    first_error_auroc: float | None
    ece: float


class Spread(FrozenValue):
    """A figure over the seeds of one variant."""

    variant: str
    figure: str
    seeds: int
    mean: float
    deviation: float | None = Field(description="sample standard deviation; None for one seed")
    lowest: float
    highest: float


class Target(FrozenValue):
    """One row of science.md's targets: what was asked, what was measured on these test problems."""

    name: str
    figure: str
    wanted: str
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    against: str | None = Field(None, description="the rival it must beat: the best of those named")
    difference: float | None = None
    p_holm: float | None = None
    met: bool


class SizePoint(FrozenValue):
    """One run of a data-size curve, as `rjepa report --sizes` reads it."""

    chains: int = Field(gt=0, description="right training chains")
    variant: str = "pure"
    parameters: int | None = None
    within_auroc: float | None = None
    gap_closed: float | None = None
    first_error_auroc: float | None = None


class EvaluationResult(FrozenValue):
    """Everything the report shows."""

    leaderboard: Leaderboard
    comparisons: tuple[Comparison, ...]
    best_logprob: str = Field(description="the log-probability score that did best on these very problems")
    selection: Literal["best_of", "vote"] = Field(description="how the calibration chooses an answer")
    probability: ProbabilityReport
    curve: tuple[CurvePoint, ...]
    features: tuple[FeatureRow, ...]
    terms: tuple[TermEffect, ...]
    histogram: Histogram
    first_error: tuple[FirstErrorReport, ...] = Field(description='"all" first, then by domain, for each R-JEPA')
    gallery: tuple[GalleryItem, ...]
    problems: int
    mixed_problems: int
    unjudged_problems: int = Field(description="left out: no gold answer")
    unfamiliar_problems: int = Field(0, description="of a kind that R-JEPA does not know: served without it")
    num_candidates: int
    seed: int
    variant: str | None = Field(None, description="name of the run behind the rows called R-JEPA")
    seeds: tuple[SeedFigures, ...] = ()
    spreads: tuple[Spread, ...] = ()
    targets: tuple[Target, ...] = ()
    sizes: tuple[SizePoint, ...] = ()
    spending: tuple[TrialRow, ...] = Field((), description="accuracy against tokens: policies replayed, modes tried")
    prefixes: tuple[StepReliability, ...] = Field((), description="P(correct) after each step of a chain")
    promises: tuple[KeptPromise, ...] = Field((), description="what the risk dial answered, and how often wrongly")

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
