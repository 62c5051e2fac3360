"""vLLM's own server, where there is one: RJEPA_VLLM names its program."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.patience import wait_until
from tests.ports import free_port

PROGRAM: Final = os.environ.get("RJEPA_VLLM")
needs_vllm: Final = pytest.mark.skipif(not PROGRAM, reason="RJEPA_VLLM names no vllm program")
_START_SECONDS: Final = 600
_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}


@contextlib.contextmanager
def vllm(model: Path, name: str, *options: str, **environment: str) -> Iterator[str]:
    """Serve a folder in float32 under a name, in a process of its own; gives the base URL."""
    assert PROGRAM is not None
    url, log = f"http://127.0.0.1:{(port := free_port())}/v1", model.with_suffix(".vllm.log")
    where = ("--host", "127.0.0.1", "--port", str(port), "--served-model-name", name)
    # Whole prompts at once: on a CPU vLLM 0.32 dies of a request with a seed whose prompt it reads in parts.
    how = ("--dtype", "float32", "--max-model-len", "256", "--max-num-batched-tokens", "16384", "--enforce-eager")
    with log.open("w") as out:
        process = subprocess.Popen(
            [PROGRAM, "serve", str(model), *where, *how, *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | _ENVIRONMENT | environment,
        )
    try:
        wait_until(lambda: process.poll() is not None or _answers(url), _START_SECONDS)
        assert process.poll() is None, f"vLLM did not start:\n{log.read_text()[-2000:]}"
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/models").status_code == httpx.codes.OK
    return False
