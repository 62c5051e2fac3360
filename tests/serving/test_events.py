"""Events of any kind as JSON, and as chunks that clients who know nothing of them pass over."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import openai
import pytest
from pydantic import BaseModel

from rjepa.reasoning.events import Done, Event, StepWritten, Text, Working
from serving.events import event_type, event_value, text_of
from tests.tiny_release import STATEMENT, TAG

MESSAGES: list[Any] = [{"role": "user", "content": STATEMENT}]
RERANK: dict[str, Any] = {"model": f"{TAG}:rerank", "messages": MESSAGES, "seed": 5}


@pytest.fixture(scope="module")
def client(tiny_service: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny_service}/v1", api_key="x", max_retries=0) as client:
        yield client


def test_an_event_of_a_new_kind_is_told_without_a_line_in_the_service() -> None:
    @dataclass(frozen=True)
    class MindChanged:
        at: int
        why: str | None = None

    class Rewound(BaseModel):
        steps: tuple[int, ...]

    told: Any = [event_value(event) for event in (MindChanged(3), Rewound(steps=(1, 2)))]  # type: ignore[arg-type]
    assert told == [{"type": "mind_changed", "at": 3, "why": None}, {"type": "rewound", "steps": [1, 2]}]


def test_text_is_told_as_text_and_a_step_as_both() -> None:
    step = StepWritten("Step 1: x\n", 0.5)
    assert (text_of(step), text_of(Text("x"))) == ("Step 1: x\n", "x")
    assert event_value(Text("x")) is None and event_value(Working()) is None
    value = event_value(step)
    assert value is not None and (value["type"], value["energy"]) == ("step_written", 0.5)


def test_every_kind_of_event_is_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    kinds = {one for kind in get_args(Event) for one in (get_args(kind) or (kind,))} - {Working, Text, Done}
    missing = [event_type(kind) for kind in kinds if f"`{event_type(kind)}`" not in page]
    assert len(kinds) >= 2 and not missing


def test_a_stream_tells_each_step_with_its_energy_and_each_candidate_that_ends(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**RERANK, stream=True))
    told = [chunk.model_extra["rjepa"]["event"] for chunk in chunks if "event" in chunk.model_extra.get("rjepa", {})]
    whole = chunks[-1].model_extra["rjepa"]
    winner = next(candidate for candidate in whole["candidates"] if candidate["chosen"])
    energies = [event["energy"] for event in told if event["type"] == "step_written"]
    assert energies == [
        *winner["step_energies"],
        *([] if winner["answer_energy"] is None else [winner["answer_energy"]]),
    ]
    ended = [event for event in told if event["type"] == "candidate_written"]
    assert [event["written"] for event in ended] == list(range(1, 9)) and {event["total"] for event in ended} == {8}
    assert whole["explanation"]["text"] and whole["receipt"]["chosen"] == winner["index"]


def test_a_client_that_knows_nothing_of_them_reads_the_text_and_nothing_else(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**RERANK).choices[0].message.content
    chunks = client.chat.completions.create(**RERANK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    with client.chat.completions.stream(**RERANK) as stream:
        assert stream.get_final_completion().choices[0].message.content == whole


def test_the_async_client_does_as_the_other(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**RERANK).choices[0].message.content

    async def ask() -> tuple[str, str, str]:
        async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key="x", max_retries=0) as other:
            reply, responded = await asyncio.gather(
                other.chat.completions.create(**RERANK),
                other.responses.create(model=f"{TAG}:rerank", input=STATEMENT, extra_body={"rjepa": {"seed": 5}}),
            )
            chunks = await other.chat.completions.create(**RERANK, stream=True)
            streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
            return reply.choices[0].message.content or "", responded.output_text, streamed

    assert asyncio.run(ask()) == (whole, whole, whole)


def test_an_answer_that_has_to_fit_a_class_is_refused_by_its_field(client: openai.OpenAI) -> None:
    class Sum(BaseModel):
        total: int

    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.parse(model=TAG, messages=MESSAGES, response_format=Sum)
    assert error.value.param == "response_format"
    with pytest.raises(openai.BadRequestError) as other:
        client.responses.parse(model=TAG, input=STATEMENT, text_format=Sum)
    assert other.value.param == "text.format"
