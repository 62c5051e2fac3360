"""What an answer is: its steps, the candidates it was chosen from, and why. Values only; `rjepa.engine` makes them."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from rjepa.errors import InvalidInputError

Mode = Literal["off", "rerank"]
MODES: Final[tuple[Mode, ...]] = ("off", "rerank")
MAX_CANDIDATES: Final = 64
"""Beyond it the vote hardly moves, while time and memory still grow with every candidate."""

DEFAULT_CANDIDATES: Final = 8


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CandidateReport(_Record):
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


class Explanation(_Record):
    """Why the chosen candidate won. `text` is one English sentence saying the same as the other fields."""

    selection: str
    reason: str
    runner_up: int | None = Field(description="best candidate with another answer")
    margin: float | None
    margin_terms: dict[str, float] = Field(description="chosen minus runner-up, by term of the score")
    familiar: bool = Field(True, description="False where R-JEPA was left out, as it does not know such problems")
    text: str


class Answer(_Record):
    """One answer. With mode `off` there are no candidates, no P(correct) and no explanation."""

    mode: Mode
    text: str
    steps: list[str]
    final_answer: str | None
    finished: bool
    candidates: list[CandidateReport] = Field(default_factory=list)
    p_correct: float | None = Field(None, description="None with mode `off`, and where R-JEPA knows no such problems")
    explanation: Explanation | None = None
    prompt_tokens: int
    completion_tokens: int = Field(description="generated in all, every candidate included")
    seed: int
    seconds: float
    llm_tag: str
    release_id: str


class Example(_Record):
    """A problem that the student can attempt."""

    domain: str
    statement: str


def check_mode(mode: str) -> Mode:
    """Return `mode` if this version knows it.

    Raises:
        InvalidInputError: it does not.
    """
    for known in MODES:
        if mode == known:
            return known
    raise InvalidInputError(f"unknown mode {mode!r}", cure=f"choose one of {', '.join(MODES)}")


def check_candidates(num_candidates: int) -> int:
    """Return `num_candidates` if it lies in 1 .. MAX_CANDIDATES.

    Raises:
        InvalidInputError: it does not.
    """
    if not 1 <= num_candidates <= MAX_CANDIDATES:
        raise InvalidInputError(
            f"{num_candidates} candidates cannot be sampled", cure=f"ask for 1 to {MAX_CANDIDATES} candidates"
        )
    return num_candidates
