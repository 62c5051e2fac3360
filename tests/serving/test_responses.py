"""/v1/responses with the openai client, unchanged, against the real service."""

from collections.abc import Iterator
from typing import Any, get_args

import httpx
import openai
import pytest
from openai.types.responses import ResponseStreamEvent

from rjepa.reasoning.question import InvalidQuestionError, Message
from serving.errors import GoneError
from serving.response_store import ResponseStore
from tests.tiny_release import STATEMENT, TAG


@pytest.fixture(scope="module")
def client(tiny_service: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny_service}/v1", api_key="x", max_retries=0) as client:
        yield client


def receipt(reply: Any) -> dict[str, Any]:
    value: dict[str, Any] = reply.model_extra["rjepa"]["receipt"]
    return value


def messages_of(reply: Any) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in receipt(reply)["messages"]]


KNOWN = {get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(get_args(ResponseStreamEvent)[0])}
KEEP = {"rjepa": {"keep_question": True, "seed": 3}}


def test_text_as_input_gives_text_and_usage_that_adds_up(client: openai.OpenAI) -> None:
    reply = client.responses.create(model=TAG, input=STATEMENT, metadata={"a": "b"})
    assert reply.object == "response" and reply.status == "completed" and reply.output_text.startswith("Step 1:")
    assert reply.metadata == {"a": "b"} and reply.output[0].role == "assistant"
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens > 0


def test_items_as_input_our_own_output_among_them(client: openai.OpenAI) -> None:
    first = client.responses.create(model=TAG, input=[{"role": "user", "content": STATEMENT}], extra_body=KEEP)
    parts = [{"type": "input_text", "text": "And two "}, {"type": "input_text", "text": "more?"}]
    items: list[Any] = [
        {"role": "user", "content": STATEMENT},
        *[item.to_dict() for item in first.output],
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "user", "content": parts},
    ]
    reply = client.responses.create(model=TAG, input=items, instructions="Be brief.", extra_body=KEEP)
    said = first.output_text.strip()
    expected = [("system", "Be brief."), ("user", STATEMENT), ("assistant", said), ("user", "And two more?")]
    assert messages_of(reply) == expected
    assert "input.reasoning" in reply.model_extra["rjepa"]["ignored"]


def test_a_conversation_goes_on_from_the_last_answer_and_instructions_do_not(client: openai.OpenAI) -> None:
    first = client.responses.create(model=TAG, input=STATEMENT, instructions="Be brief.", extra_body=KEEP)
    second = client.responses.create(model=TAG, input="And two more?", previous_response_id=first.id, extra_body=KEEP)
    said = first.output_text.strip()
    assert messages_of(second) == [("user", STATEMENT), ("assistant", said), ("user", "And two more?")]
    assert second.previous_response_id == first.id
    third = client.responses.create(model=TAG, input="And?", previous_response_id=second.id, extra_body=KEEP)
    assert len(messages_of(third)) == 5


def test_a_stored_answer_is_read_again_and_deleted(client: openai.OpenAI) -> None:
    reply = client.responses.create(model=f"{TAG}:rerank", input=STATEMENT)
    assert client.responses.retrieve(reply.id).to_dict() == reply.to_dict()
    client.responses.delete(reply.id)
    with pytest.raises(openai.NotFoundError, match="kept in memory"):
        client.responses.retrieve(reply.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(reply.id)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=TAG, input="And?", previous_response_id=reply.id)
    assert error.value.param == "previous_response_id"


def test_what_a_stored_answer_was_asked_is_listed_page_by_page(client: openai.OpenAI) -> None:
    first = client.responses.create(model=TAG, input=STATEMENT, instructions="Be brief.")
    second = client.responses.create(model=TAG, input="And two more?", previous_response_id=first.id)
    newest = client.responses.input_items.list(second.id, limit=2)
    assert newest.has_more and len(newest.data) == 2
    everything = list(client.responses.input_items.list(second.id, limit=2, order="asc"))  # the client turns the pages
    texts = [(item.role, item.content[0].text) for item in everything]  # type: ignore[union-attr]
    assert texts == [("user", STATEMENT), ("assistant", first.output_text.strip()), ("user", "And two more?")]
    assert [item.id for item in newest.data] == [item.id for item in everything[:0:-1]]
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.input_items.list(second.id, after="msg_other")
    assert error.value.param == "after"
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list("resp_unknown")


def test_items_are_named_by_their_ids_as_vercel_s_sdk_does(client: openai.OpenAI) -> None:
    first = client.responses.create(model=TAG, input=STATEMENT)
    (asked,) = client.responses.input_items.list(first.id).data
    items: list[Any] = [
        {"type": "item_reference", "id": asked.id},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": [{"type": "input_text", "text": "And two more?"}]},
    ]
    second = client.responses.create(model=TAG, input=items, extra_body=KEEP)
    said = first.output_text.strip()
    assert messages_of(second) == [("user", STATEMENT), ("assistant", said), ("user", "And two more?")]
    client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError, match="no stored item") as error:
        client.responses.create(model=TAG, input=items)
    assert error.value.param == "input"


def test_a_short_body_cannot_name_more_than_the_service_reads(client: openai.OpenAI) -> None:
    long = client.responses.create(model=TAG, input=f"{STATEMENT} {'a ' * 100}")
    (asked,) = client.responses.input_items.list(long.id).data
    named: list[Any] = [{"type": "item_reference", "id": asked.id}] * 6000
    with pytest.raises(openai.BadRequestError, match="name fewer earlier items") as error:
        client.responses.create(model=TAG, input=[*named, {"role": "user", "content": STATEMENT}])
    assert error.value.code == "context_length_exceeded"


def test_a_stored_answer_is_read_as_a_stream_too(client: openai.OpenAI) -> None:
    first = list(client.responses.create(model=TAG, input=STATEMENT, stream=True))
    (answer,) = [event.response for event in first if event.type == "response.completed"]
    events = list(client.responses.retrieve(answer.id, stream=True))
    assert [event.type for event in events] == list(dict.fromkeys(event.type for event in first))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.to_dict() == answer.to_dict()
    rest = list(client.responses.retrieve(answer.id, stream=True, starting_after=5))
    assert [event.type for event in rest] == [event.type for event in events[6:]]


def test_an_answer_that_is_not_to_be_stored_is_not(client: openai.OpenAI) -> None:
    reply = client.responses.create(model=TAG, input=STATEMENT, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(reply.id)


@pytest.mark.parametrize("mode", ["off", "rerank"])
def test_a_stream_has_the_events_that_the_client_knows_in_order(client: openai.OpenAI, mode: str) -> None:
    asked: dict[str, Any] = {"model": f"{TAG}:{mode}", "input": STATEMENT, "extra_body": {"rjepa": {"seed": 3}}}
    whole = client.responses.create(**asked)
    events = list(client.responses.create(**asked, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text == events[-1].response.output_text
    assert all(kind in KNOWN for kind in kinds)  # OpenAI's client for Node ends a stream at any other
    ours = [event.rjepa["event"] for event in events if getattr(event, "rjepa", None)]
    assert bool(ours) == (mode == "rerank")
    if ours:
        steps = [event["energy"] for event in ours if event["type"] == "step_written"]
        assert len(steps) == len([line for line in text.splitlines() if line])
        assert any(event["type"] == "candidate_written" for event in ours)
    assert client.responses.retrieve(events[-1].response.id).output_text == text


def test_the_stream_helper_of_the_client_works_with_our_events_in_between(client: openai.OpenAI) -> None:
    with client.responses.stream(model=f"{TAG}:rerank", input=STATEMENT) as stream:
        final = stream.get_final_response()
    assert final.output_text and final.status == "completed"


def test_an_answer_that_reaches_its_limit_is_incomplete(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": TAG, "input": STATEMENT, "max_output_tokens": 2}
    reply = client.responses.create(**asked)
    assert reply.status == "incomplete" and reply.incomplete_details.reason == "max_output_tokens"
    assert list(client.responses.create(**asked, stream=True))[-1].type == "response.incomplete"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an image": ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.content"),
    "no user message": ({"input": [{"role": "assistant", "content": "x"}]}, "input"),
    "an item nobody knows": ({"input": [{"type": "computer_call"}]}, "input"),
    "a role nobody knows": ({"input": [{"role": "wizard", "content": "x"}]}, "input.role"),
    "no items": ({"input": []}, "input"),
    "a number": ({"input": 5}, "input"),
    "a schema": ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, "text.format"),
    "in the background": ({"background": True}, "background"),
    "a conversation kept elsewhere": ({"conversation": "conv_1"}, "conversation"),
    "a tool that has to be called": ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
    "an unknown option of ours": ({"rjepa": {"mod": "off"}}, "rjepa.mod"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_done_is_refused_with_the_field_that_asks_for_it(tiny_service: str, what: str) -> None:
    changes, param = REFUSED[what]
    reply = httpx.post(f"{tiny_service}/v1/responses", json={"model": TAG, "input": STATEMENT} | changes)
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["param"] == param and error["cure"]


def test_what_is_unknown_is_listed(tiny_service: str) -> None:
    extras = {
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "truncation": "auto",
        "tools": [],
    }
    reply = httpx.post(f"{tiny_service}/v1/responses", json={"model": TAG, "input": STATEMENT} | extras, timeout=60)
    assert reply.headers["x-rjepa-ignored"] == "reasoning, truncation, include.reasoning.encrypted_content"


def test_a_function_is_not_read_by_a_student_without_a_template_for_it(tiny_service: str) -> None:
    tools = [{"type": "function", "name": "add", "parameters": {}, "strict": True}, {"type": "web_search"}]
    reply = httpx.post(
        f"{tiny_service}/v1/responses", json={"model": TAG, "input": STATEMENT, "tools": tools}, timeout=60
    )
    assert reply.headers["x-rjepa-ignored"] == "tools.web_search, tools"
    silent = {"model": TAG, "input": STATEMENT, "tools": tools[:1], "tool_choice": "none"}
    assert "x-rjepa-ignored" not in httpx.post(f"{tiny_service}/v1/responses", json=silent, timeout=60).headers


def test_a_fault_in_the_middle_of_a_stream_is_its_last_event(client: openai.OpenAI, address: str) -> None:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as faulty:
        events = list(faulty.responses.create(model="tiny-a", input="broken", stream=True))
        assert events[-1].type == "response.failed" and "the service failed" in events[-1].response.error.message
        assert "secret" not in events[-1].to_json()


def test_the_store_forgets_the_oldest_and_shows_nobody_else_s() -> None:
    store = ResponseStore(max_bytes=2000)
    for number in range(20):
        body = {"id": f"resp_{number}", "text": "x" * 200}
        store.add("a", body, (Message(role="user", content="x"),), "")
    assert store.get("a", "resp_19")
    with pytest.raises(GoneError):
        store.get("a", "resp_0")
    with pytest.raises(GoneError):
        store.get("b", "resp_19")
    with pytest.raises(GoneError):
        store.delete("b", "resp_19")
    store.add("a", {"id": "resp_a"}, (Message(role="user", content="x"),), "mine")
    assert store.message("a", "msg_a").content == "mine"
    for item in ("msg_a", "msg_a_0"):
        with pytest.raises(InvalidQuestionError):
            store.message("b", item)


def test_unknown_paths_under_it_have_the_shape_of_an_error(client: openai.OpenAI, tiny_service: str) -> None:
    reply = httpx.post(f"{tiny_service}/v1/responses/resp_1/cancel")
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "http_404"
