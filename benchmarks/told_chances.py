"""What the calibration clause of a night lets through, simulated: part of `python -m benchmarks.nights`.

Problems have true chances of being right; a release tells them through a calibrator that was fitted on some hundred
validation problems, and may be bent besides. Challenger and release are right on the same problems but for one in
seven. What is asked is `rjepa.evaluation.calibration_rise`, against the margin of `rjepa.releases.night`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta

from rjepa.arrays import Bools, Float64
from rjepa.evaluation.calibration_rise import compare_calibration
from rjepa.releases.night import LEVEL_OF_CALIBRATION, LOSS_OF_CALIBRATION

RUNS: Final = 300
PROBLEMS: Final = (1000, 1500, 3000)
"""For which both tell a chance: what one set of 1 500 problems has where a family is new to one of them, what it has
where none is, and two sets."""
SETS: Final = 3
"""On how many sets a challenger is offered until it passes."""
VALIDATION: Final = 450
ALIKE: Final = ("perfect", f"fitted_on_{VALIDATION}", "both_too_high_by_0.04")
"""Of the settings of equal ones those that nights make: calibrated on the same validation problems, or off in the same
way since sealed problems are other ones. The rest, off in ways that have nothing in common, are what is hardest."""
_SHAPE: Final = (2.0, 1.5)
_OWN_LUCK: Final = 0.4
"""Share of problems on which the two are right by luck of their own: they differ on one problem in seven then."""
_GRID: Final = beta.ppf((np.arange(2000) + 0.5) / 2000, *_SHAPE)

Way = Literal["high", "low", "sure"]


@dataclass(frozen=True)
class Teller:
    """Tells a chance of log-odds x as one of log-odds `offset` + `slope` x."""

    offset: float = 0.0
    slope: float = 1.0

    def tell(self, true: Float64) -> Float64:
        return np.asarray(expit(self.offset + self.slope * logit(true)), dtype=np.float64)

    @property
    def error(self) -> float:
        """Root-mean-square calibration error."""
        return float(np.sqrt(np.mean((self.tell(_GRID) - _GRID) ** 2)))


def bent(error: float, way: Way) -> Teller:
    """Who tells chances with this error: all too high, all too low, or too sure of each."""
    low, high = 0.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        teller = {"high": Teller(middle), "low": Teller(-middle), "sure": Teller(0.0, 1.0 + middle)}[way]
        low, high = (middle, high) if teller.error < error else (low, middle)
    return teller


def draw(rng: np.random.Generator, problems: int) -> tuple[Float64, Bools, Bools]:
    """True chances, and whether challenger and release are right."""
    true = rng.beta(*_SHAPE, problems)
    second = rng.random(problems) < true
    first = np.where(rng.random(problems) < _OWN_LUCK, rng.random(problems) < true, second)
    return true, first, second


def fitted(rng: np.random.Generator) -> tuple[Teller, Teller]:
    """Two that were calibrated on the same validation problems."""
    true, first, second = draw(rng, VALIDATION)
    return _fit(true, first), _fit(true, second)


def passes(rng: np.random.Generator, tellers: tuple[Teller, Teller], problems: int, looks: int = 1) -> bool:
    """Whether a challenger passes, offered again on further problems, which join those before, until it does."""
    parts: list[tuple[Float64, Bools, Bools]] = []
    for look in range(1, looks + 1):
        parts.append(draw(rng, problems))
        true, first, second = (np.concatenate(column) for column in zip(*parts, strict=True))
        told = (tellers[0].tell(true), tellers[1].tell(true))
        found = compare_calibration(told, (first, second), confidence=1 - LEVEL_OF_CALIBRATION / look)
        assert found is not None
        if found.bound < LOSS_OF_CALIBRATION:
            return True
    return False


def equal_settings(rng: np.random.Generator) -> dict[str, Callable[[], tuple[Teller, Teller]]]:
    """Pairs of which the challenger tells its chances no worse, by how they err."""
    high, low, sure = (bent(0.04, way) for way in ("high", "low", "sure"))
    return {
        "perfect": lambda: (Teller(), Teller()),
        f"fitted_on_{VALIDATION}": lambda: fitted(rng),
        "both_too_high_by_0.04": lambda: (high, high),
        "too_high_and_too_low_by_0.04": lambda: (high, low),
        "too_sure_and_too_high_by_0.04": lambda: (sure, high),
    }


def worse_settings(rng: np.random.Generator, rise: float) -> dict[str, Callable[[], tuple[Teller, Teller]]]:
    """Pairs of which the challenger's error is larger by `rise`."""
    high = bent(0.04, "high")

    def from_fitted(way: Way) -> tuple[Teller, Teller]:
        second = fitted(rng)[1]
        return bent(second.error + rise, way), second

    settings: dict[str, Callable[[], tuple[Teller, Teller]]] = {}
    ways: tuple[Way, ...] = ("high", "sure")
    for way in ways:
        one, other = bent(rise, way), bent(0.04 + rise, way)
        settings |= {
            f"{way}_from_0": lambda one=one: (one, Teller()),  # type: ignore[misc]
            f"{way}_from_0.04": lambda other=other: (other, high),  # type: ignore[misc]
            f"{way}_from_fitted": lambda way=way: from_fitted(way),  # type: ignore[misc]
        }
    return settings


def share(rng: np.random.Generator, make: Callable[[], tuple[Teller, Teller]], problems: int, looks: int = 1) -> float:
    """Share of challengers that pass."""
    return float(np.mean([passes(rng, make(), problems, looks) for _ in range(RUNS)]))


def _fit(true: Float64, right: Bools) -> Teller:
    """Logistic regression on the log-odds, by Newton's method."""
    inputs = np.stack([np.ones_like(true), logit(true)], axis=1)
    weights = np.array([0.0, 1.0])
    for _ in range(8):
        told = expit(inputs @ weights)
        curvature = (inputs.T * (told * (1 - told))) @ inputs + 1e-6 * np.eye(2)
        weights = weights + np.linalg.solve(curvature, inputs.T @ (right - told))
    return Teller(float(weights[0]), float(weights[1]))


def measure(rng: np.random.Generator) -> dict[str, float | str]:
    """Share of equally calibrated challengers that pass, and of worse ones that are stopped, by number of problems."""
    figures: dict[str, float | str] = {}
    equal = {name: [share(rng, make, problems) for problems in PROBLEMS] for name, make in equal_settings(rng).items()}
    for place, problems in enumerate(PROBLEMS):
        least = min(equal[name][place] for name in ALIKE)
        figures[f"calibration_equal_pass_on_{problems}"] = round(least, 3)
    for name, shares in equal.items():
        figures[f"calibration_equal_pass_{name}"] = _by(shares)
    for rise in (0.03, 0.05, 0.1):
        worse = {
            name: [share(rng, make, problems) for problems in PROBLEMS]
            for name, make in worse_settings(rng, rise).items()
        }
        for name, shares in worse.items():
            figures[f"calibration_worse_by_{rise:g}_pass_{name}"] = _by(shares)
        highest = max(max(shares) for shares in worse.values())
        figures[f"calibration_worse_by_{rise:g}_stopped"] = round(1 - highest, 3)
    again = [share(rng, make, PROBLEMS[0], looks=SETS) for make in worse_settings(rng, LOSS_OF_CALIBRATION).values()]
    figures[f"calibration_worse_by_0.05_stopped_on_each_of_{SETS}_sets"] = round(1 - max(again), 3)
    for name, make in equal_settings(rng).items():
        figures[f"calibration_equal_pass_within_two_sets_{name}"] = round(share(rng, make, PROBLEMS[0], looks=2), 3)
    return figures


def _by(shares: list[float]) -> str:
    return ", ".join(
        f"{problems} problems: {100 * each:.1f} %" for problems, each in zip(PROBLEMS, shares, strict=True)
    )
