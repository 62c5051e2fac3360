"""Latents that two students made of the same text: what maps between their spaces are fitted on.

A pair is a segment of a chain (the prompt, a step, the answer line) or a sentence of a problem, read by both. Problems
are drawn and held out whole: chains of one problem share so much text that a map which has seen one knows the other.

Legend: N pairs, W_t and W_s columns of the target's and the source's latents.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from rjepa.arrays import Bools, Float16, Float32, Int64
from rjepa.errors import InvalidInputError
from rjepa.latents.mapped import take_rows
from rjepa.latents.sets import LatentSet
from rjepa.latents.shares import in_drawing_order


@dataclass(frozen=True)
class Matched:
    """The chains that both students read, in one order: chain i of `target` has the text and the segments of chain i
    of `source`. `unmatched` counts the other chains of the target: the source lacks them, or cuts them otherwise.
    """

    target: LatentSet
    source: LatentSet
    unmatched: int

    def __len__(self) -> int:
        return len(self.target)

    @property
    def problems(self) -> list[str]:
        """Ids of the problems, each once, in an order that depends on the ids alone."""
        return in_drawing_order(self.target.problem_ids)

    def of_problems(self, problems: list[str]) -> Self:
        """The chains of these problems."""
        wanted = set(problems)
        chosen = np.flatnonzero([each in wanted for each in self.target.problem_ids])
        return type(self)(self.target.select(chosen), self.source.select(chosen), self.unmatched)


@dataclass(frozen=True)
class Pairs:
    """Rows of both students, N each. `problem` numbers the problem of each."""

    target: Float32
    """[N, W_t]"""
    source: Float32
    """[N, W_s]"""
    problem: Int64
    """[N]"""

    def __len__(self) -> int:
        return len(self.target)

    def where(self, chosen: Bools) -> Self:
        """Some of them."""
        return type(self)(self.target[chosen], self.source[chosen], self.problem[chosen])


def match_chains(target: LatentSet, source: LatentSet) -> Matched:
    """Bring the chains that both students read into one order.

    Raises:
        InvalidInputError: there are none.
    """
    place = {name: index for index, name in enumerate(source.chain_ids)}
    found = np.array([place.get(name, -1) for name in target.chain_ids], dtype=np.int64)
    of_target = np.flatnonzero(found >= 0)
    of_source = found[of_target]
    alike = target.lengths[of_target] == source.lengths[of_source]
    of_target, of_source = of_target[alike], of_source[alike]
    if not len(of_target):
        raise InvalidInputError(
            "the two students read no chain in common",
            cure="materialise latents of one dataset for both students, with the same segmentation",
        )
    return Matched(target.select(of_target), source.select(of_source), len(target) - len(of_target))


def pairs_of(matched: Matched) -> Pairs:
    """The segments of all chains, and the sentences of their problems where both students have them."""
    target, source = matched.target, matched.source
    numbers = target.problem_ids.numbers().astype(np.int64)
    rows = [(_rows(target), _rows(source), np.repeat(numbers, target.lengths))]
    rows += _sentences(target, source, numbers)
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return Pairs(columns[0].astype(np.float32), columns[1].astype(np.float32), columns[2].astype(np.int64))


def _rows(latents: LatentSet) -> Float16:
    return take_rows(latents.latents, np.arange(len(latents.latents)))


def _sentences(target: LatentSet, source: LatentSet, numbers: Int64) -> list[tuple[Float16, Float16, Int64]]:
    """The sentences of each problem, once."""
    if target.prompts is None or source.prompts is None:
        return []
    found = []
    for index in np.unique(numbers, return_index=True)[1]:
        of_target, of_source = target.sentences(index), source.sentences(index)
        if len(of_target) == len(of_source):
            found.append((of_target, of_source, np.full(len(of_target), numbers[index])))
    return found
