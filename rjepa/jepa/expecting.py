"""What R-JEPA expects next, for chains that grow a segment at a time: each segment is read once.

The whole pass over finished chains is `RJepa.energies`; the two agree within rounding. Only causal encoders can be
asked step by step. Legend: B chains, P sentences, W latent columns read, D encoder states, N heads, d a head's width.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import UNKNOWN_DOMAIN
from rjepa.jepa.encoder import Encoder, sinusoids
from rjepa.jepa.losses import latent_error, raw_error
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader

KeysValues = tuple[Tensor, Tensor]
"""Keys and values [B, N, K, d] of one block."""


@dataclass(frozen=True)
class _Grown:
    """An encoder's memory of what it has read: keys and values of each block."""

    memory: tuple[KeysValues, ...]

    def rows(self, indices: Tensor) -> "_Grown":
        return _Grown(tuple((keys[indices], values[indices]) for keys, values in self.memory))


@dataclass(frozen=True)
class Expectation:
    """What R-JEPA expects of the next segment of B chains, and all that it needs to go on; `append` makes another.

    Attributes:
        next: the expected next latent as the model sees latents, float32 `[B, W]`.
        energies: of the segment appended last, float32 `[B]`: how surprising it was; 0 for the prompt.
        segments: how many segments each chain has, the prompt included.
    """

    next: Float[Tensor, "batch columns"]
    energies: Float[Tensor, " batch"]
    segments: int
    _model: RJepa = field(repr=False)
    _reader: Reader = field(repr=False)
    _domains: Tensor = field(repr=False)
    _context: _Grown = field(repr=False)
    _target: _Grown = field(repr=False)
    _predictor: _Grown = field(repr=False)
    _expected_state: Tensor = field(repr=False)

    @classmethod
    @torch.no_grad()
    def begin(
        cls,
        model: RJepa,
        reader: Reader,
        prompts: npt.NDArray[np.floating],
        sentences: npt.NDArray[np.floating] | None = None,
        types: Tensor | None = None,
    ) -> "Expectation":
        """Read the prompts of B chains of one problem.

        Args:
            prompts: latents of segment 0, any float type `[B, width]`.
            sentences: latents of the problem's sentences, `[P, width]`, shared by all chains.
            types: step types int64 `[B]`, for a model that reads them.

        Raises:
            InvalidInputError: the encoder reads a chain in both directions, or wants sentences and is given none.
        """
        if not model.config.encoder.causal:
            raise InvalidInputError(
                f"config {model.config.name!r} reads chains in both directions and expects nothing before they end",
                cure="train a config whose encoder is causal, such as full",
            )
        if model.config.encoder.sentences and sentences is None:
            raise InvalidInputError(
                f"config {model.config.name!r} reads the sentences of problems, and none are given",
                cure="capture latents with the student that the release was made for",
            )
        reader.check(prompts.shape[-1])
        rows = len(prompts)
        domains = torch.full((rows,), UNKNOWN_DOMAIN, dtype=torch.int64, device=model.device)
        known = np.zeros((0, reader.columns_read), np.float32) if sentences is None else reader.read(sentences)
        read = torch.from_numpy(known).to(model.device).expand(rows, -1, -1)
        context, states = _read_sentences(model.context, read, domains)
        target, _ = _read_sentences(model.target, read, domains)
        memory = model.predictor.project(states)
        predictor = _Grown(tuple(block.read(memory) for block in model.predictor.blocks))
        empty = torch.zeros(rows, 0, device=model.device)
        start = cls(empty, empty, 0, model, reader, domains, context, target, predictor, empty)
        return start.append(prompts, types)

    @torch.no_grad()
    def append(self, latents: npt.NDArray[np.floating], types: Tensor | None = None) -> "Expectation":
        """Read the next segment of each chain, `[B, width]` of any float type.

        Its energy is measured against what was expected before it was read.
        """
        model = self._model
        observed = torch.from_numpy(self._reader.read(latents)).to(model.device)
        context, state = _read_segment(model.context, self._context, observed, self._domains, self.segments, types)
        target, target_state = _read_segment(model.target, self._target, observed, self._domains, self.segments, types)
        energies = torch.zeros(len(observed), device=model.device)
        if self.segments:
            energies = self._energy(observed, target_state)
        predictor = _Grown(
            tuple(
                (torch.cat([old_keys, keys], dim=2), torch.cat([old_values, values], dim=2))
                for (old_keys, old_values), (keys, values) in zip(
                    self._predictor.memory,
                    (block.read(self._placed(state)) for block in model.predictor.blocks),
                    strict=True,
                )
            )
        )
        grown = replace(
            self, _context=context, _target=target, _predictor=predictor, segments=self.segments + 1, energies=energies
        )
        return grown._predicted()

    def rows(self, indices: Tensor) -> "Expectation":
        """The chains at these indices (int64), chosen, repeated or permuted: a fork reads nothing anew."""
        return replace(
            self,
            next=self.next[indices],
            energies=self.energies[indices],
            _domains=self._domains[indices],
            _context=self._context.rows(indices),
            _target=self._target.rows(indices),
            _predictor=self._predictor.rows(indices),
            _expected_state=self._expected_state[indices],
        )

    def next_latents(self) -> npt.NDArray[np.float32]:
        """The expected next latents in the student's own space, float32 `[B, W]`."""
        return self._reader.restore(self.next.cpu().numpy())

    def _placed(self, states: Tensor) -> Tensor:
        """Context states [B, D] of the newest segment as the predictor's memory [B, 1, P]."""
        project = self._model.predictor.project
        place = sinusoids(self.segments + 1, project.out_features, states.device)[self.segments]
        placed: Tensor = (project(states) + place)[:, None]
        return placed

    def _predicted(self) -> "Expectation":
        predictor = self._model.predictor
        width = predictor.mask_token.shape[0]
        place = sinusoids(self.segments + 1, width, self._domains.device)[self.segments]
        queries = (predictor.mask_token + predictor.domain(self._domains) + place)[:, None]
        for block, (keys, values) in zip(predictor.blocks, self._predictor.memory, strict=True):
            queries = block.mix(queries, block.norm_queries(queries), keys, values, _all_seen(queries))
        states = predictor.norm(queries)[:, 0]
        latent = predictor.to_latent(states).float()
        raw = latent.new_zeros(len(latent), 0) if predictor.to_raw is None else predictor.to_raw(states).float()
        return replace(self, next=raw, _expected_state=latent)

    def _energy(self, observed: Tensor, target_state: Tensor) -> Tensor:
        kind = self._model.config.energy
        if kind == "rank" and self._model.rank_head is not None:
            return F.softplus(self._model.rank_head(self.next, observed))
        if kind == "raw":
            return raw_error(self.next, observed)
        return latent_error(self._expected_state, target_state)


def _read_sentences(encoder: Encoder, sentences: Tensor, domains: Tensor) -> tuple[_Grown, Tensor]:
    """Read the sentences [B, P, W] of the problem, which see each other. Returns the memory and states [B, P, D]."""
    width = encoder.domain.embedding_dim
    if encoder.project_sentences is None:
        states = torch.zeros(len(domains), 0, width, device=domains.device)
    else:
        places = sinusoids(sentences.shape[1], width, sentences.device)
        states = encoder.project_sentences(sentences) + places + encoder.domain(domains)[:, None, :]
    memory = []
    for block in encoder.blocks:
        normed = block.norm_queries(states)
        keys, values = block.read(normed)
        memory.append((keys, values))
        states = block.mix(states, normed, keys, values, _all_seen(states))
    return _Grown(tuple(memory)), encoder.norm(states.float())


def _read_segment(
    encoder: Encoder, grown: _Grown, latents: Tensor, domains: Tensor, place: int, types: Tensor | None
) -> tuple[_Grown, Tensor]:
    """Read one more segment [B, W] of each chain. Returns the longer memory and the segment's states [B, D]."""
    width = encoder.domain.embedding_dim
    states = encoder.project(latents) + sinusoids(place + 1, width, latents.device)[place]
    if encoder.step_type is not None:
        states = states + encoder.step_type(torch.zeros_like(domains) if types is None else types)
    states = (states + encoder.domain(domains))[:, None]
    memory = []
    for block, (old_keys, old_values) in zip(encoder.blocks, grown.memory, strict=True):
        normed = block.norm_queries(states)
        keys, values = block.read(normed)
        keys, values = torch.cat([old_keys, keys], dim=2), torch.cat([old_values, values], dim=2)
        memory.append((keys, values))
        states = block.mix(states, normed, keys, values, _all_seen(states))
    return _Grown(tuple(memory)), encoder.norm(states.float())[:, 0]


def _all_seen(states: Tensor) -> Tensor:
    """A bias that hides nothing."""
    return torch.zeros((), device=states.device)
