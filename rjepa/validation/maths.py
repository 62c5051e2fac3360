"""Are two maths answers equivalent? Numbers at once; formulas, lists, sets, intervals, equations by sympy in processes.

    compare("1/2", r"\\frac{2}{4}").reason      # "equal"
    compare("9", "9**9**9**9").reason           # "timeout" or "too_large", within the pool's bounds

Plain numbers are settled by `rjepa.validation.answers` and no process is started for them. The processes live in
`rjepa.validation.pool`, what they compute in `rjepa.validation.maths_worker`. The comparison is not symmetric: the gold
answer comes first (a gold `(1,2)` may be a point and is not answered by `1 < x < 2`, for one).
"""

import atexit
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rjepa.validation.answers import answers_match, are_numbers, are_settled
from rjepa.validation.pool import DEFAULT_BOUNDS, Bounds, Reply, WorkerPool
from rjepa.validation.spelling import is_malformed, plain

Reason = Literal["equal", "different", "unparsable", "too_large", "timeout", "worker_died"]

MAX_ANSWER: Final = 2000
"""Characters; the longest gold answer of MATH has a few hundred. Longer ones are not parsed."""

_WORKER = "rjepa.validation.maths_worker"
_PROSE = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?(?:[\s,]+[^\W\d_]+(?:['’][^\W\d_]+)?){2}[^$\\=<>^]*")
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[\s,.;:!?'’-]+[^\W\d_]+)*[.!?]?")
_MATHS = re.compile(r"[\d\\^=<>+*/|{}\[\]()π∞√≤≥≠∪∩∈×·÷±−–²³°θαβ∅ℝ]|\b[A-Za-z]\b|\bpi\b")


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison. Everything but `equal` means that the answer does not count as right."""

    reason: Reason

    @property
    def equal(self) -> bool:
        """Whether the answer says what the gold answer says."""
        return self.reason == "equal"


class MathsPool:
    """Compares answers in at most `workers` processes of its own. Close it, or use it as a context manager."""

    def __init__(self, workers: int = 2, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._workers = WorkerPool(_WORKER, workers, bounds)

    def compare(self, gold: str, answer: str) -> Comparison:
        """Compare one answer. Any thread may ask.

        Raises:
            WorkerError: no worker process can be started.
        """
        return _without_a_worker(gold, answer) or _comparison(self._workers.ask(_request(gold, answer)))

    def compare_all(self, pairs: Sequence[tuple[str, str]]) -> list[Comparison]:
        """Compare many (gold, answer) pairs with every worker busy, in order."""
        early = [_without_a_worker(gold, answer) for gold, answer in pairs]
        asked = [_request(*pair) for pair, known in zip(pairs, early, strict=True) if known is None]
        replies = iter(self._workers.ask_all(asked) if asked else [])
        return [known or _comparison(next(replies)) for known in early]

    def pids(self) -> list[int]:
        """The worker processes that are alive now."""
        return self._workers.pids()

    @property
    def usable(self) -> bool:
        """False once closed, and in a child that was forked with the pool in its memory."""
        return self._workers.usable

    def close(self) -> None:
        """End the processes."""
        self._workers.close()

    def __enter__(self) -> "MathsPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def compare(gold: str, answer: str) -> Comparison:
    """Compare with the pool that this process shares; its workers start when a first formula needs one.

    Raises:
        WorkerError: no worker process can be started.
    """
    return _without_a_worker(gold, answer) or shared_pool().compare(gold, answer)


_shared: MathsPool | None = None
_shared_lock = threading.Lock()


def shared_pool() -> MathsPool:
    """This process's pool, closed when the process ends."""
    global _shared
    with _shared_lock:
        if _shared is None or not _shared.usable:
            _shared = MathsPool()
            atexit.register(_shared.close)
        return _shared


def _without_a_worker(gold: str, answer: str) -> Comparison | None:
    """The comparison where numbers, text or length settle it; None where something has to be read in a worker."""
    if not gold.strip() or is_malformed(gold):
        return Comparison("unparsable")
    if not answer.strip():
        return Comparison("different")
    if len(gold) > MAX_ANSWER or len(answer) > MAX_ANSWER:
        return Comparison("equal" if answers_match(gold, answer) else "too_large")
    if is_malformed(answer):
        return Comparison("unparsable")
    if answers_match(gold, answer):
        return Comparison("equal")
    expected, found = plain(gold), plain(answer)
    if answers_match(expected, found):
        return Comparison("equal")
    if are_settled(expected, found) or not (_MATHS.search(gold) or _MATHS.search(answer)):
        return Comparison("different")
    if are_numbers(expected, expected) and (_WORDS.fullmatch(found) or _PROSE.fullmatch(answer.strip())):
        return Comparison("different")
    return None


def _request(gold: str, answer: str) -> dict[str, str]:
    return {"gold": gold, "answer": answer}


def _comparison(reply: Reply) -> Comparison:
    if reply.value is not None:
        return Comparison(reply.value["reason"])
    return Comparison("timeout" if reply.reason == "timeout" else "worker_died")
