"""Chains with a structure that can be learnt: a hidden state that each step moves on by the same non-linear rule.

A wrong step jumps to a state that does not follow from the ones before it; later steps follow from the wrong one.
Problems have one to three sentences, which say again what the pooled prompt says. A step's type is the sign of its
state.
"""

import numpy as np

from rjepa.home import Home
from rjepa.jepa.config import EncoderConfig, JepaConfig, OptimConfig, PredictorConfig
from rjepa.latents.sets import LatentSet, Prompts
from tests.latents.rows import MADE_BY, Prompted, write_latents

WIDTH = 24


def synthetic_set(problems: int, seed: int, wrong: bool = True, split: str = "train") -> LatentSet:
    """Each problem has a right chain and, with `wrong`, one that shares its first steps and then goes wrong."""
    rules, random = np.random.default_rng(7), np.random.default_rng(seed)
    move, ask, show = (rules.standard_normal(shape) for shape in ((6, 6), (6, 6), (6, WIDTH)))
    rows, lengths, errors, owners = [], [], [], []
    sentences, counts, prompt_of, types = [], [], [], []
    for problem in range(problems):
        question = random.standard_normal(6)
        counts.append(1 + problem % 3)
        sentences.append(np.tile(question @ show, (counts[-1], 1)))
        steps = int(random.integers(2, 6))
        broken_at = int(random.integers(1, steps + 1))
        for first_error in (-1, broken_at) if wrong else (-1,):
            state, states = question, [question]
            for step in range(1, steps + 1):
                state = np.tanh(state @ move + question @ ask)
                if step == first_error:
                    state = np.tanh(random.standard_normal(6) * 2)
                states.append(state)
            rows.append(np.array(states) @ show + 0.05 * random.standard_normal((steps + 1, WIDTH)))
            lengths.append(steps + 1)
            types += [0] + [1 + int(at[0] > 0) for at in states[1:]]
            errors.append(first_error)
            owners.append(f"{split}-{problem}")
            prompt_of.append(problem)
    return LatentSet(
        latents=np.concatenate(rows).astype(np.float16),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        domains=np.arange(len(lengths), dtype=np.int64) % 2,
        domain_names=("math", "logic"),
        first_error=np.array(errors, dtype=np.int64),
        problem_ids=owners,
        chain_ids=[f"{owner}#{index}" for index, owner in enumerate(owners)],
        splits=[split] * len(lengths),
        prompts=Prompts.of(np.concatenate(sentences).astype(np.float16), counts),
        prompt_of=np.array(prompt_of, dtype=np.int64),
        types=np.array(types, dtype=np.uint8),
    )


def tiny_config(**changes: object) -> JepaConfig:
    """A model that trains in a second. `optim` may be given as a dict of changes."""
    optim = {"updates": 12, "batch_size": 32, "negatives": 16, "checkpoint_every": 5, "bf16": False}
    optim |= changes.pop("optim", {})  # type: ignore[operator]
    parts = {
        "name": "tiny",
        "encoder": EncoderConfig(width=32, depth=2, heads=2, sentences=True),
        "predictor": PredictorConfig(width=24, depth=1, heads=2),
        "optim": OptimConfig(**optim),
    }
    return JepaConfig.model_validate({**parts, **changes})


def write_shards(
    home: Home,
    llm_tag: str,
    dataset: str,
    chains: LatentSet,
    shard_size: int = 1000,
    fingerprint: str = MADE_BY,
    share: float = 1.0,
) -> None:
    """The set as a version that `open_latents` reads, as if the student of this fingerprint had made it."""
    parts = [
        Prompted(
            problem_id=chains.problem_ids[index],
            cot_id=chains.chain_ids[index],
            latents=chains.chain(index),
            sentences=chains.sentences(index),
            types=None if chains.types is None else chains.types[chains.offsets[index] : chains.offsets[index + 1]],
            domain=chains.domain_names[chains.domains[index]],
            subdomain="synthetic",
            split=chains.splits[index],
            first_error_segment=int(chains.first_error[index]),
        )
        for index in range(len(chains))
    ]
    write_latents(home, llm_tag, dataset, parts, shard_size, fingerprint, share)
