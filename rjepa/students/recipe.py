"""The recipe of a bundled student: what it is, what it reads, how long it trains. Values only."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rjepa.configs import CONFIGS, load_config
from rjepa.home import check_tag


class StudentRecipe(BaseModel):
    """One student, whole, from one YAML file in `configs/students/recipes/`.

    `mixture` gives the share of each text source: the curriculum's domains, and `gsm_symbolic`. Only training splits
    are ever read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    start_from: str | None = Field(
        None, description="another recipe, whose student, tokenizer included, is trained first and then goes on here"
    )
    architecture: Literal["qwen3", "llama"] = "qwen3"
    model: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the Hugging Face configuration class; unused with start_from"
    )
    vocab_size: int = Field(1536, ge=300, le=65536)
    mixture: dict[str, float]
    difficulty_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    updates: int = Field(ge=1)
    batch_size: int = Field(64, ge=1, description="chains an update")
    max_tokens: int = Field(352, ge=16, description="longer texts are left out of training")
    learning_rate: float = Field(0.02, gt=0, description="of Muon, for the hidden matrices")
    embedding_learning_rate: float = Field(0.003, gt=0, description="of AdamW, for embeddings and norms")
    warmup_updates: int = Field(100, ge=0)
    decay_share: float = Field(0.4, gt=0, le=1, description="last share of the run, over which the rates fall to 0")
    weight_decay: float = Field(0.01, ge=0)
    checkpoint_every: int = Field(500, ge=1)
    seed: int = 0


def load_student_recipe(name: str) -> StudentRecipe:
    """The recipe `configs/students/recipes/<name>.yaml`.

    Raises:
        NotFoundError: there is no such recipe.
        InvalidInputError: the name or the file does not fit.
    """
    return load_config(CONFIGS / "students" / "recipes" / f"{check_tag(name, 'name of a recipe')}.yaml", StudentRecipe)
