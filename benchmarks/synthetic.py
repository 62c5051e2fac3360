"""Latents without a student: chains of the length that the curriculum's have, right and wrong, of any number and width.

Vectorised and quick to make; nothing can be learnt from them.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from rjepa.home import Home
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.shards import KeptChain, LatentRow, latent_folder, latent_store, latent_version
from rjepa.tables import arrow_schema

DOMAINS = ("code", "logic", "math")
SHARD_CHAINS = 1000
MADE_BY = "synthetic"


def synthetic_latents(problems: int, width: int, seed: int) -> LatentSet:
    """A right and a wrong chain for each problem, which has two to five sentences."""
    random = np.random.default_rng(seed)
    lengths = np.repeat(random.integers(4, 10, problems), 2)
    errors = np.where(np.arange(2 * problems) % 2 == 0, -1, random.integers(1, lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    counts = random.integers(2, 6, problems)
    sentences = random.standard_normal((counts.sum(), width), dtype=np.float32).astype(np.float16)
    return LatentSet(
        latents=random.standard_normal((offsets[-1], width), dtype=np.float32).astype(np.float16),
        offsets=offsets,
        domains=np.repeat(np.arange(problems) % len(DOMAINS), 2),
        domain_names=DOMAINS,
        first_error=errors.astype(np.int64),
        problem_ids=[f"problem-{index // 2:09d}" for index in range(2 * problems)],
        chain_ids=[f"chain-{index:09d}" for index in range(2 * problems)],
        splits=["train"] * (2 * problems),
        prompts=Prompts.of(sentences, counts),
        prompt_of=np.repeat(np.arange(problems), 2),
    )


def write_shards(home: Home, llm_tag: str, dataset: str, chains: int, width: int) -> None:
    """A version of so many chains as a build leaves it, the last fiftieth of them for validation. One shard is in
    memory at a time, and all hold the same values under different keys."""
    store = latent_store(home, llm_tag, latent_folder(MADE_BY))
    block = synthetic_latents(min(SHARD_CHAINS, chains) // 2, width, seed=0)
    assert block.prompts is not None and block.prompt_of is not None
    tensors = {
        "latents": block.latents,
        "sentences": block.prompts.sentences,
        "types": np.zeros(len(block.latents), dtype=np.uint8),
    }
    receipts = []
    with store.writing() as writer, latent_version(home, llm_tag, dataset).writing() as table:
        for number in range(-(-chains // SHARD_CHAINS)):
            columns = _columns(block, llm_tag, number, chains)
            writer.append(tensors, [])
            writer.append_table(_table(KeptChain, columns))
            receipts.append(writer.finish())
            table.append(_table(LatentRow, columns), [[number]])
        common = {"llm_tag": llm_tag, "dataset": dataset, "fingerprint": MADE_BY, "width": width}
        common |= {"quantisation": "none", "layer_idx": -2, "poolings": ["mean"]}
        table.publish(common, {"inputs": "", "figures": {}, "shards": receipts, "shard_folder": latent_folder(MADE_BY)})


def _columns(block: LatentSet, llm_tag: str, number: int, chains: int) -> dict[str, Any]:
    """The columns of both tables for shard `number`."""
    assert block.prompts is not None and block.prompt_of is not None
    count = len(block)
    place = number * count + np.arange(count)
    counts = np.diff(block.prompts.offsets)
    return {
        "key": [f"{index:032d}" for index in place],
        "digest": [""] * count,
        "problem_id": [f"problem-{index // 2:09d}" for index in place],
        "cot_id": [f"chain-{index:09d}" for index in place],
        "llm_tag": [llm_tag] * count,
        "layer_idx": np.full(count, -2),
        "hidden_size": np.full(count, block.width),
        "poolings": [["mean"]] * count,
        "num_steps": block.lengths - 1,
        "step_boundaries": [[0, 1]] * count,
        "tokens": block.lengths,
        "domain": [DOMAINS[index] for index in block.domains],
        "subdomain": ["synthetic"] * count,
        "quantisation": ["none"] * count,
        "first_error_step": [None] * count,
        "split": np.where(place < chains - chains // 50, "train", "validation").tolist(),
        "segments": block.lengths,
        "first_error_segment": block.first_error,
        "prompt": place // 2,
        "shard": np.full(count, number),
        "first_row": block.offsets[:-1],
        "first_sentence": block.prompts.offsets[:-1][block.prompt_of],
        "sentences": counts[block.prompt_of],
    }


def _table(model: type[BaseModel], columns: dict[str, Any]) -> pa.Table:
    schema = arrow_schema(model)
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)
