"""The risk dial: its promise holds on new problems, in every domain, and it promises nothing that it cannot keep."""

import numpy as np
import pytest
from scipy.stats import binom

from rjepa.inference.risk import DELTA, RiskPoint, RiskTable, count_risk
from rjepa.inference.stopping import Path


def _path(problems: int, rng: np.random.Generator, offset: float = 0.0) -> Path:
    """P(correct) that rises with each candidate, and truths that come true `offset` less often than it says."""
    chances = np.sort(rng.beta(4, 2, size=(problems, 8)), axis=1)
    right = rng.random((problems, 8)) < chances - offset
    return Path(chances, right, np.cumsum(np.full((problems, 8), 80.0), axis=1))


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_the_promise_is_broken_no_more_often_than_it_says(offset: float) -> None:
    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(200):
        table = count_risk(_path(900, rng, offset), ["code", "logic", "math"] * 300)
        threshold = table.threshold(0.15)
        if threshold is None:
            continue
        stop = _path(20_000, rng, offset).stop_at(threshold)
        broken += (~stop.right[stop.reached]).mean() > 0.15
    assert broken <= binom.ppf(0.999, 200, DELTA)


def test_one_domain_that_errs_more_holds_the_dial_back() -> None:
    good = RiskPoint(threshold=0.8, domain="code", answered=300, wrong=3)
    bad = RiskPoint(threshold=0.8, domain="math", answered=300, wrong=60)
    assert RiskTable(points=(good,)).threshold(0.1) == 0.8
    assert RiskTable(points=(good, bad)).threshold(0.1) is None
    assert RiskTable(points=(good, bad)).least() > 60 / 300


def test_a_lower_error_takes_a_higher_threshold_and_few_problems_promise_nothing() -> None:
    table = count_risk(_path(3000, np.random.default_rng(1)), ["math"] * 3000)
    thresholds = [table.threshold(error) for error in (0.1, 0.2, 0.3)]
    assert None not in thresholds and thresholds == sorted(thresholds, reverse=True) and len(set(thresholds)) > 1
    assert RiskTable().threshold(0.5) is None and RiskTable().least() == 1.0
    few = count_risk(_path(8, np.random.default_rng(1)), ["math"] * 8)
    assert few.threshold(0.1) is None
