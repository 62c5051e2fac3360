"""Sampled chains as bytes and back: one safetensors file whose header carries the text. Nothing is sent here.

latents float16 [rows, width] of all chains end to end, segments int64 [chains] their numbers of rows, sentences float16
[rows, width] of all problems, sentence_counts int64 [problems]. The header's `chains` is JSON: a list of problems, each
a list of chains without their latents.
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rjepa.errors import CorruptError
from rjepa.students.sampled import SampledChain

_KEY = "chains"


def pack_chains(rows: list[list[SampledChain]]) -> bytes:
    """The chains of several problems, with latents where they were captured."""
    told = [[_told(chain) for chain in row] for row in rows]
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
    return save(tensors, {_KEY: json.dumps(told)})


def unpack_chains(data: bytes) -> list[list[SampledChain]]:
    """The same chains again.

    Raises:
        CorruptError: these bytes are something else.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        told = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
        tensors = load(data)
        chains = [SampledChain(**chain, latents=None) for row in told for chain in row]
        if tensors:
            latents = np.split(tensors["latents"], np.cumsum(tensors["segments"])[:-1])
            sentences = np.split(tensors["sentences"], np.cumsum(tensors["sentence_counts"])[:-1])
            owners = [problem for problem, row in enumerate(told) for _ in row]
            chains = [
                SampledChain(**_told(chain), latents=rows, sentences=sentences[owner])
                for chain, rows, owner in zip(chains, latents, owners, strict=True)
            ]
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CorruptError(
            f"what the student's process sent are no chains ({error})", cure="start it again; it may be an older one"
        ) from error
    rest = iter(chains)
    return [[next(rest) for _ in row] for row in told]


def _told(chain: SampledChain) -> dict[str, Any]:
    return {name: value for name, value in vars(chain).items() if name not in ("latents", "sentences")}
