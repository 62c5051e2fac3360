"""What assets are handed: where the platform's files are, and where progress goes. Settings live in `rjepa`."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import dagster as dg
from pydantic import Field

from rjepa.cli.bars import progress_bar
from rjepa.home import Home
from rjepa.progress import Progress
from rjepa.settings import load_settings
from rjepa_assets.defs.lake import LakeResource

_LOG_EVERY: Final = 10.0
"""Seconds between two progress lines of a run: each is a row in Dagster's event storage."""


class HomeResource(dg.ConfigurableResource):
    """Where every asset reads and writes."""

    root: str = Field("", description="root folder; empty: RJEPA_HOME, read when a run starts")

    def open(self) -> Home:
        """The layout under the root."""
        return Home((Path(self.root) if self.root else load_settings().home).resolve())


class ProgressResource(dg.ConfigurableResource):
    """Where the library's progress goes: log lines of the run, or bars on the terminal that started it."""

    style: Literal["log", "bar"] = "log"
    stream: int = Field(2, description="file descriptor for bars: Dagster redirects 2 into the run's compute log")

    @contextlib.contextmanager
    def show(self, context: dg.AssetExecutionContext) -> Iterator[Progress]:
        """The callback for one asset."""
        if self.style == "log":
            yield _LogLines(context.log)
        else:
            label = context.asset_key.to_user_string()
            with open(self.stream, "w", closefd=False) as stream, progress_bar(label, stream) as progress:
                yield progress


class _LogLines:
    """Progress as rate-limited lines of a run's log."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log
        self._next = time.monotonic() + _LOG_EVERY

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOG_EVERY
            self._log.info(f"{done}/{total} {note}".rstrip())


def default_resources() -> dict[str, dg.ConfigurableResource]:
    """What the assets use outside tests, under the names of their parameters."""
    return {"home": HomeResource(), "progress": ProgressResource(), "lake": LakeResource()}
