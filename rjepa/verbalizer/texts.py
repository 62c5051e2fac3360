"""Right chains as tokens beside their latents: what a decoder reads and writes, batch by batch.

Which chains an update sees is a function of (seed, epoch), so that a killed run goes on as if nothing had happened. The
latents that R-JEPA expects are asked for batch by batch: kept, they would be a second copy of all latents.

Dimensions: rows of a batch, tokens of a row, latents of a batch, columns of latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rjepa.arrays import Int32, Int64
from rjepa.chains import render_chain
from rjepa.jepa.batches import UNKNOWN_DOMAIN, Assembler, shuffled_batches
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.latents.sets import LatentSet
from rjepa.schemas import ChainOfThought, Problem
from rjepa.students.catalog import StudentRecord
from rjepa.students.prompts import encode_prompts, render_prompt
from rjepa.students.segmentation import segment_many
from rjepa.verbalizer.config import DecoderConfig, Form, Learns
from rjepa.verbalizer.model import TokenBatch
from rjepa.verbalizer.vocabulary import START, Vocabulary

NO_TARGET: Final = -1

_PIECE: Final = 2000
"""Chains that are handed to the tokenizer together: it works on many at once."""

_COIN: Final = 1
"""Third part of the key of an update's coin tosses, which tells them from other draws."""


@dataclass(frozen=True)
class ChainTokens:
    """Chains of a `LatentSet` as tokens of the student.

    chains: int64, their indices in the set. tokens: int32, of prompt and chain. bounds: int64 [segments + 1] each, the
    first token of each segment, the prompt first, then the number of tokens.
    """

    chains: Int64
    tokens: list[Int32]
    bounds: list[Int64]

    def __len__(self) -> int:
        return len(self.chains)


def right_chains(
    latents: LatentSet,
    problems: Sequence[Problem],
    chains: Sequence[ChainOfThought],
    tokenizer: PreTrainedTokenizerBase,
    record: StudentRecord,
    *,
    max_tokens: int,
) -> ChainTokens:
    """The right chains of a set of latents, read again as the student reads them.

    Chains longer than `max_tokens` are left out, and those whose text has other segments than their latents.
    """
    statements = {problem.problem_id: problem.statement for problem in problems}
    texts = {chain.cot_id: chain for chain in chains}
    right = np.flatnonzero((latents.first_error < 0) & (latents.lengths >= 2))
    found: list[tuple[int, list[int], Int64]] = []
    for first in range(0, len(right), _PIECE):
        piece = [int(index) for index in right[first : first + _PIECE] if latents.chain_ids[int(index)] in texts]
        known = [texts[latents.chain_ids[index]] for index in piece]
        rendered = [render_prompt(tokenizer, record.prompt, statements[latents.problem_ids[index]]) for index in piece]
        encoded = segment_many(
            tokenizer,
            encode_prompts(tokenizer, record.prompt, rendered),
            [render_chain(chain.steps, chain.final_answer) for chain in known],
            record.segmentation,
        )
        found += [(index, *parts) for index, parts in zip(piece, encoded, strict=True)]
    kept = [
        (index, ids, bounds)
        for index, ids, bounds in found
        if len(ids) <= max_tokens and len(bounds) - 1 == latents.lengths[index]
    ]
    return ChainTokens(
        np.array([index for index, _, _ in kept], dtype=np.int64),
        [np.array(ids, dtype=np.int32) for _, ids, _ in kept],
        [np.asarray(bounds, dtype=np.int64) for _, _, bounds in kept],
    )


class Texts:
    """Batches of one set of chains for one decoder, with what R-JEPA expects of them."""

    def __init__(
        self,
        tokens: ChainTokens,
        latents: LatentSet,
        world_model: tuple[RJepa, Reader],
        vocabulary: Vocabulary,
        config: DecoderConfig,
    ) -> None:
        self.tokens = tokens
        self._model, reader = world_model
        self._assembler = Assembler(latents, reader, self._model.config, self._model.domain_names)
        self._vocabulary, self._config = vocabulary, config
        self._lengths = np.array([len(bounds) for bounds in tokens.bounds], dtype=np.int64)
        self._size = min(config.optim.batch_size, max(len(tokens), 1))
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    def chains_of(self, update: int) -> Int[np.ndarray, " rows"]:
        """Which chains, by their place in the tokens, an update sees."""
        an_epoch = max(1, len(self.tokens) // self._size)
        epoch, position = divmod(update, an_epoch)
        if self._order[0] != epoch:
            everything = np.arange(len(self.tokens))
            key = (self._config.seed, epoch)
            self._order = (epoch, shuffled_batches(everything, self._lengths, self._size, an_epoch, key))
        chosen: np.ndarray = self._order[1][position]
        return chosen

    def batch(self, update: int) -> TokenBatch:
        """The batch of an update (counted from 0)."""
        toss = np.random.default_rng((self._config.seed, update, _COIN))
        return self.of(self.chains_of(update), self._config.learns, toss)

    def of(
        self, chosen: Int[np.ndarray, " rows"], learns: Learns, toss: np.random.Generator | None = None
    ) -> TokenBatch:
        """These chains with latents of one kind, or for "both" with each kind by the toss of a coin."""
        observed, expected = self.latents_of(chosen)
        is_expected = np.full(len(observed), learns == "expected")
        if learns == "both":
            is_expected = (toss or np.random.default_rng(0)).random(len(observed)) < 0.5
        kind = torch.from_numpy(is_expected.astype(np.int64))
        chosen_latents = torch.where(kind[:, None].bool(), expected, observed)
        return make_batch(self.tokens, chosen, chosen_latents, kind, self._vocabulary, self._config.form)

    def latents_of(
        self, chosen: Int[np.ndarray, " rows"]
    ) -> tuple[Float[Tensor, "latents columns"], Float[Tensor, "latents columns"]]:
        """Observed and expected latents of all segments after the prompt, chain after chain, standardised, on the CPU.

        Domains are hidden, as they are of every question that is asked.
        """
        batch = self._assembler.gather(self.tokens.chains[chosen])
        untold = torch.full_like(batch.domains, UNKNOWN_DOMAIN)
        batch = replace(batch, domains=untold).to(self._model.device)
        raw = self._model.expectation(batch).raw
        assert raw is not None  # `check_world_model` has seen to it
        valid = batch.valid.clone()
        valid[:, 0] = False
        return batch.latents[valid].cpu(), raw[valid].cpu()


def make_batch(
    tokens: ChainTokens,
    chosen: Int[np.ndarray, " rows"],
    latents: Float[Tensor, "latents columns"],
    is_expected: Int[Tensor, " latents"],
    vocabulary: Vocabulary,
    form: Form,
) -> TokenBatch:
    """Rows of these chains: one a chain, or one a segment for a decoder that reads its latent alone. `latents` are
    those of the chains' segments after the prompt, chain after chain.
    """
    rows: list[tuple[Int64, Int64, Int64]] = []
    first = 0
    for index in chosen.tolist():
        ids, bounds = vocabulary.places(tokens.tokens[index]), tokens.bounds[index]
        segments = len(bounds) - 2
        if form == "latent":
            rows += [_segment_row(ids[bounds[at] : bounds[at + 1]], first + at - 1) for at in range(1, segments + 1)]
        else:
            rows.append(_chain_row(ids, bounds, first))
        first += segments
    width = max(len(row[0]) for row in rows)
    padded = [np.full((len(rows), width), fill, dtype=np.int64) for fill in (START, NO_TARGET, -1)]
    for number, row in enumerate(rows):
        for table, values in zip(padded, row, strict=True):
            table[number, : len(values)] = values
    inputs, targets, latent_of = (torch.from_numpy(table) for table in padded)
    return TokenBatch(inputs, targets, latent_of, latents, is_expected)


def _segment_row(ids: Int64, latent: int) -> tuple[Int64, Int64, Int64]:
    """Tokens, targets and latents of one segment. `START` after its last token says that it is over."""
    return np.concatenate([[START], ids]), np.concatenate([ids, [START]]), np.full(len(ids) + 1, latent)


def _chain_row(ids: Int64, bounds: Int64, first: int) -> tuple[Int64, Int64, Int64]:
    """Tokens, targets and latents of a whole chain: the prompt is read and not predicted."""
    segment_of = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))[1:]
    targets = np.where(segment_of > 0, ids[1:], NO_TARGET)
    return ids[:-1], targets, np.where(segment_of > 0, first + segment_of - 1, -1)


def known_tokens(tokens: ChainTokens, form: Form, pieces: Sequence[bytes]) -> Vocabulary:
    """The vocabulary of these chains; with that of their problems for a decoder that reads them."""
    starts = [0 if form != "latent" else int(bounds[1]) for bounds in tokens.bounds]
    rows = (np.unique(ids[start:]).tolist() for ids, start in zip(tokens.tokens, starts, strict=True))
    return Vocabulary.of(rows, pieces)
