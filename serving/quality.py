"""How good answers are while they are given: a figure for each, kept in memory, and windows of them in the database.

A bounded number of items is held: what comes beyond is dropped and counted. No word of a question or answer is in one.
`serving.collecting` says which requests they come from; `rjepa.living.health` compares the windows.
"""

import asyncio
import contextlib
import statistics
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog
from pydantic import Field

from rjepa.errors import RjepaError
from rjepa.living.windows import Window
from rjepa.reasoning.answer import Answer
from rjepa.values import FrozenValue

MAX_ITEMS: Final = 10_000
"""Items in memory at most: of a few hundred bytes each, 5 MB and hours of what one engine can answer."""

FLUSH_SECONDS: Final = 60.0
"""How often windows are written: health compares hours, and a killed process loses no more than this."""

MOST_OF_ONE: Final = 10
"""Votes, and answers with an energy, of one client that say something of a release's health each hour: fewer than
health decides on (`rjepa.living.health.LEAST_NOW`), so that nobody has a release taken back alone."""

_HOUR_SECONDS: Final = 3600.0
_LOG = structlog.get_logger("serving")
_RECENT: Final = 1000
"""Items that figures of late are of: enough for a 95th percentile, and minutes of a busy service."""
_PATIENCE_SECONDS: Final = 10.0
"""People lose their train of thought after about ten seconds (Nielsen, Usability Engineering, 1993, 5.5)."""
_NO_EXPECTATION: Final = 0.8
"""Energy of a step for which R-JEPA has no expectation at all."""
_CUT_SHORT: Final = 0.5
"""What an answer that a limit ended, or that abstained, has of completion."""


@dataclass
class Item:
    """One request that asked for an answer, or one vote. `client` is empty where it may count without limit."""

    release_id: str = ""
    client: str = ""
    seconds: float = 0.0
    failed: bool = False
    answers: int = 0
    unfamiliar: int = 0
    energies: list[float] = field(default_factory=list)
    parts: list[float] = field(default_factory=list)
    """What the answers' own quality is the mean of: completion and trust, from 0 to 1."""
    vote: bool | None = None

    def note(self, answer: Answer) -> None:
        """Take an answer's figures."""
        self.release_id = answer.release_id
        self.answers += 1
        self.parts.append(1.0 if answer.finished and not answer.abstained else _CUT_SHORT)
        if energies := answer.step_energies:
            self.energies.append(statistics.fmean(energies))
            self.unfamiliar += answer.explanation is not None and not answer.explanation.familiar
        if answer.p_correct is not None:
            self.parts.append(answer.p_correct)
        elif energies:
            self.parts.append(max(0.0, 1.0 - self.energies[-1] / _NO_EXPECTATION))

    @property
    def quality(self) -> float:
        """From 0 to 1: 0 where the request failed, else the mean of speed, completion, and P(correct) or energy."""
        if self.vote is not None:
            return float(self.vote)
        if self.failed:
            return 0.0
        speed = min(1.0, _PATIENCE_SECONDS / max(self.seconds, 1e-9))
        return statistics.fmean([speed, *self.parts])


class QualityFigures(FrozenValue):
    """What the collector of one process has seen lately."""

    recent: int = Field(description="requests and votes that the figures below are of, a thousand at most")
    quality: float | None = Field(description="mean over them, from 0 to 1; a vote counts 1 or 0")
    median_seconds: float | None = Field(description="of a request, waiting included")
    slowest_seconds: float | None = Field(description="95 of 100 requests were faster")
    failed: int
    waiting: int = Field(description="items in memory that are in no window yet")
    dropped: int = Field(description="items that there was no room for, since the start")


class Counts(Protocol):
    """Where qualities and drops are counted for Prometheus."""

    def rated(self, quality: float) -> None:
        """Count a quality."""

    def rating_dropped(self) -> None:
        """Count a drop."""


class Quality:
    """Items of this process: bounded, never waited for, written as windows off the request's way."""

    def __init__(self, llm_tag: str, write: Callable[[Sequence[Window]], None], counts: Counts) -> None:
        """`write` keeps windows and may take its time: it is called beside the event loop."""
        self._llm_tag, self._write, self._counts = llm_tag, write, counts
        self._items: deque[Item] = deque()
        self._recent: deque[tuple[float | None, float, bool]] = deque(maxlen=_RECENT)
        self._being_written = 0
        self._began_ms = _now_ms()
        self._shares: Counter[tuple[str, str, bool]] = Counter()
        self._hour = time.monotonic()
        self._flusher: asyncio.Task[None] | None = None
        self.dropped = 0

    def add(self, item: Item) -> None:
        """Take an item, or drop it where there is no room."""
        quality = item.quality
        self._recent.append((None if item.vote is not None else item.seconds, quality, item.failed))
        self._counts.rated(quality)
        if item.client and self._has_said_enough(item):
            if item.vote is not None:
                return
            item.energies, item.unfamiliar = [], 0
        self._keep(item)

    def voted(self, release_id: str, *, up: bool, client: str = "") -> None:
        """A user said of an answer of this release that it is good or bad; `client` as in `Item`."""
        self.add(Item(release_id=release_id, client=client, vote=up))

    def figures(self) -> QualityFigures:
        """What was seen lately."""
        seconds = sorted(one[0] for one in self._recent if one[0] is not None)
        return QualityFigures(
            recent=len(self._recent),
            quality=statistics.fmean(one[1] for one in self._recent) if self._recent else None,
            median_seconds=statistics.median(seconds) if seconds else None,
            slowest_seconds=seconds[int(0.95 * (len(seconds) - 1))] if seconds else None,
            failed=sum(one[2] for one in self._recent),
            waiting=len(self._items) + self._being_written,
            dropped=self.dropped,
        )

    async def flush(self) -> None:
        """Write what there is as one window a release. Where that fails, the items wait for the next time."""
        items, began_ms = list(self._items), self._began_ms
        if not items:
            self._began_ms = _now_ms()
            return
        self._items.clear()
        self._being_written, ended_ms = len(items), _now_ms()
        try:
            await asyncio.to_thread(self._write_items, items, began_ms, ended_ms)
        except RjepaError as error:
            _LOG.error("windows_not_written", problem=error.problem, cure=error.cure, items=len(items))
            self._items.extendleft(reversed(items))
        else:
            self._began_ms = ended_ms
        finally:
            self._being_written = 0

    async def start(self) -> None:
        """Begin to flush."""
        self._flusher = asyncio.create_task(self._flush_for_ever())

    async def stop(self) -> None:
        """Write the last window."""
        if self._flusher is not None:
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
        await self.flush()

    def _has_said_enough(self, item: Item) -> bool:
        """Whether an item's client has had its share of this hour; names stay in memory, and no longer than that."""
        now = time.monotonic()
        if now - self._hour >= _HOUR_SECONDS or len(self._shares) >= MAX_ITEMS:
            self._shares.clear()
            self._hour = now
        if item.vote is None and not item.energies:
            return False
        share = (item.release_id, item.client, item.vote is None)
        self._shares[share] += 1
        return self._shares[share] > MOST_OF_ONE

    def _keep(self, item: Item) -> None:
        if len(self._items) + self._being_written < MAX_ITEMS:
            self._items.append(item)
        else:
            self.dropped += 1
            self._counts.rating_dropped()

    def _write_items(self, items: Sequence[Item], began_ms: int, ended_ms: int) -> None:
        self._write(_windows(self._llm_tag, items, began_ms, ended_ms))

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()


def _windows(llm_tag: str, items: Iterable[Item], began_ms: int, ended_ms: int) -> list[Window]:
    by_release: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_release[item.release_id].append(item)
    return [
        Window(
            llm_tag=llm_tag,
            release_id=release_id,
            started_at_ms=began_ms,
            ended_at_ms=max(began_ms, ended_ms),
            **_sums(own),
        )
        for release_id, own in by_release.items()
    ]


def _sums(items: Sequence[Item]) -> dict[str, Any]:
    energies = [energy for item in items for energy in item.energies]
    return {
        "answers": sum(item.answers for item in items),
        "errors": sum(item.failed for item in items),
        "energies": len(energies),
        "energy_sum": sum(energies),
        "energy_squares": sum(energy * energy for energy in energies),
        "unfamiliar": sum(item.unfamiliar for item in items),
        "thumbs_up": sum(item.vote is True for item in items),
        "thumbs_down": sum(item.vote is False for item in items),
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
