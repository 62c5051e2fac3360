"""The boundary between latents and the world model: many chains' latents in one flat array.

Only the value lives here: numpy and Arrow, nothing heavier. Where it comes from is `rjepa.latents.shards` (validated
chains) and `rjepa.latents.rollouts` (sampled candidates).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Float16, Int64, UInt8
from rjepa.latents.mapped import take_rows
from rjepa.latents.texts import Texts


@dataclass(frozen=True)
class Prompts:
    """Latents of the sentences of problems, each problem once, however many chains it has.

    sentences: float16 [rows, width]. offsets: int64 [prompts + 1]; prompt p is `sentences[offsets[p]:offsets[p + 1]]`.
    """

    sentences: Float16
    offsets: Int64

    @classmethod
    def of(cls, sentences: Float16, counts: npt.ArrayLike) -> "Prompts":
        """Make prompts of all sentences end to end and the number of each prompt's."""
        return cls(sentences, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class LatentSet:
    """Latents of `chains` chains, chain-major. Row 0 of a chain is its prompt, then its steps, then its answer line.

    latents: float16 [rows, width], possibly memory-mapped and read-only.
    offsets: int64 [chains + 1]; chain i is `latents[offsets[i]:offsets[i + 1]]`.
    domains: int64 [chains], indices into `domain_names`.
    first_error: int64 [chains], SEGMENT index (prompt = 0) of the first wrong segment; -1 for a right chain.
    problem_ids, chain_ids, splits: of each chain; lists that are handed in become `Texts`.
    prompts, prompt_of: the sentences of the problems, and int64 [chains] the prompt that each chain answers; both None
        where only the pooled prompt of row 0 is known.
    types: uint8 [rows], indices into `rjepa.step_types.STEP_TYPES`; None where they were not kept.
    """

    latents: Float16
    offsets: Int64
    domains: Int64
    domain_names: tuple[str, ...]
    first_error: Int64
    problem_ids: Texts
    chain_ids: Texts
    splits: Texts
    prompts: Prompts | None = None
    prompt_of: Int64 | None = None
    types: UInt8 | None = None

    def __post_init__(self) -> None:
        for name in ("problem_ids", "chain_ids", "splits"):
            object.__setattr__(self, name, Texts.of(getattr(self, name)))
        chains = len(self.offsets) - 1
        if chains < 0 or self.latents.ndim != 2:
            raise ValueError(f"expected offsets of at least 1 and latents [rows, width], got {self.latents.shape}")
        columns = (self.domains, self.first_error, self.problem_ids, self.chain_ids, self.splits)
        if any(len(column) != chains for column in columns):
            raise ValueError(f"expected columns of {chains} chains, got {[len(column) for column in columns]}")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.latents) or (np.diff(self.offsets) < 0).any():
            raise ValueError(f"offsets must rise from 0 to {len(self.latents)} rows")
        if (self.prompts is None) != (self.prompt_of is None):
            raise ValueError("expected both prompts and prompt_of, or neither")
        if self.prompt_of is not None and len(self.prompt_of) != chains:
            raise ValueError(f"expected prompt_of for {chains} chains, got {len(self.prompt_of)}")
        if self.types is not None and len(self.types) != len(self.latents):
            raise ValueError(f"expected a type for each of {len(self.latents)} rows, got {len(self.types)}")

    @classmethod
    def of_problem(
        cls, chains: Sequence[Float16], sentences: Float16 | None = None, types: UInt8 | None = None
    ) -> "LatentSet":
        """Chains of one problem of an unknown domain, none known to be wrong.

        Args:
            chains: float16 [segments, width] each, the prompt first.
            sentences: float16 [sentences, width], those of the problem.
            types: uint8 [rows] of all chains, end to end.
        """
        count = len(chains)
        return cls(
            latents=np.concatenate(chains),
            offsets=np.concatenate([[0], np.cumsum([len(rows) for rows in chains])]).astype(np.int64),
            domains=np.zeros(count, dtype=np.int64),
            domain_names=("",),
            first_error=np.full(count, -1, dtype=np.int64),
            problem_ids=Texts.of(["problem"] * count),
            chain_ids=Texts.of([f"problem#{index}" for index in range(count)]),
            splits=Texts.of(["test"] * count),
            prompts=None if sentences is None else Prompts.of(sentences, [len(sentences)]),
            prompt_of=None if sentences is None else np.zeros(count, dtype=np.int64),
            types=types,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def width(self) -> int:
        """Columns of a latent: poolings times the student's hidden size."""
        return int(self.latents.shape[1])

    @property
    def lengths(self) -> Int64:
        """int64 [chains]: segments of each chain, the prompt included."""
        return np.diff(self.offsets)

    def chain(self, index: int) -> Float16:
        """float16 [segments, width]: one chain's latents, a view."""
        return self.latents[self.offsets[index] : self.offsets[index + 1]]

    def sentences(self, index: int) -> Float16:
        """float16 [sentences, width]: those of the problem that a chain answers, a view. Needs `prompts`."""
        if self.prompts is None or self.prompt_of is None:
            raise ValueError("these latents hold no sentences of problems")
        prompt = self.prompt_of[index]
        return self.prompts.sentences[self.prompts.offsets[prompt] : self.prompts.offsets[prompt + 1]]

    def select(self, chosen: npt.ArrayLike) -> "LatentSet":
        """The chains where a boolean mask [chains] is true, or those at integer indices, in that order.

        Copies rows, unless the chains lie one after the other: a split of a set larger than memory is a view of it.
        """
        picked = np.asarray(chosen)
        if picked.dtype == np.bool_:
            if len(picked) != len(self):
                raise ValueError(f"expected a mask of {len(self)} chains, got {len(picked)}")
            picked = np.flatnonzero(picked)
        picked = picked.astype(np.int64, copy=False)
        if len(picked) and (np.diff(picked) == 1).all():
            return self._run(int(picked[0]), int(picked[-1]) + 1)
        starts, lengths = self.offsets[:-1][picked], self.offsets[1:][picked] - self.offsets[:-1][picked]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return replace(
            self,
            latents=take_rows(self.latents, rows),
            offsets=offsets,
            domains=self.domains[picked],
            first_error=self.first_error[picked],
            problem_ids=self.problem_ids.take(picked),
            chain_ids=self.chain_ids.take(picked),
            splits=self.splits.take(picked),
            prompt_of=None if self.prompt_of is None else self.prompt_of[picked],
            types=None if self.types is None else self.types[rows],
        )

    def _run(self, first: int, last: int) -> "LatentSet":
        """The chains from `first` to before `last`, as views."""
        start = self.offsets[first]
        return replace(
            self,
            latents=self.latents[start : self.offsets[last]],
            offsets=self.offsets[first : last + 1] - start if start else self.offsets[: last + 1],
            domains=self.domains[first:last],
            first_error=self.first_error[first:last],
            problem_ids=self.problem_ids.run(first, last),
            chain_ids=self.chain_ids.run(first, last),
            splits=self.splits.run(first, last),
            prompt_of=None if self.prompt_of is None else self.prompt_of[first:last],
            types=None if self.types is None else self.types[start : self.offsets[last]],
        )

    def without_domains(self) -> "LatentSet":
        """Return the same chains without a domain: how a question without a label looks."""
        return replace(self, domains=np.zeros_like(self.domains), domain_names=("",))

    def split(self, name: str) -> "LatentSet":
        """The chains of one split."""
        return self.select(self.splits.equal(name))
