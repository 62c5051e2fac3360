"""The rules that a row's tokens are drawn by, beyond its temperature: which may be drawn, and what ends its text.

Values only, checked. What they do to logits belongs to `rjepa.students.shaping`, and where a text ends, to `stopping`.
"""

from dataclasses import dataclass
from typing import Final

MAX_TOP_LOGPROBS: Final = 20
"""OpenAI's limit of a chat; its completions give at most 5."""

MAX_STOPS: Final = 16
"""OpenAI takes 4; others take more, and evaluation tasks send up to a dozen."""

MAX_PENALTY: Final = 2.0
MAX_BIAS: Final = 100.0
"""OpenAI's: a bias of -100 bans a token, one of 100 leaves no other."""


@dataclass(frozen=True)
class TokenRules:
    """How the tokens of one row are drawn. The defaults change nothing.

    top_p: draw from the most probable tokens that hold this share of the probability; 0 leaves one. top_k: from at most
    this many; 0 for all. min_p: from tokens at least this probable, as a share of the most probable one's. All three
    look at probabilities at the row's temperature, as transformers does: top_k first, then top_p, then min_p.
    presence_penalty, frequency_penalty: taken from the logit of a token that the chain has already, once, and once for
    each time. logit_bias: what is added to the logits of tokens, by id, in order. stop: the chain's text ends before
    the first of these. ends_at_answer: whether an answer line ends the chain; without, it goes on as plain text does.
    top_logprobs: note the log-probability of every drawn token, and of so many most probable ones; None for neither.
    """

    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop: tuple[str, ...] = ()
    ends_at_answer: bool = True
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        wrong = [name for name, holds in self._checks().items() if not holds]
        if wrong:
            raise ValueError(f"expected {', '.join(wrong)} in range; got {self}")

    def _checks(self) -> dict[str, bool]:
        penalties = (self.presence_penalty, self.frequency_penalty)
        ids = [token for token, _ in self.logit_bias]
        return {
            "top_p": 0 <= self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "min_p": 0 <= self.min_p <= 1,
            "presence_penalty and frequency_penalty": all(abs(value) <= MAX_PENALTY for value in penalties),
            "logit_bias": all(abs(value) <= MAX_BIAS for _, value in self.logit_bias) and ids == sorted({*ids}),
            "stop": all(self.stop) and len(self.stop) <= MAX_STOPS,
            "top_logprobs": self.top_logprobs is None or 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS,
        }

    @property
    def adds(self) -> bool:
        """Whether something is added to logits, or taken from them."""
        return bool(self.logit_bias or self.presence_penalty or self.frequency_penalty)

    @property
    def narrows(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0


PLAIN: Final = TokenRules()
"""The student's own distribution, to the end of the chain."""
