"""What a request to /v1/completions may hold, and the shapes of what it is answered."""

from typing import Annotated, Any, Final

from pydantic import Field, StrictBool

from rjepa.reasoning.question import InvalidQuestionError
from rjepa.reasoning.tokens import TokenReport
from rjepa.students.rules import MAX_STOPS
from rjepa.values import LenientValue, Words
from serving.lenient import Number, Whole
from serving.reading import Texts, text_list
from serving.schemas import StreamOptions

MAX_PROMPTS: Final = 256
"""In one request; evaluation harnesses send up to some hundred."""
MAX_ROWS: Final = 512
"""Prompts times the candidates of each."""
DEFAULT_TOKENS: Final = 16
"""OpenAI's, where a request names no limit."""


class CompletionRequest(LenientValue):
    """A request to POST /v1/completions. Unknown fields are ignored, and listed in the reply."""

    model: str = Field(max_length=200)
    prompt: Texts
    suffix: Words | None = None
    max_tokens: Annotated[Whole, Field(ge=-1)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_k: Annotated[Whole, Field(ge=-1)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[Number, Field(ge=-100, le=100)]] | None = None
    stop: Words | Annotated[list[Words], Field(max_length=MAX_STOPS)] | None = None
    n: Annotated[Whole, Field(ge=1, le=128)] | None = None
    best_of: Annotated[Whole, Field(ge=1, le=128)] | None = None
    seed: Whole | None = None
    logprobs: Annotated[Whole, Field(ge=0, le=5)] | None = None
    echo: StrictBool | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, as texts or as token ids."""
        return text_list(self.prompt)

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings to stop at; empty ones say nothing."""
        given = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return tuple(one for one in given if one)

    @property
    def candidates(self) -> int:
        """How many are written of each prompt."""
        return self.best_of or self.n or 1

    def refuse(self) -> None:
        """Refuse what would give another answer than the one that is asked for.

        Raises:
            InvalidQuestionError: so it is.
        """
        wrong = {
            "suffix": (bool(self.suffix), "the student writes on from a text, not towards one", "leave suffix out"),
            "best_of": (
                self.best_of is not None and self.best_of < (self.n or 1),
                f"best_of {self.best_of} is less than n {self.n}",
                "ask for n candidates at least",
            ),
            "stream": (
                bool(self.stream) and self.candidates > (self.n or 1),
                "the best of several is known when all are written, so that it cannot be streamed",
                "leave best_of out, or do not stream",
            ),
            "max_tokens": (
                self.max_tokens == 0 and not self.echo,
                "max_tokens is 0 and echo is off: nothing would come",
                "ask for a token, or set echo",
            ),
            "prompt": (
                len(self.prompts) > MAX_PROMPTS or len(self.prompts) * self.candidates > MAX_ROWS,
                f"the request asks for {len(self.prompts)} prompts with {self.candidates} candidates each",
                f"send at most {MAX_PROMPTS} prompts and {MAX_ROWS} candidates",
            ),
        }
        for field, (applies, problem, cure) in wrong.items():
            if applies:
                raise InvalidQuestionError(problem, cure=cure, field=field)


def token_text(token: TokenReport) -> str:
    """A token as the reply names it: its text, or its bytes where they are a part of a character only."""
    try:
        return bytes(token.bytes).decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)


def logprobs_value(tokens: list[TokenReport], unscored: bool, offset: int = 0) -> dict[str, Any]:
    """Log-probabilities of tokens in the form of a completion.

    Args:
        unscored: the first of them begins a text, and has none.
        offset: characters of the choice's text before them.
    """
    top: list[dict[str, float] | None] = []
    offsets, seen = [], b""
    for token in tokens:
        # The drawn token is among them, whatever their number: who looks for the largest finds whether it was that.
        top.append({token_text(one): one.logprob for one in (*token.top[::-1], token)})
        offsets.append(offset + len(seen.decode("utf-8", "ignore")))
        seen += bytes(token.bytes)
    values: list[float | None] = [token.logprob for token in tokens]
    if unscored and tokens:
        values[0] = top[0] = None
    return {
        "tokens": [token_text(token) for token in tokens],
        "token_logprobs": values,
        "top_logprobs": top,
        "text_offset": offsets,
    }
