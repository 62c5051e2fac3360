"""Dataset versions by name: `v1.2.0` is a version of the platform's own data, any other name a set of its own."""

import re
from typing import Final

_VERSION: Final = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


def version_key(dataset: str) -> tuple[int, int, int] | None:
    """(1, 2, 0) for `v1.2.0`, to compare versions by; None for a set of its own."""
    found = _VERSION.fullmatch(dataset)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))
