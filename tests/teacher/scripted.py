"""An OpenAI-compatible endpoint that does as it is told, badly if it is told so, and counts what it was asked.

Plain sockets, because it has to break off, drip and truncate. It knows idempotency keys as a careful provider does: the
same key is billed once.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.patience import PATIENCE


@dataclass(frozen=True)
class Request:
    """One HTTP request as it arrived. `times` counts arrivals of its idempotency key, this one included."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    key: str
    times: int
    at: float

    @property
    def model(self) -> str:
        return self.body["model"]

    @property
    def sample(self) -> int:
        return self.body["seed"]

    @property
    def prompt(self) -> str:
        return self.body["messages"][-1]["content"]


@dataclass(frozen=True)
class Answer:
    """What to send back. `cut` closes the connection after so many bytes; `drip` waits so long between bytes; `chunks`
    sends the body in so many pieces without saying its length.
    """

    body: str | bytes = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    cut: int | None = None
    chunks: int = 0


def completion(content: Any, prompt_tokens: Any = 20, completion_tokens: Any = 30, finish: str = "stop") -> str:
    """The body of a chat completion. `content` is a text, or a whole message."""
    message = content if isinstance(content, dict) else {"role": "assistant", "content": content}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": finish, "message": message}],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
        }
    )


def chain(answer: str = "7", steps: list[str] | None = None, delay: float = 0.0, **usage: Any) -> Answer:
    """A good worked solution, after so many seconds."""
    return Answer(
        completion(json.dumps({"steps": steps or ["3 + 4 = 7"], "final_answer": answer}), **usage), delay=delay
    )


class Scripted:
    """The running server. `asked` holds every request, `billed` how often each call would be on the bill."""

    def __init__(self, script: Callable[[Request], Answer]) -> None:
        self.script = script
        self.asked: list[Request] = []
        self.answered: Counter[str] = Counter()
        self.billed: Counter[str] = Counter()
        self.url = ""
        self._times: Counter[str] = Counter()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        key = headers.get("idempotency-key", "")
        self._times[key] += 1
        asked = Request(
            first.split()[1], headers, json.loads(raw) if raw else {}, key, self._times[key], time.monotonic()
        )
        self.asked.append(asked)
        answer = self.script(asked)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        data = answer.body.encode() if isinstance(answer.body, str) else answer.body
        more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        length = "transfer-encoding: chunked" if answer.chunks else f"content-length: {len(data)}"
        head = f"HTTP/1.1 {answer.status} X\r\n{length}\r\n{more}\r\n"
        if answer.cut is not None:
            writer.write((head.encode() + data)[: answer.cut])
            await writer.drain()
            return False
        if answer.drip:
            writer.write(head.encode())
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(answer.drip)
        elif answer.chunks:
            writer.write(head.encode())
            size = max(1, -(-len(data) // answer.chunks))
            for start in range(0, len(data), size):
                piece = data[start : start + size]
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        else:
            writer.write(head.encode() + data)
            await writer.drain()
        if answer.status == 200:
            self.answered[key] += 1
            self.billed[key] = 1
        return True


@contextlib.contextmanager
def serving(script: Callable[[Request], Answer]) -> Iterator[Scripted]:
    """Serve a script on a free port of this machine, in a thread."""
    server, loop, ready = Scripted(script), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        ready.set()
        await stop.wait()
        listening.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=_run, args=(loop, main))
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, main: Callable[[], Any]) -> None:
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
