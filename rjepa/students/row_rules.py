"""The rows of a session that have rules of their own: what shapes their logits, stops their text, and is noted of them.

A session without such rows asks nothing here. What rules there are belongs to `rjepa.students.rules`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.arrays import Bools, Int64
from rjepa.students.loading import Student
from rjepa.students.rules import PLAIN, TokenRules
from rjepa.students.sampled import RowRequest, TokenScore
from rjepa.students.scores import ScoreList, require_tokens, score_rows
from rjepa.students.shaping import add_to_logits, narrow
from rjepa.students.stopping import StopWatch


class RowRules:
    """The rules of each row that has some, its stop strings, and the scores of its tokens where they are wanted."""

    def __init__(self, student: Student, vocabulary: int) -> None:
        self._student, self._vocabulary = student, vocabulary
        self._requests: dict[int, RowRequest] = {}
        self._watches: dict[int, StopWatch] = {}
        self._released: dict[int, bytes] = {}
        self._scores: dict[int, ScoreList] = {}

    def __bool__(self) -> bool:
        """Whether any row has, or had, rules."""
        return bool(self._requests or self._scores)

    def add(self, row: int, request: RowRequest, scores: Sequence[TokenScore] = ()) -> None:
        """Take in a row with its request, and the scores of what it begins with.

        Raises:
            InvalidInputError: a bias for a token that the student does not have.
        """
        rules = request.rules
        if rules == PLAIN:
            return
        require_tokens(self._student, [token for token, _ in rules.logit_bias], self._vocabulary)
        self._requests[row] = request
        if rules.stop:
            self._watches[row] = StopWatch(rules.stop, self._student.pieces.join(request.prefix))
        if rules.top_logprobs is not None:
            self._scores[row] = ScoreList(scores)

    def forget(self, row: int) -> None:
        """The row is gone. Its scores can still be read."""
        self._requests.pop(row, None)
        self._released.pop(row, None)

    def clear(self, row: int) -> None:
        """Forget all of a row."""
        self.forget(row)
        self._watches.pop(row, None)
        self._scores.pop(row, None)

    def shaped(
        self,
        rows: Int64,
        logits: Float[Tensor, "rows vocab"],
        biased: Float[Tensor, "rows vocab"] | None,
        tokens_of: Callable[[int], Sequence[int]],
    ) -> Float[Tensor, "rows vocab"] | None:
        """The logits that these rows' tokens are drawn from: `biased`, or else the student's own, by each row's rules;
        `biased` as it is where no rule changes any.
        """
        found = [(index, row) for index, row in enumerate(rows.tolist()) if row in self._requests]
        adding = [(index, row) for index, row in found if self._requests[row].rules.adds]
        alike: dict[tuple[TokenRules, float], list[int]] = {}
        for index, row in found:
            request = self._requests[row]
            if request.rules.narrows and not request.is_greedy:  # the most probable token is never left out
                alike.setdefault((request.rules, request.temperature or 1.0), []).append(index)
        if not adding and not alike:
            return biased
        shaped = logits.float().clone() if biased is None else biased
        for index, row in adding:
            add_to_logits(shaped[index], self._requests[row].rules, tokens_of(row))
        for (rules, temperature), indices in alike.items():
            chosen = torch.tensor(indices, device=shaped.device)
            shaped[chosen] = narrow(shaped[chosen], rules, temperature)
        return shaped

    def read(self, rows: Int64, drawn: Int64, logits: Float[Tensor, "rows vocab"], written: Bools) -> None:
        """Take in the tokens that these rows have `written`, drawn after the student's own `logits`."""
        noted: dict[int, list[int]] = {}
        for index in np.flatnonzero(written).tolist():
            row = int(rows[index])
            if row in self._watches:
                self._released[row] = self._watches[row].read(self._piece(int(drawn[index])))
            if row in self._scores:
                noted.setdefault(self._requests[row].rules.top_logprobs or 0, []).append(index)
        for count, indices in noted.items():
            chosen = torch.tensor(indices, device=logits.device)
            for index, score in zip(
                indices, score_rows(self._student, logits[chosen], drawn[indices].tolist(), count), strict=True
            ):
                piece = self._piece(score.token)
                self._scores[int(rows[index])].append(score, len(piece))

    def _piece(self, token: int) -> bytes:
        return b"" if token in self._student.eos_ids else self._student.pieces.pieces[token]

    def stopped(self, rows: Int64) -> Bools | None:
        """Which of these rows have come to a stop string; None where none is looked for."""
        if not self._watches:
            return None
        return np.array([row in self._watches and self._watches[row].cut is not None for row in rows.tolist()])

    def cut(self, row: int) -> int | None:
        """Where a row's text ends, in bytes; None where nothing stopped it."""
        watch = self._watches.get(row)
        return None if watch is None else watch.cut

    def shown(self, row: int, piece: bytes) -> bytes:
        """What can be shown of a row's text now that it has a token of this `piece`."""
        return self._released.get(row, b"") if row in self._watches else piece

    def rest(self, row: int) -> bytes:
        """What is left to show of a row whose chain is over."""
        watch = self._watches.get(row)
        return b"" if watch is None else watch.rest()

    def new_scores(self, row: int, over: bool = False) -> tuple[TokenScore, ...]:
        """The scores of a row that were not sent yet and whose text was shown; all of them once its chain is over."""
        scores, watch = self._scores.get(row), self._watches.get(row)
        if scores is None:
            return ()
        return scores.take(None if over or watch is None else watch.shown - watch.begun)

    def trim(self, row: int, count: int) -> None:
        """Forget the scores of the row's newest `count` tokens: they belong to a stop string."""
        if row in self._scores:
            self._scores[row].trim(count)

    def scores(self, row: int) -> tuple[TokenScore, ...] | None:
        """The scores of all tokens of a row, the one that ends the sequence included; None where none are wanted."""
        return self._scores[row].all if row in self._scores else None
