"""End a helper process when whoever started it is gone, killed or not: nobody would read what it makes."""

import os
import threading
import time
from typing import Final

_SECONDS_BETWEEN_LOOKS: Final = 1.0


def end_with_parent() -> None:
    """Begin to watch, in a thread, and end this process within a second or two of its parent's end."""
    threading.Thread(target=_watch, args=(os.getppid(),), name="parent-watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
