"""How a learning rate moves over a run: pure functions of the update's number."""

import math


def cosine(first: float, last: float, share: float) -> float:
    """From `first` to `last` along half a cosine; `share` of the way lies behind."""
    return last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def warm_cosine(update: int, updates: int, rising: int, last: float) -> float:
    """The share of the highest rate at an update: a linear rise over the first `rising` of the updates, then half a
    cosine down to `last`.
    """
    if update < rising:
        return (update + 1) / rising
    return cosine(1.0, last, (update - rising) / max(1, updates - rising))
