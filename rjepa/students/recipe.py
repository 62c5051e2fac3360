"""The recipe of a bundled student: what it is, what it reads, how long it trains. Values only."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rjepa.configs import CONFIGS, load_config
from rjepa.home import check_tag
from rjepa.problems.curriculum.generate import CURRICULUM_DOMAINS


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
    added_layers: int = Field(
        0, ge=0, description="decoder layers put into the middle of start_from's student; they start as the identity"
    )
    removed_layers: tuple[int, ...] = Field(
        (), description="decoder layers of start_from's student, counted from 0, that are left out before it goes on"
    )
    vocab_size: int = Field(1536, ge=300, le=65536)
    mixture: dict[str, float]
    difficulty_weights: tuple[float, float, float] | dict[str, tuple[float, float, float]] = Field(
        (1.0, 1.0, 1.0), description="shares of easy, medium and hard problems, in all domains or by domain"
    )
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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.added_layers or self.removed_layers) and self.start_from is None:
            raise ValueError(
                "added_layers and removed_layers need start_from: give a new model its depth in model.num_hidden_layers"
            )
        if min(self.removed_layers, default=0) < 0 or len(set(self.removed_layers)) < len(self.removed_layers):
            raise ValueError(f"removed_layers {self.removed_layers} must count from 0 and name each layer once")
        if isinstance(self.difficulty_weights, dict):
            missing = sorted(set(CURRICULUM_DOMAINS) & set(self.mixture) - set(self.difficulty_weights))
            if missing:
                raise ValueError(f"difficulty_weights has no entry for {', '.join(missing)}")
        return self

    def weights_of(self, domain: str) -> tuple[float, float, float]:
        """Shares of easy, medium and hard problems of a curriculum domain."""
        weights = self.difficulty_weights
        return weights[domain] if isinstance(weights, dict) else weights


def load_student_recipe(name: str) -> StudentRecipe:
    """The recipe `configs/students/recipes/<name>.yaml`.

    Raises:
        NotFoundError: there is no such recipe.
        InvalidInputError: the name or the file does not fit.
    """
    return load_config(CONFIGS / "students" / "recipes" / f"{check_tag(name, 'name of a recipe')}.yaml", StudentRecipe)
