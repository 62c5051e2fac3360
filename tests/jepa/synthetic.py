"""Chains with a structure that can be learnt: a hidden state that each step moves on by the same non-linear rule.

A wrong step jumps to a state that does not follow from the ones before it; later steps follow from the wrong one.
"""

import numpy as np

from rjepa.jepa.config import EncoderConfig, JepaConfig, OptimConfig, PredictorConfig
from rjepa.latents.sets import LatentSet

WIDTH = 24


def synthetic_set(problems: int, seed: int, wrong: bool = True, split: str = "train") -> LatentSet:
    """Each problem has a right chain and, with `wrong`, one that shares its first steps and then goes wrong."""
    rules, random = np.random.default_rng(7), np.random.default_rng(seed)
    move, ask, show = (rules.standard_normal(shape) for shape in ((6, 6), (6, 6), (6, WIDTH)))
    rows, lengths, errors, owners = [], [], [], []
    for problem in range(problems):
        question = random.standard_normal(6)
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
            errors.append(first_error)
            owners.append(f"{split}-{problem}")
    return LatentSet(
        latents=np.concatenate(rows).astype(np.float16),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        domains=np.arange(len(lengths), dtype=np.int64) % 2,
        domain_names=("math", "logic"),
        first_error=np.array(errors, dtype=np.int64),
        problem_ids=owners,
        chain_ids=[f"{owner}#{index}" for index, owner in enumerate(owners)],
        splits=[split] * len(lengths),
    )


def tiny_config(**changes: object) -> JepaConfig:
    """A model that trains in a second. `optim` may be given as a dict of changes."""
    optim = {"updates": 12, "batch_size": 32, "negatives": 16, "checkpoint_every": 5, "bf16": False}
    optim |= changes.pop("optim", {})  # type: ignore[operator]
    parts = {
        "name": "tiny",
        "encoder": EncoderConfig(width=32, depth=2, heads=2),
        "predictor": PredictorConfig(width=24, depth=1, heads=2),
        "optim": OptimConfig(**optim),
    }
    return JepaConfig.model_validate({**parts, **changes})
