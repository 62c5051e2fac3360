"""SHA-256 of the files of models, worked out once a file: gigabytes are not read again while nothing changed them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rjepa.errors import CorruptError
from rjepa.files import read_json, sha256_file, write_json
from rjepa.home import Home
from rjepa.progress import Progress, silent


def hash_files(home: Home, files: Iterable[Path], progress: Progress = silent) -> dict[str, str]:
    """Hex SHA-256 of each file by name; all of them lie in one folder. A file is taken as unchanged while its size, its
    time of change and its inode are.

    What is remembered lies under `index/files/` of the home, once a folder, so that all students of a folder share it.
    Two processes that write it together lose nothing but a hash that is then worked out again.
    """
    wanted = list(files)
    if not wanted:
        return {}
    memory = _memory(home, wanted[0].parent)
    known = _remembered(memory)
    entries = dict(known)
    for number, file in enumerate(wanted):
        status = file.stat()
        identity = [status.st_size, status.st_mtime_ns, status.st_ino]
        if known.get(file.name, {}).get("identity") != identity:
            entries[file.name] = {"identity": identity, "sha256": sha256_file(file)}
        progress(number + 1, len(wanted), f"hashed {file.name}")
    if entries != known:
        write_json(memory, entries)
    return {file.name: entries[file.name]["sha256"] for file in wanted}


def _memory(home: Home, folder: Path) -> Path:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
    return home.root / "index" / "files" / f"{name}.json"


def _remembered(memory: Path) -> dict[str, Any]:
    """What was remembered; nothing where it is damaged: it is only a cache."""
    try:
        found = read_json(memory) if memory.exists() else {}
    except CorruptError:
        return {}
    whole = isinstance(found, dict) and all(isinstance(entry, dict) and "sha256" in entry for entry in found.values())
    return found if whole else {}
