"""How long tests take: which of them are `slow`, and which files begin first. Nothing is skipped here.

`tests/durations.tsv` holds what each test took in a whole run, fixtures included that it was the first to want, where
that is half a second or more. `make durations` measures again and writes it anew. A test that is not in it counts as
quick; the quick tier names what takes longest in it, and so shows where that is no longer true.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "durations.tsv"
QUICK_SECONDS = 0.5
"""A test that takes longer is slow: what is left takes less than three minutes on two processes. Shorter ones are not
written down: their durations are noise, and the file stays small."""
_UNMEASURED_SECONDS = 20.0
"""Of a test that is marked as slow and was never measured: its file had better begin early."""


def read_durations(file: Path = FILE) -> dict[str, float]:
    """Seconds by test, as `FILE` has them."""
    lines = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return {name: float(seconds) for seconds, name in lines}


def write_durations(seconds: dict[str, float], file: Path = FILE) -> None:
    """Keep what a run measured, by name; of tests that it did not run, what was known."""
    known = {name: took for name, took in read_durations(file).items() if name not in seconds} if file.exists() else {}
    kept = {name: took for name, took in (known | seconds).items() if took >= QUICK_SECONDS}
    file.write_text("".join(f"{took:.1f}\t{name}\n" for name, took in sorted(kept.items())), encoding="utf-8")


def mark_and_order(items: list[pytest.Item], durations: dict[str, float]) -> None:
    """Mark what is slow, and let the files that take longest begin: at the end both processes have something to do."""
    totals: Counter[str] = Counter()
    for item in items:
        unmeasured = _UNMEASURED_SECONDS if item.get_closest_marker("slow") else 0.0
        took = durations.get(item.nodeid, unmeasured)
        totals[file_of(item)] += took
        if took > QUICK_SECONDS:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: -totals[file_of(item)])


def file_of(item: pytest.Item) -> str:
    """The file of a test, as its id names it."""
    return item.nodeid.partition("::")[0]


def measured(reports: Sequence[pytest.TestReport]) -> dict[str, float]:
    """Seconds by test over set-up, call and tear-down."""
    seconds: Counter[str] = Counter()
    for report in reports:
        seconds[report.nodeid] += report.duration
    return dict(seconds)
