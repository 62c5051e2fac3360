"""What R-JEPA expects next, for chains that grow a segment at a time: each segment is read once.

The whole pass over finished chains is `RJepa.energies`; the two agree within rounding. Only causal encoders can be
asked step by step.

Dimensions: chains, sentences, width of the student's latents, columns of them that are read, states of the encoder;
heads, keys, size of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import UNKNOWN_DOMAIN
from rjepa.jepa.encoder import Encoder, sinusoids
from rjepa.jepa.losses import latent_error, raw_error
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader

KeysValues = tuple[Float[Tensor, "chains heads keys size"], Float[Tensor, "chains heads keys size"]]
"""Keys and values of one block."""

States = Float[Tensor, "chains states"]
Latents = Float[Tensor, "chains columns"]
PerChain = Int[Tensor, " chains"]
"""Domains or types of steps, int64."""


@dataclass(frozen=True)
class _Grown:
    """An encoder's memory of what it has read: keys and values of each block."""

    memory: tuple[KeysValues, ...]

    def rows(self, indices: Int[Tensor, " chosen"]) -> "_Grown":
        return _Grown(tuple((keys[indices], values[indices]) for keys, values in self.memory))

    @classmethod
    def join(cls, parts: Sequence["_Grown"]) -> "_Grown":
        blocks = zip(*(part.memory for part in parts), strict=True)
        return cls(tuple((torch.cat([k for k, _ in block]), torch.cat([v for _, v in block])) for block in blocks))


@dataclass(frozen=True)
class Expectation:
    """What R-JEPA expects of the next segment of chains, and all that it needs to go on; `append` makes another.

    Attributes:
        next: the expected next latent as the model sees latents, float32.
        energies: of the segment appended last, float32: how surprising it was; 0 for the prompt.
        segments: how many segments each chain has, the prompt included.
    """

    next: Latents
    energies: Float[Tensor, " chains"]
    segments: int
    _model: RJepa = field(repr=False)
    _reader: Reader = field(repr=False)
    _domains: PerChain = field(repr=False)
    _context: _Grown = field(repr=False)
    _target: _Grown = field(repr=False)
    _predictor: _Grown = field(repr=False)
    _expected_state: States = field(repr=False)

    @classmethod
    @torch.no_grad()
    def begin(
        cls,
        model: RJepa,
        reader: Reader,
        prompts: Float[npt.NDArray[np.floating], "chains width"],
        sentences: Float[npt.NDArray[np.floating], "sentences width"] | None = None,
        types: PerChain | None = None,
    ) -> "Expectation":
        """Read the prompts of chains of one problem.

        Args:
            prompts: latents of segment 0, any float type.
            sentences: latents of the problem's sentences, shared by all chains.
            types: step types, for a model that reads them.

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
        empty, none = torch.zeros(rows, 0, device=model.device), torch.zeros(rows, device=model.device)
        start = cls(empty, none, 0, model, reader, domains, context, target, predictor, empty)
        return start.append(prompts, types)

    @torch.no_grad()
    def append(
        self, latents: Float[npt.NDArray[np.floating], "chains width"], types: PerChain | None = None
    ) -> "Expectation":
        """Read the next segment of each chain, of any float type.

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

    def rows(self, indices: Int[Tensor, " chosen"]) -> "Expectation":
        """The chains at these indices, chosen, repeated or permuted: a fork reads nothing anew."""
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

    @classmethod
    def join(cls, parts: Sequence["Expectation"]) -> "Expectation":
        """Chains of one problem that have as many segments each, side by side.

        Raises:
            ValueError: there is none, or they have different numbers of segments.
        """
        if len({part.segments for part in parts}) != 1:
            raise ValueError(f"expected chains of as many segments, got {[part.segments for part in parts]}")
        if len(parts) == 1:
            return parts[0]
        return replace(
            parts[0],
            next=torch.cat([part.next for part in parts]),
            energies=torch.cat([part.energies for part in parts]),
            _domains=torch.cat([part._domains for part in parts]),
            _context=_Grown.join([part._context for part in parts]),
            _target=_Grown.join([part._target for part in parts]),
            _predictor=_Grown.join([part._predictor for part in parts]),
            _expected_state=torch.cat([part._expected_state for part in parts]),
        )

    def next_latents(self) -> Float[npt.NDArray[np.float32], "chains columns"]:
        """The expected next latents in the student's own space."""
        return self._reader.restore(self.next.cpu().numpy())

    def _placed(self, states: States) -> Float[Tensor, "chains 1 inner"]:
        """Context states of the newest segment as the predictor's memory."""
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

    def _energy(self, observed: Latents, target_state: States) -> Float[Tensor, " chains"]:
        kind = self._model.config.energy
        if kind == "rank" and self._model.rank_head is not None:
            return F.softplus(self._model.rank_head(self.next, observed))
        if kind == "raw":
            return raw_error(self.next, observed)
        return latent_error(self._expected_state, target_state)


def _read_sentences(
    encoder: Encoder, sentences: Float[Tensor, "chains sentences columns"], domains: PerChain
) -> tuple[_Grown, Float[Tensor, "chains known states"]]:
    """Read the sentences of the problem, which see each other. Returns the memory and their states."""
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
    encoder: Encoder, grown: _Grown, latents: Latents, domains: PerChain, place: int, types: PerChain | None
) -> tuple[_Grown, States]:
    """Read one more segment of each chain. Returns the longer memory and the segment's states."""
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


def _all_seen(states: Tensor) -> Float[Tensor, ""]:
    """A bias that hides nothing."""
    return torch.zeros((), device=states.device)
