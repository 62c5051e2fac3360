"""How long tests wait for what must come: a machine that stands still for ten seconds is no fault of ours.

One did, and a page that it gave after nine of them failed a whole run.
"""

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds, for whatever a test waits for. Nothing waits in vain but a test that fails."""


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Poll until `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
