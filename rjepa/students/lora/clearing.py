"""Unfinished LoRAs that nobody went on with: `rjepa gc` shows and removes them."""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rjepa.home import Home
from rjepa.locks import clearing_lock
from rjepa.students.lora.files import FOLDER
from rjepa.students.lora.stage import LOCK

_WORK: Final = re.compile(r"\.(?P<name>.+)(?:-[0-9a-f]{12}|\.trial)")
"""Work folders beside the LoRAs: .NAME-HASH of `rjepa.students.lora.stage`, .NAME.trial of `...registering`."""
_HOUR: Final = 3600.0


@dataclass(frozen=True)
class Abandoned:
    """The work folder of an unfinished LoRA, and its bytes."""

    base: str
    name: str
    folder: Path
    size: int


def clear_abandoned(home: Home, *, delete: bool, older_than_hours: float) -> list[Abandoned]:
    """Find work folders that nothing was written to for so long, and with `delete` remove them. One whose LoRA is being
    made is left out.
    """
    found = []
    for one, written in _work_folders(home):
        with clearing_lock(home, LOCK, one.base, one.name) as alone:
            if alone and written < time.time() - older_than_hours * _HOUR:
                found.append(one)
                if delete:
                    shutil.rmtree(one.folder)
    return found


def _work_folders(home: Home) -> Iterator[tuple[Abandoned, float]]:
    """Each with the moment at which something in it was last written."""
    for folder in sorted((home.root / FOLDER).glob("*/.*")):
        match = _WORK.fullmatch(folder.name)
        if match is not None and folder.is_dir():
            paths = [folder, *folder.rglob("*")]
            size = sum(path.stat().st_size for path in paths if path.is_file())
            written = max(path.stat().st_mtime for path in paths)
            yield Abandoned(folder.parent.name, match["name"], folder, size), written
