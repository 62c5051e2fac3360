"""POST /v1/rjepa/score, /v1/rjepa/predict_masked and /v1/rjepa/latents: what R-JEPA makes of chains that are given.

Nothing is written here. Chains are texts, or lists of steps with an answer.
"""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from rjepa.chains import render_chain
from rjepa.reasoning.question import InvalidQuestionError
from rjepa.values import LenientValue, Words
from serving.host import EngineHost
from serving.lenient import Notes, Whole
from serving.reading import as_safetensors, noted, plain_engine, spend

MAX_CHAINS: Final = 64
"""As many as the largest number of candidates."""
MAX_STEPS: Final = 200

Steps = Annotated[list[Words], Field(min_length=1, max_length=MAX_STEPS)]
KnownSteps = Annotated[list[Words | None], Field(min_length=1, max_length=MAX_STEPS)]

router = APIRouter()


class GivenChain(LenientValue):
    """A chain as its text, or as steps and an answer."""

    text: Words | None = None
    steps: Steps | None = None
    answer: Words | None = None

    def render(self) -> str:
        """Its text.

        Raises:
            InvalidQuestionError: it has both, or neither.
        """
        if (self.text is None) == (self.steps is None):
            raise InvalidQuestionError(
                "a chain is given by its text or by its steps", cure="send one of text and steps", field="chains"
            )
        return self.text if self.steps is None else render_chain(self.steps, self.answer)  # type: ignore[return-value]


class ChainsRequest(LenientValue):
    """A problem with chains that somebody wrote for it."""

    model: str | None = Field(None, max_length=200)
    problem: Annotated[Words, Field(min_length=1)]
    chains: list[Words | GivenChain] | None = Field(None, min_length=1, max_length=MAX_CHAINS)
    chain: Words | GivenChain | None = Field(None, description="one chain, in place of `chains`")
    encoding_format: Literal["float", "base64"] | None = None

    def texts(self) -> list[str]:
        """The texts of the chains.

        Raises:
            InvalidQuestionError: there are both of `chain` and `chains`, or neither.
        """
        if (self.chains is None) == (self.chain is None):
            raise InvalidQuestionError("no chain, or both kinds of them", cure="send chain or chains", field="chains")
        given = self.chains if self.chain is None else [self.chain]
        return [one.render() if isinstance(one, GivenChain) else one for one in given or ()]


class MaskedRequest(LenientValue):
    """A problem and a chain with steps that R-JEPA is not to see.

    steps: null for one that is unknown. masked: numbers, from 1, of steps that are known to the student only. texts: by
    the number of a hidden step, what might stand there.
    """

    model: str | None = Field(None, max_length=200)
    problem: Annotated[Words, Field(min_length=1)]
    steps: KnownSteps
    answer: Words | None = None
    masked: list[Whole] | None = Field(None, max_length=MAX_STEPS)
    texts: dict[str, Annotated[list[Words], Field(max_length=MAX_CHAINS)]] | None = Field(None, max_length=MAX_STEPS)
    encoding_format: Literal["float", "base64"] | None = None


@router.post("/v1/rjepa/score")
async def score(body: ChainsRequest, request: Request) -> JSONResponse:
    """Energy of every step, P(correct), the first doubtful step, and which of the chains is best."""
    engine, notes, texts = await plain_engine(request, body.model), noted(body), body.texts()
    host: EngineHost = request.app.state.host

    def work() -> Any:
        from rjepa.inspecting import judge_chains

        return judge_chains(engine.source, engine.parts, body.problem, texts)

    judged = await host.run(work)
    spend(judged.tokens_read)
    value = judged.model_dump(mode="json", exclude={"tokens_read"})
    return _reply("rjepa.score", engine, value, judged.tokens_read, notes)


@router.post("/v1/rjepa/latents")
async def latents(body: ChainsRequest, request: Request) -> JSONResponse:
    """The latents of a chain's segments as the release sees them, the prompt's first, with the energy of each."""
    engine, notes, texts = await plain_engine(request, body.model), noted(body), body.texts()
    host: EngineHost = request.app.state.host

    def work() -> Any:
        from rjepa.inspecting import read_latents

        return read_latents(engine.source, engine.parts, body.problem, texts)

    found = await host.run(work)
    tokens = sum(len(one.chain.token_ids) for one in found) + engine.source.count_prompt(body.problem)
    spend(tokens)
    data = []
    for index, one in enumerate(found):
        shape: dict[str, Any] = {"index": index, "segments": len(one.latents), "columns": one.latents.shape[1]}
        if body.encoding_format == "base64":
            value: dict[str, Any] = {"safetensors": as_safetensors({"latents": one.latents, "energies": one.energies})}
        else:
            value = {"latents": one.latents.tolist(), "energies": one.energies.tolist()}
        data.append(shape | value)
    return _reply("list", engine, {"data": data}, tokens, notes)


@router.post("/v1/rjepa/predict_masked")
async def predict_masked(body: MaskedRequest, request: Request) -> JSONResponse:
    """What R-JEPA expects in place of hidden steps, from the others on both sides, and how near given texts come."""
    engine, notes = await plain_engine(request, body.model), noted(body)
    host: EngineHost = request.app.state.host
    unknown = {number for number, step in enumerate(body.steps, start=1) if step is None}
    hidden, texts = frozenset(unknown | {*(body.masked or ())}), _by_step(body)

    def work() -> Any:
        from rjepa.masking import MaskedChain, predict_masked

        masked = MaskedChain(body.problem, tuple(body.steps), body.answer, hidden)
        return predict_masked(engine.source, engine.parts, masked, texts)

    found = await host.run(work)
    data = []
    for one in found:
        arrays = {"latent": one.latent, "restored": one.restored}
        if body.encoding_format == "base64":
            value: dict[str, Any] = {"safetensors": as_safetensors(arrays)}
        else:
            value = {name: array.tolist() for name, array in arrays.items()}
        near = [{"text": text.text, "error": text.error, "cosine": text.cosine} for text in one.texts]
        data.append({"step": one.step, "error": one.error, "texts": near} | value)
    tokens = engine.source.count_prompt(body.problem)
    spend(tokens)
    return _reply("list", engine, {"data": data}, tokens, notes)


def _by_step(body: MaskedRequest) -> dict[int, list[str]]:
    try:
        texts = {int(number): several for number, several in (body.texts or {}).items() if several}
    except ValueError:
        raise InvalidQuestionError(
            "texts are given by something that is no number", cure="use numbers of hidden steps, from 1", field="texts"
        ) from None
    count = sum(map(len, texts.values()))
    if count > MAX_CHAINS:
        raise InvalidQuestionError(f"{count} texts are given", cure=f"send at most {MAX_CHAINS}", field="texts")
    return texts


def _reply(kind: str, engine: Any, value: dict[str, Any], tokens: int, notes: Notes) -> JSONResponse:
    told = {"release": engine.release_id, "ignored": notes.ignored}
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    reply = {"object": kind, "model": engine.llm_tag, **value, "usage": usage, "rjepa": told}
    return JSONResponse(reply, headers=dict(notes.headers))
