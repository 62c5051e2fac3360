"""The batches in which a session's rows are fed: read, taken apart, put together again.

A batch holds caches and the logits that follow; which rows there are and where they stand, the session keeps.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rjepa.arrays import Bools, Int64
from rjepa.students.decoding import CachedRows
from rjepa.students.fused import Drawing
from rjepa.students.loading import Student
from rjepa.students.recording import RowTables, pool_prompts
from rjepa.students.row_cache import join_rows, read_prompts
from rjepa.students.sampled import RowRequest
from rjepa.students.standing import RowStandings
from rjepa.students.tap import LayerTap

_RUNNING_SHARE: Final = 0.75
"""A batch is made smaller when at most this share of it still runs: each time copies the caches."""

NOTHING: Final = -1
"""No token is pending."""


class Batch:
    """Rows that are fed together. `places` are theirs in the tables; `logits` come after the token of its chain that
    each was fed last.

    pending: a token to feed before anything is drawn, `NOTHING` where the logits are ready. junk: tokens that each was
    fed since it stopped. The rest is what drawing wants to know of each row.
    """

    greedy: Bool[Tensor, " rows"]
    temperature: "float | Float[Tensor, 'rows 1']"
    index: Int[Tensor, " rows"]

    def __init__(
        self,
        rows: CachedRows,
        places: Int64,
        logits: Float[Tensor, "rows vocab"],
        requests: Sequence[RowRequest],
        pending: Int64 | None = None,
        junk: Int64 | None = None,
    ) -> None:
        """requests: of all rows of the session, by row."""
        self.rows, self.logits = rows, logits
        self.pending = np.full(len(places), NOTHING) if pending is None else pending
        self.junk = np.zeros(len(places), dtype=np.int64) if junk is None else junk
        self.waits = bool((self.pending != NOTHING).any())
        self._place(places, requests)

    def _place(self, places: Int64, requests: Sequence[RowRequest]) -> None:
        self.places = places
        wanted = [requests[place] for place in places]
        device = self.logits.device
        self.index = torch.from_numpy(places).to(device)
        self.greedy = torch.tensor([request.is_greedy for request in wanted], device=device)
        # A greedy row's temperature changes nothing: it need not keep the others from sharing one.
        degrees = {request.temperature or 1.0 for request in wanted if not request.is_greedy} or {1.0}
        values = [request.temperature or 1.0 for request in wanted]
        self.temperature = degrees.pop() if len(degrees) == 1 else torch.tensor(values, device=device)[:, None]

    def keep(self, kept: Int64, requests: Sequence[RowRequest]) -> None:
        """Go on with the rows at these positions only."""
        self.rows.keep(kept)
        self.logits = self.logits[torch.from_numpy(kept).to(self.logits.device)]
        self.pending, self.junk = self.pending[kept], self.junk[kept]
        self._place(self.places[kept], requests)

    def draw(self, most: int, least: int, drawing: Drawing, go_on: Bools) -> int:
        """As `rjepa.students.decoding.CachedRows.draw`. Rows that are not watched are fed junk; of those that will
        `go_on` the logits stay.
        """
        stay = np.flatnonzero(~drawing.watched & go_on)
        logits = self.logits[torch.from_numpy(stay)] if len(stay) else None
        count = self.rows.draw(most, least, self.logits, drawing)
        if logits is not None:
            self.logits[torch.from_numpy(stay)] = logits
        self.junk[~drawing.watched] += count
        return count

    def seat(self, other: "Batch", gone: Bools, requests: Sequence[RowRequest]) -> bool:
        """Overwrite rows that have ended with the rows of another batch.

        Args:
            gone: whether each row of this batch has ended, `[rows]`.

        Returns:
            Whether there was room for all of the other's rows. If not, nothing has changed.
        """
        at = np.flatnonzero(gone)
        if not self.rows.seat(other.rows, at):
            return False
        at = at[: len(other.places)]
        places = self.places.copy()
        places[at], self.pending[at], self.junk[at] = other.places, other.pending, other.junk
        self.waits = bool((self.pending != NOTHING).any())
        self.logits[torch.from_numpy(at).to(self.logits.device)] = other.logits
        self._place(places, requests)
        return True

    def feed(self, tokens: Int[Tensor, " rows"], idle: Bools, go_on: Bools, tap: LayerTap) -> None:
        """Feed one token a row. Rows that are `idle` are fed junk; of those that will `go_on` the logits stay."""
        logits = self.rows.step(tokens, tap)
        if (stay := idle & go_on).any():
            logits = torch.where(torch.from_numpy(stay).to(logits.device)[:, None], self.logits, logits)
        self.logits = logits
        self.junk[idle] += 1
        if self.waits:
            self.pending = np.full(len(self.places), NOTHING)
            self.waits = False


def read_batch(
    student: Student, tap: LayerTap, tables: RowTables, requests: Sequence[RowRequest], rows: Sequence[int]
) -> tuple[Batch, int]:
    """Read the prompts of rows, and what their chains begin with, once for each that is different.

    Returns the batch and the number of tokens read. Latents of prompts, scores and states of beginnings go into the
    tables.
    """
    sharing: dict[tuple[int, ...], list[int]] = {}
    for row in rows:
        request = requests[row]
        sharing.setdefault((request.prompt_ids or ()) + request.prefix, []).append(row)
    texts, groups = list(sharing), list(sharing.values())
    prefixes = [len(requests[group[0]].prefix) for group in groups]
    longest = max(map(len, texts))
    input_ids = torch.full((len(texts), longest), student.pad_id)
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for index, ids in enumerate(texts):
        input_ids[index, longest - len(ids) :] = torch.tensor(ids)
        mask[index, longest - len(ids) :] = True
    input_ids, mask = input_ids.to(student.device), mask.to(student.device)
    prompt_of = np.repeat(np.arange(len(texts)), [len(group) for group in groups])
    tap.edits = {}
    with tap:
        cached, logits = read_prompts(
            student.model, student.shares_prefix, student.fused, input_ids, mask, prompt_of, tap, max(prefixes) + 1
        )
    captured = [index for index, group in enumerate(groups) if tables.captured[group].any()]
    if tap.state is not None and captured:
        heads = [texts[index][: len(texts[index]) - prefixes[index]] for index in captured]
        wanted = torch.zeros_like(mask)
        for index in captured:
            wanted[index, : longest - prefixes[index]] = mask[index, : longest - prefixes[index]]
        found = pool_prompts(student, heads, tap.state[wanted])
        for group, latents in zip([groups[index] for index in captured], found, strict=True):
            for row in group:
                tables.prompts[row] = latents
    for index, (group, kept) in enumerate(zip(groups, prefixes, strict=True)):
        for row in group if kept else ():
            states = None if tap.state is None else tap.state[index, longest - kept :]
            tables.put_read(row, logits[index, -kept - 1 : -1], states)
    places = np.array([row for group in groups for row in group], dtype=np.int64)
    last = logits[:, -1].index_select(0, torch.from_numpy(prompt_of).to(student.device))
    return Batch(cached, places, last, requests), sum(map(len, texts))


def join_batches(batches: Sequence[Batch], standings: RowStandings, requests: Sequence[RowRequest]) -> Batch:
    """All rows of batches that can be cut, as one: those of the later ones in the places of rows of the first that
    nobody needs any more, where they have room there.
    """
    first = batches[0]
    others = [one for one in batches[1:] if not first.seat(one, ~standings.needed(first.places), requests)]
    if not others:
        return first
    batches = [first, *others]
    return Batch(
        join_rows([batch.rows for batch in batches]),
        np.concatenate([batch.places for batch in batches]),
        torch.cat([batch.logits for batch in batches]),
        requests,
        np.concatenate([batch.pending for batch in batches]),
        np.concatenate([batch.junk for batch in batches]),
    )


def wants_parting(batch: Batch, running: Bools, needed: Bools) -> bool:
    """Whether those of a batch that run should go on without those that wait."""
    if not running.any() or not (needed & ~running).any():
        return False
    return not batch.rows.can_cut or bool(running.mean() <= _RUNNING_SHARE)


def worth_keeping(batch: Batch, standings: RowStandings, fed_once_more: Bools) -> Int64 | None:
    """The rows to go on with, by position, once few enough run that copying their caches pays; None where the batch
    stays as it is. Rows of a prompt go together where each prompt has as many.

    Args:
        fed_once_more: which rows' newest token is fed even where their chain is over, for its state.
    """
    places, samples = batch.places, batch.rows.samples
    going = standings.needed(places) | (fed_once_more & ~standings.dropped[places])
    running = going if samples is None else np.repeat(going.reshape(-1, samples).any(axis=1), samples)
    return None if not running.any() or running.mean() > _RUNNING_SHARE else np.flatnonzero(running)


def rebuild_batch(
    batch: Batch,
    standings: RowStandings,
    tables: RowTables,
    requests: Sequence[RowRequest],
    forks: Mapping[int, tuple[int, int]],
) -> list[Batch]:
    """Add forks to a batch and leave out the rows that are no longer needed.

    `forks` maps a child to its parent and to how many of the parent's tokens stay in the cache. Returns no batch, this
    one, or two: rows that run, and rows that wait. Rows that go on lose the filler tokens that they were fed.
    """
    position = {int(place): index for index, place in enumerate(batch.places)}
    children = [
        (child, position[parent], cached)
        for child, (parent, cached) in forks.items()
        if parent in position and not standings.dropped[child]
    ]
    needed, running = standings.needed(batch.places), standings.running(batch.places)
    apart = wants_parting(batch, running & needed, needed)
    if not children and not apart and not (running & (batch.junk > 0)).any():
        if not needed.any():
            return []
        if needed.mean() > _RUNNING_SHARE:
            return [batch]  # the few that were dropped go when there are more of them
    kept = np.flatnonzero(needed)
    moves = [_Move(int(batch.places[at]), at, int(batch.junk[at]), int(batch.pending[at])) for at in kept.tolist()]
    moves = [move if not running[move.at] else _Move(move.place, move.at, 0, move.pending, move.junk) for move in moves]
    for child, at, cached in children:
        cut = int(batch.junk[at] + standings.fed[batch.places[at]]) - cached
        moves.append(_Move(child, at, 0, _pending(batch, tables, requests, child, at, cached), cut))
        standings.fed[child] = cached
    runs = standings.running(np.array([move.place for move in moves], dtype=np.int64))
    if not apart:
        return [_moved(batch, moves, requests)]
    sides = [[move for move, runs_on in zip(moves, runs, strict=True) if runs_on == side] for side in (True, False)]
    return [_moved(batch, side, requests) for side in sides if side]


def find_cached(
    batches: Sequence[Batch],
    forks: Mapping[int, tuple[int, int]],
    standings: RowStandings,
    tables: RowTables,
    row: int,
    kept: int,
) -> tuple[int, int] | None:
    """The row in whose cache the first `kept` tokens of this one lie, and how many of them stay there for a fork: all
    where logits are ready after the last, else all but that; -1 where the prompt's last token has to be fed again. None
    where no cache has them. `forks` are those that are in no batch yet: their parents' caches have what they keep.
    """
    if row in forks:
        origin, there = forks[row]
        cached = there if kept == tables.drawn[row] else min(there, kept - 1)
    else:
        origin, there = row, int(standings.fed[row])
        cached = kept if kept == there else min(there, kept - 1)
    for batch in batches:
        for at in np.flatnonzero(batch.places == origin):
            if origin == row and batch.pending[at] != NOTHING:
                cached = min(cached, kept - 1)
            cut = int(batch.junk[at] + standings.fed[origin]) - cached
            return (origin, cached) if batch.rows.can_cut or not cut else None
    return None


class _Move:
    """A row of a new batch: its place in the tables, its position in the old one, and what is taken back of it."""

    def __init__(self, place: int, at: int, junk: int, pending: int, cut: int = 0) -> None:
        self.place, self.at, self.junk, self.pending, self.cut = place, at, junk, pending, cut


def _moved(batch: Batch, moves: list[_Move], requests: Sequence[RowRequest]) -> Batch:
    moves = sorted(moves, key=lambda move: int(batch.rows.prompt_of[move.at]))
    places, at, junk, pending, cut = (
        np.array([getattr(move, name) for move in moves], dtype=np.int64)
        for name in ("place", "at", "junk", "pending", "cut")
    )
    logits = batch.logits[torch.from_numpy(at).to(batch.logits.device)]
    return Batch(batch.rows.rearranged(at, cut), places, logits, requests, pending, junk)


def _pending(batch: Batch, tables: RowTables, requests: Sequence[RowRequest], child: int, at: int, cached: int) -> int:
    """What a fork is fed first: the last token that it kept, or the last of its prompt, if the cache lacks that."""
    if cached < 0:
        return int((requests[child].prompt_ids or ())[-1])
    if cached < tables.drawn[child]:
        return int(tables.ids[child, cached])
    return int(batch.pending[at])
