"""Four ways to search for a chain step by step: beam, depth first, best first, particles. R-JEPA says what is good.

Each is a generator over `Candidates` that writes, forks and drops until chains are whole or its bounds are met; which
whole chain is the answer is decided by the mode. A chain that is not whole is worth the mean logarithm of its steps'
energies: a mean, so that chains of different lengths compare, of logarithms, so that one blurred step does not decide.
"""

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rjepa.jepa.config import ENERGY_FLOOR
from rjepa.reasoning.changes import Pruned
from rjepa.reasoning.events import Event, Wait
from rjepa.reasoning.writing import Candidates

Search = Generator[Event | Wait, None, list[Pruned]]
"""Yields what happens; returns what was given up."""

_SHARPNESS: Final = 2.0
"""How fast a particle's weight falls: a step with e times the energy of another weighs e^-2 of it."""


@dataclass(frozen=True)
class Bounds:
    """What a search may do.

    Attributes:
        width: chains that are kept at a time, or walks that go on side by side.
        branching: ways to go on from a place.
        depth: steps of a chain behind which it only goes on, without a choice.
        nodes: steps that are written at most before every chain only goes on.
        limit: of a step's energy, for the search that turns back.
    """

    width: int
    branching: int
    depth: int
    nodes: int
    limit: float


def log_energy(energies: Sequence[float]) -> float:
    """What a chain's beginning is worth: lower is better; 0 for none."""
    return float(np.mean(np.log(np.asarray(energies) + ENERGY_FLOOR))) if energies else 0.0


def beam(candidates: Candidates, bounds: Bounds, temperature: float) -> Search:
    """After each step only the `width` best of all go on, each `branching` times."""
    pruned: list[Pruned] = []
    total = bounds.width * bounds.branching
    running = yield from candidates.start(range(1, total + 1), temperature)
    begun, written = set(running), 0
    while True:
        written += len(running)
        yield from candidates.write_step(running)
        done = [one for one in candidates.whole if one in begun and one not in {each.candidate for each in pruned}]
        pool = sorted({*running, *done}, key=lambda one: (_worth(candidates, one), one))
        kept = _distinct(candidates, pool)[: bounds.width]
        for number in pool:
            if number not in kept:
                pruned.append(_give_up(candidates, number, "not among the best of its step"))
                yield pruned[-1]
        going = [number for number in kept if not candidates.is_over(number)]
        if not going:
            return pruned
        steps = max(len(candidates.reading(number).steps) for number in going)
        if steps >= bounds.depth or written >= bounds.nodes:
            yield from candidates.write(going)
            return pruned
        running = list(going)
        for number in going:
            for _ in range(bounds.branching - 1):
                running.append((yield from candidates.fork(number, len(candidates.reading(number).steps))))
        begun |= set(running)


def particles(candidates: Candidates, bounds: Bounds, temperature: float, rng: np.random.Generator) -> Search:
    """Chains that are copied and given up by chance, in proportion to how well their last steps went.

    Sequential Monte Carlo with systematic resampling, where fewer than half of the particles count (Lew et al.,
    arXiv:2306.03081, steer language models so).
    """
    pruned: list[Pruned] = []
    count = bounds.width * bounds.branching
    running = yield from candidates.start(range(1, count + 1), temperature)
    weights = np.zeros(count)
    written = 0
    while True:
        written += len(running)
        going = [number for number in running if not candidates.is_over(number)]
        if not going or written >= bounds.nodes:
            yield from candidates.write(going)
            return pruned
        before = {number: len(candidates.reading(number).steps) for number in going} if written > count else {}
        yield from candidates.write_step(going)
        for place, number in enumerate(running):
            fresh = candidates.reading(number).energies[before.get(number, 0) :] if number in going else []
            weights[place] -= _SHARPNESS * float(np.sum(np.log(np.asarray(fresh) + ENERGY_FLOOR)))
        shares = np.exp(weights - weights.max())
        shares /= shares.sum()
        if 1.0 / np.sum(shares**2) >= count / 2:
            continue
        places = (rng.random() + np.arange(count)) / count
        copies = np.bincount(np.searchsorted(np.cumsum(shares), places), minlength=count)
        survivors: list[int] = []
        for number, times in zip(running, copies[:count], strict=True):
            if times == 0 and number not in survivors:
                pruned.append(_give_up(candidates, number, "no particle was left on it"))
                yield pruned[-1]
                continue
            survivors.append(number)
            for _ in range(int(times) - 1):
                steps = len(candidates.reading(number).steps)
                if candidates.is_over(number) or not candidates.can_fork(number, steps):
                    survivors.append(number)
                else:
                    survivors.append((yield from candidates.fork(number, steps)))
        running, weights = survivors, np.zeros(count)


def best_first(candidates: Candidates, bounds: Bounds, temperature: float) -> Search:
    """Always the best beginning of all goes on, in `branching` ways, until `width` more chains are whole."""
    pruned: list[Pruned] = []
    frontier: list[tuple[float, int]] = []
    numbers = yield from candidates.start(range(1, bounds.branching + 1), temperature)
    written = 0
    while True:
        written += len(numbers)
        yield from candidates.write_step(numbers)
        for number in _distinct(candidates, numbers):
            if not candidates.is_over(number):
                heapq.heappush(frontier, (_worth(candidates, number), number))
        for number in numbers:
            if not candidates.is_over(number):
                candidates.drop(number)  # it waits; a fork of it goes on
        if len(candidates.whole) > bounds.width or not frontier:  # one was whole before
            break
        _, best = heapq.heappop(frontier)
        steps = len(candidates.reading(best).steps)
        bounded = steps >= bounds.depth or written >= bounds.nodes
        numbers = []
        for _ in range(1 if bounded else bounds.branching):
            numbers.append((yield from candidates.fork(best, steps)))
        if bounded:
            yield from candidates.write(numbers)
            break
    for _, number in sorted(frontier):
        pruned.append(_give_up(candidates, number, "others were better to the end"))
        yield pruned[-1]
    return pruned


class _Walk:
    """One walk of the search that turns back: where it stands, and what it has tried at each place on its way."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.checked = 0  # segments that are not looked at again
        self.done = False  # whether it only goes on
        self.tried: dict[int, list[int]] = {}

    def tries(self, place: int) -> int:
        """How often a segment was written at this place of the way."""
        return len(self.tried.get(place, ())) + 1

    def turn_back(self, place: int) -> None:
        """What stands at `place` is given up: it is kept as one that was tried, and what was tried behind it not."""
        self.tried.setdefault(place, []).append(self.number)
        self.tried = {at: numbers for at, numbers in self.tried.items() if at <= place}
        self.checked = place


def depth_first(candidates: Candidates, bounds: Bounds, temperature: float, first: int) -> Search:
    """Go back to the first step with more energy than the limit and write it again; where each of `branching` ways is
    bad, turn back to the place before. At the bounds the best of the last place goes on.

    Args:
        first: a whole chain, which the first walk begins with.
    """
    pruned: list[Pruned] = []
    others = yield from candidates.start(range(1, bounds.width), temperature)
    walks = [_Walk(number) for number in (first, *others)]
    written = 0
    while True:
        for walk in walks:
            while not walk.done and (bad := candidates.bad_step(walk.number, bounds.limit, walk.checked)) is not None:
                if bad >= bounds.depth or written >= bounds.nodes * bounds.width:
                    walk.done = True
                elif (given_up := (yield from _turn(candidates, walk, bad, bounds.branching))) is not None:
                    pruned.append(given_up)
                    yield given_up
        going = [walk.number for walk in walks if not candidates.is_over(walk.number)]
        if not going or candidates.tools.is_spent:
            return pruned
        written += len(going)
        yield from candidates.write_step(going)


def _turn(
    candidates: Candidates, walk: _Walk, bad: int, branching: int
) -> Generator[Event | Wait, None, Pruned | None]:
    """Another way round a bad step; None where the best of those that were tried is the one that stands."""
    old = walk.number
    place = next((at for at in range(bad, -1, -1) if walk.tries(at) < branching and candidates.can_fork(old, at)), None)
    if place is not None:
        walk.turn_back(place)
        walk.number = yield from candidates.fork(old, place)
        why = "a surprising step" if place == bad else "every way on from here begins with a surprising step"
        return _give_up(candidates, old, why, bad)
    walk.checked = bad + 1
    best = min([old, *walk.tried.get(bad, ())], key=lambda one: candidates.reading(one).energies[bad])
    if best == old or not candidates.can_fork(best, bad + 1):
        return None
    walk.number = yield from candidates.fork(best, bad + 1)
    return _give_up(candidates, old, "an earlier way was less surprising", bad)


def _worth(candidates: Candidates, number: int) -> float:
    return log_energy(candidates.reading(number).energies)


def _distinct(candidates: Candidates, numbers: Sequence[int]) -> list[int]:
    """One of those that say the same, the first."""
    seen: dict[str, int] = {}
    for number in numbers:
        text = "".join(step.text for step in candidates.reading(number).steps)
        seen.setdefault(text, number)
    return list(seen.values())


def _give_up(candidates: Candidates, number: int, why: str, step: int | None = None) -> Pruned:
    """Drop a candidate, and say at which of its segments. One that is whole stays a candidate of the choice."""
    steps = candidates.reading(number).steps
    if not candidates.is_over(number):
        candidates.drop(number)
    at = len(steps) - 1 if step is None else step
    energy = steps[at].energy if 0 <= at < len(steps) else None
    below = None if energy is None else candidates.tools.parts.calibration.share_of_right_steps_below(energy)
    return Pruned(candidate=number, step=at + 1, energy=energy, share_below=below, why=why)
