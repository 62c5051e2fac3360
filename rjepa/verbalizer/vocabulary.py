"""The tokens that a decoder knows: those of the chains it was trained on, out of all that its student has.

A student of 150 000 tokens writes chains with a few thousand of them: a head over the rest would be most of the decoder
and never learn.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.arrays import Int64

START: Final = 0
"""Read before the first token of a row."""

OTHER: Final = 1
"""Stands for every token that is not known."""

_SPECIAL: Final = 2
"""Places before those of the student's tokens."""


@dataclass(frozen=True)
class Vocabulary:
    """`tokens`: the student's ids of the known tokens, ascending, each once. `pieces`: the bytes that each stands for.
    `student_size`: logits that the student has of a token.
    """

    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...]
    student_size: int

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.pieces) or list(self.tokens) != sorted(set(self.tokens)):
            raise ValueError(f"expected rising tokens, each with its bytes; got {len(self.tokens)}, {len(self.pieces)}")
        if self.tokens and not 0 <= self.tokens[0] <= self.tokens[-1] < self.student_size:
            raise ValueError(f"expected tokens of a student with {self.student_size}, got {self.tokens[-1]}")

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]], pieces: Sequence[bytes]) -> "Vocabulary":
        """All tokens of these rows. `pieces` are those of the student's whole vocabulary."""
        tokens = tuple(sorted({int(token) for row in rows for token in row}))
        return cls(tokens, tuple(pieces[token] for token in tokens), len(pieces))

    def __len__(self) -> int:
        return len(self.tokens) + _SPECIAL

    def places(self, tokens: Sequence[int] | Int64) -> Int64:
        """Where tokens of the student stand here; `OTHER` for those that are not known."""
        given = np.asarray(tokens, dtype=np.int64)
        if not self.tokens:
            return np.full(given.shape, OTHER, dtype=np.int64)
        known = np.asarray(self.tokens, dtype=np.int64)
        found = np.minimum(np.searchsorted(known, given), len(known) - 1)
        return np.where(known[found] == given, found + _SPECIAL, OTHER)

    def text(self, places: Sequence[int]) -> str:
        """The text that places stand for; special ones are no text."""
        known = b"".join(self.pieces[place - _SPECIAL] for place in places if place >= _SPECIAL)
        return known.decode("utf-8", "replace")

    def has_newline(self, place: int) -> bool:
        """Whether a place's token holds the end of a line."""
        return place >= _SPECIAL and b"\n" in self.pieces[place - _SPECIAL]

    @property
    def first(self) -> int:
        """The place of `tokens[0]`; the others follow it."""
        return _SPECIAL
