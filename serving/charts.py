"""Where the marks of a chart stand. The templates draw them as inline SVG; each chart has a table beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rjepa.inference.surprise import StepEnergies, StepSpread
from rjepa.monitoring.releases import ReleaseFigures

WIDTH: Final = 420
"""User units. About a phone's width, so that the letters of a chart keep their size there."""
_LEFT: Final = 46
_RIGHT: Final = 12
_TOP: Final = 14
_BOTTOM: Final = 24
_HEIGHT: Final = 200
_ROW: Final = 40
_TICKS: Final = 4
_LEAST_SPAN: Final = 0.1
"""Of an axis of shares: noise of a point must not look like a mountain."""


@dataclass(frozen=True)
class Tick:
    """A line of the grid at a value."""

    at: float
    value: float


@dataclass(frozen=True)
class Mark:
    """A value with its interval, in user units; `index` is that of what it belongs to."""

    index: int
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class OverTime:
    """Shares over releases: oldest at the left."""

    height: int
    left: int
    right: int
    ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    reference: str
    """Points of the line of the baseline, as SVG's `points`; empty where there is none."""

    @property
    def line(self) -> str:
        """Points of the line, as SVG's `points`."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


@dataclass(frozen=True)
class Range:
    """One row of a chart of ranges, from low to high with its middle; `y` is the row's middle."""

    domain: str
    wrong: bool
    y: float
    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Ranges:
    """Energies of steps by domain."""

    height: int
    ticks: tuple[Tick, ...]
    rows: tuple[Range, ...]


def accuracy_over_releases(releases: Sequence[ReleaseFigures]) -> OverTime | None:
    """Accuracy with its interval, and a plain vote's on the same candidates; None where nothing was measured."""
    known = [(index, release) for index, release in enumerate(releases) if release.accuracy is not None]
    if not known:
        return None
    shares = [(index, release.accuracy, release.majority) for index, release in known if release.accuracy is not None]
    bottom = min([share.low for _, share, _ in shares] + [vote for *_, vote in shares if vote is not None])
    top = max([share.high for _, share, _ in shares] + [vote for *_, vote in shares if vote is not None])
    spare = max(0.02, (_LEAST_SPAN - (top - bottom)) / 2)
    bottom, top = max(0.0, bottom - spare), min(1.0, top + spare)

    def down(value: float) -> float:
        return _TOP + (top - value) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    places = _spread(len(shares))
    marks = [
        Mark(index, x, down(share.value), down(share.low), down(share.high))
        for x, (index, share, _) in zip(places, shares, strict=True)
    ]
    votes = [(x, down(vote)) for x, (*_, vote) in zip(places, shares, strict=True) if vote is not None]
    ticks = [Tick(down(value), value) for value in _values(bottom, top)]
    reference = " ".join(f"{x:.1f},{y:.1f}" for x, y in votes)
    return OverTime(_HEIGHT, _LEFT, WIDTH - _RIGHT, tuple(ticks), tuple(marks), reference)


def energies_by_domain(found: Sequence[StepEnergies]) -> Ranges | None:
    """Right steps above first wrong ones, domain by domain; None where no step was judged."""
    spreads: list[tuple[str, bool, StepSpread]] = []
    for each in found:
        spreads += [
            (each.domain, wrong, spread) for wrong, spread in ((False, each.right), (True, each.wrong)) if spread
        ]
    if not spreads:
        return None
    bottom, top = min(spread.low for *_, spread in spreads), max(spread.high for *_, spread in spreads)
    span = (top - bottom) or 1.0

    def along(value: float) -> float:
        return 2 * _LEFT + (value - bottom) / span * (WIDTH - 2 * _LEFT - _RIGHT)

    rows, y, before = [], float(_TOP), None
    for domain, wrong, spread in spreads:
        y += 14 if domain == before else (_ROW - 14 if before is not None else 12)
        rows.append(Range(domain, wrong, y, along(spread.low), along(spread.median), along(spread.high)))
        before = domain
    ticks = tuple(Tick(along(value), value) for value in _values(bottom, top))
    return Ranges(round(y + 12 + _BOTTOM), ticks, tuple(rows))


def _spread(count: int) -> list[float]:
    """Places from left to right; one alone stands in the middle."""
    width = WIDTH - _LEFT - _RIGHT
    if count == 1:
        return [_LEFT + width / 2]
    return [_LEFT + 16 + index * (width - 32) / (count - 1) for index in range(count)]


def _values(bottom: float, top: float) -> list[float]:
    """Round values for the grid between two ends."""
    span = top - bottom
    if span <= 0:
        return [bottom]
    sizes = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
    size = next((size for size in sizes if span / size <= _TICKS + 1), 100.0)
    first = -(-bottom // size)
    values = []
    while (value := first * size) <= top + 1e-9:
        values.append(value)
        first += 1
    return values
