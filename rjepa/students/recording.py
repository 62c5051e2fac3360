"""What is kept of rows while they are sampled: tokens, log-probabilities, hidden states, and the chains they make.

A table has a place for every row of a session and grows with them. When a row ends belongs to
`rjepa.students.events`, what is fed next to `session`.

Legend: places S, tokens N, hidden size H.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rjepa.arrays import Bools, Float16, Int64
from rjepa.students.drawing import score_tokens
from rjepa.students.fused import Drawing
from rjepa.students.guides import GuideArrays
from rjepa.students.loading import Student
from rjepa.students.noise import row_noise
from rjepa.students.pooling import pool_segments, to_float16
from rjepa.students.sampled import RowRequest, SampledChain
from rjepa.students.segmentation import segment_ids, sentence_ids

_FIRST_ROWS: Final = 8
"""Places a table gains at least: forks come one by one."""


@dataclass(frozen=True)
class PromptLatents:
    """float16 [width] of the whole prompt and float16 [sentences, width]."""

    whole: Float16
    sentences: Float16


class RowTables:
    """Everything known of a session's rows, a place each.

    `drawn`: tokens that a row has, its end-of-sequence token and what fills a batch after its end included. `lengths`:
    tokens of its chain. `captured`: whether its latents are wanted. The last column of each table takes what is not
    wanted.
    """

    def __init__(self, student: Student, capture: bool) -> None:
        self.captures = capture
        self.captured = np.zeros(0, dtype=bool)
        self.ids = np.zeros((0, 1), dtype=np.int64)
        self.drawn = np.zeros(0, dtype=np.int64)
        self.lengths = np.zeros(0, dtype=np.int64)
        self.limits = np.zeros(0, dtype=np.int64)
        self.finished = np.zeros(0, dtype=bool)
        self.prompts: list[PromptLatents | None] = []
        # Of each row that was asked for its latents: the edges of its segments then, and the latents of those that are
        # not the last. What was drawn last may not be fed yet; the states of all that lies before it stay as they are.
        self._pooled: dict[int, tuple[Int64, Float16]] = {}
        self._cuts: dict[int, int] = {}  # rows whose text ends before their tokens do, and where, in bytes
        self._student = student
        self._noise = torch.zeros(0, 1, device=student.device)
        self._scores = torch.zeros(2, 0, 1, device=student.device)
        shape = (1, 0, student.hidden_size if capture else 0)  # a token's states lie together: few pages are touched
        self._states = torch.empty(shape, dtype=student.model.dtype, device=student.device)

    @property
    def waste(self) -> int:
        """The column that takes what is not wanted."""
        return self.ids.shape[1] - 1

    def add(self, requests: Sequence[RowRequest], limits: Sequence[int], free: Sequence[int] = ()) -> list[int]:
        """Places for new rows of at most `limits` tokens each, with their noise and what they begin with: the `free`
        ones first.
        """
        places = list(free[: len(requests)])
        places += range(len(self.prompts), len(self.prompts) + len(requests) - len(places))
        self._reserve(max(places, default=-1) + 1, max(limits, default=0))
        noise = np.zeros((len(requests), self.waste), dtype=np.float32)
        for row, (place, request, limit) in enumerate(zip(places, requests, limits, strict=True)):
            noise[row, :limit] = row_noise(
                request.seed, request.statement, request.sample_index, limit, request.branches
            )
            kept = len(request.prefix)
            self.ids[place, :kept] = request.prefix
            self.drawn[place] = kept
            self.lengths[place] = self.limits[place] = limit
            self.finished[place], self.captured[place] = False, self.captures and request.capture
            self._cuts.pop(place, None)
            self._pooled.pop(place, None)
            if place == len(self.prompts):
                self.prompts.append(None)
            self.prompts[place] = None
        if places:
            index = torch.tensor(places, device=self._noise.device)
            self._noise[index, : self.waste] = torch.from_numpy(noise).to(self._noise.device)
        return places

    def fork(self, parent: int, request: RowRequest, free: Sequence[int] = ()) -> int:
        """A place for a row that begins with its parent's tokens `request.prefix`, with their scores and states."""
        (child,) = self.add([request], [int(self.limits[parent])], free)
        kept = len(request.prefix)
        self._scores[:, child, :kept] = self._scores[:, parent, :kept]
        if self.captures:
            self._states[:kept, child] = self._states[:kept, parent]
        self.prompts[child] = self.prompts[parent]
        return child

    def next_columns(self, places: Int64, held: Bools) -> Int64:
        """The column of each row's next token: that for what is not wanted where a row is held or has them all."""
        return np.minimum(np.where(held, self.waste, self.drawn[places]), self.waste)

    def drawing(
        self,
        places: Int64,
        held: Bools,
        watched: Bools,
        ends: Bools,
        greedy: Bool[Tensor, " rows"],
        temperature: "float | Float[Tensor, 'rows 1']",
        guides: GuideArrays | None = None,
    ) -> Drawing:
        """These tables, on the CPU, as caches want them that draw by themselves (`rjepa.students.fused.Drawing`)."""
        degrees = torch.as_tensor(temperature, dtype=torch.float32).expand(len(places), 1)
        return Drawing(
            places=places,
            columns=self.next_columns(places, held),
            moves=~held,
            watched=watched,
            greedy=greedy.numpy(),
            temperature=np.ascontiguousarray(degrees.numpy()[:, 0]),
            ends=ends,
            noise=self._noise.numpy(),
            ids=self.ids,
            scores=self._scores.numpy(),
            states=self._states.numpy(),
            guides=guides,
        )

    def noise_at(self, places: Tensor, column: "int | Tensor") -> Float[Tensor, " rows"]:
        """The noise for the token that comes next."""
        return self._noise[places, column]

    def put_scores(self, places: Tensor, column: "int | Tensor", logprobs: Tensor, certainty: Tensor) -> None:
        """The scores float32 [rows] of the tokens that were just drawn."""
        self._scores[0, places, column] = logprobs
        self._scores[1, places, column] = certainty

    def put_states(self, places: Tensor, column: "int | Tensor", states: Float[Tensor, "rows hidden"]) -> None:
        """The states of tokens, now that they were fed."""
        self._states[column, places] = states

    def put_read(self, place: int, logits: Float[Tensor, "kept vocab"] | None, states: Tensor | None) -> None:
        """Scores and states [kept, hidden] of the tokens that a row begins with: `logits` are those before each."""
        kept = int(self.drawn[place])
        if logits is not None and kept:
            ids = torch.from_numpy(self.ids[place, :kept]).to(logits.device)
            logprobs, certainty = score_tokens(logits.float(), ids)
            self._scores[0, place, :kept], self._scores[1, place, :kept] = logprobs, certainty
        if states is not None:
            self._states[:kept, place] = states

    def cut(self, place: int, size: int) -> None:
        """End a row's text after `size` bytes, and its chain with the token that holds the last of them."""
        ends = np.cumsum(self._student.pieces.lengths[self.ids[place, : self.drawn[place]]])
        self.lengths[place] = np.searchsorted(ends, size) + 1 if size else 0
        self._cuts[place] = size

    def latents(self, place: int, tokens: int) -> Float16:
        """float16 [segments, width] of the first `tokens` tokens of a row, the prompt's latent first."""
        return self._latents([place], [tokens])[0]

    def chains(self, places: Sequence[int]) -> list[SampledChain]:
        """The chains at these places, as far as they are written."""
        index = torch.tensor(places, dtype=torch.long, device=self._scores.device)
        logprobs, certainty = self._scores[:, index].cpu().numpy()
        lengths = [int(min(self.lengths[place], self.drawn[place])) for place in places]
        wanted = [row for row, place in enumerate(places) if self.captured[place]]
        found = self._latents([places[row] for row in wanted], [lengths[row] for row in wanted]) if wanted else []
        latents = dict(zip(wanted, found, strict=True))
        chains = []
        for row, (place, length) in enumerate(zip(places, lengths, strict=True)):
            ids = self.ids[place, :length].tolist()
            prompt = self.prompts[place]
            chains.append(
                SampledChain(
                    text=self._student.pieces.join(ids)[: self._cuts.get(place)].decode("utf-8", "replace"),
                    token_ids=ids,
                    token_logprobs=logprobs[row, :length].tolist(),
                    self_certainty=float(certainty[row, :length].mean()) if length else 0.0,
                    finished=bool(self.finished[place]),
                    latents=latents.get(row),
                    sentences=None if prompt is None else prompt.sentences,
                    segmentation=self._student.record.segmentation,
                )
            )
        return chains

    def _latents(self, places: Sequence[int], lengths: Sequence[int]) -> list[Float16]:
        """All rows are pooled at once, each from its first segment on that is not known yet."""
        pieces, record = self._student.pieces, self._student.record
        ids = [self.ids[place, :length] for place, length in zip(places, lengths, strict=True)]
        bounds = [
            segment_ids(pieces, row.tolist(), record.segmentation, self._cuts.get(place))
            for place, row in zip(places, ids, strict=True)
        ]
        known = [self._known_latents(place, bound) for place, bound in zip(places, bounds, strict=True)]
        rows = [row for row, bound in enumerate(bounds) if len(bound) > 1]
        latents = [
            np.concatenate([self._prompt(place).whole[None], old]) for place, old in zip(places, known, strict=True)
        ]
        if not rows:
            return latents
        edges = [bounds[row][len(known[row]) :] for row in rows]
        counts = np.array([int(edge[-1] - edge[0]) for edge in edges])
        firsts = np.cumsum(counts) - counts
        flat = [edge[:-1] - edge[0] + first for edge, first in zip(edges, firsts, strict=True)]
        boundaries = np.concatenate([*flat, [counts.sum()]]).astype(np.int64)
        tokens = [np.arange(edge[0], edge[-1]) for edge in edges]
        marks = pieces.marks[np.concatenate([ids[row][own] for row, own in zip(rows, tokens, strict=True)])]
        among = self._states.shape[1]
        found = [own * among + places[row] for row, own in zip(rows, tokens, strict=True)]
        states = self._states.flatten(0, 1)[torch.from_numpy(np.concatenate(found)).to(self._states.device)]
        pooled = to_float16(pool_segments(states, boundaries, marks, record.poolings))
        taken = 0
        for row, edge in zip(rows, edges, strict=True):
            latents[row] = np.concatenate([latents[row], pooled[taken : taken + len(edge) - 1]])
            taken += len(edge) - 1
            self._pooled[places[row]] = bounds[row], latents[row][1:-1]
        return latents

    def _known_latents(self, place: int, edges: Int64) -> Float16:
        """float16 [segments, width]: the latents of a row's first segments, those of these edges that are known."""
        old, latents = self._pooled.get(place, (edges[:0], self._prompt(place).whole[None][:0]))
        common = min(len(old), len(edges))
        same = int((np.cumprod(old[:common] == edges[:common])).sum())
        count = min(max(same - 1, 0), len(latents))
        while count and edges[count] == edges[count + 1]:  # one without tokens takes a token of the one before
            count -= 1
        return latents[:count]

    def _prompt(self, place: int) -> PromptLatents:
        prompt = self.prompts[place]
        if prompt is None:
            raise ValueError("expected a row whose prompt was read with capture")
        return prompt

    def _reserve(self, rows: int, tokens: int) -> None:
        """Room for so many rows of so many tokens; what is known already is kept."""
        have, columns = self.ids.shape
        if rows <= have and tokens < columns:
            return
        known = int(min(self.drawn.max(initial=0), columns - 1))
        if rows > have:
            rows = max(rows, _FIRST_ROWS, 2 * have) if have else rows
        rows, columns = max(rows, have), max(tokens + 1, columns)
        ids = np.zeros((rows, columns), dtype=np.int64)
        ids[:have, :known] = self.ids[:, :known]
        self.ids = ids
        for name in ("drawn", "lengths", "limits", "finished", "captured"):
            old = getattr(self, name)
            new = np.zeros(rows, dtype=old.dtype)
            new[:have] = old
            setattr(self, name, new)
        noise = torch.zeros(rows, columns, device=self._noise.device)
        noise[:have, : self._noise.shape[1] - 1] = self._noise[:, :-1]
        scores = torch.zeros(2, rows, columns, device=self._scores.device)
        scores[:, :have, :known] = self._scores[:, :, :known]
        states = self._states.new_empty(columns, rows, self._states.shape[2])
        states[:known, :have] = self._states[:known]
        self._noise, self._scores, self._states = noise, scores, states


def pool_prompts(student: Student, prompts: Sequence[Sequence[int]], states: Tensor) -> list[PromptLatents]:
    """The latents of prompts, from their tokens' states [tokens of all prompts, H], one prompt after another."""
    pieces, poolings = student.pieces, student.record.poolings
    marks = pieces.marks[np.concatenate([np.asarray(prompt) for prompt in prompts])]
    whole = np.concatenate([[0], np.cumsum([len(prompt) for prompt in prompts])])
    latents = to_float16(pool_segments(states, whole, marks, poolings))
    inner = [sentence_ids(pieces, prompt)[:-1] for prompt in prompts]
    bounds = np.concatenate([*(part + first for part, first in zip(inner, whole[:-1], strict=True)), whole[-1:]])
    sentences = to_float16(pool_segments(states, bounds, marks, poolings))
    split = np.split(sentences, np.cumsum([len(part) for part in inner])[:-1])
    return [PromptLatents(*both) for both in zip(latents, split, strict=True)]
