"""One run of a decoder as one frozen value, loaded from a YAML file of configs/verbalizer/ and stamped into weights."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from rjepa.configs import CONFIGS, config_names, load_config
from rjepa.jepa.config import OptimConfig
from rjepa.values import FrozenValue

Form = Literal["latent", "reading", "plain"]
"""What a decoder is given beside the words of the step so far. latent: the step's latent alone. reading: the problem
and the earlier steps too. plain: these and no latent, an ordinary language model: the control of the other two."""

Learns = Literal["expected", "observed", "both"]
"""Latents of right steps that it is trained on: what R-JEPA expected of them, what the student made of them, or each by
the toss of a coin."""

GUIDANCE_RECIPE: Final = "guidance"
"""The file of configs/verbalizer/ that `logit_guidance` is trained by, where no other is asked for."""


class DecoderConfig(FrozenValue):
    """A whole run."""

    name: str = Field(min_length=1)
    seed: int = 0
    form: Form = "latent"
    learns: Learns = "both"
    width: int = Field(160, ge=8)
    depth: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    max_tokens: int = Field(1024, ge=16, description="longer rows are left out of training")
    optim: OptimConfig = OptimConfig(updates=600, batch_size=256, learning_rate=2e-3, matrix_rate=0.02)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of twice the heads {self.heads}")
        return self


def decoder_config_names() -> list[str]:
    """The runs that there are."""
    return config_names(CONFIGS / "verbalizer")


def load_decoder_config(name: str) -> DecoderConfig:
    """Read configs/verbalizer/<name>.yaml (errors as `rjepa.configs.load_config`)."""
    return load_config(CONFIGS / "verbalizer" / f"{name}.yaml", DecoderConfig)
