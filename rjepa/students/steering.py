"""What bends the rows of a session: biases on the logits that tokens are drawn from, edits of hidden states.

Where edits take hold belongs to `rjepa.students.tap`; what a good bias or edit is, to a mode of reasoning.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.arrays import Bools, Float32, Int64
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
        self, rows: Int64, logits: Float[Tensor, "rows vocab"], ids: Int64, drawn: Int64, watched: Bools
    ) -> Float[Tensor, "rows vocab"] | None:
        """The logits with the biases of those of these rows that are `watched`; None where none of them has one.

        Args:
            ids, drawn: tokens of all rows, and how many each has.
        """
        if not self._biases:
            return None
        found = {row: at for at, row in enumerate(rows.tolist()) if watched[at] and row in self._biases}
        if not found:
            return None
        logits = logits.float().clone()
        together = self._computed(list(found), ids, drawn)
        if together is not None:
            rows, added = together
            logits[[found.pop(row) for row in rows.tolist()]] += torch.from_numpy(added).to(logits)
        for row, at in found.items():
            bias = self._biases[row]
            own = bias if isinstance(bias, Tensor) else bias(ids[row, : drawn[row]].tolist())
            if own is not None:
                logits[at] += self._checked(own).to(logits)
        return logits

    def _computed(self, rows: list[int], ids: Int64, drawn: Int64) -> tuple[Int64, Float32] | None:
        """Those of these rows whose guides are computed together, and their biases; None where there are none."""
        compute = _compiled_biases() if self._guides else None
        if not self._guides or compute is None:
            return None
        guided = np.array([row for row in rows if row in self._guides], dtype=np.int64)
        self._guides.look_again(guided)
        arrays = self._guides.arrays(guided, ids, drawn, 1)
        return None if arrays is None else (guided, compute(guided, ids, drawn, arrays, self._vocabulary))

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


@cache
def _compiled_biases() -> Callable[[Int64, Int64, Int64, GuideArrays, int], Float32] | None:
    """`rjepa.students.native_guides.biases`; None where numba is missing. Who has no guides need not import it."""
    try:
        from rjepa.students.native_guides import biases
    except ImportError:  # there is no numba for every Python yet
        return None
    return biases
