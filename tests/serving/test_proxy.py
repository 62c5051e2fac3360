"""The service in front of an OpenAI-compatible endpoint that has the student's weights: another service, over HTTP."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rjepa.home import Home
from rjepa.sampling.endpoint import EndpointError, EndpointSource
from rjepa.students.loading import Student
from rjepa.students.sampled import GREEDY, RowRequest
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.tiny_release import STATEMENT, TAG, move_to_endpoint, publish, register_student

from .fakes import running, wait_for_release

MESSAGES: Any = [{"role": "user", "content": STATEMENT}]


@pytest.fixture(scope="module")
def proxy(
    tiny_service: str, tiny_release: tuple[Home, Student], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A service whose student has the same weights, and an endpoint: its chains are written there."""
    root = tmp_path_factory.mktemp("proxy")
    home = Home(root / "home")
    student = register_student(home, tiny_release[1].path)
    publish(home, student, root / "sources")
    move_to_endpoint(home, student.record, f"{tiny_service}/v1", TAG)
    settings = ServiceSettings(home=home.root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None)
    app = create_app(settings)
    with running(app) as address:
        wait_for_release(app)
        yield address


@pytest.fixture(scope="module")
def both(tiny_service: str, proxy: str) -> Iterator[tuple[openai.OpenAI, openai.OpenAI]]:
    """A client of the endpoint itself, and one of the service in front of it."""
    with (
        openai.OpenAI(base_url=f"{tiny_service}/v1", api_key="x", max_retries=0) as there,
        openai.OpenAI(base_url=f"{proxy}/v1", api_key="x", max_retries=0) as front,
    ):
        yield there, front


def test_mode_off_passes_the_endpoints_text_on_as_it_comes(both: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    there, front = both
    expected = there.chat.completions.create(model=TAG, messages=MESSAGES).choices[0].message.content
    assert front.chat.completions.create(model=TAG, messages=MESSAGES).choices[0].message.content == expected
    chunks = list(front.chat.completions.create(model=TAG, messages=MESSAGES, stream=True))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(pieces) == expected and len(pieces) > 1  # pieces that follow each other fast go out together
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_a_request_asks_of_the_drawing_reaches_the_endpoint(both: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    there, front = both
    asked: dict[str, Any] = {"model": TAG, "prompt": f"{STATEMENT}\nMia", "max_tokens": 24, "temperature": 0}
    asked |= {"stop": ["so"], "presence_penalty": 0.3, "logit_bias": {"9": -100}, "logprobs": 2, "echo": True}
    one, other = (client.completions.create(**asked).choices[0] for client in both)
    assert one.text == other.text and one.finish_reason == other.finish_reason
    assert one.logprobs is not None and one.logprobs.tokens is not None
    assert other.logprobs is not None and other.logprobs.tokens is not None
    # The text ends within a token, " so": what is left of it is read here as it stands.
    assert one.logprobs.tokens[:-1] == other.logprobs.tokens[:-1]
    del asked["logprobs"], asked["echo"]
    streamed = "".join(chunk.choices[0].text for chunk in front.completions.create(**asked, stream=True))
    assert streamed == there.completions.create(**asked).choices[0].text


def test_rerank_reads_here_what_the_endpoint_wrote(both: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    extra = {"rjepa": {"mode": "rerank", "num_candidates": 4, "seed": 3}}
    reply = both[1].chat.completions.create(model=TAG, messages=MESSAGES, extra_body=extra)
    told = (reply.model_extra or {})["rjepa"]
    assert len(told["candidates"]) == 4 and told["explanation"]["text"]
    assert all(one["step_energies"] for one in told["candidates"] if one["steps"])


def test_modes_that_act_on_steps_are_offered_and_what_such_a_conversation_begins_with_is_told_to_be_unread(
    proxy: str,
) -> None:
    names = {entry["id"] for entry in httpx.get(f"{proxy}/v1/models").json()["data"]}
    assert {TAG, f"{TAG}:off", f"{TAG}:rerank", f"{TAG}:repair", f"{TAG}:tree"} <= names
    turns = [{"role": "system", "content": "You are kind."}, *MESSAGES]
    for mode in ("rerank", "repair", "tree"):
        body = {"model": f"{TAG}:{mode}", "messages": turns, "rjepa": {"seed": 1}}
        reply = httpx.post(f"{proxy}/v1/chat/completions", json=body, timeout=60).json()
        told = reply["rjepa"]
        assert reply["choices"][0]["message"]["content"].startswith("Step 1:") and told["mode"] == mode
        assert told["ignored"] == ["the earlier message"]
        assert all(one["step_energies"] for one in told["candidates"] if one["steps"])


def test_the_greedy_chain_by_its_proposals_is_the_one_that_it_writes_itself(
    tiny_service: str, tiny_release: tuple[Home, Student]
) -> None:
    record = tiny_release[1].record.model_copy(update={"endpoint": f"{tiny_service}/v1", "served_model": TAG})
    source = EndpointSource(replace(tiny_release[1], record=record))
    (whole,) = source.sample([STATEMENT], [GREEDY], seed=0)[0]
    with source.by_steps().session() as session:
        (row,) = session.add([RowRequest(STATEMENT, 0, GREEDY)])
        list(session.run())
        assert session.chain(row).text == whole.text


def test_an_endpoint_that_went_away_is_named_with_the_cure(tiny_release: tuple[Home, Student], tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    student = register_student(home, tiny_release[1].path)
    publish(home, student, tmp_path / "sources")
    gone = student.record.model_copy(update={"endpoint": "http://127.0.0.1:9/v1", "served_model": TAG})
    source = EndpointSource(replace(student, record=gone), retries=0)
    with pytest.raises(EndpointError, match="start the server"):
        list(source.stream(STATEMENT, seed=0))
