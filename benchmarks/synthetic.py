"""Latents without a student: chains of the length that the curriculum's have, right and wrong, of any number and width.

Vectorised and quick to make; nothing can be learnt from them.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from rjepa.files import sha256_file, write_json
from rjepa.home import Home
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.shards import LatentRow
from rjepa.latents.store import ShardStore
from rjepa.tables import arrow_schema

DOMAINS = ("code", "logic", "math")
SHARD_CHAINS = 10_000


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
    """Shards of so many chains as a build leaves them, the last fiftieth of them for validation. One shard is in memory
    at a time, and all hold the same values."""
    store = ShardStore(home.latents(llm_tag, dataset), LatentRow, "synthetic latents", "run the benchmark again")
    store.folder.mkdir(parents=True)
    receipts = []
    block = synthetic_latents(min(SHARD_CHAINS, chains) // 2, width, seed=0)
    for number in range(-(-chains // SHARD_CHAINS)):
        stem = store.folder / f"shard-{number:05d}"
        tensors = {"latents": block.latents, "sentences": block.prompts.sentences, "prompt_of": block.prompt_of}
        tensors["sentence_counts"] = np.diff(block.prompts.offsets)
        save_file(tensors, stem.with_suffix(".safetensors"))
        first = number * SHARD_CHAINS
        pq.write_table(_table(block, llm_tag, first, chains), stem.with_suffix(".parquet"), compression="zstd")
        paths = [stem.with_suffix(".safetensors"), stem.with_suffix(".parquet")]
        files = {path.name: sha256_file(path) for path in paths}
        receipts.append({"key": "", "files": files, "records": len(block), "rows": len(block.latents), "counts": {}})
        write_json(stem.with_suffix(".json"), receipts[-1])
    store.publish({"width": width, "poolings": ["mean"], "fingerprint": "synthetic"}, receipts)


def _table(block: LatentSet, llm_tag: str, first: int, chains: int) -> pa.Table:
    count = len(block)
    place = first + np.arange(count)
    columns = {
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
    }
    schema = arrow_schema(LatentRow)
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)
