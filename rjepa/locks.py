"""Locks between processes that work in one `$RJEPA_HOME`: they die with the process that holds them, kill -9 included.

A stage holds one for what it makes, so that a nightly run and a command never write the same files together. Which
files a stage writes is its own matter; locks of threads within one process are Python's.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from rjepa.errors import BusyError
from rjepa.files import storage_errors
from rjepa.home import Home, check_tag

_CURE: Final = "wait for it to finish, or stop it; what it has finished is kept"


@contextlib.contextmanager
def stage_lock(home: Home, stage: str, *names: str) -> Iterator[None]:
    """Hold the only right to make something: `stage_lock(home, "latents", llm_tag, dataset)`.

    The lock is the process's, held from entering to leaving the `with`; a process that dies gives it up. It is not
    re-entrant: a second `with` for the same names is refused, in the same process too.

    Args:
        stage: kind of what is made: the asset's name.
        names: which one of them: LLM tag, dataset version, recipe.

    Raises:
        BusyError: another process makes the same at this moment; its process id is named.
        StorageError: `$RJEPA_HOME` cannot be written.
    """
    path = _lock_path(home, stage, *names)
    with _opened(path) as file:
        if not _take(file, fcntl.LOCK_EX):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BusyError(
                f"{' of '.join((stage, ' on '.join(names)) if names else (stage,))} is being made by another process "
                f"(pid {holder})",
                cure=_CURE,
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def shared_lock(home: Home, name: str, *names: str) -> Iterator[None]:
    """Hold something that many processes may use at once and that no process may then clear away (see `clearing_lock`).

    Waits while somebody clears it, which takes moments.
    """
    with _opened(_lock_path(home, name, *names)) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def clearing_lock(home: Home, name: str, *names: str) -> Iterator[bool]:
    """Try to keep everybody out who would hold `shared_lock` for these names; yields whether that worked."""
    with _opened(_lock_path(home, name, *names)) as file:
        yield _take(file, fcntl.LOCK_EX)


def _lock_path(home: Home, name: str, *names: str) -> Path:
    *folders, last = (check_tag(part, "name of a lock") for part in (name, *names))
    return home.root.joinpath("locks", *folders, f"{last}.lock")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        yield file


def _take(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
