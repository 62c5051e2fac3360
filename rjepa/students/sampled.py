"""What is kept of chains while they are sampled: tokens, log-probabilities, hidden states, and when each has ended.

The loop that samples lives in `rjepa.students.generation`.

Legend: problems P, samples a problem K, rows R = P * K, prompt tokens T, new tokens N, hidden size H.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rjepa.chains import Segmentation, parse_chain
from rjepa.students.loading import Student
from rjepa.students.pooling import pool_segments, to_float16
from rjepa.students.segmentation import segment_ids, sentence_ids

GREEDY = -1
"""The sample index of the greedy chain."""

_BELOW_ONE = 1 - 2**-20
"""Noise stays this far from 1: scaled by a float32 sum of probabilities it must not reach that sum."""


@dataclass(frozen=True)
class SampledChain:
    """One chain. `token_ids` leaves the end-of-sequence token out; `token_logprobs` are at temperature 1, one a token.

    `latents` is float16 [segments, width], the prompt first, and `sentences` float16 [sentences, width] of the prompt,
    the same array for all samples of a problem; None where they were not captured. `segmentation` says how its text is
    cut into those segments.
    """

    text: str
    token_ids: list[int]
    token_logprobs: list[float]
    self_certainty: float
    finished: bool
    latents: npt.NDArray[np.float16] | None
    sentences: npt.NDArray[np.float16] | None = None
    segmentation: Segmentation = "guided"


def uniform_noise(seed: int, statements: Sequence[str], samples: Sequence[int], tokens: int) -> npt.NDArray[np.float32]:
    """float32 [P * K, tokens] in [0, 1), each row a function of the seed, its statement and its sample index alone."""
    noise = np.empty((len(statements) * len(samples), tokens), dtype=np.float32)
    for row, (statement, sample) in enumerate((s, k) for s in statements for k in samples):
        key = hashlib.sha256(f"{seed}/{sample}/{statement}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
        noise[row] = generator.random(tokens, dtype=np.float32)
    return np.minimum(noise, np.float32(_BELOW_ONE))


class Capture:
    """A forward hook that keeps a module's newest output: `state` is [rows, tokens, H]. Nothing to hook: does nothing.

    Only forwards of the thread that entered it count, so that a student may be used by several threads.
    """

    def __init__(self, module: nn.Module | None) -> None:
        self._module = module
        self.state: Tensor | None = None

    def __enter__(self) -> "Capture":
        if self._module is not None:
            self._thread = threading.get_ident()
            self._handle = self._module.register_forward_hook(self._keep)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._module is not None:
            self._handle.remove()

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self.state = output[0] if isinstance(output, tuple) else output


class Recorder:
    """One batch: its left-padded prompts, and everything sampled after them.

    input_ids int64 [P, T] and mask bool [P, T]; `problems` are the original indices of those still in the batch. A row
    has ended when it gave an end-of-sequence token or closed its answer line; its last token is still fed once, so
    that its state is known, before its problem leaves the batch.
    """

    def __init__(
        self, student: Student, prompts: list[list[int]], noise: npt.NDArray[np.float32], samples: int, capture: bool
    ) -> None:
        longest = max(len(prompt) for prompt in prompts)
        rows = len(prompts) * samples
        self.captures = capture
        self.problems = np.arange(len(prompts))
        self._student = student
        self._prompts = prompts
        self._samples = samples
        self._limit = min(noise.shape[1], student.context_length - longest)
        self._noise = torch.from_numpy(noise).to(student.device)
        self._slots = torch.arange(rows, device=student.device)
        self._step = 0
        self._ids = np.zeros((rows, self._limit), dtype=np.int64)
        self._scores = torch.zeros(2, rows, self._limit, device=student.device)
        self._lengths = np.full(rows, self._limit)
        self._ended = np.zeros(rows, dtype=bool)
        self._line_starts = np.zeros(rows, dtype=np.int64)
        self._stops = np.zeros(len(student.pieces.pieces), dtype=bool) | student.pieces.has_newline
        self._stops[list(student.eos_ids)] = True
        self.input_ids = torch.full((len(prompts), longest), student.pad_id)
        self.mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            self.input_ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            self.mask[row, longest - len(prompt) :] = True
        self.input_ids, self.mask = self.input_ids.to(student.device), self.mask.to(student.device)
        if capture:
            shape = (self._limit, rows, student.hidden_size)  # a step's states lie together: few pages are touched
            self._states = torch.empty(shape, dtype=student.model.dtype, device=student.device)

    def noise_now(self) -> Tensor:
        """float32 [R]: the noise of the rows in the batch for the token that comes next."""
        return self._noise[self._slots, self._step]

    def record_prompts(self, states: Tensor) -> None:
        """Pool the prompts' states [P, T, H] into each problem's segment 0, and into its sentences."""
        flat = states[self.mask]
        pieces, poolings = self._student.pieces, self._student.record.poolings
        marks = pieces.marks[np.concatenate([np.asarray(prompt) for prompt in self._prompts])]
        whole = np.concatenate([[0], np.cumsum([len(prompt) for prompt in self._prompts])])
        self._prompt_latents = to_float16(pool_segments(flat, whole, marks, poolings))
        inner = [sentence_ids(pieces, prompt)[:-1] for prompt in self._prompts]
        bounds = np.concatenate([*(part + first for part, first in zip(inner, whole[:-1], strict=True)), whole[-1:]])
        sentences = to_float16(pool_segments(flat, bounds, marks, poolings))
        self._sentences = np.split(sentences, np.cumsum([len(part) for part in inner])[:-1])

    def record_tokens(self, chosen: list[int], tokens: Tensor, log_probabilities: Tensor, certainty: Tensor) -> None:
        """The tokens int64 [R] drawn at this step, and their scores float32 [R]."""
        slots = self._rows()
        ids = np.asarray(chosen)
        self._ids[slots, self._step] = ids
        self._scores[0, self._slots, self._step] = log_probabilities
        self._scores[1, self._slots, self._step] = certainty
        for index in np.flatnonzero(self._stops[ids] & ~self._ended[slots]):
            self._check_end(int(slots[index]), chosen[index])
        self._step += 1

    def record_states(self, states: Tensor) -> None:
        """The states [R, H] of the tokens drawn at the last step, now that they were fed."""
        self._states[self._step - 1, self._slots] = states

    def is_over(self) -> bool:
        """Whether no more tokens are wanted."""
        return bool(self._ended.all()) or self._step == self._limit

    def awaits_states(self) -> bool:
        """Whether the token drawn last belongs to some chain, so that its state is wanted."""
        return self.captures and bool((self._lengths[self._rows()] >= self._step).any())

    def drop_finished(self, share: float) -> Tensor | None:
        """Let finished problems go if at most `share` of those in the batch still run.

        Returns the positions int64 of those that go on, or None where all stay.
        """
        rows = self._rows()
        finished = self._ended[rows] & ((self._lengths[rows] < self._step) | (not self.captures))
        running = ~finished.reshape(-1, self._samples).all(axis=1)
        if not running.any() or running.mean() > share:
            return None
        kept = np.flatnonzero(running)
        self.problems = self.problems[kept]
        self._slots = torch.from_numpy(self._rows()).to(self._slots.device)
        return torch.from_numpy(kept).to(self._slots.device)

    def chains(self) -> list[list[SampledChain]]:
        """K chains for each problem of the batch."""
        log_probabilities, certainty = self._scores.cpu().numpy()
        latents = self._latents() if self.captures else [None] * len(self._ids)
        rows = []
        for row, length in enumerate(self._lengths):
            ids = self._ids[row, :length].tolist()
            rows.append(
                SampledChain(
                    text=self._student.pieces.text(ids),
                    token_ids=ids,
                    token_logprobs=log_probabilities[row, :length].tolist(),
                    self_certainty=float(certainty[row, :length].mean()) if length else 0.0,
                    finished=bool(self._ended[row]),
                    latents=latents[row],
                    sentences=self._sentences[row // self._samples] if self.captures else None,
                    segmentation=self._student.record.segmentation,
                )
            )
        return [rows[start : start + self._samples] for start in range(0, len(rows), self._samples)]

    def _rows(self) -> npt.NDArray[np.int64]:
        return (self.problems[:, None] * self._samples + np.arange(self._samples)).ravel()

    def _check_end(self, row: int, token: int) -> None:
        """Called before `_step` moves past a token that may end its chain."""
        if token in self._student.eos_ids:
            self._ended[row] = True
            self._lengths[row] = self._step
            return
        line = self._student.pieces.text(self._ids[row, self._line_starts[row] : self._step + 1].tolist())
        if parse_chain(line).final_answer is not None:
            self._ended[row] = True
            self._lengths[row] = self._step + 1
        # A token that goes on after its newline begins the next line too.
        self._line_starts[row] = self._step + 1 if line.endswith("\n") else self._step

    def _latents(self) -> list[npt.NDArray[np.float16]]:
        """float16 [segments, width] of every row, the prompt's latent first: all rows are pooled at once."""
        pieces = self._student.pieces
        mode = self._student.record.segmentation
        bounds = [segment_ids(pieces, self._ids[row, :length], mode) for row, length in enumerate(self._lengths)]
        rows = [row for row, bound in enumerate(bounds) if len(bound) > 1]
        if not rows:
            return [self._prompt_latents[row // self._samples][None] for row in range(len(bounds))]
        lengths = np.array([self._lengths[row] for row in rows])
        firsts = np.cumsum(lengths) - lengths
        flat = np.concatenate(
            [*(bounds[row][:-1] + first for row, first in zip(rows, firsts, strict=True)), [lengths.sum()]]
        )
        ids = np.concatenate([self._ids[row, :length] for row, length in zip(rows, lengths, strict=True)])
        places = [np.arange(length) * len(bounds) + row for row, length in zip(rows, lengths, strict=True)]
        states = self._states.flatten(0, 1)[torch.from_numpy(np.concatenate(places)).to(self._states.device)]
        pooled = to_float16(
            pool_segments(states, flat.astype(np.int64), pieces.marks[ids], self._student.record.poolings)
        )
        latents, taken = [], 0
        for row, bound in enumerate(bounds):
            count = len(bound) - 1
            prompt = self._prompt_latents[row // self._samples][None]
            latents.append(np.concatenate([prompt, pooled[taken : taken + count]]))
            taken += count
        return latents
