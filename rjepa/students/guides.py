"""Guides: small decoders beside a student that say, token by token, how the step that a row writes may go on.

To a session a guide is a bias like others, a function of the row's tokens. One whose decoder can be handed over as
arrays is computed where tokens are drawn, for all rows at once. Here are these arrays, and how far each row's guide has
read; the arithmetic is compiled in `rjepa.students.native_guides`. What a guide expects belongs to `rjepa.verbalizer`.

Legend: rows S of a session, places V and width W of the decoder, blocks B, heads N, head size D, tokens T of a step.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from torch import Tensor

from rjepa.arrays import Bools, Float32, Int64

BlockArrays = tuple[Float32, Float32, Float32, Float32, Float32, Float32, Float32, Float32, Float32]
"""The weights of one block: norms [4, W], weight and bias of the one before attention and of that before the
feed-forward; then weight [in, out] and bias of queries, keys and values side by side, of the attention's output, of the
way up and of the way down."""
NetArrays = tuple[
    Float32, tuple[BlockArrays, ...], Float32, Float32, Float32, Int64, Int64, Bools, Float32, Float32, Int64
]
"""As the attributes of `GuideNet` up to `plain`, then the rotary tables cos and sin [T, D / 2], and the labels that are
known [labels, T]."""
StateArrays = tuple[Bools, Int64, Int64, Float32, Float32, Bools, Bools, Float32, Float32, Float32, Float32]
"""As the attributes of `GuideTables`: active, first, fed, weight, floor, begun, near, added, last, keys, values."""
GuideArrays = tuple[NetArrays, StateArrays]
"""What compiled drawing is given."""

MOST_GUIDED: Final = 24
"""Tokens of a guided row that a call draws at most: nearly always its step ends before."""
_FIRST_TOKENS: Final = 64
"""Tokens of a step that there is room for at least: nearly all steps are shorter."""
_FIRST_ROWS: Final = 8
_LONGEST_LABEL: Final = 8
_MOST_LABELS: Final = 64
"""`Step 1:` to `Step 32:`, and as many in another dress."""
NOTHING: Final = -1
"""No token."""
_LONGEST_TURN: Final = 10_000.0
"""Of rotary positions, as in `rjepa.verbalizer.model`."""


class KnownLabels:
    """Labels of steps, as tokens, that rows have begun their steps with: what is known need not be read as text again.

    `rows`: int64 [labels, tokens], each with `NOTHING` behind its end.
    """

    def __init__(self) -> None:
        self.rows = np.full((0, _LONGEST_LABEL), NOTHING, dtype=np.int64)

    def add(self, label: Int64) -> None:
        """Remember one, if there is room for it."""
        if 0 < len(label) <= _LONGEST_LABEL and len(self.rows) < _MOST_LABELS:
            row = np.full((1, _LONGEST_LABEL), NOTHING, dtype=np.int64)
            row[0, : len(label)] = label
            if not (self.rows == row).all(axis=1).any():
                self.rows = np.concatenate([self.rows, row])


@dataclass(frozen=True, eq=False)
class GuideNet:
    """The decoder of guides as arrays.

    Attributes:
        embedding: [V, W], of the place that begins a step, of that for unknown tokens, and of the others.
        blocks: from the lowest.
        norm: [2, W], weight and bias of the last one.
        head, head_bias: [W, V] and [V].
        places: of each token of the student.
        tokens: of the student, those of places 2 and on.
        plain: of each token of the student, whether it holds nothing but letters, digits and blanks, of ASCII, so that
            it cannot end a label.
        heads: of each block.
        labels: those that rows with its guides have written.
    """

    embedding: Float32
    blocks: tuple[BlockArrays, ...]
    norm: Float32
    head: Float32
    head_bias: Float32
    places: Int64
    tokens: Int64
    plain: Bools
    heads: int
    labels: KnownLabels = field(default_factory=KnownLabels)

    @property
    def head_size(self) -> int:
        return int(self.embedding.shape[1]) // self.heads

    def rotary(self, tokens: int) -> tuple[Float32, Float32]:
        """Cos and sin of the angles at each place, [tokens, D / 2]."""
        half = self.head_size // 2
        rates = np.exp(np.arange(half, dtype=np.float32) * np.float32(-np.log(_LONGEST_TURN) / half))
        angles = (np.arange(tokens, dtype=np.float32)[:, None] * rates).astype(np.float32)
        return np.cos(angles), np.sin(angles)


class StepGuide(ABC):
    """A bias that says how the current step of a row goes on. What it expects stays while a session has it."""

    @property
    @abstractmethod
    def net(self) -> GuideNet | None:
        """Its decoder; None where it is computed nowhere else."""

    @property
    @abstractmethod
    def written(self) -> int:
        """Tokens of the row's chain before the step."""

    @property
    @abstractmethod
    def weight(self) -> float:
        """The bias is so many times the decoder's log-probability of each token."""

    @property
    @abstractmethod
    def floor(self) -> float:
        """That log-probability is at least this, and this for tokens that the decoder does not know."""

    @property
    @abstractmethod
    def added(self) -> Float32:
        """[W]: the latent that is expected of the step, projected to the decoder's width. It is added to the embedding
        of each token of the step: only by it does the decoder know what to say.
        """

    @abstractmethod
    def has_begun(self, tokens: Sequence[int]) -> bool:
        """Whether the row, which has these tokens, is past the label of its step; before that there is no bias. Only
        tokens of the step count.
        """

    @abstractmethod
    def __call__(self, tokens: Sequence[int]) -> Tensor | None:
        """The bias on the next token of a row with these tokens; None where there is none."""


class GuideTables:
    """How far the guides of a session's rows, all of one decoder, have read.

    By row: `active`, whether it is guided; `first`, `weight`, `floor`, `added` as in `StepGuide`; `fed`, what the
    memory holds: the place that begins a step, and tokens of it; `begun`, whether its label is whole; `near`, whether
    the next token may make it so; `last`, the decoder's state after what was fed. `keys`, `values` [B, S, N, T, D].
    """

    def __init__(self, net: GuideNet) -> None:
        self.net = net
        width = net.embedding.shape[1]
        self.active, self.begun, self.near = (np.zeros(0, dtype=bool) for _ in range(3))
        self.first, self.fed = (np.zeros(0, dtype=np.int64) for _ in range(2))
        self.weight, self.floor = (np.zeros(0, dtype=np.float32) for _ in range(2))
        self.added, self.last = (np.zeros((0, width), dtype=np.float32) for _ in range(2))
        shape = (len(net.blocks), 0, net.heads, _FIRST_TOKENS, net.head_size)
        self.keys, self.values = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        self._rotary = net.rotary(_FIRST_TOKENS)
        self._guides: dict[int, StepGuide] = {}

    def __len__(self) -> int:
        """How many rows are guided."""
        return len(self._guides)

    def __contains__(self, row: int) -> bool:
        """Whether this row is."""
        return row in self._guides

    def begin(self, row: int, guide: StepGuide) -> None:
        """The row writes a step that its guide, which is one of this decoder, has just been told of."""
        self._reserve_rows(row + 1)
        self._guides[row] = guide
        self.active[row], self.first[row], self.fed[row] = True, guide.written, 0
        self.weight[row], self.floor[row], self.added[row] = guide.weight, guide.floor, guide.added
        self.begun[row], self.near[row] = False, True

    def look_again(self, rows: Int64) -> None:
        """These rows drew tokens outside of compiled drawing: look again whether their labels are whole."""
        self.near[rows] = True

    def end(self, row: int) -> None:
        """The row is not guided any more."""
        if self._guides.pop(row, None) is not None:
            self.active[row] = False

    def arrays(self, rows: Int64, ids: Int64, drawn: Int64, most: int) -> GuideArrays | None:
        """All that is known, with room for `most` more tokens of each of these rows, guided or not; None where none is.

        Args:
            ids, drawn: tokens of all rows, and how many each has.
        """
        guided = [row for row in rows.tolist() if row in self._guides]
        if not guided:
            return None
        for row in guided:
            if self.near[row] and not self.begun[row]:
                self._look_for_label(row, ids[row, : drawn[row]])
        self._reserve_rows(int(rows.max()) + 1)  # compiled code looks up unguided rows, too, and checks no bounds
        longest = int((drawn[guided] - self.first[guided]).max()) + 1 + most
        if longest > self.keys.shape[3]:
            self._reserve_tokens(longest)
        net = self.net
        weights = (net.embedding, net.blocks, net.norm, net.head, net.head_bias, net.places, net.tokens, net.plain)
        state = (self.active, self.first, self.fed, self.weight, self.floor, self.begun, self.near, self.added)
        return (*weights, *self._rotary, net.labels.rows), (*state, self.last, self.keys, self.values)

    def _look_for_label(self, row: int, tokens: Int64) -> None:
        self.begun[row] = self._guides[row].has_begun(tokens.tolist())
        self.near[row] = not self.net.plain[tokens[self.first[row] :]].all()
        if self.begun[row] and self.near[row]:
            self.net.labels.add(tokens[self.first[row] :])

    def _reserve_rows(self, rows: int) -> None:
        """Have room for at least so many."""
        if rows <= len(self.active):
            return
        more = max(rows, _FIRST_ROWS, 2 * len(self.active)) - len(self.active)
        for name in ("active", "begun", "near", "first", "fed", "weight", "floor", "added", "last"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((more, *old.shape[1:]), dtype=old.dtype)]))
        for name in ("keys", "values"):
            old = getattr(self, name)
            shape = (old.shape[0], more, *old.shape[2:])
            setattr(self, name, np.concatenate([old, np.zeros(shape, dtype=np.float32)], axis=1))

    def _reserve_tokens(self, tokens: int) -> None:
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = np.zeros((*old.shape[:3], 2 * tokens, old.shape[4]), dtype=np.float32)
            new[:, :, :, : old.shape[3]] = old
            setattr(self, name, new)
        self._rotary = self.net.rotary(2 * tokens)
