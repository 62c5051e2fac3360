"""A student in its own environment, asked over HTTP: what the platform uses where it cannot load the student itself.

    python -m rjepa.sampling.server --llm qwen-awq --port 9100

GET /health says which student it is; POST /count takes {"statement"} and gives the tokens of its prompt; POST /prompt
takes a conversation's {"messages"} and gives its tokens; POST /sample takes what `ChainSource.sample` takes, and gives
lines of progress and then chains; POST /read/NAME is a method of `rjepa.sampling.reading.TextReader`. A connection that
POSTs /session has a decoding session of its own from then on, each method a path under /session/; /session/next runs
one forward pass and gives its events, so that nothing runs unless somebody waits for it. The session ends with its
connection.

It binds to loopback only and, if RJEPA_STUDENT_TOKEN is set, wants that as a bearer token. Bytes belong to `wire`.
"""

import argparse
import hmac
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.processes import claim_stdout, end_with_parent
from rjepa.sampling.loopback import LOOPBACK, READ_METHODS, SERVER, TOKEN
from rjepa.students.catalog import load_record
from rjepa.students.prompts import Message

_MAX_BYTES: Final = 16 << 20
"""The largest request: many long statements, or a bias over a large vocabulary."""
_SAMPLE_ARGUMENTS: Final = ("seed", "temperature", "max_new_tokens", "capture")
_POST_PATHS: Final = ("/count", "/prompt", "/sample", "/session", *(f"/read/{name}" for name in READ_METHODS))
_ARRAYS: Final = ("bias", "edit")
"""Methods whose body is an array."""
_JSON: Final = "application/json"
_BYTES: Final = "application/octet-stream"
_PATHS: Final = "GET /health, POST /count, /prompt, /sample, /session or /read/NAME"


def make_server(source: Any, port: int = 0, token: str | None = None) -> ThreadingHTTPServer:
    """A server for a `rjepa.sampling.protocol.ChainSource` on a port of loopback, 0 for a free one. Call
    `serve_forever`.
    """
    forward_lock = threading.Lock()  # one forward pass at a time, of any request

    class Handler(_Handler):
        pass

    Handler.source, Handler.forward_lock, Handler.token = source, forward_lock, token
    return ThreadingHTTPServer((LOOPBACK, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    """One connection, with its session if it asked for one."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    source: Any
    forward_lock: threading.Lock
    token: str | None
    session: Any = None
    events: Iterator[Any] | None = None

    def do_GET(self) -> None:
        if self.path != "/health":
            self._refuse(404, "there is no such path", _PATHS)
        elif self._may_ask():
            self._json(health(self.source))

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        name = path.removeprefix("/session/")
        if path not in _POST_PATHS and (name == path or name not in (*_METHODS, *_ARRAYS)):
            self._refuse(404, "there is no such path", _PATHS)
        elif self._may_ask():
            try:
                self._answer()
            except RjepaError as error:
                self._refuse(422, error.problem, error.cure)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                problem = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                self._refuse(400, problem, "send what rjepa.sampling.protocol says")
            except ConnectionError:
                self.close_connection = True  # the client is gone: its work has stopped
            except Exception as error:
                self._refuse(500, f"{type(error).__name__}: {error}", "see what the student's process printed")
                raise

    def finish(self) -> None:
        """The connection ends, and its session with it."""
        if self.events is not None:
            self.events.close()  # type: ignore[attr-defined]
        if self.session is not None:
            self.session.close()
        super().finish()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        data = self._body()
        name = parts.path.removeprefix("/session/")
        if parts.path == "/prompt":
            body = json.loads(data)
            messages = [Message(one["role"], str(one["content"])) for one in body["messages"]]
            self._json(asdict(self.source.encode_conversation(messages, body.get("tools", ()))))
        elif parts.path == "/count":  # at once, while chains are sampled too: the service checks what it queues
            self._json({"tokens": self.source.count_prompt(str(json.loads(data)["statement"]))})
        elif parts.path.startswith("/read/"):
            from rjepa.sampling.read_wire import read

            with self.forward_lock:
                answer = read(self.source.reader, parts.path.removeprefix("/read/"), json.loads(data))
            self._send(200, _BYTES, answer) if isinstance(answer, bytes) else self._json(answer)
        elif parts.path == "/sample":
            self._sample(json.loads(data))
        elif parts.path == "/session":
            self._open(json.loads(data))
        elif self.session is None:
            raise ValueError("expected a connection with a session; POST /session first")
        elif name in _ARRAYS:
            self._change(name, int(parse_qs(parts.query)["row"][0]), data)
        else:
            with self.forward_lock:
                answer = _METHODS[name](self, json.loads(data))
            self._send(200, _BYTES, answer) if isinstance(answer, bytes) else self._json(answer)

    def _body(self) -> bytes:
        size = int(self.headers.get("content-length") or 0)
        if not 0 < size <= _MAX_BYTES or self.headers.get_content_type() not in (_JSON, _BYTES):
            raise ValueError(f"expected a body of JSON, or of an array, of at most {_MAX_BYTES} bytes")
        if (self.headers.get_content_type() == _BYTES) != (urlsplit(self.path).path.rpartition("/")[2] in _ARRAYS):
            raise ValueError("expected JSON, but for a bias or an edit")
        return self.rfile.read(size)

    def _sample(self, body: dict[str, Any]) -> None:
        """Lines of progress as they come, {"bytes": n}, and n bytes of chains; or a last line with a problem. Progress
        that cannot be delivered ends the sampling: no client waits for it.
        """
        from rjepa.sampling.wire import pack_chains

        options = {name: body[name] for name in _SAMPLE_ARGUMENTS if name in body}
        statements, samples = list(map(str, body["statements"])), list(map(int, body["samples"]))
        begun = False

        def begin() -> None:
            nonlocal begun
            if not begun:
                begun = self.close_connection = True
                self.send_response(200)
                self.send_header("content-type", _BYTES)
                self.send_header("connection", "close")
                self.end_headers()

        def progress(done: int, total: int, note: str = "") -> None:
            self.forward_lock.release()
            try:
                begin()
                self.wfile.write(json.dumps({"done": done, "total": total, "note": note}).encode() + b"\n")
            finally:
                self.forward_lock.acquire()

        try:
            with self.forward_lock:
                data = pack_chains(self.source.sample(statements, samples, progress=progress, **options))
        except RjepaError as error:
            if not begun:
                raise
            self.wfile.write(json.dumps({"problem": error.problem, "cure": error.cure}).encode() + b"\n")
            return
        begin()
        self.wfile.write(json.dumps({"bytes": len(data)}).encode() + b"\n" + data)

    def _open(self, body: dict[str, Any]) -> None:
        if self.session is not None:
            raise ValueError("expected a connection without a session")
        capture, keep = bool(body.get("capture", True)), bool(body.get("keep_finished", False))
        self.session = self.source.session(capture=capture, keep_finished=keep)
        self._json(_counts(self))

    def _change(self, name: str, row: int, data: bytes) -> None:
        """Set a bias or an edit; an array without elements takes it away."""
        import torch

        from rjepa.sampling.wire import unpack_array

        array = torch.from_numpy(unpack_array(data).copy())
        with self.forward_lock:
            set_value = self.session.set_bias if name == "bias" else self.session.set_edit
            set_value(row, array if array.numel() else None)
        self._json({})

    def _may_ask(self) -> bool:
        given = self.headers.get("authorization", "").removeprefix("Bearer ")
        if self.token is None or hmac.compare_digest(given.encode(), self.token.encode()):
            return True
        self._refuse(401, "the token is missing or wrong", f"send {TOKEN} as a bearer token")
        return False

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, _JSON, json.dumps(value).encode())

    def _refuse(self, status: int, problem: str, cure: str) -> None:
        if status not in (400, 422) or self.session is None:
            self.close_connection = True  # a body that was not read would be taken for the next request
        self._json({"problem": problem, "cure": cure}, status)

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Requests are the service's to log."""


def _add(handler: _Handler, body: dict[str, Any]) -> Any:
    from rjepa.sampling.wire import unpack_request

    rows = handler.session.add([unpack_request(one) for one in body["requests"]])
    return {"rows": rows}


def _fork(handler: _Handler, body: dict[str, Any]) -> Any:
    row = handler.session.fork(
        int(body["row"]),
        sample_index=int(body["sample_index"]),
        keep_tokens=body.get("keep_tokens"),
        keep_steps=body.get("keep_steps"),
    )
    return {"row": row}


def _drop(handler: _Handler, body: dict[str, Any]) -> Any:
    handler.session.drop(int(body["row"]))
    return {}


def _forget(handler: _Handler, body: dict[str, Any]) -> Any:
    handler.session.forget(list(map(int, body["rows"])))
    return {}


def _hold(handler: _Handler, body: dict[str, Any]) -> Any:
    handler.session.hold(int(body["row"]))
    return {}


def _go_on(handler: _Handler, body: dict[str, Any]) -> Any:
    handler.session.go_on(int(body["row"]))
    return {}


def _run(handler: _Handler, body: dict[str, Any]) -> Any:
    from rjepa.sampling.wire import unpack_condition

    _stop(handler, {})
    until = unpack_condition(body["until"])
    wanted = {name: bool(body[name]) for name in ("tokens", "steps", "one_by_one")}
    handler.events = handler.session.run(until, **wanted)
    return {}


def _next(handler: _Handler, body: dict[str, Any]) -> Any:
    """The events of one forward pass; `over` where there is none any more."""
    from rjepa.sampling.wire import pack_event
    from rjepa.students.sampled import Pass

    if handler.events is None:
        raise ValueError("expected a session that runs")
    events: list[Any] = []
    for event in handler.events:
        events.append(pack_event(event))
        if isinstance(event, Pass):
            return {"events": events, "over": False} | _counts(handler)
    handler.events = None
    return {"events": events, "over": True} | _counts(handler)


def _stop(handler: _Handler, body: dict[str, Any]) -> Any:
    if handler.events is not None:
        handler.events.close()  # type: ignore[attr-defined]
        handler.events = None
    return {}


def _row(handler: _Handler, body: dict[str, Any]) -> Any:
    row = int(body["row"])
    return {"over": handler.session.is_over(row), "tokens": handler.session.tokens(row)}


def _latents(handler: _Handler, body: dict[str, Any]) -> bytes:
    from rjepa.sampling.wire import pack_array

    return pack_array(handler.session.latents(int(body["row"])))


def _chains(handler: _Handler, body: dict[str, Any]) -> bytes:
    from rjepa.sampling.wire import pack_chains

    return pack_chains([[chain] for chain in handler.session.chains(list(map(int, body["rows"])))])


def _counts(handler: _Handler) -> dict[str, Any]:
    counts = handler.session.counts
    return {"counts": [counts.generated, counts.read, counts.passes]}


_METHODS: Final[dict[str, Callable[[_Handler, dict[str, Any]], Any]]] = {
    "add": _add,
    "fork": _fork,
    "drop": _drop,
    "forget": _forget,
    "hold": _hold,
    "go_on": _go_on,
    "run": _run,
    "next": _next,
    "stop": _stop,
    "row": _row,
    "latents": _latents,
    "chains": _chains,
}


def health(source: Any) -> dict[str, Any]:
    """Which student is served, and what its source can do."""
    return {
        "llm_tag": source.record.llm_tag,
        "fingerprint": source.fingerprint,
        "context_length": source.context_length,
        "vocabulary": source.reader.vocabulary,
        "capabilities": sorted(source.capabilities),
        "pid": os.getpid(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the student, print on stdout where it is served, and serve it until the end."""
    parser = argparse.ArgumentParser(prog=f"python -m {SERVER}")
    parser.add_argument("--llm", required=True, help="llm_tag of the student")
    parser.add_argument("--port", type=int, default=0, help="port on loopback [default: a free one]")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one does")
    options = parser.parse_args(arguments)
    if options.with_parent:
        end_with_parent()
    from rjepa.settings import load_settings

    home, stdout = Home(load_settings().home), claim_stdout()
    try:
        load_record(home, options.llm)  # an unknown student is refused at once: torch takes seconds to import
        from rjepa.sampling.opening import source_of
        from rjepa.students.stage import open_student

        source = source_of(open_student(home, options.llm))
    except RjepaError as error:
        print(json.dumps({"problem": error.problem, "cure": error.cure}), file=stdout, flush=True)
        return 1
    with make_server(source, options.port, os.environ.get(TOKEN) or None) as server:
        url = f"http://{LOOPBACK}:{server.server_port}"
        print(json.dumps({"url": url} | health(source)), file=stdout, flush=True)
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
