"""Ask reasoning-gym's own verifier, in a process that can be killed: some compute what an answer says."""

import atexit
import threading
from typing import Any

from rjepa.validation.pool import WorkerPool

_lock = threading.Lock()
_pool: WorkerPool | None = None


def score(meta: dict[str, Any], answer: str) -> str:
    """`equal` (the verifier calls it right), `different`, `unparsable`, `too_large`, `timeout` or `worker_died`.

    Raises:
        WorkerError: no worker process can be started.
    """
    try:
        reply = _shared().ask({"meta": meta, "answer": answer})
    except ValueError:  # longer than the pool takes
        return "too_large"
    if reply.value is not None:
        return str(reply.value["reason"])
    return "timeout" if reply.reason == "timeout" else "worker_died"


def _shared() -> WorkerPool:
    global _pool
    with _lock:
        if _pool is None or not _pool.usable:
            _pool = WorkerPool("rjepa.validation.gym_worker", workers=1)
            atexit.register(_pool.close)
        return _pool
