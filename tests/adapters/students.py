"""Two students that read the same chains: the target's latents are a curved function of the source's, and noise."""

import dataclasses

import numpy as np

from rjepa.adapters.pairs import Matched, match_chains
from rjepa.latents.sets import LatentSet, Prompts
from tests.jepa.synthetic import WIDTH, synthetic_set

TARGET_WIDTH = 12


def as_read_by_the_target(latents: LatentSet, curved: bool = True, width: int = TARGET_WIDTH) -> LatentSet:
    """The same chains by a student that keeps the same things in other places."""
    random = np.random.default_rng(11)
    mix, bend = random.standard_normal((WIDTH, width)) / 3, random.standard_normal((width, width)) / 5

    def see(rows: np.ndarray) -> np.ndarray:
        mixed = rows.astype(np.float64) @ mix
        seen = np.tanh(mixed) @ bend + 0.1 * mixed if curved else mixed
        return (3 * seen + 1).astype(np.float16)

    assert latents.prompts is not None
    prompts = Prompts(see(latents.prompts.sentences), latents.prompts.offsets)
    return dataclasses.replace(latents, latents=see(latents.latents), prompts=prompts)


def matched_students(
    problems: int, seed: int, curved: bool = True, width: int = TARGET_WIDTH, wrong: bool = True
) -> Matched:
    """Chains of so many problems, right and wrong ones, by both."""
    chains = synthetic_set(problems, seed, wrong)
    # Ids that tell right and wrong chains of a problem apart.
    chains = dataclasses.replace(chains, chain_ids=[f"chain-{index}" for index in range(len(chains))])
    return match_chains(as_read_by_the_target(chains, curved, width), chains)
