"""llama.cpp's own server with a model of the tests': a real one of those that a student's chains may come from."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_parallel, params.n_ctx = sys.argv[1], 4, 4 * int(sys.argv[2])
params.n_gpu_layers, params.cpuparams.n_threads = 0, 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def llama_cpp(model: Path, context: int = 256) -> Iterator[str]:
    """Serve a GGUF file with four slots of so many tokens, in a process of its own; gives the base URL."""
    command = [sys.executable, "-c", _SERVER, str(model), str(context)]
    log = model.with_suffix(".log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, f"llama.cpp did not start:\n{log.read_text()[-2000:]}"
        yield f"{address}/v1"
    finally:
        process.kill()
        process.communicate()
