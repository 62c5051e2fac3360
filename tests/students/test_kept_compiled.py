"""Compiled functions are kept on disk, and are those of the sources that lie there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rjepa

CALLS = """
import numpy as np
from rjepa.jepa.native_expecting import linear
out = np.empty((1, 1), np.float32)
linear(np.ones((1, 2), np.float32), np.ones((2, 1), np.float32), np.ones(1, np.float32), out)
print(out[0, 0])
"""


def said(tree: Path) -> str:
    done = subprocess.run([sys.executable, "-c", CALLS], cwd=tree, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_a_change_of_a_called_function_in_another_file_is_seen(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(rjepa.__file__).parent, tmp_path / "rjepa", ignore=ignored)
    assert said(tmp_path) == "3.0"
    path = tmp_path / "rjepa" / "students" / "native_layers.py"
    source = path.read_text(encoding="utf-8")
    assert source.count("        np.dot(states, weight, out)\n") == 1
    path.write_text(
        source.replace("        np.dot(states, weight, out)\n", "        out[:] = np.float32(6.0)\n"), encoding="utf-8"
    )
    assert said(tmp_path) == "7.0"
