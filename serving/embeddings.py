"""POST /v1/embeddings and /v1/similarity: texts as vectors, and how near texts are to each other.

A text's vector is the mean of the student's hidden states at the layer that R-JEPA reads, with length 1.
"""

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from rjepa.reasoning.question import InvalidQuestionError
from rjepa.values import LenientValue
from serving.host import EngineHost
from serving.lenient import Whole
from serving.reading import Texts, as_base64, noted, plain_engine, spend, tokens_of, total

MAX_TEXTS: Final = 2048
"""OpenAI's limit."""
MAX_COMPARED: Final = 256
"""Similarities are as many as pairs."""

router = APIRouter()


class EmbeddingRequest(LenientValue):
    """A request to POST /v1/embeddings. Unknown fields are ignored, and listed in the reply."""

    model: str = Field(max_length=200)
    input: Texts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[Whole, Field(ge=1)] | None = None


class SimilarityRequest(LenientValue):
    """A request to POST /v1/similarity: how near `texts` are to `source`; without it, to each other."""

    model: str | None = Field(None, max_length=200)
    texts: Texts
    source: Annotated[str, Field(min_length=1)] | None = None


@router.post("/v1/embeddings")
async def embeddings(body: EmbeddingRequest, request: Request) -> JSONResponse:
    """A vector for each text. `dimensions` cannot be chosen: a part of such a vector is none."""
    engine, notes = await plain_engine(request, body.model), noted(body)
    host: EngineHost = request.app.state.host
    reader = engine.source.reader
    ids = await asyncio.to_thread(tokens_of, engine.source, body.input, MAX_TEXTS, "input")
    spend(total(ids))

    def work() -> Any:
        from rjepa.inspecting import unit_vectors

        return unit_vectors(reader.embed(ids))

    vectors = await host.run(work)
    if body.dimensions is not None and body.dimensions != vectors.shape[1]:
        raise InvalidQuestionError(
            f"vectors of {engine.llm_tag} have {vectors.shape[1]} dimensions, and no part of them was trained to stand "
            "alone",
            cure="leave dimensions out",
            field="dimensions",
        )
    encode = as_base64 if body.encoding_format == "base64" else _numbers
    data = [{"object": "embedding", "index": index, "embedding": encode(one)} for index, one in enumerate(vectors)]
    usage = {"prompt_tokens": total(ids), "total_tokens": total(ids)}
    told = {"ignored": notes.ignored, "adjusted": list(notes.adjusted.values())}
    reply = {"object": "list", "data": data, "model": body.model, "usage": usage, "rjepa": told}
    return JSONResponse(reply, headers=dict(notes.headers))


@router.post("/v1/similarity")
async def similarity(body: SimilarityRequest, request: Request) -> JSONResponse:
    """Cosines of texts, each dimension standardised as the release standardises the latents of steps."""
    engine, notes = await plain_engine(request, body.model), noted(body)
    host: EngineHost = request.app.state.host
    source = engine.source

    def read() -> list[tuple[int, ...]]:
        first = [] if body.source is None else tokens_of(source, body.source, 1, "source")
        return first + tokens_of(source, body.texts, MAX_COMPARED, "texts")

    ids = await asyncio.to_thread(read)
    spend(total(ids))

    def work() -> Any:
        from rjepa.inspecting import similarities

        return similarities(source, engine.parts, ids)

    cosines = await host.run(work)
    if body.source is None:
        value: dict[str, Any] = {"similarities": cosines.tolist()}
    else:
        value = {"data": [{"index": index, "similarity": float(one)} for index, one in enumerate(cosines[0, 1:])]}
    usage = {"prompt_tokens": total(ids), "total_tokens": total(ids)}
    told = {"ignored": notes.ignored, "release": engine.release_id}
    reply = {"object": "list", "model": engine.llm_tag, **value, "usage": usage, "rjepa": told}
    return JSONResponse(reply, headers=dict(notes.headers))


def _numbers(vector: Any) -> list[float]:
    numbers: list[float] = vector.tolist()
    return numbers
