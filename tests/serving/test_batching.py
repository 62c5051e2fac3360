"""Requests that come at the same time are answered in one batch, each as it would be answered alone."""

import asyncio
import json
import math
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.reasoning.answering import Desk
from rjepa.reasoning.events import StepWritten, Text, Working
from rjepa.receipts import TOLERANCE
from rjepa.students import ahead
from rjepa.students.loading import Student
from rjepa.students.sampled import Pass
from serving.app import create_app
from serving.batching import EngineThread, Stream
from serving.settings import ServiceSettings
from tests.patience import wait_until
from tests.tiny_release import TAG

from .fakes import running, wait_for_release

STATEMENTS = [f"Mia has {number} apples and buys {number + 3} more. How many has Mia?" for number in range(3, 9)]
RERANK = {"mode": "rerank", "num_candidates": 3}
ASKED: list[dict[str, Any]] = [
    {"temperature": 0.9, "seed": 1},
    {"rjepa": RERANK, "seed": 2},
    {"temperature": 0, "max_tokens": 9, "seed": 3},
    {"rjepa": {"mode": "rerank", "num_candidates": 5, "budget": 60}, "seed": 4},
    {"temperature": 1.2, "seed": 5, "n": 3, "logprobs": True, "top_logprobs": 2},
    {"temperature": 0.7, "seed": 6, "stop": ["2"]},
]


class Gate:
    """A source of chains whose sessions are counted, with the rows that each pass has drawn a token for, and which may
    rest after each pass.
    """

    def __init__(self, source: Any) -> None:
        self.source, self.sessions, self.drawn, self.rest = source, 0, list[int](), 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def session(self, **options: bool) -> Any:
        self.sessions += 1
        session = self.source.session(**options)
        run = session.run

        def watched(*arguments: Any, **more: Any) -> Iterator[Any]:
            for event in run(*arguments, **more):
                if isinstance(event, Pass):
                    self.drawn.append(-(-event.generated // event.tokens))
                    time.sleep(self.rest)
                yield event

        session.run = watched
        return session


@pytest.fixture
def token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains are written as slowly as a large student's."""
    monkeypatch.setattr(ahead, "AHEAD", 1)


@pytest.fixture(scope="module")
def served(tiny_release: tuple[Home, Student]) -> Iterator[tuple[str, FastAPI, Gate]]:
    home = tiny_release[0]
    engine = Engine.load(home, TAG, "cpu")
    gate = Gate(engine.source)
    engine._desk = Desk(gate)
    settings = ServiceSettings(
        home=home.root, llm=TAG, reload_seconds=0.05, api_key=None, max_in_flight=32, _env_file=None
    )
    app = create_app(settings, lambda previous, release_id=None: engine)
    with running(app) as address:
        wait_for_release(app)
        yield address, app, gate


def post(address: str, statement: str, **more: Any) -> dict[str, Any]:
    body = {"model": TAG, "messages": [{"role": "user", "content": statement}], **more}
    reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def told(value: Any) -> Any:
    """What of a reply does not tell of time and passes, nor which reply it is."""
    if isinstance(value, dict):
        return {
            key: told(one) for key, one in value.items() if key not in ("id", "created", "cost", "versions", "ticket")
        }
    return [told(one) for one in value] if isinstance(value, list) else value


def differing(one: Any, other: Any, where: str = "") -> list[str]:
    """What of two replies is not equal; figures are compared as receipts compare them."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differing(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            found for place in range(len(one)) for found in differing(one[place], other[place], f"{where}[{place}]")
        ]
    if isinstance(one, float) and isinstance(other, float):
        alike = math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return [] if alike else [f"{where}: {one} {other}"]
    return [] if one == other else [f"{where}: {one!r} {other!r}"]


def test_answers_that_are_written_together_are_those_that_would_be_written_alone(
    served: tuple[str, FastAPI, Gate],
) -> None:
    address, _, gate = served
    asked = list(zip(STATEMENTS, ASKED, strict=True))
    alone = [told(post(address, statement, **more)) for statement, more in asked]
    before, sessions = len(gate.drawn), gate.sessions
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda one: told(post(address, one[0], **one[1])), asked * 2))
    for one, other in zip(together, alone * 2, strict=True):
        assert not differing(one, other)
    assert max(gate.drawn[before:]) > 8  # more rows than any of them has
    assert gate.sessions - sessions < len(asked)  # they shared sessions


@pytest.mark.usefixtures("token_by_token")
def test_who_comes_while_others_are_answered_waits_for_a_token_and_not_for_their_answers(
    served: tuple[str, FastAPI, Gate],
) -> None:
    address, _, gate = served
    gate.rest = 0.05
    try:
        with ThreadPoolExecutor(1) as pool:
            before = len(gate.drawn)
            long = pool.submit(post, address, STATEMENTS[1], rjepa=RERANK | {"num_candidates": 16}, seed=5)
            wait_until(lambda: len(gate.drawn) > before + 1)
            assert post(address, STATEMENTS[0], max_tokens=2)["usage"]["completion_tokens"] == 2
            assert not long.done()
            gate.rest = 0.0
            long.result()
    finally:
        gate.rest = 0.0


@pytest.mark.parametrize(("tokens", "rest"), [(1, 0.05), (ahead.AHEAD, 0.2)])
def test_a_client_that_leaves_frees_its_rows_and_the_others_go_on(
    served: tuple[str, FastAPI, Gate], tokens: int, rest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "AHEAD", tokens)  # 1: as a large student writes
    address, app, gate = served
    alone = told(post(address, STATEMENTS[2], rjepa=RERANK, seed=3))
    gate.rest = rest
    try:
        with ThreadPoolExecutor(1) as pool:
            body = {"model": TAG, "messages": [{"role": "user", "content": STATEMENTS[1]}], "stream": True}
            body |= {"rjepa": RERANK | {"num_candidates": 16}, "seed": 5}
            with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as left:
                lines = left.iter_lines()  # kept: a collected iterator closes the connection by itself
                next(lines)
                other = pool.submit(post, address, STATEMENTS[2], rjepa=RERANK, seed=3)
                wait_until(lambda: app.state.admission.in_flight == 2)
                before = len(gate.drawn)
                wait_until(lambda: len(gate.drawn) > before + 2)
                assert gate.drawn[-1] > 3
            wait_until(lambda: gate.drawn[-1] <= 3)
            assert not other.done() and app.state.admission.in_flight == 1
            gate.rest = 0.0
            assert not differing(told(other.result()), alone)
    finally:
        gate.rest = 0.0


def test_streams_that_are_written_together_show_the_text_of_each_and_nothing_that_was_drawn_after_its_end(
    served: tuple[str, FastAPI, Gate],
) -> None:
    address, _, gate = served
    asked = [(statement, {"temperature": 0.9, "seed": seed}) for statement in STATEMENTS for seed in (1, 2)]
    alone = [post(address, statement, **more) for statement, more in asked]

    def streamed(one: tuple[str, dict[str, Any]]) -> tuple[str, int]:
        body = {"model": TAG, "messages": [{"role": "user", "content": one[0]}], "stream": True, **one[1]}
        body |= {"stream_options": {"include_usage": True}}
        text, tokens = "", 0
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=120) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    chunk = json.loads(line[6:])
                    text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
                    tokens = (chunk["usage"] or {}).get("completion_tokens", tokens)
        return text, tokens

    before = len(gate.drawn)
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(streamed, asked))
    assert max(gate.drawn[before:]) > 4  # they were drawn for together, and so past the ends of some
    expected = [(one["choices"][0]["message"]["content"], one["usage"]["completion_tokens"]) for one in alone]
    assert together == expected


def _told(work: Generator[tuple[int, Any], None, None]) -> list[Any]:
    """What a stream tells of the events of `work`."""

    async def read() -> list[Any]:
        thread = EngineThread(lambda: 8)
        thread.start(asyncio.get_running_loop())
        stream, told = Stream(thread, lambda: work, lambda: None), list[Any]()
        thread.submit("client", stream.turn, 1)
        while (item := await stream.queue.get()) is not None:
            told.append(item)
            if isinstance(item, Exception):
                break
        await asyncio.to_thread(thread.stop, 5)
        return told

    return asyncio.run(read())


def test_text_that_is_written_fast_goes_out_in_few_pieces_and_in_its_order() -> None:
    words = [f"{number} " for number in range(300)]

    def work() -> Generator[tuple[int, Any], None, None]:
        for number, word in enumerate(words):
            yield number % 2, Text(word)
            yield 0, Working()
        yield 0, StepWritten("a step", None)
        yield 0, Text("the end")

    told = _told(work())
    assert told[0] == (0, Text(words[0]))  # the first at once
    assert told[-2:] == [(0, StepWritten("a step", None)), (0, Text("the end"))]
    assert len(told) < len(words)
    for question in (0, 1):
        pieces = [event.text for index, event in told[:-2] if index == question]
        assert "".join(pieces) == "".join(words[question::2])


def test_text_that_is_written_slowly_goes_out_as_it_comes_and_before_an_error() -> None:
    def work() -> Generator[tuple[int, Any], None, None]:
        for word in ("one", "two", "three"):
            time.sleep(0.05)
            yield 0, Text(word)
            yield 0, Working()
        yield 0, Text("four")
        raise RuntimeError("the student is gone")

    *told, error = _told(work())
    assert [event.text for _, event in told] == ["one", "two", "three", "four"] and isinstance(error, RuntimeError)
