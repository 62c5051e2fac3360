"""What bends the rows of a session: biases on the logits that tokens are drawn from, edits of hidden states.

Where edits take hold belongs to `rjepa.students.tap`; what a good bias or edit is, to a mode of reasoning.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.arrays import Int64
from rjepa.students.guides import GuideArrays, GuideTables, StepGuide
from rjepa.students.sampled import Bias, Edit


class Steering:
    """The bias and the edit of each row that has one."""

    def __init__(self, vocabulary: int, hidden_size: int) -> None:
        self._vocabulary, self._hidden_size = vocabulary, hidden_size
        self._biases: dict[int, Bias] = {}
        self._edits: dict[int, Edit] = {}
        self._guides: GuideTables | None = None  # of those biases that can be computed where tokens are drawn

    @property
    def is_drawable(self) -> bool:
        """Whether what bends rows, if anything does, can be computed where tokens are drawn."""
        return not self._edits and len(self._biases) == (0 if self._guides is None else len(self._guides))

    @property
    def is_guided(self) -> bool:
        """Whether some row has a guide that can."""
        return bool(self._guides)

    def guides(self, rows: Int64, ids: Int64, drawn: Int64, most: int) -> GuideArrays | None:
        """As `rjepa.students.guides.GuideTables.arrays`."""
        return None if self._guides is None else self._guides.arrays(rows, ids, drawn, most)

    def set_bias(self, row: int, bias: Bias | None) -> None:
        """Give a row this bias; None takes it away (ValueError for a tensor that is none)."""
        if self._guides is not None:
            self._guides.end(row)
        if bias is None:
            self._biases.pop(row, None)
            return
        net = bias.net if isinstance(bias, StepGuide) else None
        if isinstance(bias, StepGuide) and net is not None:
            if self._guides is None or (self._guides.net is not net and not self._guides):
                self._guides = GuideTables(net)
            if self._guides.net is net:  # while others guide by another decoder, this one is asked token by token
                self._guides.begin(row, bias)
        self._biases[row] = self._checked(bias) if isinstance(bias, Tensor) else bias

    def set_edit(self, row: int, edit: Edit | None) -> None:
        """Give a row this edit; None takes it away (ValueError for a tensor that is none)."""
        if edit is None:
            self._edits.pop(row, None)
            return
        if isinstance(edit, Tensor) and (edit.shape != (self._hidden_size,) or not torch.isfinite(edit).all()):
            raise ValueError(f"expected a finite edit of shape ({self._hidden_size},), got {tuple(edit.shape)}")
        self._edits[row] = edit

    def forget(self, row: int) -> None:
        """The row is gone."""
        self._biases.pop(row, None)
        self._edits.pop(row, None)
        if self._guides is not None:
            self._guides.end(row)

    def biased(
        self, rows: Int64, logits: Float[Tensor, "rows vocab"], tokens_of: Callable[[int], Sequence[int]]
    ) -> Float[Tensor, "rows vocab"] | None:
        """The logits with these rows' biases; None where none of them has one. `tokens_of` is for biases that ask."""
        found = [(index, row) for index, row in enumerate(rows.tolist()) if row in self._biases] if self._biases else []
        if not found:
            return None
        logits = logits.float().clone()
        for index, row in found:
            bias = self._biases[row]
            added = bias if isinstance(bias, Tensor) else bias(tokens_of(row))
            if added is not None:
                logits[index] += self._checked(added).to(logits)
        return logits

    def edits(self, rows: Int64, read_again: Sequence[bool]) -> dict[int, Edit]:
        """Edits by position among these rows; a token that is read again keeps the state that it had."""
        if not self._edits:
            return {}
        found = enumerate(zip(rows.tolist(), read_again, strict=True))
        return {index: self._edits[row] for index, (row, again) in found if row in self._edits and not again}

    def _checked(self, bias: Tensor) -> Tensor:
        shape = (self._vocabulary,)
        if bias.shape != shape or not bool((bias < torch.inf).all()) or not bool((bias > -torch.inf).any()):
            raise ValueError(f"expected a bias of shape {shape} that allows a token, got {tuple(bias.shape)}")
        return bias
