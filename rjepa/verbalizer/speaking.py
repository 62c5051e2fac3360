"""Put latents into words: many at once and greedily, or token by token beside a student that writes.

How a bias is made of the words' probabilities is `guiding`'s matter.

Dimensions: latents, columns of latents, places of the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rjepa.chains import read_segments
from rjepa.labels import step_labels
from rjepa.verbalizer.model import Decoder, Memory, spread
from rjepa.verbalizer.vocabulary import OTHER, START, Vocabulary

MAX_SPOKEN: Final = 96
"""Tokens of a spoken step at most: a decoder that finds no end of it is lost."""


@dataclass(frozen=True)
class Line:
    """A step that is to be spoken.

    before: the student's tokens of the prompt and the earlier steps; for a decoder that reads its latent alone, none.
    starts: where, in `before`, each earlier segment after the prompt begins.
    begin: tokens that the step begins with, such as its label.
    latents: standardised, those of the earlier segments and then its own. is_expected: whether R-JEPA expected it,
    or the student wrote it; of each.
    """

    begin: Sequence[int]
    latents: Float[Tensor, "latents columns"]
    is_expected: Sequence[bool]
    before: Sequence[int] = ()
    starts: Sequence[int] = ()


@dataclass(frozen=True)
class Verbalizer:
    """What a release brings to put latents into words.

    alter: changes each latent before it is spoken, given its problem and the number of its segment. Controls do so.
    """

    decoder: Decoder
    alter: Callable[[Tensor, str, int], Tensor] | None = None


@torch.no_grad()
def speak(decoder: Decoder, lines: Sequence[Line], limit: int = MAX_SPOKEN) -> list[str]:
    """The most probable text of each line, token by token, to the end of the step; what it begins with included."""
    if not lines:
        return []
    rows = [_row(decoder, line) for line in lines]
    width = max(len(tokens) for tokens, _ in rows)
    inputs = torch.full((len(rows), width), START)
    of_latent = torch.full((len(rows), width), -1)
    own, first = [], 0
    for number, ((tokens, segments), line) in enumerate(zip(rows, lines, strict=True)):
        inputs[number, : len(tokens)] = torch.tensor(tokens)
        of_latent[number, : len(tokens)] = torch.tensor([first + at if at >= 0 else -1 for at in segments])
        first += len(line.latents)
        own.append(first - 1)
    latents = torch.cat([line.latents for line in lines]).to(decoder.device)
    kinds = torch.tensor([int(kind) for line in lines for kind in line.is_expected], device=decoder.device)
    projected = decoder.project(latents, kinds)
    memory = Memory(len(decoder.blocks), len(rows), decoder.device)
    states = decoder(inputs.to(decoder.device), spread(projected, of_latent.to(decoder.device)), memory)
    lengths = torch.tensor([len(tokens) for tokens, _ in rows], device=decoder.device)
    memory.lengths = lengths
    last = states[torch.arange(len(rows), device=decoder.device), lengths - 1]
    added = projected[torch.tensor(own, device=decoder.device)][:, None]
    spoken: list[list[int]] = [decoder.vocabulary.places(list(line.begin)).tolist() for line in lines]
    over = [False] * len(rows)
    for _ in range(limit):
        logits = decoder.logits(last)
        logits[:, OTHER] = -torch.inf
        drawn = logits.argmax(dim=-1)
        for number, place in enumerate(drawn.tolist()):
            if not over[number]:
                spoken[number].append(place)
                over[number] = place == START or decoder.vocabulary.has_newline(place)
        if all(over):
            break
        last = decoder(drawn[:, None], added, memory)[:, 0]
    return [decoder.vocabulary.text(places) for places in spoken]


def _row(decoder: Decoder, line: Line) -> tuple[list[int], list[int]]:
    """Places that are read before the first token is spoken, and the latent, by its number in the line, of each."""
    own = len(line.latents) - 1
    begin = decoder.vocabulary.places(list(line.begin)).tolist()
    if decoder.config.form == "latent":
        return [START, *begin], [own] * (1 + len(begin))
    before = decoder.vocabulary.places(list(line.before)).tolist()
    starts = [*line.starts, len(before)]
    # A token goes with the segment of the token after it.
    segments = np.searchsorted(starts, np.arange(1, len(before) + 1), side="right") - 1
    return [*before, *begin], [*segments.tolist(), *[own] * len(begin)]


@dataclass
class Speaker:
    """A decoder beside one row of a decoding session: the log-probabilities of the row's next token.

    prompt: the student's tokens of the prompt.
    """

    decoder: Decoder
    prompt: Sequence[int] = ()
    _memory: Memory = field(init=False)
    _fed: int = field(init=False, default=0)
    _spans: list[tuple[int, Tensor]] = field(init=False, default_factory=list)
    _last: Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._memory = self._empty()

    # Its memory is written within a session's inference mode, too, and such tensors are changed within one alone.
    @torch.inference_mode()
    def expect(self, latent: Float[Tensor, " columns"], written: int, *, is_expected: bool = True) -> None:
        """From here on a segment with this standardised latent is written.

        Args:
            written: tokens of the chain before the segment.
        """
        kind = torch.tensor([int(is_expected)], device=self.decoder.device)
        projected = self.decoder.project(latent[None].to(self.decoder.device), kind)[0]
        if self.decoder.config.form == "latent":
            self._memory, self._fed, self._spans = self._empty(), 0, []
        # The token before the segment goes with it, and may have been read by a row that waited there.
        kept = min(self._fed, len(self.prompt) + max(written - 1, 0))
        self._memory.lengths.fill_(kept)
        self._fed, self._last = kept, None
        self._spans.append((written, projected))

    @property
    def added(self) -> Float[Tensor, " width"]:
        """What the segment that is written is projected to.

        Raises:
            ValueError: nothing is expected yet.
        """
        if not self._spans:
            raise ValueError("expected a latent before the first token; call expect")
        return self._spans[-1][1]

    @torch.inference_mode()
    def log_probs(self, tokens: Sequence[int]) -> Float[Tensor, " places"]:
        """Natural logarithms, float32, over the decoder's places, of the token after these of the chain.

        Each call reads what is new since the last one, if anything is.

        Raises:
            ValueError: nothing is expected yet.
        """
        if not self._spans:
            raise ValueError("expected a latent before the first token; call expect")
        places, segments = self._unread(tokens)
        if not places and self._last is not None:
            return self._last
        inputs = torch.tensor([places], device=self.decoder.device)
        none = torch.zeros_like(self._spans[0][1])
        added = torch.stack([self._spans[at][1] if at >= 0 else none for at in segments])[None]
        states = self.decoder(inputs, added, self._memory)
        self._fed += len(places)
        self._last = self.decoder.logits(states[0, -1]).log_softmax(dim=-1)
        return self._last

    def _unread(self, tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        """Places that the memory lacks, and the span that each goes with."""
        vocabulary = self.decoder.vocabulary
        if self.decoder.config.form == "latent":
            first = self._spans[-1][0]
            fresh = [START] if not self._fed else []
            read = max(self._fed - 1, 0)
            new = vocabulary.places(list(tokens[first + read :])).tolist()
            return [*fresh, *new], [len(self._spans) - 1] * (len(fresh) + len(new))
        whole = [*self.prompt, *tokens]
        starts = [len(self.prompt) + written for written, _ in self._spans]
        new = vocabulary.places(whole[self._fed :]).tolist()
        after = np.arange(self._fed + 1, len(whole) + 1)
        return new, (np.searchsorted(starts, after, side="right") - 1).tolist()

    def _empty(self) -> Memory:
        return Memory(len(self.decoder.blocks), 1, self.decoder.device)


def label_length(vocabulary: Vocabulary, tokens: Sequence[int]) -> int | None:
    """How many of a step's first tokens its label takes; None while there is no whole label."""
    places = vocabulary.places(list(tokens)).tolist()
    for count in range(1, len(places) + 1):
        text = vocabulary.text(places[:count])
        labels = step_labels(text)
        if labels and labels[0].end <= len(text):
            return count
    return None


def step_text(spoken: str) -> str:
    """The words of a spoken step, without its label."""
    segments = read_segments(spoken)
    return " ".join(segments[0].text.split()) if segments else ""
