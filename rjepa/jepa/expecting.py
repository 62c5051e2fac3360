"""What R-JEPA expects next, for chains that grow a segment at a time: each segment is read once.

The whole pass over finished chains is `RJepa.energies`; the two agree within rounding. Only causal encoders can be
asked step by step.

Dimensions: chains, sentences, width of the student's latents, columns of them that are read, states of the encoder;
heads, keys, size of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from rjepa.arrays import Float32, Int64
from rjepa.errors import InvalidInputError
from rjepa.jepa.batches import UNKNOWN_DOMAIN
from rjepa.jepa.encoder import Encoder, sinusoids
from rjepa.jepa.losses import latent_error, raw_error
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader

if TYPE_CHECKING:
    from rjepa.jepa.native_expecting import NativeModel

Memory = Float[Tensor, "_ 2 chains _ _ _"]
"""Keys and values of each block: blocks, the two, chains, heads, keys, size of a head."""

States = Float[Tensor, "chains states"]
Latents = Float[Tensor, "chains columns"]
PerChain = Int[Tensor, " chains"]
"""Domains or types of steps, int64."""


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
    _context: Memory = field(repr=False)
    _target: Memory | None = field(repr=False)
    _predictor: Memory = field(repr=False)
    _expected_state: States = field(repr=False)
    _native: "NativeModel | None" = field(repr=False)

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
        rows, native, reads_target = len(prompts), _native(model), _reads_target(model)
        domains = torch.full((rows,), UNKNOWN_DOMAIN, dtype=torch.int64, device=model.device)
        known = np.zeros((0, reader.columns_read), np.float32) if sentences is None else reader.read(sentences)
        if native is not None:
            about = native.context.read_sentences(known, UNKNOWN_DOMAIN)
            context, predictor = _repeated(about[0], rows), _repeated(native.remember(about[1]), rows)
            target = _repeated(native.target.read_sentences(known, UNKNOWN_DOMAIN)[0], rows) if reads_target else None
        else:
            read = torch.from_numpy(known).to(model.device).expand(rows, -1, -1)
            context, states = _read_sentences(model.context, read, domains)
            target = _read_sentences(model.target, read, domains)[0] if reads_target else None
            memory = model.predictor.project(states)
            predictor = torch.stack([torch.stack(block.read(memory)) for block in model.predictor.blocks])
        empty, none = torch.zeros(rows, 0, device=model.device), torch.zeros(rows, device=model.device)
        start = cls(empty, none, 0, model, reader, domains, context, target, predictor, empty, native)
        return start.append(prompts, types)

    @torch.no_grad()
    def append(
        self, latents: Float[npt.NDArray[np.floating], "chains width"], types: PerChain | None = None
    ) -> "Expectation":
        """Read the next segment of each chain, of any float type.

        Its energy is measured against what was expected before it was read.
        """
        if self._native is not None:
            its = [self] if len(latents) == 1 else [self.rows(torch.tensor([row])) for row in range(len(latents))]
            return Expectation.join(_append_native(its, self._native, latents, types))
        model = self._model
        observed = torch.from_numpy(np.ascontiguousarray(self._reader.read(latents))).to(model.device)
        about = self._domains, self.segments, types
        context, state = _read_segment(model.context, self._context, observed, *about)
        target, target_state = self._target, state
        if self._target is not None:
            target, target_state = _read_segment(model.target, self._target, observed, *about)
        energies = torch.zeros(len(observed), device=model.device)
        if self.segments:
            energies = _energy(model, self.next, self._expected_state, observed, target_state)
        grown = replace(self, _context=context, _target=target, segments=self.segments + 1, energies=energies)
        return grown._predicted(state)

    @staticmethod
    @torch.no_grad()
    def append_each(
        parts: "Sequence[Expectation]",
        latents: Float[npt.NDArray[np.floating], "chains width"],
        types: Sequence[int] | None = None,
    ) -> "list[Expectation]":
        """Read the next segment of chains of any problems and lengths, one in each part: as many as can be together."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, part in enumerate(parts):
            alike = () if part._native is not None else (part.segments, part._context.shape[4])
            groups.setdefault((id(part._model), *alike), []).append(row)
        found: dict[int, Expectation] = {}
        for rows in groups.values():
            its = [parts[row] for row in rows]
            kinds = None if types is None else torch.tensor([types[row] for row in rows], device=its[0].energies.device)
            if its[0]._native is not None:
                after = _append_native(its, its[0]._native, latents[rows], kinds)
            else:
                joined = Expectation.join(its).append(latents[rows], kinds)
                places = torch.arange(len(rows), device=joined.energies.device)[:, None]
                after = [joined] if len(rows) == 1 else [joined.rows(place) for place in places]
            found |= dict(zip(rows, after, strict=True))
        return [found[row] for row in range(len(parts))]

    @property
    def reads_types(self) -> bool:
        """Whether `append` wants the types of steps."""
        return self._model.context.step_type is not None

    def rows(self, indices: Int[Tensor, " chosen"]) -> "Expectation":
        """The chains at these indices, chosen, repeated or permuted: a fork reads nothing anew."""
        return replace(
            self,
            next=self.next[indices],
            energies=self.energies[indices],
            _domains=self._domains[indices],
            _context=self._context[:, :, indices],
            _target=None if self._target is None else self._target[:, :, indices],
            _predictor=self._predictor[:, :, indices],
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
        targets = [part._target for part in parts if part._target is not None]
        return replace(
            parts[0],
            next=torch.cat([part.next for part in parts]),
            energies=torch.cat([part.energies for part in parts]),
            _domains=torch.cat([part._domains for part in parts]),
            _context=torch.cat([part._context for part in parts], dim=2),
            _target=torch.cat(targets, dim=2) if targets else None,
            _predictor=torch.cat([part._predictor for part in parts], dim=2),
            _expected_state=torch.cat([part._expected_state for part in parts]),
        )

    def next_latents(self) -> Float[Float32, "chains columns"]:
        """The expected next latents in the student's own space."""
        return self._reader.restore(self.next.cpu().numpy())

    def _predicted(self, state: States) -> "Expectation":
        """With what is expected after the newest segment, which left this state in the context encoder."""
        predictor, place, width = self._model.predictor, self.segments - 1, self._model.predictor.mask_token.shape[0]
        codes = sinusoids(self.segments + 1, width, self._domains.device)
        asked = predictor.mask_token + predictor.domain(self._domains) + codes[self.segments]
        memory, queries = _longer(self._predictor), asked[:, None]
        placed = (predictor.project(state) + codes[place])[:, None]
        for block, (keys, values) in zip(predictor.blocks, memory, strict=True):
            keys[:, :, -1:], values[:, :, -1:] = block.read(placed)
            queries = block.mix(queries, block.norm_queries(queries), keys, values, _all_seen(queries))
        states = predictor.norm(queries)[:, 0]
        latent = predictor.to_latent(states).float()
        raw = latent.new_zeros(len(latent), 0) if predictor.to_raw is None else predictor.to_raw(states).float()
        return replace(self, next=raw, _expected_state=latent, _predictor=memory)


def _energy(
    model: RJepa, raw: Latents, state: States, observed: Latents, target_state: States
) -> Float[Tensor, " chains"]:
    """How surprising segments are: what was expected, as a raw latent and as a state, against what came."""
    kind = model.config.energy
    if kind == "rank" and model.rank_head is not None:
        return F.softplus(model.rank_head(raw, observed))
    if kind == "raw":
        return raw_error(raw, observed)
    return latent_error(state, target_state)


def _append_native(
    parts: Sequence[Expectation], native: "NativeModel", latents: npt.NDArray[np.floating], types: PerChain | None
) -> list[Expectation]:
    """As `Expectation.append_each`, of chains of one model, one in each part, in compiled code."""
    first = parts[0]
    observed = np.ascontiguousarray(first._reader.read(latents))
    places = np.array([part.segments for part in parts])
    domains = np.concatenate([part._domains.numpy() for part in parts])
    about = observed, places, domains, None if types is None else types.numpy()
    longer, state = native.context.read(*about, *_padded([part._context for part in parts]))
    contexts = _parted(longer, [part._context for part in parts])
    targets, target_state = list[Tensor | None]([None] * len(parts)), state
    own = [part._target for part in parts if part._target is not None]
    if own:
        longer, target_state = native.target.read(*about, *_padded(own))
        targets = [*_parted(longer, own)]
    energies = torch.zeros(len(parts))
    if places.any():  # the raw latent expected of the first segment has no columns yet
        begun = np.flatnonzero(places).tolist()
        chosen = [parts[row] for row in begun]
        expected = torch.cat([part.next for part in chosen]), torch.cat([part._expected_state for part in chosen])
        came = torch.from_numpy(observed[begun]), torch.from_numpy(target_state[begun])
        energies[begun] = _energy(first._model, *expected, *came)
    predictors = [part._predictor for part in parts]
    longer, raw, latent = native.predict(state, places, domains, *_padded(predictors))
    rows = zip(parts, contexts, targets, _parted(longer, predictors), strict=True)
    raws, latents_expected = torch.from_numpy(raw), torch.from_numpy(latent)
    return [
        replace(
            part,
            next=raws[row : row + 1],
            energies=energies[row : row + 1],
            segments=part.segments + 1,
            _context=context,
            _target=target,
            _predictor=predictor,
            _expected_state=latents_expected[row : row + 1],
        )
        for row, (part, context, target, predictor) in enumerate(rows)
    ]


def _reads_target(model: RJepa) -> bool:
    """Whether energies are measured against the states of the target encoder; nothing else asks for them."""
    return model.config.energy == "latent" or (model.config.energy == "rank" and model.rank_head is None)


def _native(model: RJepa) -> "NativeModel | None":
    """The model as compiled code; None where it lies on another device, or numba is missing."""
    try:
        from rjepa.jepa.native_expecting import native_model
    except ImportError:  # there is no numba for every Python yet
        return None
    return native_model(model)


def _read_sentences(
    encoder: Encoder, sentences: Float[Tensor, "chains sentences columns"], domains: PerChain
) -> tuple[Memory, Float[Tensor, "chains known states"]]:
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
        memory.append(torch.stack([keys, values]))
        states = block.mix(states, normed, keys, values, _all_seen(states))
    return torch.stack(memory), encoder.norm(states.float())


def _read_segment(
    encoder: Encoder,
    memory: Memory,
    latents: Latents,
    domains: PerChain,
    place: int,
    types: PerChain | None,
) -> tuple[Memory, States]:
    """Read one more segment of each chain. Returns the longer memory and the segment's states."""
    added = _added(encoder, domains, torch.full_like(domains, place), types)
    grown, states = _longer(memory), (encoder.project(latents) + added)[:, None]
    for block, (keys, values) in zip(encoder.blocks, grown, strict=True):
        normed = block.norm_queries(states)
        keys[:, :, -1:], values[:, :, -1:] = block.read(normed)
        states = block.mix(states, normed, keys, values, _all_seen(states))
    return grown, encoder.norm(states.float())[:, 0]


def _added(
    encoder: Encoder, domains: PerChain, places: PerChain, types: PerChain | None
) -> Float[Tensor, "chains states"]:
    """What is added to the projected latents of segments: codes of their places, domains and types."""
    codes = sinusoids(int(places.max()) + 1, encoder.domain.embedding_dim, domains.device)
    added: Tensor = codes[places] + encoder.domain(domains)
    if encoder.step_type is not None:
        added = added + encoder.step_type(torch.zeros_like(domains) if types is None else types)
    return added


def _padded(memories: Sequence[Memory]) -> tuple[Float32, Int64]:
    """Memories of one chain each side by side, as long as the longest, and how many keys each has."""
    blocks, both, _, heads, _, size = memories[0].shape
    counts = np.array([one.shape[4] for one in memories], dtype=np.int64)
    if len(memories) == 1:
        return memories[0].numpy(), counts
    padded = np.zeros((blocks, both, len(memories), heads, int(counts.max()), size), dtype=np.float32)
    for row, one in enumerate(memories):
        padded[:, :, row, :, : counts[row]] = one[:, :, 0].numpy()
    return padded, counts


def _parted(padded: Float32, before: Sequence[Memory]) -> list[Memory]:
    """The memories of `before`, each with the key that it has gained in what `_padded` laid side by side."""
    if len(before) == 1:
        return [torch.from_numpy(padded)]
    keys = [one.shape[4] + 1 for one in before]
    return [torch.from_numpy(padded[:, :, row : row + 1, :, :count].copy()) for row, count in enumerate(keys)]


def _repeated(memory: Float32, chains: int) -> Memory:
    """The memory of one chain for several that have read the same."""
    found = torch.from_numpy(memory)
    return found if chains == 1 else found.repeat(1, 1, chains, 1, 1, 1)


def _longer(memory: Memory) -> Memory:
    """The memory with room for one more key and value."""
    longer = memory.new_empty(*memory.shape[:4], memory.shape[4] + 1, memory.shape[5])
    longer[:, :, :, :, :-1] = memory
    return longer


def _all_seen(states: Tensor) -> Float[Tensor, ""]:
    """A bias that hides nothing."""
    return torch.zeros((), device=states.device)
