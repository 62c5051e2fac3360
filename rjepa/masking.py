"""What a release expects in place of steps that are hidden from it, and how near given texts come to that.

R-JEPA was trained on such views too: hidden steps are predicted from all the others, on both sides. What it expects of
the *next* step belongs to `rjepa.jepa.expecting`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from rjepa.arrays import Float32
from rjepa.chains import render_chain
from rjepa.errors import InvalidInputError
from rjepa.inspecting import latents_of, require_reading
from rjepa.jepa.losses import raw_error
from rjepa.latents.sets import LatentSet
from rjepa.reasoning.candidates import join_latents
from rjepa.reasoning.tools import Parts
from rjepa.sampling.protocol import ChainSource
from rjepa.students.sampled import SampledChain
from rjepa.verbalizer.infilling import predict_hidden

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class MaskedChain:
    """A chain with steps that R-JEPA is not to see.

    steps: in order; one that is None is unknown: the student reads the chain without it. hidden: numbers, from 1, of
    steps that R-JEPA does not see, those that are None among them; the student reads the others of them, as steps after
    them read on from them.
    """

    problem: str
    steps: tuple[str | None, ...]
    answer: str | None
    hidden: frozenset[int]

    @property
    def text(self) -> str:
        """What is known of it."""
        return render_chain(self.steps, self.answer)

    def with_step(self, number: int, text: str) -> "MaskedChain":
        """The same with a text for a step."""
        return replace(self, steps=(*self.steps[: number - 1], text, *self.steps[number:]))


@dataclass(frozen=True)
class Nearness:
    """How near a text comes to what is expected in its place: smooth L1 in standardised units, and the cosine."""

    text: str
    error: float
    cosine: float


@dataclass(frozen=True)
class Expected:
    """What is expected of a hidden step, float32 [columns]: as the release sees latents, and in the student's space.

    error: of the step's own text, where it is known. texts: nearest first.
    """

    step: int
    latent: Float32
    restored: Float32
    error: float | None
    texts: tuple[Nearness, ...]


def predict_masked(
    source: ChainSource, parts: Parts, masked: MaskedChain, texts: Mapping[int, Sequence[str]]
) -> list[Expected]:
    """What R-JEPA expects of each hidden step.

    Args:
        texts: by hidden step, what might stand there.

    Raises:
        InvalidInputError: a chain that does not cut into these steps or is too long, nothing hidden, a release without
            predictions of latents, or a source without hidden states.
    """
    require_reading(source, parts, "predict_masked")
    _check(parts, masked, texts)
    guesses = [(number, text) for number, several in texts.items() for text in several]
    chains = [masked, *(masked.with_step(number, text) for number, text in guesses)]
    known, *others = source.reader.chains([masked.problem] * len(chains), [one.text for one in chains])
    reader = parts.reader
    hidden = sorted(masked.hidden)
    latents, expected = predict_hidden(parts.model, parts.reader, _with_gaps(masked, known), hidden)
    predicted = expected.numpy()
    errors = raw_error(expected, latents).tolist()
    near: dict[int, list[Nearness]] = {}
    for (number, text), chain in zip(guesses, others, strict=True):
        rows = _placed(masked.with_step(number, text), latents_of(chain))
        observed = torch.from_numpy(reader.read(rows[number]))
        error, cosine = (
            raw_error(expected[number], observed),
            torch.cosine_similarity(expected[number], observed, dim=0),
        )
        near.setdefault(number, []).append(Nearness(text, float(error), float(cosine)))
    return [
        Expected(
            step=number,
            latent=predicted[number],
            restored=reader.restore(predicted[number]),
            error=None if masked.steps[number - 1] is None else errors[number],
            texts=tuple(sorted(near.get(number, ()), key=lambda one: one.error)),
        )
        for number in hidden
    ]


def _with_gaps(masked: MaskedChain, chain: SampledChain) -> LatentSet:
    """The chain's latents with a row of zeros, which nothing reads, for each step that is unknown."""
    found = join_latents([chain])
    rows = _placed(masked, found.latents)
    types = None if found.types is None else _placed(masked, found.types)
    return replace(found, latents=rows, offsets=np.array([0, len(rows)]), types=types)


def _placed(masked: MaskedChain, rows: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    places = [0, *(number for number, step in enumerate(masked.steps, start=1) if step is not None)]
    places += [len(masked.steps) + 1] if masked.answer is not None else []
    if len(rows) != len(places):
        raise InvalidInputError(
            f"the chain has {len(rows) - 1} segments, {len(places) - 1} were expected",
            cure="write one step a line, without labels or an answer line of its own",
        )
    size = 1 + len(masked.steps) + (masked.answer is not None)
    whole = np.zeros((size, *rows.shape[1:]), dtype=rows.dtype)
    whole[places] = rows
    return whole


def _check(parts: Parts, masked: MaskedChain, texts: Mapping[int, Sequence[str]]) -> None:
    if parts.segmentation != "guided":
        raise InvalidInputError(
            f"{parts.llm_tag} cuts free text into steps ({parts.segmentation}), so that steps have no numbers",
            cure="use a student whose segmentation is guided",
        )
    unknown = {number for number, step in enumerate(masked.steps, start=1) if step is None}
    numbers = set(range(1, len(masked.steps) + 1))
    if not masked.hidden or not unknown <= masked.hidden <= numbers or not set(texts) <= masked.hidden:
        raise InvalidInputError(
            f"of {len(masked.steps)} steps {sorted(masked.hidden)} are hidden, with texts for {sorted(texts)}",
            cure="hide one step or more, by numbers from 1, and give texts for hidden steps only",
        )
    if not any(step is not None for step in masked.steps) and masked.answer is None:
        raise InvalidInputError("nothing of the chain is known", cure="give a step, or the answer")
