"""What costs much is made once for all test processes; each has its own copy."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def once_for_all(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder of this process's own with what `make` wrote into the one that it is given.

    Under pytest-xdist the first process that wants it makes it, the others wait. Nobody works in the original, so that
    it can be copied at any time.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    original, made = shared / f"{name}-original", shared / f"{name}-is-made"
    with (shared / f"{name}-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(original, ignore_errors=True)
            original.mkdir()
            make(original)
            made.touch()
    own = tmp_path_factory.mktemp(name) / "copy"
    shutil.copytree(original, own)
    return own
