"""What a student's process is asked, and what it answers, as bytes and back. Nothing is sent here.

Rows that are wanted and events are JSON; an array is a safetensors file; chains are one safetensors file whose header
carries the text: latents float16 [rows, width] of all chains end to end, segments int64 [chains] their
numbers of rows, sentences float16 [rows, width] of all problems, sentence_counts int64 [problems]. The header's
`chains` is JSON: a list of problems, each a list of chains without their latents.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rjepa.errors import CorruptError
from rjepa.students.extraction import ChainLatents
from rjepa.students.noise import Branch
from rjepa.students.rules import TokenRules
from rjepa.students.sampled import (
    ChainEnd,
    Condition,
    Event,
    Pass,
    RowRequest,
    SampledChain,
    StepEnd,
    Token,
    Tokens,
    TokenScore,
    Until,
)

_KEY: Final = "chains"
_ARRAY: Final = "array"
_LATENTS: Final = ("latents", "boundaries", "sentences")
_EVENTS: Final[dict[str, type[Event]]] = {"token": Token, "step": StepEnd, "chain": ChainEnd, "pass": Pass}
_NAMES: Final = {kind: name for name, kind in _EVENTS.items()}


def pack_chains(rows: list[list[SampledChain]]) -> bytes:
    """The chains of several problems, with latents where they were captured."""
    listed = [[_pack_chain(chain) for chain in row] for row in rows]
    flat = [chain for row in rows for chain in row]
    tensors: dict[str, npt.NDArray[Any]] = {}
    if flat and all(chain.latents is not None for chain in flat):
        latents = [chain.latents for chain in flat if chain.latents is not None]
        sentences = [row[0].sentences for row in rows if row[0].sentences is not None]
        tensors = {
            "latents": np.concatenate(latents),
            "segments": np.array([len(rows) for rows in latents], dtype=np.int64),
            "sentences": np.concatenate(sentences),
            "sentence_counts": np.array([len(rows) for rows in sentences], dtype=np.int64),
        }
    return save(tensors, {_KEY: json.dumps(listed)})


def unpack_chains(data: bytes) -> list[list[SampledChain]]:
    """The same chains again.

    Raises:
        CorruptError: these bytes are something else.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        listed = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
        tensors = load(data)
        chains = [_unpack_chain(chain) for row in listed for chain in row]
        if tensors:
            latents = np.split(tensors["latents"], np.cumsum(tensors["segments"])[:-1])
            sentences = np.split(tensors["sentences"], np.cumsum(tensors["sentence_counts"])[:-1])
            owners = [problem for problem, row in enumerate(listed) for _ in row]
            chains = [
                replace(chain, latents=rows, sentences=sentences[owner])
                for chain, rows, owner in zip(chains, latents, owners, strict=True)
            ]
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CorruptError(
            f"what the student's process sent are no chains ({error})", cure="start it again; it may be an older one"
        ) from error
    rest = iter(chains)
    return [[next(rest) for _ in row] for row in listed]


def _pack_chain(chain: SampledChain) -> dict[str, Any]:
    plain = {name: value for name, value in vars(chain).items() if name not in ("latents", "sentences")}
    return plain | {"scores": None if chain.scores is None else pack_scores(chain.scores)}


def _unpack_chain(value: dict[str, Any]) -> SampledChain:
    scores = value["scores"]
    return SampledChain(**value | {"scores": None if scores is None else unpack_scores(scores)}, latents=None)


def pack_scores(scores: Sequence[TokenScore]) -> list[Any]:
    """Scores of tokens, as JSON values. Bytes travel as Latin-1, which has a character for each."""
    return [[one.token, one.piece.decode("latin-1"), one.logprob, pack_scores(one.top)] for one in scores]


def unpack_scores(values: list[Any]) -> tuple[TokenScore, ...]:
    """The same again (ValueError or TypeError where it is something else)."""
    return tuple(
        TokenScore(token, piece.encode("latin-1"), logprob, unpack_scores(top)) for token, piece, logprob, top in values
    )


def pack_request(request: RowRequest) -> dict[str, Any]:
    """A row that is wanted, as JSON values."""
    return asdict(request)


def unpack_request(value: dict[str, Any]) -> RowRequest:
    """The same again (ValueError, TypeError or KeyError where it is something else)."""
    prompt = value.get("prompt_ids")
    return RowRequest(
        **{
            **value,
            "prompt_ids": None if prompt is None else tuple(map(int, prompt)),
            "prefix": tuple(map(int, value.get("prefix", ()))),
            "branches": tuple(Branch(**branch) for branch in value.get("branches", ())),
            "rules": _unpack_rules(value.get("rules", {})),
        }
    )


def _unpack_rules(value: dict[str, Any]) -> TokenRules:
    bias = tuple((int(token), float(added)) for token, added in value.get("logit_bias", ()))
    return TokenRules(**{**value, "logit_bias": bias, "stop": tuple(map(str, value.get("stop", ())))})


def pack_condition(until: Condition) -> str | int:
    """How far to run, as a JSON value."""
    return until.count if isinstance(until, Tokens) else until.value


def unpack_condition(value: str | int) -> Condition:
    """The same again (ValueError where it is something else)."""
    return Tokens(value) if isinstance(value, int) else Until(value)


def pack_event(event: Event) -> list[Any]:
    """An event as JSON values: its kind, then its fields."""
    values = asdict(event)
    if isinstance(event, Token | ChainEnd):
        values["scores"] = pack_scores(event.scores)
    return [_NAMES[type(event)], *values.values()]


def unpack_event(value: list[Any]) -> Event:
    """The same again (KeyError or TypeError where it is something else)."""
    event = _EVENTS[value[0]](*value[1:])
    return replace(event, scores=unpack_scores(value[-1])) if isinstance(event, Token | ChainEnd) else event


def pack_latents(chains: Sequence[ChainLatents]) -> bytes:
    """Latents of encoded chains, end to end."""
    fields = {name: [getattr(chain, name) for chain in chains] for name in _LATENTS}
    joined = {name: np.concatenate(parts) for name, parts in fields.items()}
    counts = {f"{name}_counts": np.array([len(part) for part in parts]) for name, parts in fields.items()}
    return save(joined | counts)


def unpack_latents(data: bytes) -> list[ChainLatents]:
    """The same again.

    Raises:
        CorruptError: these bytes are something else.
    """
    try:
        tensors = load(data)
        parts = [np.split(tensors[name], np.cumsum(tensors[f"{name}_counts"])[:-1]) for name in _LATENTS]
    except (SafetensorError, KeyError) as error:
        raise CorruptError(f"these bytes are no latents ({error})", cure="start the student's process again") from error
    return [ChainLatents(*row) for row in zip(*parts, strict=True)]


def pack_array(array: npt.NDArray[Any]) -> bytes:
    """One array."""
    return save({_ARRAY: np.ascontiguousarray(array)})


def unpack_array(data: bytes) -> npt.NDArray[Any]:
    """The same again.

    Raises:
        CorruptError: these bytes are something else.
    """
    try:
        array: npt.NDArray[Any] = load(data)[_ARRAY]
    except (SafetensorError, KeyError) as error:
        raise CorruptError(f"these bytes are no array ({error})", cure="start the student's process again") from error
    return array
