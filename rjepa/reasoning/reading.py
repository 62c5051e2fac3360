"""What R-JEPA makes of a chain while it is written: a segment at a time, with a way back to every step.

A reading never changes: `read` makes a longer one, `kept` a shorter one, and neither reads anything anew. Which rows
there are and when they are read is for `rjepa.reasoning.tools`; energies of whole chains are
`rjepa.inference.scoring`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

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

    def read(self, chain: SampledChain, ends: Sequence[int]) -> "Reading":
        """Read on.

        Args:
            chain: with latents, and this reading's steps as its first ones.
            ends: tokens of the chain up to the end of each of its finished segments.
        """
        assert chain.latents is not None
        found = read_segments(chain.text, chain.segmentation)
        types = segment_types(chain.text, len(ends) + 1, chain.segmentation)
        steps, after = list(self.steps), list(self._after)
        for index in range(len(steps), len(ends)):
            # Bytes that are no character may be cut otherwise as text than they were as tokens.
            part = found[index] if index < len(found) else Segment(len(chain.text), len(chain.text), "")
            kind = torch.tensor([int(types[index + 1])], device=after[-1].energies.device)
            after.append(after[-1].append(chain.latents[index + 1 : index + 2], kind))
            steps.append(
                ReadStep(
                    text=chain.text[part.start : part.end],
                    words=part.text,
                    is_answer=part.is_answer,
                    energy=float(np.nan_to_num(after[-1].energies[0].item())),
                    logprob=float(sum(chain.token_logprobs[: ends[index]])),
                    tokens=ends[index],
                )
            )
        return Reading(tuple(steps), tuple(after))

    def kept(self, steps: int) -> "Reading":
        """The reading as it was after so many segments."""
        return Reading(self.steps[:steps], self._after[: steps + 1])
