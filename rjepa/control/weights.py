"""Which weights are served, by release id: serve a release that is there already."""

from rjepa.control.place import Place
from rjepa.errors import CorruptError
from rjepa.releases.pointer import current_release, rollback
from rjepa.values import FrozenValue


class Loaded(FrozenValue):
    """What is served now. A running service loads it within a second or so, between two requests."""

    release: str
    replaced: str | None


def served_release(place: Place) -> str | None:
    """Id of the release that is served; None where there is none, or the pointer is damaged (`rjepa release` says)."""
    try:
        return current_release(place.home, place.llm_tag)
    except CorruptError:
        return None


def load_weights(place: Place, release_id: str, *, who: str, reason: str = "") -> Loaded:
    """Serve a release, without the gate: an operator's decision, which the history keeps with who made it.

    Raises:
        InvalidInputError, NotFoundError: that is no release here.
        CorruptError: a byte of it is not what its manifest says; what was served stays.
    """
    before = served_release(place)
    why = f"by {who}: {reason}" if reason else f"by {who}"
    served = rollback(place.home, place.llm_tag, release_id, reason=why)
    return Loaded(release=served, replaced=before)
