"""A student in its own environment, asked over HTTP: what the service uses where it cannot load the student itself.

    python -m rjepa.sampling.server --llm qwen-awq --port 9100

GET /health says which student it is; POST /count takes {"statement"} and gives the tokens of its prompt; POST /sample
takes what `Sampler.sample` takes and gives chains with their latents (see `rjepa.sampling.wire`), one request at a time.
It binds to loopback only and, if RJEPA_STUDENT_TOKEN is set, wants that as a bearer token.
"""

import argparse
import hmac
import json
import os
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.processes import claim_stdout, end_with_parent
from rjepa.students.catalog import load_record

MODULE: Final = "rjepa.sampling.server"
TOKEN: Final = "RJEPA_STUDENT_TOKEN"
LOOPBACK: Final = "127.0.0.1"
_MOST_BYTES: Final = 16 << 20
"""Of one request: many long statements."""
_ARGUMENTS: Final = ("samples", "seed", "temperature", "max_new_tokens", "capture")


def make_server(sampler: Any, port: int = 0, token: str | None = None) -> ThreadingHTTPServer:
    """A server for a `rjepa.sampling.local.Sampler` on a port of loopback, 0 for a free one. Call `serve_forever`."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != "/health":
                self._refuse(404, "there is no such path", "GET /health, POST /count or POST /sample")
            elif self._may_ask():
                self._json(200, _health(sampler))

        def do_POST(self) -> None:
            if self.path not in ("/count", "/sample"):
                self._refuse(404, "there is no such path", "GET /health, POST /count or POST /sample")
            elif self._may_ask():
                self._answer()

        def _answer(self) -> None:
            try:
                size = int(self.headers.get("content-length") or 0)
                if not 0 < size <= _MOST_BYTES or self.headers.get_content_type() != "application/json":
                    raise ValueError(f"expected a JSON body of at most {_MOST_BYTES} bytes")
                body = json.loads(self.rfile.read(size))
                if self.path == "/count":  # at once, while chains are sampled too: the service checks what it queues
                    self._json(200, {"tokens": sampler.count_prompt(str(body["statement"]))})
                    return
                with lock:
                    data = _sample(sampler, body)
                self._send(200, "application/octet-stream", data)
            except RjepaError as error:
                self._refuse(422, error.problem, error.cure)
            except (ValueError, KeyError, TypeError) as error:
                self._refuse(400, f"{type(error).__name__}: {error}", "send what rjepa.sampling.local.Sampler takes")
            except Exception as error:
                self._refuse(500, f"{type(error).__name__}: {error}", "see what the student's process printed")
                raise

        def _may_ask(self) -> bool:
            given = self.headers.get("authorization", "").removeprefix("Bearer ")
            if token is None or hmac.compare_digest(given.encode(), token.encode()):
                return True
            self._refuse(401, "the token is missing or wrong", f"send {TOKEN} as a bearer token")
            return False

        def _json(self, status: int, value: dict[str, Any]) -> None:
            self._send(status, "application/json", json.dumps(value).encode())

        def _refuse(self, status: int, problem: str, cure: str) -> None:
            self.close_connection = True  # a body that was not read would be taken for the next request
            self._json(status, {"problem": problem, "cure": cure})

        def _send(self, status: int, kind: str, data: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            """Requests are the service's to log."""

    return ThreadingHTTPServer((LOOPBACK, port), Handler)


def _health(sampler: Any) -> dict[str, Any]:
    return {
        "llm_tag": sampler.record.llm_tag,
        "fingerprint": sampler.fingerprint,
        "context_length": sampler.context_length,
        "pid": os.getpid(),
    }


def _sample(sampler: Any, body: dict[str, Any]) -> bytes:
    from rjepa.sampling.wire import pack_chains

    options = {name: body[name] for name in _ARGUMENTS if name in body}
    return pack_chains(sampler.sample(body["statements"], options.pop("samples"), **options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the student, say on stdout where it is served, and serve it until the end."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}")
    parser.add_argument("--llm", required=True, help="llm_tag of the student")
    parser.add_argument("--port", type=int, default=0, help="port on loopback [default: a free one]")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one does")
    told = parser.parse_args(arguments)
    if told.with_parent:
        end_with_parent()
    from rjepa.settings import load_settings

    home, stdout = Home(load_settings().home), claim_stdout()
    try:
        load_record(home, told.llm)  # an unknown student is told at once: torch takes seconds to import
        from rjepa.sampling.local import make_sampler
        from rjepa.students.stage import open_student

        sampler = make_sampler(open_student(home, told.llm))
    except RjepaError as error:
        print(json.dumps({"problem": error.problem, "cure": error.cure}), file=stdout, flush=True)
        return 1
    with make_server(sampler, told.port, os.environ.get(TOKEN) or None) as server:
        url = f"http://{LOOPBACK}:{server.server_port}"
        print(json.dumps({"url": url} | _health(sampler)), file=stdout, flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
