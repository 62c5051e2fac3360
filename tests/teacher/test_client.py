"""One endpoint that misbehaves: what becomes of a call, and what it is counted as."""

import asyncio
import socket
from typing import Any

import pytest

from rjepa.addresses import refused_address
from rjepa.teacher import Teacher
from rjepa.teacher.calls import Call
from rjepa.teacher.client import Endpoint
from rjepa.teacher.errors import CallError
from rjepa.teacher.limits import CallUsage

from .conftest import KEY, teacher
from .scripted import Answer, Request, chain, completion


def ask(who: Teacher) -> tuple[Any, CallUsage]:
    """The body of one answer, or the error, and what the call used."""
    usage = CallUsage(50)

    async def once() -> Any:
        endpoint = Endpoint(who)
        try:
            return await endpoint.ask(Call(who, ({"role": "user", "content": "2 + 2?"},)).body(), "k", usage)
        except CallError as error:
            return error
        finally:
            await endpoint.aclose()

    return asyncio.run(once()), usage


def test_a_429_is_waited_out_for_as_long_as_it_says(serve: Any) -> None:
    busy = Answer("{}", 429, {"retry-after": "1"})
    server = serve(lambda asked: chain() if asked.times > 1 else busy)
    answer, usage = ask(teacher(server))
    assert "3 + 4" in answer and usage.attempts == 2
    first, second = server.asked
    assert second.at - first.at > 0.95


def test_a_retry_after_of_hours_is_not_waited_for(serve: Any) -> None:
    server = serve(lambda asked: Answer("{}", 429, {"retry-after": "7200"}))
    error, _ = ask(teacher(server))
    assert error.reason == "http_429" and len(server.asked) == 1


@pytest.mark.parametrize(
    ("bad", "reason", "doubtful"),
    [
        (Answer("oops", 500, {"retry-after-ms": "5"}), "http_500", 0),
        (Answer(chain().body, cut=0), "connection", 2),
        (Answer(chain().body, cut=120), "connection", 2),
        (Answer(chain().body, delay=2), "timeout", 2),
        (Answer(chain().body, drip=0.02), "timeout", 2),
    ],
    ids=["500", "closed", "closed in the middle", "silent", "drip"],
)
def test_an_endpoint_that_fails_is_tried_again_then_given_up_with_a_reason(
    serve: Any, bad: Answer, reason: str, doubtful: int
) -> None:
    server = serve(lambda asked: bad)
    error, usage = ask(teacher(server, timeout=0.4, max_retries=1))
    assert error.reason == reason
    assert (usage.attempts, usage.doubtful) == (2, doubtful)
    server.script = lambda asked: chain()
    answer, _ = ask(teacher(server))
    assert "3 + 4" in answer


def test_an_endless_or_compressed_answer_is_not_swallowed(serve: Any) -> None:
    server = serve(lambda asked: Answer("x" * (17 << 20)))
    assert ask(teacher(server, max_retries=0))[0].reason == "connection"
    server.script = lambda asked: Answer("x", headers={"content-encoding": "gzip"})
    assert ask(teacher(server, max_retries=0))[0].reason == "connection"


def test_a_redirect_is_not_followed_not_even_to_a_harmless_place(serve: Any) -> None:
    def script(asked: Request) -> Answer:
        return Answer(status=307, headers={"location": f"{server.url}/elsewhere"})

    server = serve(script)
    error, _ = ask(teacher(server))
    assert error.reason == "http_307" and error.final
    assert [asked.path for asked in server.asked] == ["/v1/chat/completions"]


def test_a_name_that_leads_to_the_metadata_service_is_refused_before_anything_is_sent(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *given, **more: [(socket.AF_INET, 1, 6, "", ("169.254.169.254", 80))]
    )
    assert asyncio.run(refused_address("innocent.example.com", 80)) == "169.254.169.254"
    innocent = Teacher(name="ada", base_url="http://innocent.example.com/v1", model="m", max_retries=0)
    error, usage = ask(innocent)
    assert error.reason == "metadata_address" and error.final
    assert usage.doubtful == 0, "what was not sent costs nothing"


def test_an_error_that_repeats_the_key_is_kept_without_it(serve: Any) -> None:
    server = serve(lambda asked: Answer(f'{{"error": "no such key: {asked.headers["authorization"]}"}}', 401))
    error, _ = ask(teacher(server))
    assert error.final and "no such key" in error.detail and KEY not in str(error)
    server.script = lambda asked: Answer(completion(f"your key is {KEY}"))
    answer, _ = ask(teacher(server))
    assert "your key is [key]" in answer


def test_environment_of_openai_is_not_sent_to_others(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://mine-alone")
    server = serve(lambda asked: chain())
    ask(teacher(server))
    assert "mine-alone" not in str(server.asked)
