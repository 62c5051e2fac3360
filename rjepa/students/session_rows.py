"""The rows of a session: adding, forking and reading them. The base of both kinds of session.

`rjepa.students.session` computes the logits of its rows with a student that is loaded here;
`rjepa.sampling.stepped_session` takes them from the proposals of a server.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from rjepa.errors import InvalidInputError
from rjepa.students.loading import Student
from rjepa.students.noise import Branch
from rjepa.students.prompting import complete_requests
from rjepa.students.recording import RowTables
from rjepa.students.row_rules import RowRules
from rjepa.students.sampled import RowRequest, SampledChain, TokenScore
from rjepa.students.standing import RowStandings
from rjepa.students.tap import LayerTap


class SessionRows(ABC):
    """The rows of a session, by number, in the order in which they came."""

    def __init__(self, student: Student, capture: bool) -> None:
        self._student = student
        self._tables = RowTables(student, capture)
        self._standings = RowStandings(student, self._tables)
        self._tap = LayerTap(student.captured, keep=capture)
        self._requests: list[RowRequest] = []
        self._free: set[int] = set()  # rows that are gone for good
        self._fresh: list[int] = []  # rows that the run has not taken in yet
        self._closed = self._running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def is_over(self, row: int) -> bool:
        """Whether the row's chain is at its end."""
        self._check(row)
        return bool(self._standings.over[row])

    def tokens(self, row: int) -> list[int]:
        """The tokens of the row's chain so far."""
        self._check(row)
        return self._standings.tokens(row)

    def chain(self, row: int) -> SampledChain:
        """The row's chain, as far as it is written."""
        return self.chains([row])[0]

    @abstractmethod
    def chains(self, rows: Sequence[int]) -> list[SampledChain]:
        """The chains of these rows."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the rows hold."""

    def _begin(self, requests: Sequence[RowRequest], free: Sequence[int]) -> tuple[list[int], list[RowRequest]]:
        """Places for new rows, and their requests with all that was left open (errors as `complete_requests`)."""
        whole = complete_requests(self._student, requests)
        context = self._student.context_length
        limits = [min(one.max_new_tokens or 0, context - len(one.prompt_ids or ())) for one in whole]
        return self._tables.add(whole, limits, free), whole

    def _fork_of(self, row: int, sample_index: int, tokens: int | None, steps: int | None) -> RowRequest:
        """The request of a fork that keeps so many tokens, or steps, of a row (errors as `kept_tokens`)."""
        kept = self._standings.kept_tokens(row, tokens, steps)
        parent = self._requests[row]
        prefix = tuple(self._tables.ids[row, :kept].tolist())
        return replace(parent, prefix=prefix, branches=(*parent.branches, Branch(kept, sample_index)))

    def _enter(
        self, row: int, request: RowRequest, rules: RowRules, scores: Sequence[TokenScore], *, kept: bool
    ) -> None:
        """Enter a new row everywhere: its request, its standing, its rules (errors as `RowRules.add`).

        Args:
            scores: of the tokens that it begins with.
            kept: whether its cache is kept when it is over.
        """
        if row == len(self._requests):
            self._requests.append(request)
        self._requests[row] = request
        self._free.discard(row)
        self._fresh.append(row)
        self._standings.begin(row, plain=not request.rules.ends_at_answer, kept=kept)
        try:
            rules.add(row, request, scores)
        except InvalidInputError:
            self._standings.dropped[row] = True  # the others go on without it
            raise

    def _latest(self, row: int) -> int:
        """Tokens of a row up to the end of its newest finished step; all of its chain where that is over."""
        standings = self._standings
        return standings.written(row) if standings.over[row] else int(standings.step_tokens[row])

    def _chains(self, rows: Sequence[int], rules: RowRules) -> list[SampledChain]:
        """What the tables know of these rows, with the scores that their rules ask for."""
        for row in rows:
            self._check(row)
        chains = self._tables.chains(rows) if rows else []
        if not rules:
            return chains
        return [replace(chain, scores=rules.scores(row)) for row, chain in zip(rows, chains, strict=True)]

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self._requests) or row in self._free:
            raise ValueError(f"expected a row of this session, 0 to {len(self._requests) - 1}; got {row}")

    def _require(self, row: int) -> None:
        self._require_open()
        self._check(row)

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError("expected an open session")

    def _require_still(self) -> None:
        self._require_open()
        if self._running:
            raise ValueError("expected a session that does not run; close the iterator of the run before")
