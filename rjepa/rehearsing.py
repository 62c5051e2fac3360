"""Open what a rehearsal needs: the student, the release that is rehearsed, and those that answered. What is compared
lives in `rjepa.living.rehearsal`.
"""

import functools

from rjepa.database import open_database
from rjepa.engine import Engine
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.living.defaults import REHEARSED_ANSWERS
from rjepa.living.rehearsal import Rehearsal, rehearse
from rjepa.progress import Progress, silent
from rjepa.reasoning.tools import Parts
from rjepa.releases.bundle import list_releases


def rehearse_release(
    home: Home,
    llm_tag: str,
    release_id: str | None = None,
    *,
    most: int = REHEARSED_ANSWERS,
    address: str | None = None,
    progress: Progress = silent,
) -> Rehearsal:
    """What a release (None: the newest that was made, served or not) would have answered to the interactions that are
    kept.

    Args:
        address: of a process that serves the student, where it has an environment of its own.

    Raises:
        NotFoundError: there is no release, or no such one.
        RjepaError: the release is damaged, or the student cannot be loaded.
    """
    made = list_releases(home, llm_tag)
    if not made:
        raise NotFoundError(f"{llm_tag} has no release under {home.root}", cure="make demo")
    engine = Engine.load(home, llm_tag, release_id=release_id or made[-1].release_id, address=address)

    @functools.cache
    def parts_of(other: str) -> Parts | None:
        if other == engine.release_id:
            return engine.parts
        try:
            opened = Engine.load(home, llm_tag, release_id=other, address=address, reuse=engine)
        except (NotFoundError, CorruptError, InvalidInputError):
            return None
        return opened.parts if opened.student_fingerprint == engine.student_fingerprint else None

    with open_database(home) as database:
        return rehearse(database, engine.source, engine.parts, parts_of, most=most, progress=progress)
