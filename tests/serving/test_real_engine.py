"""The service with a real engine: a tiny student that was taught for a few seconds, and an untrained R-JEPA."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.reasoning.answering import Desk
from rjepa.reasoning.question import ask
from rjepa.sampling.protocol import ChainSource, DecodingSession
from rjepa.students import ahead
from rjepa.students.loading import Student
from rjepa.students.sampled import Event, Pass
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.patience import PATIENCE, wait_until
from tests.tiny_release import STATEMENT, TAG, publish, register_student, taught_folder

from .fakes import running, wait_for_release

MESSAGES = [{"role": "user", "content": STATEMENT}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Student]:
    root = tmp_path_factory.mktemp("service")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, root / "sources")
    return home, student


@pytest.fixture(scope="module")
def service(made: tuple[Home, Student]) -> Iterator[openai.OpenAI]:
    app = create_app(ServiceSettings(home=made[0].root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None))
    with running(app) as address:
        wait_for_release(app)
        with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
            yield client


def test_streamed_and_whole_answers_are_the_same(service: openai.OpenAI) -> None:
    body = {"rjepa": {"mode": "rerank", "num_candidates": 4, "seed": 5}}
    whole = service.chat.completions.create(model=TAG, messages=MESSAGES, extra_body=body)
    chunks = list(service.chat.completions.create(model=TAG, messages=MESSAGES, extra_body=body, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content and text.startswith("Step 1:")
    assert len(whole.model_extra["rjepa"]["candidates"]) == 4


def test_a_mode_in_a_models_name_that_the_release_lacks_is_refused_with_what_would_give_it(
    service: openai.OpenAI,
) -> None:
    for name in (f"{TAG}:nudge", f"{TAG}:plan"):
        with pytest.raises(openai.BadRequestError, match="rjepa backfill --decoders"):
            service.chat.completions.create(model=name, messages=MESSAGES)
    with pytest.raises(openai.NotFoundError, match="GET /v1/models"):
        service.chat.completions.create(model=f"{TAG}:guess", messages=MESSAGES)


def test_the_student_alone_streams_piece_by_piece(service: openai.OpenAI) -> None:
    chunks = list(service.chat.completions.create(model=TAG, messages=MESSAGES, stream=True))
    # The first piece leaves at once; how many follow depends on how fast this machine writes them.
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) >= 2
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_problem_too_long_for_the_student_is_a_bad_request(service: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="shorten"):
        service.chat.completions.create(model=TAG, messages=[{"role": "user", "content": "apples " * 400}], stream=True)


class SlowSession:
    """A session of the student that rests after each token, so that there is time to leave."""

    def __init__(self, session: DecodingSession) -> None:
        self.session = session
        self.closed = threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self.session, name)

    def __enter__(self) -> "SlowSession":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.session.close()
        self.closed.set()

    def run(self, *arguments: object, **options: bool) -> Iterator[Event]:
        for event in self.session.run(*arguments, **options):
            yield event
            if isinstance(event, Pass):
                time.sleep(0.1)


class SlowSource:
    """The student's source of chains, whose sessions are slow and kept."""

    def __init__(self, source: ChainSource) -> None:
        self.source = source
        self.sessions: list[SlowSession] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)

    def session(self, **options: bool) -> SlowSession:
        self.sessions.append(SlowSession(self.source.session(**options)))
        return self.sessions[-1]


@contextlib.contextmanager
def leaving(path: str, address: str, body: dict[str, Any]) -> Iterator[None]:
    """A client that asks, and closes the connection at the end of the block without having read anything."""
    host, port = address.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        yield


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_a_rerank_stops_it_between_two_tokens(
    made: tuple[Home, Student], stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "AHEAD", 1)  # as a large student writes
    settings = ServiceSettings(home=made[0].root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None)
    engine = Engine.load(made[0], TAG, "cpu")
    whole = engine.answer(ask(STATEMENT, options={"num_candidates": 16}, seed=5)).cost.tokens_generated
    source = SlowSource(engine._student)
    engine._desk = Desk(source)
    app = create_app(settings, lambda previous: engine)
    with running(app) as address:
        wait_for_release(app)
        warmed_up = len(source.sessions)
        options = {"mode": "rerank", "num_candidates": 16, "seed": 5}
        body = {"model": TAG, "messages": MESSAGES, "stream": stream, "rjepa": options}
        with leaving("/v1/chat/completions", address, body):
            wait_until(lambda: len(source.sessions) > warmed_up and source.sessions[-1].counts.passes > 1)
        left = source.sessions[-1]
        assert left.closed.wait(PATIENCE)
        assert 0 < left.counts.generated < whole / 2
        reply = httpx.post(f"{address}/v1/chat/completions", json={"model": TAG, "messages": MESSAGES}, timeout=60)
        assert reply.status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_a_plain_completion_stops_it(made: tuple[Home, Student], stream: bool) -> None:
    settings = ServiceSettings(home=made[0].root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None)
    engine = Engine.load(made[0], TAG, "cpu")
    source = SlowSource(engine._student)
    engine._student = source
    app = create_app(settings, lambda previous: engine)
    with running(app) as address:
        wait_for_release(app)
        warmed_up, tokens = len(source.sessions), 200
        body = {"model": TAG, "prompt": STATEMENT, "max_tokens": tokens, "ignore_eos": True, "n": 4, "stream": stream}
        with leaving("/v1/completions", address, body):
            wait_until(lambda: len(source.sessions) > warmed_up and source.sessions[-1].counts.passes > 1)
        left = source.sessions[-1]
        assert left.closed.wait(PATIENCE)
        assert 0 < left.counts.generated < 4 * tokens / 2


def test_a_new_release_takes_over_while_the_service_runs(
    service: openai.OpenAI, made: tuple[Home, Student], tmp_path: Path
) -> None:
    home, student = made
    second = publish(home, student, tmp_path, seed=4)

    def served() -> str | None:
        return service.chat.completions.create(model=TAG, messages=MESSAGES, max_tokens=2).system_fingerprint

    wait_until(lambda: served() == second)
