"""One run of R-JEPA as one frozen value, loaded whole from a YAML file of configs/rjepa/ and stamped into the weights.

Shapes, losses and schedules read their numbers here; nothing else about a run is decided elsewhere.
"""

from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from rjepa.configs import CONFIGS, load_config
from rjepa.errors import InvalidInputError
from rjepa.students.catalog import Poolings

Energy = Literal["raw", "latent", "rank"]
"""Where an energy is read: error of the raw-latent head, error in the EMA target's space, or -log P(step is right)."""

SERVED: Final = "served"
"""Value of `init_from` in a recipe: the release that is served when the run starts."""

_OF_A_START: Final = ("init_from", "replay")

ENERGY_FLOOR: Final = 0.01
"""Added before a logarithm: a step predicted to within rounding must not outweigh all others."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderConfig(_Part):
    """Context and target encoder."""

    width: int = Field(160, ge=8)
    depth: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    causal: bool = Field(True, description="False only for the textbook baseline")
    sentences: bool = Field(False, description="read each sentence of the problem, not its pooled prompt alone")
    step_types: bool = Field(False, description="be told what each segment does that is read (rjepa.step_types)")


class PredictorConfig(_Part):
    """The predictor: narrower than the encoder, so that it cannot become the model."""

    width: int = Field(128, ge=8)
    depth: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)


class MaskConfig(_Part):
    """How often each kind of mask is drawn (relative weights), and how much an infill mask hides."""

    causal: float = Field(0.7, ge=0, description="every step from the steps before it: what ranking asks")
    suffix: float = Field(0.1, ge=0, description="all steps from a random cut on, from the steps before the cut")
    random: float = Field(0.08, ge=0)
    contiguous: float = Field(0.07, ge=0)
    hierarchical: float = Field(0.05, ge=0, description="all but the first and the last step")
    hidden_low: float = Field(0.3, gt=0, le=1)
    hidden_high: float = Field(0.7, gt=0, le=1)
    per_sample: int = Field(1, ge=1, le=8, description="views of each chain in an update")

    def weights(self) -> list[float]:
        """Relative weights in the order of `masks.KINDS`."""
        return [self.causal, self.suffix, self.random, self.contiguous, self.hierarchical]


class LossConfig(_Part):
    """Weights of the terms; a head whose weight is 0 is not built."""

    latent: float = Field(1.0, ge=0, description="L1 to the layer-normed EMA target")
    raw: float = Field(1.0, ge=0, description="smooth-L1 to the standardised raw latent")
    variance: float = Field(0.01, ge=0)
    covariance: float = Field(0.01, ge=0)
    infonce: float = Field(0.0, ge=0, description="uses wrong chains of the same problem as hard negatives")
    rank: float = Field(0.0, ge=0, description="labelled: is this step wrong, given the steps before it?")
    delta: float = Field(0.0, ge=0, description="smooth-L1 to the change of the raw latent since the segment before")
    step_type: float = Field(0.0, ge=0, description="cross-entropy of the type of the step that is predicted")
    temperature: float = Field(0.1, gt=0, description="of InfoNCE")
    queries: int = Field(512, ge=8, description="steps an update that InfoNCE looks at; its cost grows with the square")
    rank_into_trunk: bool = Field(False, description="let the ranking head's gradient reach encoder and predictor")

    @property
    def uses_negatives(self) -> bool:
        return self.infonce > 0 or self.rank > 0


class OptimConfig(_Part):
    """Muon and AdamW with warm-up and cosine, a rising weight decay, and the EMA of the target encoder."""

    updates: int = Field(900, ge=0)
    passes: int | None = Field(
        None, ge=1, description="most passes over the right chains: few of them are trained on for fewer updates"
    )
    batch_size: int = Field(256, ge=2)
    negatives: int = Field(128, ge=1, description="wrong chains an update, where negatives are used")
    learning_rate: float = Field(2e-3, gt=0, description="of AdamW")
    matrix_rate: float | None = Field(
        0.02, gt=0, description="of Muon, for the matrices inside; None: AdamW trains them too"
    )
    final_rate: float = Field(0.02, ge=0, le=1, description="last learning rate, as a share of the highest")
    warmup: float = Field(0.05, ge=0, le=1, description="share of the updates")
    weight_decay: tuple[float, float] = (0.02, 0.1)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: tuple[float, float] | None = Field(None, description="first and last momentum; None: from the run's length")
    bf16: bool = Field(True, description="autocast the forward pass, where the machine multiplies bfloat16 natively")
    checkpoint_every: int = Field(200, ge=1)
    domain_dropout: float = Field(
        0.5, ge=0, lt=1, description="share of chains shown without their domain, as every question of a chat is"
    )

    def for_chains(self, chains: int) -> Self:
        """These values with the updates that so many right chains (2 or more) are trained on for."""
        return self.for_epoch(max(1, chains // min(self.batch_size, chains)))

    def for_epoch(self, updates: int) -> Self:
        """These values with the updates that `passes` take, where one pass takes so many."""
        if self.passes is None:
            return self
        return self.model_copy(update={"updates": min(self.updates, self.passes * updates)})

    def at_rate(self, learning_rate: float) -> Self:
        """These values with AdamW's rate set and Muon's moved in proportion."""
        share = learning_rate / self.learning_rate
        matrix_rate = None if self.matrix_rate is None else self.matrix_rate * share
        return self.model_copy(update={"learning_rate": learning_rate, "matrix_rate": matrix_rate})


class ReplayConfig(_Part):
    """How a run that goes on from a trained model keeps what that model knows: old chains are shown again, and weights
    that old chains depend on may be held.
    """

    share: float = Field(0.5, ge=0, lt=1, description="share of a batch that is old chains")
    per_domain: int = Field(400, ge=0, description="old chains that are kept for replay, of each domain at most")
    by_energy: float = Field(
        0.5,
        ge=0,
        le=1,
        description="how far an old chain's chance follows its energy under the old model; 0: not at all",
    )
    ewc: float = Field(
        0.0, ge=0, description="weight of the elastic pull towards the old weights (Kirkpatrick et al. 2017); 0: none"
    )
    ewc_chains: int = Field(256, ge=1, description="old chains that the pull's Fisher information is measured on")


class Tuning(_Part):
    """What whoever starts a run that goes on from a release may decide; None leaves the recipe's own value."""

    learning_rate: float | None = Field(None, gt=0)
    replay_share: float | None = Field(None, ge=0, lt=1)
    ewc: float | None = Field(None, ge=0)


class JepaConfig(_Part):
    """A whole run. `poolings` is what the latents hold, in order: the student's record decides (`reading`). `use` is
    which of these the model reads, None for all. `trunk` names another run of configs/rjepa/: its trained encoder and
    predictor are taken as they are, and only the ranking head is trained.

    `init_from` makes it a run that goes on from a release: SERVED in a recipe, the release's id in what was trained.
    Its shape and its loss are then the release's own (`going_on_from`); `replay` says how old knowledge is kept.
    """

    name: str = Field(min_length=1)
    trunk: str | None = None
    init_from: str | None = None
    replay: ReplayConfig | None = None
    seed: int = 0
    poolings: Poolings = ("mean", "last", "end")
    use: Poolings | None = None
    energy: Energy = "raw"
    encoder: EncoderConfig = EncoderConfig()
    predictor: PredictorConfig = PredictorConfig()
    masks: MaskConfig = MaskConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()

    @property
    def uses_step_types(self) -> bool:
        return self.encoder.step_types or self.loss.step_type > 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for part in (self.encoder, self.predictor):
            if part.width % part.heads or part.width % 2:
                raise ValueError(f"width {part.width} must be even and a multiple of heads {part.heads}")
        if self.predictor.width >= self.encoder.width:
            raise ValueError(f"predictor.width {self.predictor.width} must be below encoder.width {self.encoder.width}")
        if sum(self.masks.weights()) <= 0 or self.masks.hidden_low > self.masks.hidden_high:
            raise ValueError("masks need a positive weight and hidden_low <= hidden_high")
        if not self.encoder.causal and self.masks.causal > 0:
            raise ValueError("masks.causal must be 0 with a bidirectional encoder: its states have read later steps")
        if not self.encoder.causal and self.loss.uses_negatives:
            raise ValueError("loss.infonce and loss.rank need a causal encoder")
        if self.loss.rank > 0 and self.loss.raw == 0:
            raise ValueError("loss.rank reads the raw-latent head's error: loss.raw must be above 0")
        if self.trunk is not None and (self.loss.rank == 0 or self.loss.infonce > 0 or self.loss.rank_into_trunk):
            raise ValueError("with a trunk the ranking head alone is trained: loss.rank above 0, and no loss.infonce")
        if getattr(self.loss, self.energy) == 0:
            raise ValueError(f"energy {self.energy!r} needs loss.{self.energy} above 0")
        if (self.init_from is None) != (self.replay is None):
            raise ValueError("init_from and replay belong together: give both (`replay: {}` for the usual values)")
        return self

    @model_serializer(mode="wrap")
    def _without_what_most_runs_lack(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Configs enter hashes and released files: a run that starts from nothing keeps the bytes that it had.
        values: dict[str, Any] = plain(self)
        return {name: value for name, value in values.items() if name not in _OF_A_START or value is not None}

    def tuned(self, tuning: Tuning) -> Self:
        """This run with the values that a night decides."""
        changes: dict[str, Any] = {}
        if tuning.learning_rate is not None:
            changes["optim"] = self.optim.at_rate(tuning.learning_rate)
        if self.replay is not None:
            own = {"share": tuning.replay_share, "ewc": tuning.ewc}
            changes["replay"] = self.replay.model_copy(update={name: v for name, v in own.items() if v is not None})
        return self.model_copy(update=changes)

    def going_on_from(self, start: Self, release: str) -> Self:
        """This run with the shape, masks, loss and energy of the trained model that it goes on from.

        Args:
            start: config of that model.
            release: id of the release that holds it.
        """
        own = {name: getattr(self, name) for name in ("name", "seed", "optim", "replay")}
        return start.model_copy(update={**own, "init_from": release, "trunk": None})

    def reading(self, poolings: Poolings) -> Self:
        """This run over latents of these poolings, in their order.

        Raises:
            InvalidInputError: `use` names one that they do not hold.
        """
        if missing := sorted(set(self.use or ()) - set(poolings)):
            raise InvalidInputError(
                f"run {self.name!r} reads the pooling {', '.join(missing)}, and the student's latents hold "
                f"{', '.join(poolings)}",
                cure="add the student under another tag with this --pooling too, or change `use` in the run's config",
            )
        return self.model_copy(update={"poolings": poolings})


def load_jepa_config(name: str) -> JepaConfig:
    """Read configs/rjepa/<name>.yaml (errors as `rjepa.configs.load_config`)."""
    return load_config(CONFIGS / "rjepa" / f"{name}.yaml", JepaConfig)
