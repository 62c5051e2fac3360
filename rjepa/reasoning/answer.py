"""What an answer is: its steps, the candidates it was chosen from, and why. Values only; modes make them."""

from pydantic import Field

from rjepa.inference.choice import Reason, Selection
from rjepa.reasoning.changes import Planned, Pruned, Repaired, StopReason, Surprise
from rjepa.reasoning.costs import Cost
from rjepa.reasoning.tokens import TokenReport
from rjepa.values import FrozenValue


class CandidateReport(FrozenValue):
    """One sampled chain and how it did. Log-probabilities are natural logarithms at temperature 1."""

    index: int
    text: str
    steps: list[str]
    final_answer: str | None
    finished: bool = Field(description="ended by itself, before the token limit")
    tokens: int
    logprob: float = Field(description="sum over tokens, in nats")
    step_energies: list[float] = Field(description="one a step: how surprising it is given the steps before it")
    answer_energy: float | None = Field(description="of the answer line; None without one")
    rank: int = Field(description="0 for the best score")
    score: float | None = Field(description="None for an empty chain")
    contributions: dict[str, float] = Field(description="by term of the score; they add up to it")
    votes: int = Field(description="candidates with the same answer, itself included")
    weighted_share: float = Field(description="share of the weighted vote that its answer has")
    p_correct: float | None
    chosen: bool
    scored_tokens: tuple[TokenReport, ...] | None = Field(None, description="where `top_logprobs` asks for them")


class Explanation(FrozenValue):
    """Why the chosen candidate won. `text` is one English sentence saying the same as the other fields."""

    selection: Selection
    reason: Reason
    runner_up: int | None = Field(description="best candidate with another answer")
    margin: float | None
    margin_terms: dict[str, float] = Field(description="chosen minus runner-up, by term of the score")
    familiar: bool = Field(True, description="False where R-JEPA was left out, as it does not know such problems")
    text: str
    pruned: tuple[Pruned, ...] = Field((), description="candidates that were given up, and why")
    repaired: tuple[Repaired, ...] = Field((), description="steps that were written again, in that order")
    planned: tuple[Planned, ...] = Field((), description="what R-JEPA expected of steps, in words")
    surprises: tuple[Surprise, ...] = Field(
        (),
        description="steps that R-JEPA did not expect, and what it did; none where the release cannot say it in words",
    )
    stopped: StopReason | None = Field(None, description="why no more was written; None where nothing was to decide")


class Answer(FrozenValue):
    """One answer. With mode `off` there are no candidates, no P(correct) and no explanation.

    An answer that abstains has no steps and no final answer; its text says so, and the candidates hold what was found.
    """

    mode: str
    text: str
    steps: list[str]
    final_answer: str | None
    finished: bool
    candidates: list[CandidateReport] = Field(default_factory=list)
    p_correct: float | None = Field(None, description="None with mode `off`, and where R-JEPA knows no such problems")
    explanation: Explanation | None = None
    scored_tokens: tuple[TokenReport, ...] | None = Field(None, description="where `top_logprobs` asks for them")
    abstained: bool = Field(False, description="the chance of an error was above the `max_error` that was asked for")
    prompt_tokens: int
    cost: Cost
    ignored: tuple[str, ...] = Field((), description="what of the question the student cannot read, in words")
    seed: int
    llm_tag: str
    release_id: str

    @property
    def step_energies(self) -> list[float]:
        """Energies of the chosen candidate's steps; none where there is no candidate."""
        return next((one.step_energies for one in self.candidates if one.chosen), [])


class Example(FrozenValue):
    """A problem that the student can attempt."""

    domain: str
    statement: str
