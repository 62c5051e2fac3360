"""From a decoder's words to a bias on a student's next token: the product of two experts, one of whom knows what R-JEPA
expects.

While a step is written, `alpha` times the decoder's log-probabilities is added to the student's logits, so that tokens
are drawn from student * decoder ** alpha. Nothing is drawn here; who asks is a mode of `rjepa.reasoning`.

Dimensions: places of the decoder's vocabulary, tokens of the student, columns of latents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from torch import Tensor

from rjepa.arrays import Float32
from rjepa.errors import CorruptError
from rjepa.files import read_json, write_json
from rjepa.students.guides import GuideNet, StepGuide
from rjepa.values import FrozenValue
from rjepa.verbalizer.arrays import net_of
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.familiar import Familiarity
from rjepa.verbalizer.model import Decoder
from rjepa.verbalizer.speaking import Speaker, label_length
from rjepa.verbalizer.vocabulary import Vocabulary

SETTINGS_FILE: Final = "guidance.json"

FLOOR: Final = -12.0
"""Nats that a token is held to be improbable at most: what the decoder never saw is discouraged and not forbidden."""

GuidedChoice = Literal["logprob", "energy"]
"""What is chosen by among several guided chains. logprob: log-probability, length and votes, without R-JEPA. energy:
the release's composite score, which R-JEPA's energies enter.
"""

Latent = Float[Tensor, " columns"]


class GuidanceSettings(FrozenValue):
    """How strongly a student is guided, as chosen on validation problems."""

    alpha: float = Field(ge=0, description="weight of the decoder's log-probabilities")
    anneal: float = Field(0.0, ge=0, description="how much a surprising step takes off the weight of the next")
    floor: float = Field(FLOOR, lt=0, description="least log-probability of a token, in nats")
    choice: GuidedChoice = Field(
        "logprob", description="what is chosen by among several guided chains, where no calibration was fitted to them"
    )
    tried: dict[str, float] = Field(
        default_factory=dict, description="share of validation problems answered right, by setting"
    )
    problems: int = Field(0, ge=0, description="validation problems that it was chosen on")

    def save(self, folder: Path) -> None:
        """Atomically write as JSON."""
        write_json(folder / SETTINGS_FILE, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> "GuidanceSettings":
        """Read what `save` wrote.

        Raises:
            NotFoundError: there is no such file.
            CorruptError: it is not the settings of a guidance.
        """
        path = folder / SETTINGS_FILE
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise CorruptError(
                f"{path} does not hold the settings of a guidance ({error.error_count()} fields do not fit)",
                cure="materialise logit_guidance again",
            ) from error


def annealed(alpha: float, anneal: float, energy: float | None, usual: float | None) -> float:
    """The weight after a step of this energy: alpha / (1 + anneal * energy / usual). The more the last step surprised,
    the less is known of the next. `usual` is the energy from which on a step is called wrong; None leaves alpha alone.
    """
    if energy is None or not usual or usual <= 0:
        return alpha
    return alpha / (1 + anneal * max(energy, 0.0) / usual)


def logit_bias(
    log_probs: Float[Tensor, " places"], vocabulary: Vocabulary, alpha: float, floor: float
) -> Float[Tensor, " tokens"]:
    """Alpha times the log-probability of each token of the student, at least `floor`; that for tokens that the decoder
    does not know.
    """
    clamped = log_probs[vocabulary.first :].clamp(min=floor)
    bias = torch.full((vocabulary.student_size,), floor, dtype=torch.float32, device=log_probs.device)
    bias[torch.tensor(vocabulary.tokens, device=log_probs.device)] = clamped
    return bias * alpha


@dataclass(frozen=True)
class Guidance:
    """What a release brings to guide its student: a decoder, how it is used, and which problems it knows.

    alter: changes each expected latent before it is spoken, given its problem and the number of its segment. Controls
        do so, to see what the latent is worth.
    """

    decoder: Decoder
    settings: GuidanceSettings
    familiarity: Familiarity | None = None
    alter: Callable[[Latent, str, int], Latent] | None = None

    @cached_property
    def net(self) -> GuideNet | None:
        """The decoder as arrays, where a session can compute it by itself."""
        return net_of(self.decoder)

    @classmethod
    def load(cls, folder: Path) -> "Guidance":
        """The guidance of a folder, on the CPU, where one token at a time is fastest.

        Raises:
            NotFoundError: nothing was made here.
            CorruptError: a file is not what it should be.
        """
        return cls(load_decoder(folder), GuidanceSettings.load(folder), Familiarity.load(folder))


@dataclass
class Guide(StepGuide):
    """Guides one row of a decoding session, step by step."""

    guidance: Guidance
    statement: str
    prompt: Sequence[int]
    labelled: bool
    _speaker: Speaker = field(init=False)
    _written: int = field(init=False, default=0)
    _weight: float = field(init=False, default=0.0)
    _label: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._speaker = Speaker(self.guidance.decoder, self.prompt)

    def expect(self, latent: Latent, segment: int, written: int, weight: float) -> None:
        """Segment number `segment` of the chain, which has `written` tokens, is expected to have this standardised
        latent; its words weigh `weight` from now on.
        """
        if self.guidance.alter is not None:
            latent = self.guidance.alter(latent, self.statement, segment)
        self._speaker.expect(latent, written)
        self._written, self._weight, self._label = written, weight, None

    def __call__(self, tokens: Sequence[int]) -> Tensor | None:
        """The bias on the token after these of the chain; None where it is left to the student: before the first step
        is expected, and until a step has its label.
        """
        if not self._weight or not self.has_begun(tokens):
            return None
        return logit_bias(self._speaker.log_probs(tokens), self.guidance.decoder.vocabulary, self._weight, self.floor)

    @property
    def net(self) -> GuideNet | None:
        """As `rjepa.students.guides.StepGuide`, like the rest."""
        return self.guidance.net

    @property
    def written(self) -> int:
        return self._written

    @property
    def weight(self) -> float:
        return self._weight

    @property
    def floor(self) -> float:
        return self.guidance.settings.floor

    @property
    def added(self) -> Float32:
        return self._speaker.added.numpy()

    def has_begun(self, tokens: Sequence[int]) -> bool:
        if not self.labelled:
            return True
        if self._label is None:
            self._label = label_length(self.guidance.decoder.vocabulary, tokens[self._written :])
        return self._label is not None
