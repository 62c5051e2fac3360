"""How learning rate, weight decay and EMA momentum move over a run. Pure functions of the update number."""

from typing import Final

from rjepa.jepa.config import OptimConfig
from rjepa.schedules import cosine, warm_cosine

_LONG_RUN: Final = 10_000
"""Updates from which the target may end frozen: in a short run a momentum near 1 would leave it at its start."""


def schedule(config: OptimConfig, update: int) -> float:
    """The share of the highest learning rate: a linear warm-up, then a cosine down to `final_rate`."""
    rising = max(1, round(config.warmup * config.updates))
    return warm_cosine(update, config.updates, rising, config.final_rate)


def weight_decay(config: OptimConfig, update: int) -> float:
    """Cosine from the first to the last weight decay."""
    return cosine(*config.weight_decay, update / max(1, config.updates))


def momentum(config: OptimConfig, update: int) -> float:
    """Cosine from the first to the last EMA momentum, scaled to the run's length unless the config names both."""
    ends = config.ema or ((0.996, 1.0) if config.updates >= _LONG_RUN else (0.99, 0.999))
    return cosine(*ends, update / max(1, config.updates))
