"""What assets are handed: where the platform's files are, and where progress goes. Settings live in `rjepa`."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from rjepa.cli.bars import progress_bar
from rjepa.home import Home
from rjepa.progress import LINE_SECONDS, Progress, Throttled
from rjepa.settings import load_settings
from rjepa_assets.defs.lake import LakeResource


class HomeResource(dg.ConfigurableResource[Any]):
    """Where every asset reads and writes."""

    root: str = Field(default="", description="root folder; empty: RJEPA_HOME, read when a run starts")

    def open(self) -> Home:
        """The layout under the root."""
        return Home((Path(self.root) if self.root else load_settings().home).resolve())


@dataclass
class StageLine:
    """Where one stage's progress goes, and whether it had anything to do."""

    progress: Progress
    found: bool = False


class ProgressResource(dg.ConfigurableResource[Any]):
    """Where the library's progress goes: log lines of the run, or bars and lines on the terminal that started it."""

    stream: int = Field(default=-1, description="file descriptor of a terminal or log; -1: the run's own log")
    first: int = Field(default=1, description="number of the first stage, as a terminal shows it")
    total: int = Field(default=0, description="how many stages there are, over all runs of a command")

    _done: int = PrivateAttr(default=0)

    @contextlib.contextmanager
    def show(self, context: dg.AssetExecutionContext) -> Iterator[StageLine]:
        """One stage, from its beginning to its end."""
        if self.stream < 0:
            yield StageLine(_log_lines(context.log))
            return
        name = context.asset_key.to_user_string()
        label = f"[{self.first + self._done:2}/{self.total}] {name} {context.partition_key}:"
        self._done += 1
        with open(self.stream, "w", closefd=False, buffering=1) as stream:
            if not stream.isatty():
                print(label, "...", file=stream)
            before = time.monotonic()
            with progress_bar(name, stream) as progress:
                line = StageLine(progress)
                yield line
            fate = "is up to date" if line.found else f"done in {time.monotonic() - before:.1f} s"
            print(label, fate, file=stream)


def _log_lines(log: dg.DagsterLogManager) -> Progress:
    """Progress as lines of a run's log."""

    def line(done: int, total: int, note: str = "") -> None:
        log.info(f"{done}/{total} {note}".rstrip())

    return Throttled(line, LINE_SECONDS)


def default_resources() -> dict[str, dg.ConfigurableResource[Any]]:
    """What the assets use outside tests, under the names of their parameters."""
    return {"home": HomeResource(), "progress": ProgressResource(), "lake": LakeResource()}
