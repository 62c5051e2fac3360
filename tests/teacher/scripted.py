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


@dataclass(frozen=True)
class Asked:
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
class Says:
    """What to send back. `cut` closes the connection after so many bytes; `drip` waits so long between bytes."""

    body: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    cut: int | None = None


def completion(content: str, prompt_tokens: Any = 20, completion_tokens: Any = 30, finish: str = "stop") -> str:
    """The body of a chat completion."""
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
        }
    )


def chain(answer: str = "7", steps: list[str] | None = None, **usage: Any) -> Says:
    """A good worked solution."""
    return Says(completion(json.dumps({"steps": steps or ["3 + 4 = 7"], "final_answer": answer}), **usage))


class Scripted:
    """The running server. `asked` holds every request, `billed` how often each call would be on the bill."""

    def __init__(self, script: Callable[[Asked], Says]) -> None:
        self.script = script
        self.asked: list[Asked] = []
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
        asked = Asked(
            first.split()[1], headers, json.loads(raw) if raw else {}, key, self._times[key], time.monotonic()
        )
        self.asked.append(asked)
        says = self.script(asked)
        if says.delay:
            await asyncio.sleep(says.delay)
        data = says.body.encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in says.headers.items())
        head = f"HTTP/1.1 {says.status} X\r\ncontent-length: {len(data)}\r\n{more}\r\n"
        if says.cut is not None:
            writer.write((head.encode() + data)[: says.cut])
            await writer.drain()
            return False
        if says.drip:
            writer.write(head.encode())
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(says.drip)
        else:
            writer.write(head.encode() + data)
            await writer.drain()
        if says.status == 200:
            self.answered[key] += 1
            self.billed[key] = 1
        return True


@contextlib.contextmanager
def serving(script: Callable[[Asked], Says]) -> Iterator[Scripted]:
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
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, main: Callable[[], Any]) -> None:
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
