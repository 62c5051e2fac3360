"""What torchrun starts in the tests: one of several processes that train on the synthetic chains.

Arguments: folder, the update after which to stop (0: never), cases.
"""

import sys
from pathlib import Path

import torch

from rjepa.jepa.config import EncoderConfig, JepaConfig, LossConfig, MaskConfig
from rjepa.jepa.distributed import ALONE, Processes, started_by_torchrun
from rjepa.jepa.trainer import TrainReport, train
from rjepa.latents.normalizer import fit_normalizer
from tests.jepa.synthetic import synthetic_set, tiny_config

ODD_BATCH = 33
"""So that two processes get slices of different size."""

CASES: dict[str, dict[str, object]] = {
    "pure": {"loss": LossConfig(variance=1.0, covariance=1.0)},
    "rank": {
        "loss": LossConfig(infonce=0.5, rank=1.0, rank_into_trunk=True, queries=64),
        "masks": MaskConfig(per_sample=2),
        "energy": "rank",
    },
    "types": {
        "encoder": EncoderConfig(width=32, depth=2, heads=2, sentences=True, step_types=True),
        "loss": LossConfig(delta=0.5, step_type=0.5),
    },
    "muon": {"loss": LossConfig(variance=1.0, covariance=1.0)},
    "differ": {},
    "textbook": {
        "encoder": EncoderConfig(width=32, depth=2, heads=2, causal=False),
        "masks": MaskConfig(causal=0, suffix=0, random=0, contiguous=1, hierarchical=0),
        "loss": LossConfig(raw=0, variance=1.0),
        "energy": "latent",
    },
}


def config_of(case: str) -> JepaConfig:
    """AdamW alone, but for `muon`: what the processes add up is exact up to rounding, and Muon, which orthogonalises in
    bfloat16, makes a rounding of 1e-8 one of 1e-3."""
    optim = {"updates": 14, "batch_size": ODD_BATCH, "negatives": 15}
    return tiny_config(**CASES[case], optim=optim if case == "muon" else optim | {"matrix_rate": None})


def run(folder: Path, case: str, stop_at: int = 0, processes: Processes = ALONE) -> TrainReport:
    torch.set_num_threads(1)
    seed = 1 + (processes.rank if case == "differ" else 0)
    data, held_out = synthetic_set(100, seed=seed), synthetic_set(20, seed=2, split="validation")

    def watch(done: int, total: int, note: str = "") -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    return train(config_of(case), data, held_out, fit_normalizer(data), folder, watch, processes=processes)


if __name__ == "__main__":
    with started_by_torchrun() as processes:
        for case in sys.argv[3:]:
            run(Path(sys.argv[1]) / case, case, int(sys.argv[2]), processes)
