"""The values that go into a decoding session and come out of it: rows that are wanted, events, chains, what they cost.

No tensor is computed here. The session over a loaded student is `rjepa.students.session`; who else offers one,
`rjepa.sampling.protocol`.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from torch import Tensor

from rjepa.arrays import Float16
from rjepa.chains import Segmentation
from rjepa.students.noise import Branch
from rjepa.students.rules import PLAIN, TokenRules

GREEDY: Final = -1
"""The sample index of the greedy chain."""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token with its log-probability, the student's own at temperature 1, in nats. `piece` are the bytes that it adds
    to a text, or the name of a special token; `top` the most probable tokens of its place, best first.
    """

    token: int
    piece: bytes
    logprob: float
    top: "tuple[TokenScore, ...]" = ()


@dataclass(frozen=True)
class SampledChain:
    """One chain. `token_ids` leaves the end-of-sequence token out; `token_logprobs` are at temperature 1, one a token,
    and the student's own, whatever bias its logits were given.

    `latents` is float16 [segments, width], the prompt first, and `sentences` float16 [sentences, width] of the prompt,
    the same array for all samples of a problem; None where they were not captured. `segmentation` says how its text is
    cut into those segments. A text that ends before a stop string may end within its last token. `scores` are of the
    tokens that were drawn, one that ends the sequence included and those of a stop string left out, where the row's
    rules ask for them.
    """

    text: str
    token_ids: list[int]
    token_logprobs: list[float]
    self_certainty: float
    finished: bool
    latents: Float16 | None
    sentences: Float16 | None = None
    segmentation: Segmentation = "guided"
    scores: tuple[TokenScore, ...] | None = None


@dataclass(frozen=True)
class RowRequest:
    """One chain that a session is to write.

    statement: the problem; with seed, sample_index and branches it decides the noise.
    sample_index: `GREEDY` takes the most probable token each time.
    temperature: None for the student's own; 0 is greedy too.
    max_new_tokens: of the chain, what it begins with included; None for the student's own. The context limits it too.
    prompt_ids: the prompt's tokens; None for the student's prompt of the statement.
    prefix: tokens that the chain begins with; they are read, not drawn.
    branches: the forks that this row stands for, where it is to be drawn as a forked row would have been.
    rules: what its tokens are drawn by beside the temperature, and what ends its text.
    capture: whether its latents are wanted, in a session that captures.
    keep_finished: keep its cache after its chain is over, until it is dropped, so that forks need not read it again.
    """

    statement: str
    seed: int
    sample_index: int = 0
    temperature: float | None = None
    max_new_tokens: int | None = None
    prompt_ids: tuple[int, ...] | None = None
    prefix: tuple[int, ...] = ()
    branches: tuple[Branch, ...] = ()
    rules: TokenRules = PLAIN
    capture: bool = True
    keep_finished: bool = False

    def __post_init__(self) -> None:
        if self.sample_index < GREEDY or (self.temperature is not None and not 0 <= self.temperature < float("inf")):
            raise ValueError(f"expected sample_index >= {GREEDY} and temperature >= 0; got {self}")
        if self.max_new_tokens is not None and self.max_new_tokens <= len(self.prefix):
            raise ValueError(f"expected max_new_tokens > {len(self.prefix)}, the prefix; got {self.max_new_tokens}")

    @property
    def is_greedy(self) -> bool:
        return self.sample_index == GREEDY or self.temperature == 0


class Until(Enum):
    """How far a session runs its rows."""

    STEP = "step"
    """to the end of the step that each is in"""
    CHAIN = "chain"
    """to the end of each chain"""


@dataclass(frozen=True)
class Tokens:
    """Run each row for at most this many more tokens."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"expected count >= 1, got {self.count}")


Condition = Until | Tokens
"""What `DecodingSession.run` takes."""


@dataclass(frozen=True, slots=True)
class Token:
    """A row has one more token. `text` is what it adds to the row's text; empty for the end of the sequence, and while
    a character, or what may be a stop string, is incomplete. `scores` are of the tokens whose text is certain now,
    where the row's rules ask for them: of this one, as a rule.
    """

    row: int
    token: int
    text: str
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, slots=True)
class StepEnd:
    """A step of a row is over. `steps` are finished so far; the row's first `tokens` tokens belong to them.

    Guided chains end a step with its line. Of free text a step is over when the next has begun, one token late.
    """

    row: int
    steps: int
    tokens: int


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """A row's chain is over. `finished` is False where its limit cut it; `text` is what was held back: an incomplete
    last character, or the beginning of a stop string that did not come. `unused`: tokens that were drawn after its
    end, in the same call, and are none of its. `scores` are those that were held back too.
    """

    row: int
    finished: bool
    text: str = ""
    unused: int = 0
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward pass is done, or several at once where nobody has to see what comes in between; its events came before
    this. A good moment to stop. `generated` counts its tokens, `tokens` those of each row that runs.
    """

    generated: int
    tokens: int = 1


Event = Token | StepEnd | ChainEnd | Pass
"""What `DecodingSession.run` yields."""

Events = Generator[Event, None, None]
"""What it returns: closing it stops between two tokens."""


@dataclass(frozen=True)
class DecodingCounts:
    """What a session has done so far. `generated` counts drawn tokens, `read` those that were read without being drawn:
    prompts, prefixes, and what a fork had to read again. Junk that fills a batch is in neither.
    """

    generated: int = 0
    read: int = 0
    passes: int = 0

    def __add__(self, other: "DecodingCounts") -> "DecodingCounts":
        return DecodingCounts(self.generated + other.generated, self.read + other.read, self.passes + other.passes)


Bias = Tensor | Callable[[Sequence[int]], Tensor | None]
"""Added to a row's logits before a token is drawn: float [vocabulary], or a function from the row's tokens so far."""

Edit = Tensor | Callable[[Tensor], Tensor]
"""What becomes of the hidden state of each token that a row is fed, at the layer that is read: [hidden] is added to it,
a function maps [hidden] to [hidden]. The layers above read what comes out, and so do latents."""
