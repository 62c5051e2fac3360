"""What a release shows of itself: its newest evaluation on its own dataset, in a few numbers. Read from records."""

from pydantic import Field

from rjepa.evaluation.records import newest_record
from rjepa.home import Home
from rjepa.releases.bundle import Manifest
from rjepa.values import FrozenValue


class Figures(FrozenValue):
    """Accuracies are shares in [0, 1]."""

    dataset: str = Field(description="dataset version whose test problems were used")
    num_problems: int = Field(ge=1)
    num_candidates: int = Field(description="K")
    accuracy: float = Field(ge=0, le=1, description="of what mode rerank answers")
    by_method: dict[str, float] = Field(description="accuracy of one sample, the baselines and the served choice")
    by_domain: dict[str, float] = Field(description="accuracy of the served choice in each domain")
    ece: float = Field(description="of P(correct)")
    diagnostics: dict[str, float] = Field(description="skill, RankMe, deviation, ...")
    diagnostics_passed: bool


def read_figures(home: Home, manifest: Manifest) -> Figures | None:
    """The figures of a release; None where its evaluation's record is gone.

    Raises:
        CorruptError: a record is damaged.
    """
    record = newest_record(home, manifest.llm_tag, manifest.content_hash, manifest.dataset)
    if record is None:
        return None
    return Figures(
        dataset=record.candidates.dataset,
        num_problems=record.num_problems,
        num_candidates=record.candidates.num_candidates,
        accuracy=record.accuracy,
        by_method=record.accuracy_by_method(),
        by_domain=record.accuracy_by_domain(),
        ece=record.ece,
        diagnostics=manifest.diagnosis.figures,
        diagnostics_passed=manifest.diagnosis.passed,
    )
