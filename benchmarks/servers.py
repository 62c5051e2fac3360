"""The servers that benchmarks ask, each a process of its own on one thread.

`python -m benchmarks.servers HOME PORT` is our own service, on one thread.
"""

import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.students.catalog import load_record, save_record
from rjepa.students.gguf_writing import write_gguf
from rjepa.students.loading import load_student
from rjepa.students.prompts import Message
from rjepa.students.resolving import resolve_student
from tests.ports import free_port
from tests.tiny_release import TAG, publish

TOKENS: Final = 160

_LLAMA_CPP: Final = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_parallel, params.n_ctx = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
params.n_gpu_layers, params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 0, 1, 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Server:
    """A server that is asked: its process and address; `body` makes a question's request, path and body, streamed or
    not; `text` finds the text of a reply or of an event of a stream.
    """

    process: "subprocess.Popen[str]"
    address: str
    body: Callable[[str, bool], tuple[str, dict[str, Any]]]
    text: Callable[[dict[str, Any]], str]

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """It runs only while this lasts."""
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def ask(self, connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request over a connection that is kept."""
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        reply = connection.getresponse()
        data = reply.read()
        if reply.status != 200:
            raise SystemExit(f"{self.address}{path} answers {reply.status}: {data[:300]!r}")
        found: dict[str, Any] = json.loads(data)
        return found

    def connect(self) -> http.client.HTTPConnection:
        """A connection of one client."""
        return http.client.HTTPConnection(self.address, timeout=600)


def prepared(folder: Path) -> Home:
    """A home with a release of tiny-a, and beside it its weights for the others."""
    home = Home(folder / "home")
    record = load_record(home, "tiny-a").model_copy(update={"llm_tag": TAG})
    save_record(home, record)
    student = load_student(resolve_student(home, record), device="cpu")
    publish(home, student, folder / "sources")
    shutil.copytree(student.path, folder / "model")
    template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    (folder / "model" / "chat_template.jinja").write_text(template)
    write_gguf(student.path, folder / "model.gguf", TAG)
    return home


def serve(home: Home, port: int) -> None:
    """Our service, on one thread."""
    from serving.app import create_app
    from serving.server import GracefulServer
    from serving.settings import ServiceSettings

    torch.set_num_threads(1)
    limits: dict[str, Any] = {"max_in_flight": 64, "max_waiting": 64}
    settings = ServiceSettings(home=home.root, llm=TAG, api_key=None, **limits, _env_file=None)  # type: ignore[call-arg]
    GracefulServer(create_app(settings), settings, port=port).run()


@contextlib.contextmanager
def serve_ours(home: Home) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.servers", str(home.root), str(port)]
    with _started(command) as process:
        _wait_for(port, "/v1/ready")
        yield Server(process, f"127.0.0.1:{port}", functools.partial(chat_body, TAG), chat_text)


@contextlib.contextmanager
def serve_transformers(model: Path, options: tuple[str, ...]) -> Iterator[Server]:
    port = free_port()
    program = str(Path(sys.executable).with_name("transformers"))
    where = ("--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    command = [program, "serve", *where, "--dtype", "float32", *options, str(model)]  # the file's own is bfloat16
    with _started(command) as process:
        _wait_for(port, "/health")
        yield Server(process, f"127.0.0.1:{port}", functools.partial(chat_body, str(model)), chat_text)


@contextlib.contextmanager
def serve_llama_cpp(file: Path, engine: Engine) -> Iterator[Server]:
    @functools.cache
    def prompt(statement: str) -> list[int]:
        return list(engine.source.encode_conversation([Message("user", statement)]).ids)

    def body(statement: str, stream: bool) -> tuple[str, dict[str, Any]]:
        return "/completion", {"prompt": prompt(statement), "n_predict": TOKENS, "temperature": 0, "stream": stream}

    with start_llama_cpp(file, rows=16, row_tokens=512) as (process, url):
        yield Server(process, url.removeprefix("http://"), body, lambda reply: str(reply["content"]))


@contextlib.contextmanager
def start_llama_cpp(file: Path, *, rows: int, row_tokens: int) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """llama.cpp's server for so many chains at a time, each of at most so many tokens; gives its process and URL."""
    command = [sys.executable, "-c", _LLAMA_CPP, str(file), str(rows), str(rows * row_tokens)]
    with _started(command, speaks=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


def chat_body(model: str, statement: str, stream: bool) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": statement}]
    return "/v1/chat/completions", {
        "model": model, "messages": messages, "max_tokens": TOKENS, "temperature": 0, "stream": stream
    }  # fmt: skip


def chat_text(reply: dict[str, Any]) -> str:
    if not reply.get("choices"):
        return ""
    choice = reply["choices"][0]
    return str((choice.get("message") or choice.get("delta") or {}).get("content") or "")


@contextlib.contextmanager
def _started(command: list[str], *, speaks: bool = False) -> "Iterator[subprocess.Popen[str]]":
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    out = subprocess.PIPE if speaks else subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_for(port: int, path: str) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"nothing answers at port {port}")


if __name__ == "__main__":
    serve(Home(Path(sys.argv[1])), int(sys.argv[2]))
