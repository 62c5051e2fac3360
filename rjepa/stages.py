"""What a stage of the pipeline hands back, and how one that has nothing to do finds that out at little cost.

What stages make lives in the rooms; who runs them, and when, in an orchestrator. This module knows neither.
"""

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from rjepa.errors import CorruptError, RjepaError
from rjepa.files import read_json, sha256_file, write_json

Figures: TypeAlias = dict[str, int | float | str]
"""Numbers and short texts by name."""

_HASHED_BYTES: Final = 1 << 28
"""Files up to this size are compared by their hash (a fifth of a second each at most), larger ones by size and date."""


@dataclass(frozen=True)
class StageReport:
    """The result of one stage.

    `data_version` is a hex SHA-256 of the content made: equal inputs and code give an equal version, so that what lies
    below need not be made again. `metadata` holds counts, rates and short texts for people to read.
    """

    data_version: str
    metadata: Figures = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A stage's report with what is worth showing beside it: Markdown texts and PNG images, by name."""

    report: StageReport
    texts: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, bytes] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads back."""
        return {
            "data_version": self.report.data_version,
            "metadata": self.report.metadata,
            "texts": dict(self.texts),
            "images": {name: base64.b64encode(png).decode() for name, png in self.images.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Made":
        """What `to_json` wrote (KeyError, TypeError or ValueError where it did not)."""
        images = {name: base64.b64decode(png) for name, png in value["images"].items()}
        return cls(StageReport(value["data_version"], dict(value["metadata"])), dict(value["texts"]), images)


@dataclass(frozen=True)
class Receipt:
    """Where it is written down from what a stage made its files, so that the same work is not done twice.

    Args:
        path: the receipt's own file.
        inputs: all that shapes what is made: hashes of what is read, settings, the version of the stage's code.
        outputs: files or folders that the stage leaves, or what names them when asked.
    """

    path: Path
    inputs: Mapping[str, str | int]
    outputs: Sequence[Path] | Callable[[], Sequence[Path]]

    def find(self) -> Made | None:
        """What was made from the same inputs, if its files are still as they were; None if it has to be made."""
        try:
            kept = read_json(self.path)
            if kept["inputs"] != dict(self.inputs) or kept["outputs"] != self._hashes():
                return None
            return Made.from_json(kept["made"])
        except (RjepaError, OSError, KeyError, TypeError, ValueError):
            return None  # A receipt that cannot be read, or whose files cannot, is none: the stage goes to work.

    def write(self, made: Made) -> None:
        """Keep what was made.

        Raises:
            CorruptError: the stage has not left one of its files.
        """
        try:
            hashes = self._hashes()
        except FileNotFoundError as error:
            raise CorruptError(
                f"{error.filename} is not there, though the stage that writes it has ended",
                cure="run it again; if it happens again, report it",
            ) from error
        write_json(self.path, {"inputs": dict(self.inputs), "outputs": hashes, "made": made.to_json()})

    def _hashes(self) -> dict[str, str]:
        here = self.path.parent  # relative names: a home may be moved or copied
        outputs = self.outputs() if callable(self.outputs) else self.outputs
        return {os.path.relpath(file, here): _mark(file) for path in outputs for file in _files(path)}


def _files(path: Path) -> list[Path]:
    """A file itself, or all files of a folder."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _mark(path: Path) -> str:
    """What tells that a file has changed."""
    state = path.stat()
    return sha256_file(path) if state.st_size <= _HASHED_BYTES else f"{state.st_size}/{state.st_mtime_ns}"


def file_version(path: Path) -> str:
    """Hex SHA-256 of a file that a stage reads, or "none" where it is not there: an input of a receipt."""
    return sha256_file(path) if path.is_file() else "none"
