"""What routes have in common that ask the student or R-JEPA something that is no question: the engine behind a name.

Work runs in the engine's thread, like answers do.
"""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import Request
from pydantic import Field

from rjepa.reasoning.question import InvalidQuestionError
from rjepa.values import LenientValue, Words
from serving.context import current_request
from serving.errors import NotReadyError
from serving.lenient import Notes, Whole
from serving.models import engine_of
from serving.names import parse_name

if TYPE_CHECKING:
    from rjepa.answerer import Answerer
    from rjepa.sampling.protocol import ChainSource

Ids = Annotated[list[Whole], Field(min_length=1)]
Texts = Words | Ids | Annotated[list[Words], Field(min_length=1)] | Annotated[list[Ids], Field(min_length=1)]
"""A text or several, as text or as the student's token ids."""


async def plain_engine(request: Request, model: str | None) -> "Answerer":
    """The answerer for a model's name without a mode; of the model that is served where none is named.

    Raises:
        InvalidQuestionError: the name has a mode, and nothing is answered here.
        RjepaError: there is no such model, or it cannot be loaded.
    """
    name = parse_name(model or request.app.state.settings.llm)
    engine = await engine_of(request, name)
    if name.mode not in (None, "off"):
        raise InvalidQuestionError(
            f"no problem is answered here, so that mode {name.mode} has nothing to do",
            cure=f"use the model {name.tag}, or POST /v1/chat/completions",
            field="model",
        )
    from rjepa.answerer import Answerer  # torch comes with it, and the service is up before it is

    if not isinstance(engine, Answerer):
        raise NotReadyError("no release is loaded", cure="try again in a few seconds")
    return engine


def spend(tokens: int) -> None:
    """Count tokens that were read for the client of this request."""
    if (meter := current_request().meter) is not None:
        meter.spend(tokens)


def text_list(given: Texts) -> list[str] | list[list[int]]:
    """Texts, or texts as token ids."""
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], int):
        return [given]
    return given


def tokens_of(source: "ChainSource", given: Texts, most: int, field: str) -> list[tuple[int, ...]]:
    """The tokens of texts.

    Raises:
        InvalidInputError: more than `most` texts, or one that the student cannot read.
    """
    from rjepa.continuing import require_text

    texts = text_list(given)
    if len(texts) > most:
        raise InvalidQuestionError(
            f"{field} holds {len(texts)} texts", cure=f"send at most {most} in one request", field=field
        )
    if isinstance(texts[0], str):
        found = source.reader.tokenize([str(one) for one in texts])
    else:
        found = [tuple(one) for one in texts if not isinstance(one, str)]
    for ids in found:
        require_text(source, ids)
    return found


def noted(body: LenientValue) -> Notes:
    """What of a body nobody reads."""
    notes = Notes()
    notes.ignore(body.unknown())
    return notes


def as_base64(values: "np.ndarray[Any, np.dtype[np.float32]]") -> str:
    """Numbers as little-endian float32, in base64, as OpenAI's clients ask for them."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def as_safetensors(tensors: "dict[str, np.ndarray[Any, np.dtype[np.float32]]]") -> str:
    """Named arrays as a safetensors file, in base64."""
    from safetensors.numpy import save

    return base64.b64encode(save({name: np.ascontiguousarray(value) for name, value in tensors.items()})).decode()


def total(texts: Sequence[Sequence[int]]) -> int:
    """Tokens of texts."""
    return sum(map(len, texts))
