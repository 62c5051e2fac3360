"""From a flat, possibly memory-mapped LatentSet to padded batches, without a Python loop over chains.

Which chains are drawn together is decided here too. Masks and losses live elsewhere.
Dimensions: rows of a batch (chains, mostly), segments of the longest of them, sentences of the longest prompt, columns
of latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from rjepa.errors import InvalidInputError
from rjepa.jepa.config import JepaConfig
from rjepa.jepa.reader import Reader
from rjepa.latents.mapped import take_rows
from rjepa.latents.sets import LatentSet

UNKNOWN_DOMAIN: Final = 0
"""Embedding row of a domain that was not in training; trained by dropping domains now and then."""

_POOL: Final = 16
"""Batches that are shuffled, sorted by length and cut together: less padding, still mixed."""


@dataclass(frozen=True)
class Layout:
    """Where several chains of a problem stand in one row, each distinct beginning of theirs once: a tree."""

    places: Int[Tensor, "rows segments"]
    """the segment's index within its chain; 0 for padding"""
    sees: Bool[Tensor, "rows segments segments"]
    """`sees[b, t, j]`: j is t, or lies before it in a chain"""

    def to(self, device: torch.device) -> "Layout":
        return Layout(self.places.to(device), self.sees.to(device))


@dataclass(frozen=True)
class Batch:
    """Chains padded to one length. Floats are float32, integers int64.

    Padding is 0 in `latents` and False in `valid`.
    """

    latents: Float[Tensor, "rows segments columns"]
    """standardised"""
    valid: Bool[Tensor, "rows segments"]
    domains: Int[Tensor, " rows"]
    """rows of the domain embedding"""
    problems: Int[Tensor, " rows"]
    """equal for chains of one problem"""
    first_error: Int[Tensor, " rows"]
    """segment index, -1 for a right chain"""
    sentences: Float[Tensor, "rows sentences columns"]
    """the problem's sentences, standardised; none for a model that does not read them"""
    sentences_valid: Bool[Tensor, "rows sentences"]
    """False in the padding of `sentences`"""
    types: Int[Tensor, "rows segments"]
    """indices into STEP_TYPES; 0 in the padding, and everywhere for a model that does not use them"""
    layout: Layout | None = None
    """None where every row is one chain"""

    def rows(self, indices: Int[Tensor, " chosen"] | Bool[Tensor, " rows"]) -> "Batch":
        """The batch with rows chosen, repeated or permuted. For rows of one chain."""
        return Batch(*(getattr(self, name)[indices] for name in self._tensors()))

    def joined(self, other: "Batch") -> "Batch":
        """The rows of both, padded to the longer chain and the longer problem. For rows of one chain."""
        parts: list[Any] = []
        for name in self._tensors():
            one, two = getattr(self, name), getattr(other, name)
            if one.ndim > 1:
                longest = max(one.shape[1], two.shape[1])
                one, two = (F.pad(part, (0, 0) * (part.ndim - 2) + (0, longest - part.shape[1])) for part in (one, two))
            parts.append(torch.cat([one, two]))
        return Batch(*parts)

    def to(self, device: torch.device) -> "Batch":
        layout = None if self.layout is None else self.layout.to(device)
        moved = Batch(*(getattr(self, name).to(device) for name in self._tensors()))
        return replace(moved, layout=layout)

    def _tensors(self) -> list[str]:
        return [name for name in self.__dataclass_fields__ if name != "layout"]


def domain_rows(trained: tuple[str, ...], names: tuple[str, ...]) -> Int[np.ndarray, " names"]:
    """The embedding row of each domain name, UNKNOWN_DOMAIN for one never trained on, int64."""
    return np.array([trained.index(name) + 1 if name in trained else UNKNOWN_DOMAIN for name in names], dtype=np.int64)


class Assembler:
    """Gathers chains of one set into batches."""

    def __init__(self, latents: LatentSet, reader: Reader, config: JepaConfig, trained: tuple[str, ...]) -> None:
        reader.check(latents.width)
        self._reader = reader
        if config.encoder.sentences and latents.prompts is None:
            raise InvalidInputError(
                f"config {config.name!r} reads the sentences of problems, and these latents hold none",
                cure="materialise latents and rollouts again, or set encoder.sentences to false in the run's config",
            )
        if config.uses_step_types and latents.types is None:
            raise InvalidInputError(
                f"config {config.name!r} uses the types of steps, and these latents hold none",
                cure="materialise latents again, or turn encoder.step_types and loss.step_type off in the run's config",
            )
        self._set = latents
        self._types = latents.types if config.uses_step_types else None
        self._reads_sentences = config.encoder.sentences
        self._domain_rows = domain_rows(trained, latents.domain_names)
        self._problems = latents.problem_ids.numbers()

    @property
    def problems(self) -> Int[np.ndarray, " chains"]:
        """Int32, equal for chains of one problem."""
        return self._problems

    def right_chains(self) -> Int[np.ndarray, " right"]:
        """Indices of the right chains that have a step at all."""
        return np.flatnonzero((self._set.lengths >= 2) & (self._set.first_error < 0))

    def wrong_chains(self) -> Int[np.ndarray, " wrong"]:
        """Indices of the wrong chains that have a step at all."""
        return np.flatnonzero((self._set.lengths >= 2) & (self._set.first_error >= 0))

    def gather(self, indices: Int[np.ndarray, " rows"]) -> Batch:
        """The chains at `indices`, padded to the longest of them."""
        rows, valid = _runs(self._set.offsets, indices)
        return self._batch(rows, valid, indices)

    def gather_side_by_side(self, groups: Sequence[Int[np.ndarray, " _"]]) -> tuple[Batch, list[Int[np.ndarray, " _"]]]:
        """A row for each group of chains (their indices) of one problem, and where in it each chain's segments are.

        Segments that are equal, and come after equal ones, are there once: sampled chains often begin alike.
        """
        paths, kept, sizes = [], [], []
        for group in groups:
            own, distinct = self._tree(group)
            paths.extend(own)
            kept.append(distinct)
            sizes.append(len(distinct))
        shape = (len(groups), max(*sizes, 1))
        valid = np.arange(shape[1]) < np.array(sizes)[:, None]
        places, sees = np.zeros(shape, dtype=np.int64), np.zeros((*shape, shape[1]), dtype=bool)
        owners = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        for owner, path in zip(owners, paths, strict=True):
            places[owner, path] = np.arange(len(path))
            sees[owner, path[:, None], path] = np.tri(len(path), dtype=bool)
        layout = Layout(torch.from_numpy(places), torch.from_numpy(sees))
        return self._batch(np.concatenate(kept), valid, np.array([group[0] for group in groups]), layout), paths

    def _tree(
        self, group: Int[np.ndarray, " chains"]
    ) -> tuple[list[Int[np.ndarray, " _"]], Int[np.ndarray, " distinct"]]:
        """Places of each chain's segments among the distinct ones of a group, and the rows of latents of those."""
        known: dict[tuple[int, bytes], int] = {}
        rows: list[int] = []
        paths = []
        for index in group:
            start, end = int(self._set.offsets[index]), int(self._set.offsets[index + 1])
            path, parent = [], -1
            for row, segment in enumerate(self._set.latents[start:end], start):
                key = (parent, segment.tobytes())
                if key not in known:
                    known[key] = len(rows)
                    rows.append(row)
                parent = known[key]
                path.append(parent)
            paths.append(np.array(path, dtype=np.int64))
        return paths, np.array(rows, dtype=np.int64)

    def _batch(
        self,
        rows: Int[np.ndarray, " filled"],
        valid: Bool[np.ndarray, "rows segments"],
        chains: Int[np.ndarray, " rows"],
        layout: Layout | None = None,
    ) -> Batch:
        """These rows of latents where `valid` is true, of the problems of `chains`."""
        padded = self._padded(self._set.latents, rows, valid)
        types = np.zeros(valid.shape, dtype=np.int64)
        if self._types is not None:
            types[valid] = self._types[rows]
        sentences, sentences_valid = self._sentences(chains, padded.shape[2])
        return Batch(
            torch.from_numpy(padded),
            torch.from_numpy(valid),
            torch.from_numpy(self._domain_rows[self._set.domains[chains]]),
            torch.from_numpy(self._problems[chains].astype(np.int64)),
            torch.from_numpy(self._set.first_error[chains].astype(np.int64)),
            torch.from_numpy(sentences),
            torch.from_numpy(sentences_valid),
            torch.from_numpy(types),
            layout,
        )

    def _sentences(
        self, chains: Int[np.ndarray, " rows"], columns: int
    ) -> tuple[Float[np.ndarray, "rows sentences {columns}"], Bool[np.ndarray, "rows sentences"]]:
        prompts, prompt_of = self._set.prompts, self._set.prompt_of
        if not self._reads_sentences or prompts is None or prompt_of is None:
            return np.zeros((len(chains), 0, columns), np.float32), np.zeros((len(chains), 0), dtype=bool)
        rows, valid = _runs(prompts.offsets, prompt_of[chains])
        return self._padded(prompts.sentences, rows, valid), valid

    def _padded(
        self,
        source: Float[np.ndarray, "all width"],
        rows: Int[np.ndarray, " filled"],
        valid: Bool[np.ndarray, "rows segments"],
    ) -> Float[np.ndarray, "rows segments columns"]:
        """These rows, standardised, float32, where `valid` is true."""
        standard = self._standard(source, rows)
        padded = np.zeros((*valid.shape, standard.shape[1]), dtype=np.float32)
        padded[valid] = standard
        return padded

    def _standard(
        self, source: Float[np.ndarray, "all width"], rows: Int[np.ndarray, " filled"]
    ) -> Float[np.ndarray, "filled columns"]:
        """The columns that are read of these rows, standardised, float32."""
        return self._reader.read(take_rows(source, rows))


def _runs(
    offsets: Int[np.ndarray, " ends"], chosen: Int[np.ndarray, " rows"]
) -> tuple[Int[np.ndarray, " filled"], Bool[np.ndarray, "rows longest"]]:
    """Rows of the runs `offsets[c]:offsets[c + 1]`, end to end, and which of the places of a padded batch they fill."""
    start, end = offsets[chosen], offsets[chosen + 1]
    place = np.arange(max(int((end - start).max(initial=1)), 1))
    valid = place < (end - start)[:, None]
    return (start[:, None] + place)[valid], valid


class BatchOrder:
    """Which chains an update sees: right chains once an epoch, and fresh wrong chains of the same problems.

    The order is a function of (seed, epoch) and the negatives of the given generator, so that a run can be resumed
    from its update number and the generator's state alone.
    """

    def __init__(self, latents: LatentSet, problems: Int[np.ndarray, " chains"], batch_size: int, seed: int) -> None:
        # Narrow integers: these are the arrays that grow with the number of chains.
        self._lengths = latents.lengths.astype(np.int32)
        usable = self._lengths >= 2
        self.right = np.flatnonzero(usable & (latents.first_error < 0)).astype(np.int32)
        wrong = np.flatnonzero(usable & (latents.first_error >= 0)).astype(np.int32)
        self.wrong = wrong[np.argsort(problems[wrong], kind="stable")]
        owners = problems[self.wrong]
        self._wrong_start = np.searchsorted(owners, problems, side="left").astype(np.int32)
        self._wrong_count = np.searchsorted(owners, problems, side="right").astype(np.int32) - self._wrong_start
        self._batch_size = min(batch_size, max(len(self.right), 1))
        self._seed = seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    @property
    def paired(self) -> int:
        """Right chains whose problem has a wrong chain too."""
        return int((self._wrong_count[self.right] > 0).sum())

    @property
    def per_epoch(self) -> int:
        """Updates in which every right chain is seen about once."""
        return len(self.right) // self._batch_size

    def chains(self, update: int) -> Int[np.ndarray, " rows"]:
        """The right chains, int32, of an update (counted from 0)."""
        per_epoch = self.per_epoch
        epoch, position = divmod(update, per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self._shuffled(epoch, per_epoch))
        chosen: np.ndarray = self._order[1][position]
        return chosen

    def negatives(
        self, chains: Int[np.ndarray, " rows"], amount: int, generator: torch.Generator
    ) -> tuple[Int[np.ndarray, " wrong"], Int[np.ndarray, " wrong"]]:
        """Up to `amount` wrong chains for a batch: the batch rows they belong to, and their indices."""
        rows = np.flatnonzero(self._wrong_count[chains] > 0)
        rows = rows[torch.randperm(len(rows), generator=generator).numpy()[:amount]]
        draw = torch.rand(len(rows), generator=generator, dtype=torch.float64).numpy()
        owners = chains[rows]
        return rows, self.wrong[self._wrong_start[owners] + (draw * self._wrong_count[owners]).astype(np.int64)]

    def _shuffled(self, epoch: int, batches: int) -> Int[np.ndarray, "{batches} rows"]:
        return shuffled_batches(self.right, self._lengths, self._batch_size, batches, (self._seed, epoch))


def shuffled_batches(
    chains: Int[np.ndarray, " chains"],
    lengths: Int[np.ndarray, " all"],
    batch_size: int,
    batches: int,
    key: tuple[int, int],
) -> Int[np.ndarray, "{batches} rows"]:
    """So many batches of these chains, each chain at most once, those of about one length together. A function of the
    key, (seed, epoch).
    """
    random = np.random.default_rng(key)
    order = random.permutation(chains)[: batches * batch_size]
    pool = np.arange(len(order)) // (batch_size * _POOL)
    order = order[np.lexsort((lengths[order], pool))].reshape(batches, batch_size)
    return order[random.permutation(batches)]
