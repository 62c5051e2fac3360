"""The `openai` client, unchanged, against the service over a real socket."""

from collections.abc import Iterator

import openai
import pytest

from .fakes import FakeEngine

QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many has Tom?"}]
RERANK = {"rjepa": {"mode": "rerank", "num_candidates": 4, "seed": 7}}


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="not needed", max_retries=0) as client:
        yield client


def test_a_question_is_answered(client: openai.OpenAI, engines: list[FakeEngine]) -> None:
    reply = client.chat.completions.create(model="tiny-a", messages=QUESTION)
    assert reply.object == "chat.completion" and reply.model == "tiny-a" and reply.id.startswith("chatcmpl-")
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content.endswith("Answer: 17\n")
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (12, 20, 32)
    assert reply._request_id
    assert engines[0].calls[0].statement == "How many has Tom?" and engines[0].calls[0].mode == "off"


def test_rerank_is_chosen_with_extra_body_and_explains_itself(client: openai.OpenAI, engines: list[FakeEngine]) -> None:
    reply = client.chat.completions.create(model="tiny-a", messages=QUESTION, extra_body=RERANK, max_tokens=50)
    field = reply.model_extra["rjepa"]
    assert [candidate["chosen"] for candidate in field["candidates"]] == [True, False, False, False]
    assert field["candidates"][1]["step_energies"] == [1.4, 1.8]
    assert field["explanation"]["text"] and field["p_correct"] == 0.75 and field["seed"] == 7
    assert field["release_id"] == reply.system_fingerprint
    assert reply.usage.completion_tokens == 80
    assert engines[0].calls[0].max_tokens == 50
    assert engines[0].calls[0].options.num_candidates == 4


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_brings_the_same_answer_in_pieces(client: openai.OpenAI, include_usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(
        client.chat.completions.create(model="tiny-a", messages=QUESTION, stream=True, extra_body=RERANK, **options)
    )
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"} and len({c.id for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces).endswith("Answer: 17\n")
    last = [chunk for chunk in chunks if chunk.choices][-1]
    assert last.choices[0].finish_reason == "stop" and len(last.model_extra["rjepa"]["candidates"]) == 4
    if include_usage:
        assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 80
        assert all(chunk.usage is None for chunk in chunks[:-1])
    else:
        assert chunks[-1] is last


def test_the_stream_helper_of_the_client_works(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="tiny-a", messages=QUESTION) as stream:
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content.endswith("Answer: 17\n")


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()][:3] == ["tiny-a", "tiny-a:off", "tiny-a:rerank"]
    assert client.models.retrieve("tiny-a").owned_by == "rjepa"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")


def test_errors_are_those_the_client_knows(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-5", messages=QUESTION)
    assert unknown.value.code == "model_not_found" and "tiny-a" in unknown.value.message
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(model="tiny-a", messages=[])
    assert empty.value.param == "messages" and empty.value.type == "invalid_request_error"
    with pytest.raises(openai.InternalServerError) as fault:
        client.chat.completions.create(model="tiny-a", messages=[{"role": "user", "content": "broken"}])
    assert "secret" not in str(fault.value.body)


def test_a_fault_in_the_middle_of_a_stream_reaches_the_client(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "broken"}]
    with pytest.raises(openai.APIError, match="the service failed"):
        list(client.chat.completions.create(model="tiny-a", messages=messages, stream=True))
