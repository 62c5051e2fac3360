"""Which release is served: the `CURRENT` file, which holds one id and is replaced atomically.

Every move is written into the history (`rjepa.releases.history`) before the pointer moves, so that a kill between the
two never leaves a move without an explanation.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError, RjepaError, StorageError
from rjepa.files import write_text
from rjepa.home import Home
from rjepa.releases.bundle import release_folder, verify
from rjepa.releases.gate import Decision
from rjepa.releases.history import Action, add_move, history


class ReleaseMovedError(RjepaError):
    """What is served has changed since somebody looked."""


def current_release(home: Home, llm_tag: str) -> str | None:
    """Id that `CURRENT` names, or None before the first release.

    Raises:
        CorruptError: `CURRENT` is a link, does not hold an id, or names a release that is gone.
    """
    path = _current_path(home, llm_tag)
    cure = "name a release again: rjepa release rollback --to ID"
    if path.is_symlink():
        raise CorruptError(f"{path} is a link", cure=cure)
    try:
        release_id = path.read_text(encoding="utf-8").strip()
        release_folder(home, llm_tag, release_id)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (UnicodeDecodeError, InvalidInputError) as error:
        raise CorruptError(f"{path} does not hold a release id", cure=cure) from error
    except NotFoundError as error:
        raise CorruptError(f"{path} names release {release_id}, which does not exist", cure=cure) from error
    return release_id


def require_current(home: Home, llm_tag: str) -> str:
    """Id that is served.

    Raises:
        NotFoundError: this LLM has no release yet.
    """
    release_id = current_release(home, llm_tag)
    if release_id is None:
        raise NotFoundError(
            f"{llm_tag} has no release under {home.root}: only what a release points at is served",
            cure="make demo (or materialise the release asset of this LLM)",
        )
    return release_id


def promote(
    home: Home, llm_tag: str, release_id: str, *, reason: str = "by hand", decision: Decision | None = None
) -> None:
    """Point `CURRENT` at a verified release. Nothing happens if it is there already.

    Raises:
        NotFoundError, InvalidInputError, CorruptError: the release cannot be served; the pointer stays.
    """
    with exclusive(home, llm_tag):
        move(home, llm_tag, "promote", release_id, reason=reason, decision=decision)


def rollback(
    home: Home, llm_tag: str, to: str | None = None, *, reason: str = "by hand", leaving: str | None = None
) -> str:
    """Point `CURRENT` at `to`, or at the release that the current one replaced. Returns the id served now.

    Rolling back again goes one further back: the moves followed are promotions, never rollbacks.

    Args:
        leaving: the release that is left; None for whichever is served.

    Raises:
        NotFoundError: there is nothing to go back to, or no such release.
        ReleaseMovedError: another release than `leaving` is served by now.
        InvalidInputError, CorruptError: the release cannot be served; the pointer stays.
    """
    with exclusive(home, llm_tag):
        if leaving is not None and (served := current_release(home, llm_tag)) != leaving:
            raise ReleaseMovedError(
                f"release {served} of {llm_tag} is served by now, not {leaving}",
                cure="look at what is served now, then decide",
            )
        target = to if to is not None else _replaced_by_current(home, llm_tag)
        move(home, llm_tag, "rollback", target, reason=reason)
    return target


def move(
    home: Home,
    llm_tag: str,
    action: Action,
    release_id: str,
    *,
    reason: str,
    decision: Decision | None = None,
) -> None:
    """Verify, write the history, move the pointer (unless `refuse`). The caller holds `exclusive`."""
    verify(home, llm_tag, release_id)
    try:
        source = current_release(home, llm_tag)
    except CorruptError:
        source = None
    if action != "refuse" and source == release_id:
        return
    add_move(home, llm_tag, action, source, release_id, reason=reason, decision=decision)
    if action != "refuse":
        write_text(_current_path(home, llm_tag), release_id + "\n")


@contextlib.contextmanager
def exclusive(home: Home, llm_tag: str) -> Iterator[None]:
    """One writer of an LLM's releases at a time, across processes. The lock dies with its holder."""
    root = home.releases(llm_tag)
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("ab")
    except OSError as error:
        raise StorageError(
            f"cannot write {root} ({error.strerror})", cure="point RJEPA_HOME at a folder that you can write to"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _current_path(home: Home, llm_tag: str) -> Path:
    return home.releases(llm_tag) / "CURRENT"


def _replaced_by_current(home: Home, llm_tag: str) -> str:
    current = require_current(home, llm_tag)
    for entry in reversed(history(home, llm_tag)):
        if entry.action == "promote" and entry.target == current and entry.source is not None:
            return entry.source
    raise NotFoundError(
        f"release {current} of {llm_tag} did not replace another one",
        cure="name the release to serve: rjepa release rollback --to ID",
    )
