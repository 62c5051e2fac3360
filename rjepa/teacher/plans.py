"""What a job is asked to do, and what it hands back. Doing it is `running`."""

from collections import Counter
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from rjepa.schemas import ChainOfThought, Difficulty, Problem
from rjepa.teacher.errors import TeacherError
from rjepa.teacher.ledger import BudgetError
from rjepa.teacher.pricing import NANO
from rjepa.teacher.spending import Spending
from rjepa.teacher.tasks import Failure


class Wish(BaseModel):
    """How many new problems of a domain and difficulty each teacher is to make up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str = Field(min_length=1, max_length=64)
    difficulty: Difficulty = "medium"
    count: int = Field(ge=1, le=1_000_000)


class JobPlan(BaseModel):
    """What a job is to do, given its teachers and, perhaps, problems that exist already."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problems: list[Wish] = Field(default_factory=list)
    chains_per_problem: int = Field(2, ge=0, le=64, description="distinct chains, of each teacher")
    label: bool = False
    judge: bool = Field(False, description="each chain gets another teacher's opinion, as a label")


@dataclass
class JobResult:
    """What a job made. `stopped` says why not everything was asked: `budget`, or nothing."""

    problems: list[Problem] = field(default_factory=list)
    chains: list[ChainOfThought] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    duplicates: int = 0
    events: Counter[str] = field(default_factory=Counter)
    spending: Spending = field(default_factory=Spending)
    stopped: BudgetError | None = None
    refused: dict[str, TeacherError] = field(default_factory=dict)

    def figures(self) -> dict[str, int | float | str]:
        """Numbers worth showing, under stable names."""
        reasons = Counter(f"failed_{failure.task}_{failure.reason}" for failure in self.failures)
        return {
            "teacher_problems": len(self.problems),
            "teacher_chains": len(self.chains),
            "teacher_duplicates": self.duplicates,
            "teacher_calls_paid": self.spending.replies,
            "teacher_usd": self.spending.spent / NANO,
            "teacher_usd_in_doubt": self.spending.doubtful / NANO,
            "teacher_above_reserve": self.spending.above_reserve,
            **dict(sorted(reasons.items())),
        }
