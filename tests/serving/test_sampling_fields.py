"""How tokens are drawn and what is told of them, through the chat route, on the real service."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.tiny_release import STATEMENT, TAG

MESSAGES: list[Any] = [{"role": "user", "content": STATEMENT}]


@pytest.fixture(scope="module")
def client(tiny_service: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny_service}/v1", api_key="x", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, model: str = TAG, **changes: Any) -> Any:
    return client.chat.completions.create(model=model, messages=MESSAGES, **changes)


def test_a_stop_string_ends_the_text_before_it(client: openai.OpenAI) -> None:
    plain = ask(client).choices[0].message.content
    reply = ask(client, stop=["", "Step 2"])
    assert "Step 2" in plain and reply.choices[0].message.content == plain.partition("Step 2")[0]
    assert reply.choices[0].finish_reason == "stop"


def test_log_probabilities_of_the_tokens_of_the_text(client: openai.OpenAI) -> None:
    choice = ask(client, logprobs=True, top_logprobs=2).choices[0]
    told = choice.logprobs.content
    assert "".join(token.token for token in told) == choice.message.content
    for token in told:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2 and bytes(token.bytes).decode() == token.token
        assert token.top_logprobs[0].logprob >= token.logprob  # a greedy token is the most probable one
    assert ask(client).choices[0].logprobs is None


@pytest.mark.parametrize("mode", ["off", "rerank"])
def test_a_stream_brings_the_same_log_probabilities(client: openai.OpenAI, mode: str) -> None:
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 1, "seed": 4}
    whole = ask(client, f"{TAG}:{mode}", **asked).choices[0].logprobs.content
    chunks = list(ask(client, f"{TAG}:{mode}", stream=True, **asked))
    streamed = [
        token for chunk in chunks for token in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert [(token.token, token.logprob) for token in streamed] == [(token.token, token.logprob) for token in whole]


def test_each_of_the_best_candidates_has_its_own(client: openai.OpenAI) -> None:
    reply = ask(client, f"{TAG}:rerank", logprobs=True, n=2, seed=4)
    for choice in reply.choices:
        assert "".join(token.token for token in choice.logprobs.content) == choice.message.content


def test_a_banned_token_is_not_drawn(client: openai.OpenAI) -> None:
    first = ask(client, logprobs=True, top_logprobs=1, extra_body={"rjepa": {"mode": "off"}})
    identity = first.model_extra["rjepa"]["receipt"]
    assert identity["asked"]["top_logprobs"] == 1
    banned = {str(token): -100 for token in range(40)}
    assert ask(client, logit_bias=banned).choices[0].message.content != first.choices[0].message.content


def test_narrow_and_penalised_draws_are_those_of_the_receipt(client: openai.OpenAI) -> None:
    drawing = {"top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.25, "stop": "Answer"}
    reply = ask(client, temperature=0.9, seed=3, extra_body={"top_k": 5, "min_p": 0.01}, **drawing)
    asked = reply.model_extra["rjepa"]["receipt"]["asked"]
    assert {name: asked[name] for name in drawing} == drawing | {"stop": ["Answer"]}
    assert (asked["top_k"], asked["min_p"], reply.model_extra["rjepa"]["ignored"]) == (5, 0.01, [])
    narrow = {ask(client, temperature=2, top_p=0, seed=seed).choices[0].message.content for seed in range(3)}
    assert narrow == {ask(client).choices[0].message.content}


def test_more_alternatives_than_there_are_is_the_most_that_there_are(tiny_service: str) -> None:
    body = {"model": TAG, "messages": MESSAGES, "logprobs": True, "top_logprobs": 50, "max_tokens": 2}
    reply = httpx.post(f"{tiny_service}/v1/chat/completions", json=body, timeout=60)
    assert reply.status_code == 200 and reply.headers["x-rjepa-adjusted"] == "top_logprobs"
    assert len(reply.json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 20


def test_the_responses_route_tells_them_where_they_are_included(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": TAG,
        "input": STATEMENT,
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 1,
    }
    reply = client.responses.create(**asked)
    part = reply.output[0].content[0]
    assert "".join(token.token for token in part.logprobs) == part.text
    events = list(client.responses.create(**asked, stream=True))
    streamed = [one.token for event in events if event.type == "response.output_text.delta" for one in event.logprobs]
    assert "".join(streamed) == part.text
