"""The data contracts: what a problem, a chain, a candidate and a latent sequence are.

Plain frozen values. Files (Parquet, safetensors) are read and written in `rjepa.tables` and `rjepa.latents`.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Difficulty = Literal["easy", "medium", "hard"]
Split = Literal["train", "validation", "test"]

Identifier = Annotated[str, Field(min_length=1, max_length=200)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(_Record):
    """One question with, where it is known, its gold answer.

    `meta` holds what only the source understands: for the curriculum the structured problem (`spec`) that its
    step checker reads, and the `structure` by which the splits are made.
    """

    problem_id: Identifier
    domain: Identifier = Field(description="math, code, logic, or an imported data set's own word")
    subdomain: str = ""
    source: str = Field(description="curriculum, gsm_symbolic, import:NAME, ...")
    difficulty: Difficulty = "medium"
    statement: str = Field(min_length=1)
    answer_gold: str | None = None
    meta_course: str | None = None
    licence: str = "unknown"
    split: Split | None = None
    meta: dict[str, Any] = Field(default_factory=dict)


class ChainOfThought(_Record):
    """A worked solution: numbered steps, then a final answer. Step indices count from 0."""

    cot_id: Identifier
    problem_id: Identifier
    steps: list[str] = Field(description="text of each step without the 'Step N:' label")
    final_answer: str | None = None
    is_valid: bool | None = Field(None, description="None until a validator has judged it")
    validation_reason: str = "not_validated"
    first_error_step: int | None = Field(
        None, ge=0, description="index of the first wrong step; len(steps) means only the final answer is wrong"
    )
    teacher_model: str = "curriculum"
    source: str = "curriculum"
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    meta: dict[str, Any] = Field(default_factory=dict)


class Candidate(_Record):
    """One chain sampled by a student for a problem, judged, with what its log-probabilities say.

    Log-probabilities are natural logarithms at temperature 1, whatever the sampling temperature.
    """

    problem_id: Identifier
    sample_index: int = Field(description="0 .. K-1 for samples, -1 for the greedy chain")
    text: str
    steps: list[str]
    final_answer: str | None
    finished: bool = Field(description="ended by itself, before the token limit")
    token_logprobs: list[float]
    self_certainty: float = Field(0.0, description="mean KL(uniform || model) over tokens, in nats")
    is_correct: bool | None = Field(None, description="final answer equals the gold answer; None without gold")
    is_valid: bool | None = Field(None, description="correct and no wrong step; None where no checker can tell")
    first_error_step: int | None = None
    reason: str = "not_validated"


class LatentSequence(_Record):
    """Metadata of one chain's latents. The tensor H (float16 `[segments, width]`) lies in a safetensors shard.

    Segment 0 is the prompt, then one a step, then (if the chain has one) the answer line.
    `width` is `len(poolings) * hidden_size`.
    """

    problem_id: Identifier
    cot_id: Identifier
    llm_tag: Identifier
    layer_idx: int
    hidden_size: int
    poolings: list[str]
    num_steps: int = Field(description="segments after the prompt, the answer line included")
    step_boundaries: list[int] = Field(description="first token of each segment, then the number of tokens")
    tokens: int
    domain: str
    subdomain: str = ""
    quantisation: str = "none"
    first_error_step: int | None = Field(None, description="as in the chain; None for a right chain")


class Verdict(_Record):
    """What a validator says of a chain: right or wrong, why, and where it first goes wrong."""

    is_valid: bool
    is_correct: bool = Field(description="the final answer alone")
    reason: str = Field(description="machine readable: ok, wrong_answer, wrong_operand, no_steps, ...")
    first_error_step: int | None = None
