"""RJEPA_THREADS holds wherever torch was imported first."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("first", ["import torch", "pass"])
def test_the_number_of_threads_is_the_one_that_was_asked_for(first: str) -> None:
    code = (
        f"{first}\n"
        "from rjepa_assets.cli.materialising import limit_threads\n"
        "limit_threads()\n"
        "import torch\n"
        "print(torch.get_num_threads())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"RJEPA_THREADS": "1"}
    )
    assert done.stdout.strip() == "1"
