"""R-JEPA: what the latent of a step should be, given the steps before it. Parts and forward passes; no files, no loop.

Dimensions: rows of a batch (chains, mostly), segments, columns of latents, width of encoder states.
"""

import copy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from rjepa.jepa.batches import Batch
from rjepa.jepa.config import ENERGY_FLOOR, Energy, JepaConfig
from rjepa.jepa.encoder import Encoder
from rjepa.jepa.losses import latent_error, masked_mean, raw_error
from rjepa.jepa.masks import View, causal_view, infill_view, side_by_side_view, steps_of
from rjepa.jepa.predictor import Prediction, Predictor
from rjepa.jepa.reader import latent_columns

States = Float[Tensor, "rows segments width"]


class RankHead(nn.Module):
    """A labelled head: the logit that the observed step is wrong, from the error of its prediction.

    Linear in the error of each column and in the logarithm of their mean. Heads that read the predictor's states too
    learnt their training problems by heart (docs/lab-book/30-rank-on-a-trained-trunk.md).
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = nn.Linear(columns, 1)
        self.size = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.columns.weight)
        nn.init.ones_(self.size.weight)

    def forward(
        self, raw: Float[Tensor, "*steps columns"], observed: Float[Tensor, "*steps columns"]
    ) -> Float[Tensor, "*steps"]:
        """Float32 logits, from the predicted latents and the observed ones."""
        error = F.smooth_l1_loss(raw.float(), observed.float(), reduction="none")
        size = (error.mean(-1, keepdim=True) + ENERGY_FLOOR).log()
        logits: Tensor = (self.columns(error) + self.size(size)).squeeze(-1).float()
        return logits


class RJepa(nn.Module):
    """Context encoder, EMA target encoder, predictor and, where the config asks for it, a ranking head."""

    def __init__(self, config: JepaConfig, width: int, domain_names: tuple[str, ...]) -> None:
        super().__init__()
        self.config = config
        self.width = width
        self.domain_names = domain_names
        chosen = latent_columns(config, width)
        columns = width if chosen is None else len(chosen)
        domains = len(domain_names) + 1
        self.context = Encoder(config.encoder, columns, domains)
        self.predictor = Predictor(config.predictor, config.encoder.width, columns, domains, config.loss)
        self.rank_head = RankHead(columns) if config.loss.rank > 0 else None
        self.target = copy.deepcopy(self.context).requires_grad_(False)

    def take_trunk(self, trained: "RJepa") -> None:
        """Take over the encoders and the predictor of a trained model, and keep them: only the ranking head learns.

        Raises:
            RuntimeError: the models do not have the same shape.
        """
        for part in ("context", "target", "predictor"):
            getattr(self, part).load_state_dict(getattr(trained, part).state_dict())
            getattr(self, part).requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return self.predictor.mask_token.device

    @property
    def parameters_trained(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def forward_context(self, batch: Batch, readable: Bool[Tensor, "rows segments"]) -> States:
        """Context states, float32, that have read the readable segments only."""
        return self._read(self.context, batch, readable)[0]

    @torch.no_grad()
    def forward_target(self, batch: Batch) -> States:
        """Layer-normed target states, float32; with a causal encoder, of t and what lies before it."""
        return self._read(self.target, batch, batch.valid)[0]

    def predict(self, batch: Batch, view: View) -> tuple[Prediction, States]:
        """Predictions of a view's targets, and the context states they were made from."""
        context, sentences = self._read(self.context, batch, view.readable)
        return self.predictor(
            context, view.visible, batch.domains, sentences, batch.sentences_valid, batch.layout
        ), context

    def wrong_logits(self, batch: Batch, prediction: Prediction) -> Float[Tensor, "rows segments"]:
        """Logit, float32, that each observed segment is wrong. Needs a ranking head."""
        if self.rank_head is None or prediction.raw is None:
            raise ValueError(f"config {self.config.name!r} has no ranking head: its loss.rank is 0")
        logits: Tensor = self.rank_head(prediction.raw, batch.latents)
        return logits

    @torch.no_grad()
    def energies(self, batch: Batch, energy: Energy | None = None) -> Float[Tensor, "rows segments"]:
        """How surprising each segment is, float32; 0 for the prompt and for padding.

        Args:
            energy: where to read it, the config's own choice if None.

        Raises:
            ValueError: the model has no head for this energy.
        """
        kind = energy or self.config.energy
        if getattr(self.config.loss, kind) == 0:
            raise ValueError(f"config {self.config.name!r} has no energy {kind!r}: its loss.{kind} is 0")
        values = self._energy(kind, batch, self.expectation(batch))
        steps = steps_of(batch.valid) if batch.layout is None else batch.valid & (batch.layout.places > 0)
        return torch.where(steps, values, 0.0)

    @torch.no_grad()
    def expectation(self, batch: Batch) -> Prediction:
        """What energies compare each segment with: its prediction, before the segment itself has been seen.

        A causal encoder expects every segment from those before it, all in one pass. The textbook baseline's encoder is
        bidirectional: it expects each segment from all the others, one pass a position.
        """
        if self.config.encoder.causal:
            view = causal_view(batch.valid) if batch.layout is None else side_by_side_view(batch.valid, batch.layout)
            return self.predict(batch, view)[0]
        if batch.layout is not None:
            raise ValueError("a bidirectional encoder reads one chain a row")
        size = batch.valid.shape[1]
        place = torch.arange(size, device=batch.valid.device)
        passes = [self.predict(batch, infill_view(batch.valid, (place == at) & batch.valid))[0] for at in range(size)]
        raws = [each.raw[:, at] for at, each in enumerate(passes) if each.raw is not None]
        return Prediction(
            torch.stack([each.states[:, at] for at, each in enumerate(passes)], dim=1),
            torch.stack([each.latent[:, at] for at, each in enumerate(passes)], dim=1),
            torch.stack(raws, dim=1) if raws else None,
        )

    def chain_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Mean energy of the steps of right chains, with gradient. A causal encoder only."""
        view = causal_view(batch.valid)
        prediction, _ = self.predict(batch, view)
        return masked_mean(self._energy(self.config.energy, batch, prediction), view.targets)

    @torch.no_grad()
    def update_target(self, momentum: float) -> None:
        """Target = momentum * target + (1 - momentum) * context."""
        target: list[Tensor] = list(self.target.parameters())
        context = [parameter.detach() for parameter in self.context.parameters()]
        torch._foreach_lerp_(target, context, 1 - momentum)

    @staticmethod
    def _read(
        encoder: Encoder, batch: Batch, readable: Bool[Tensor, "rows segments"]
    ) -> tuple[States, Float[Tensor, "rows known width"]]:
        states: tuple[Tensor, Tensor] = encoder(
            batch.latents, readable, batch.domains, batch.sentences, batch.sentences_valid, batch.types, batch.layout
        )
        return states

    def _energy(self, kind: Energy, batch: Batch, prediction: Prediction) -> Float[Tensor, "rows segments"]:
        if kind == "rank":
            # -log P(right): additive over steps, and never negative like the other two.
            return F.softplus(self.wrong_logits(batch, prediction))
        if kind == "raw" and prediction.raw is not None:
            return raw_error(prediction.raw, batch.latents)
        return latent_error(prediction.latent, self.forward_target(batch))


def build_model(config: JepaConfig, width: int, domain_names: tuple[str, ...]) -> RJepa:
    """A model with the initial weights of the config's seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return RJepa(config, width, domain_names)
