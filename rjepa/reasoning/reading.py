"""What R-JEPA makes of a chain while it is written: a segment at a time, with a way back to every step.

A reading never changes: `read` makes a longer one, `kept` a shorter one, and neither reads anything anew. Which rows
there are and when they are read is for `rjepa.reasoning.tools`; energies of whole chains are
`rjepa.inference.scoring`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from rjepa.arrays import Float16
from rjepa.chains import Segment, read_segments
from rjepa.jepa.expecting import Expectation
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.step_types import STEP_TYPES, segment_types
from rjepa.students.sampled import SampledChain


@dataclass(frozen=True)
class ReadStep:
    """A finished segment of a chain: a step, or the answer line.

    Attributes:
        text: with label and end; all of them together are the chain's text.
        words: without; empty for a step without words.
        is_answer: whether it is the answer line.
        energy: how surprising it is given what stands before.
        logprob: sum over the chain's tokens up to its end, in nats.
        tokens: of the chain up to its end.
    """

    text: str
    words: str
    is_answer: bool
    energy: float
    logprob: float
    tokens: int


@dataclass(frozen=True)
class Reading:
    """The finished segments of one chain, and what R-JEPA expected after each."""

    steps: tuple[ReadStep, ...] = ()
    _after: tuple[Expectation, ...] = field(default=(), repr=False)

    @property
    def expectation(self) -> Expectation:
        """What is expected next."""
        return self._after[-1]

    @property
    def energies(self) -> list[float]:
        """One a segment after the prompt."""
        return [step.energy for step in self.steps]

    @classmethod
    def begin(cls, model: RJepa, reader: Reader, chain: SampledChain) -> "Reading":
        """Read the prompt of a chain, which all chains of its problem share.

        Raises:
            InvalidInputError: a model that reads chains in both directions.
        """
        assert chain.latents is not None
        kind = torch.tensor([STEP_TYPES.index("prompt")], device=model.device)
        return cls(_after=(Expectation.begin(model, reader, chain.latents[:1], chain.sentences, kind),))

    @classmethod
    def whole(cls, chain: SampledChain, energies: Sequence[float], ends: Sequence[int]) -> "Reading":
        """The reading of a chain that was read in one pass: nothing is expected after it, and it does not grow.

        Args:
            energies: of its segments after the prompt.
            ends: tokens up to the end of each of them.
        """
        found = _segments(chain, len(energies))
        steps = [_step(chain, part, energy, end) for part, energy, end in zip(found, energies, ends, strict=True)]
        return cls(tuple(steps))

    def kept(self, steps: int) -> "Reading":
        """The reading as it was after so many segments."""
        return Reading(self.steps[:steps], self._after[: steps + 1])

    def still_true_of(self, chain: SampledChain) -> "Reading":
        """What of it still holds: a line without a label goes on with the segment before it, which is read again."""
        found = _segments(chain, len(self.steps))
        texts = (chain.text[part.start : part.end] for part in found)
        grown = (index for index, (step, text) in enumerate(zip(self.steps, texts, strict=True)) if step.text != text)
        return self.kept(next(grown, len(self.steps)))


def read_on(
    readings: Sequence[Reading], chains: Sequence[SampledChain], ends: Sequence[Sequence[int]]
) -> list[Reading]:
    """Read on, chains of any problems together.

    Args:
        readings: of each chain, as far as it was read before.
        chains: with latents, each with its reading's steps as its first ones.
        ends: tokens of each chain up to the end of each of its finished segments.
    """
    grown = [one.still_true_of(chain) for one, chain in zip(readings, chains, strict=True)]
    found = [_segments(one, len(end)) for one, end in zip(chains, ends, strict=True)]
    while waiting := [row for row, end in enumerate(ends) if len(grown[row].steps) < len(end)]:
        places = [len(grown[row].steps) for row in waiting]
        before = [grown[row].expectation for row in waiting]
        latents = np.concatenate([_latent(chains[row], at + 1) for row, at in zip(waiting, places, strict=True)])
        kinds = None
        if any(one.reads_types for one in before):
            kinds = [_type(chains[row], at + 1) for row, at in zip(waiting, places, strict=True)]
        for row, at, after in zip(waiting, places, Expectation.append_each(before, latents, kinds), strict=True):
            step = _step(chains[row], found[row][at], float(after.energies[0]), ends[row][at])
            grown[row] = Reading((*grown[row].steps, step), (*grown[row]._after, after))
    return grown


def guess_ends(chain: SampledChain, known: Sequence[int], segments: int) -> list[int]:
    """Tokens of a whole chain up to the end of each of its segments: those that are known, then by share of the text,
    as the tokens on both sides of an end (newline, label) are nearly certain and move a log-probability little.
    """
    length, text = len(chain.token_ids), max(len(chain.text), 1)
    shares = [part.end / text for part in _segments(chain, segments)[len(known) :]]
    guessed = [max(round(share * length), known[-1] if known else 0) for share in shares]
    return [*known, *guessed][: segments - 1] + [length] * (segments > 0)


def _type(chain: SampledChain, segment: int) -> int:
    """The type of a chain's segment; the prompt is segment 0."""
    return int(segment_types(chain.text, segment + 1, chain.segmentation)[segment])


def _latent(chain: SampledChain, segment: int) -> Float[Float16, "1 width"]:
    assert chain.latents is not None
    return chain.latents[segment : segment + 1]


def _segments(chain: SampledChain, count: int) -> list[Segment]:
    """Its first `count` segments. Bytes that are no character may be cut otherwise as text than as tokens."""
    end = Segment(len(chain.text), len(chain.text), "")
    return [*read_segments(chain.text, chain.segmentation), *[end] * count][:count]


def _step(chain: SampledChain, part: Segment, energy: float, end: int) -> ReadStep:
    return ReadStep(
        text=chain.text[part.start : part.end],
        words=part.text,
        is_answer=part.is_answer,
        energy=float(np.nan_to_num(energy)),
        logprob=float(sum(chain.token_logprobs[:end])),
        tokens=end,
    )
