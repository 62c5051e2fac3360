"""Bodies as real clients send them, against the real service: the rows of "What real clients send", one by one.

The rule: ignore what is unknown and list it; keep limits and say so; refuse only what would change the meaning and
cannot be done; never refuse one's own reply.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.tiny_release import STATEMENT, TAG

QUESTION = {"role": "user", "content": STATEMENT}


@pytest.fixture(scope="module")
def http(tiny_service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tiny_service, timeout=60) as client:
        yield client


def ask(http: httpx.Client, **changes: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": TAG, "messages": [QUESTION], "max_tokens": 8} | changes)


def good(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    value: dict[str, Any] = reply.json()
    return value


def test_turn_two_with_our_own_reply_appended_by_the_openai_client(tiny_service: str) -> None:
    with openai.OpenAI(base_url=f"{tiny_service}/v1", api_key="x", max_retries=0) as client:
        messages: list[Any] = [QUESTION]
        for _ in range(2):
            reply = client.chat.completions.create(model=TAG, messages=messages, max_tokens=8)
            messages += [reply.choices[0].message, {"role": "user", "content": "And two more?"}]
        assert reply.choices[0].message.content and reply.usage.prompt_tokens > 0


def test_our_reply_as_plain_json_with_every_empty_field_that_clients_add(http: httpx.Client) -> None:
    message = good(ask(http))["choices"][0]["message"]
    empties = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
    again = good(ask(http, messages=[QUESTION, message | empties, {"role": "user", "content": "And two more?"}]))
    assert again["rjepa"]["ignored"] == [
        "2 earlier messages"
    ]  # this student has no chat template: it says what it left


def test_the_whole_conversation_with_the_system_message_first(http: httpx.Client) -> None:
    system = {"role": "system", "content": "Be brief."}
    reply = good(ask(http, messages=[system, QUESTION]))
    assert reply["rjepa"]["ignored"] == ["the system message"]


LISTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "vllm's users": (
        {"top_k": -1, "min_p": 0.05, "repetition_penalty": 1.05, "chat_template_kwargs": {"enable_thinking": False}},
        ["repetition_penalty", "chat_template_kwargs"],
    ),
    "openrouter's users": (
        {"reasoning": {"effort": "low"}, "include_reasoning": True},
        ["reasoning", "include_reasoning"],
    ),
    "an empty prediction": ({"prediction": None, "functions": [], "metadata": {}}, []),
    "the openai client's extras": (
        {"user": "u-1", "store": True, "service_tier": "auto", "reasoning_effort": "low", "parallel_tool_calls": True},
        ["store", "service_tier", "reasoning_effort", "parallel_tool_calls"],
    ),
    "extra keys in a message": (
        {"messages": [QUESTION | {"id": "m1", "metadata": {"a": 1}, "reasoning_content": "hm"}]},
        ["messages.id", "messages.metadata", "messages.reasoning_content"],
    ),
    "content parts with cache_control": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": STATEMENT, "cache_control": {"type": "ephemeral"}}],
                }
            ]
        },
        ["messages.content.cache_control"],
    ),
    "tools": (
        {"tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}], "tool_choice": "auto"},
        ["tools"],
    ),
    "a name that is no name": ({"a b\r\nset-cookie: x": 1}, ["?"]),
}


@pytest.mark.parametrize("client", LISTED)
def test_what_is_unknown_is_ignored_and_listed(http: httpx.Client, client: str) -> None:
    changes, names = LISTED[client]
    reply = ask(http, **changes)
    assert good(reply)["rjepa"]["ignored"] == names
    assert reply.headers.get("x-rjepa-ignored", "") == ", ".join(names)


def test_a_stream_lists_it_in_its_headers_and_at_its_end(http: httpx.Client) -> None:
    reply = ask(http, typical_p=0.9, stream=True)
    assert reply.headers["x-rjepa-ignored"] == "typical_p"
    assert '"ignored":["typical_p"]' in reply.text and reply.text.endswith("data: [DONE]\n\n")


def test_an_assistant_message_without_content_and_the_tool_s_reply(http: httpx.Client) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [
        QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
        {"role": "user", "content": STATEMENT},
    ]
    reply = good(ask(http, messages=messages))
    assert "messages.tool_calls" in reply["rjepa"]["ignored"]


def test_an_image_is_refused_and_says_how_to_mend_it(http: httpx.Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    reply = ask(http, messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}])
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["param"] == "messages.content" and "leave that part out" in error["cure"]


def test_optillm_s_best_of_n_asks_for_three_choices(http: httpx.Client) -> None:
    reply = good(ask(http, n=3, temperature=1, max_tokens=4096, seed=5))
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in reply["choices"]}) > 1
    assert [reply["rjepa"]["seed"], *(c["rjepa"]["seed"] for c in reply["choices"][1:])] == [5, 6, 7]
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_with_rerank_n_gives_the_best_candidates_best_first(http: httpx.Client) -> None:
    reply = good(ask(http, model=f"{TAG}:rerank", n=3, seed=5, max_tokens=64))
    candidates = reply["rjepa"]["candidates"]
    best = [c for c in candidates if c["chosen"]] + sorted(
        (c for c in candidates if not c["chosen"]), key=lambda c: c["rank"]
    )
    assert [choice["message"]["content"] for choice in reply["choices"]] == [c["text"] for c in best[:3]]
    assert reply["usage"]["completion_tokens"] == reply["rjepa"]["cost"]["tokens_generated"]


def test_n_above_the_number_of_candidates_makes_more_of_them(http: httpx.Client) -> None:
    reply = good(ask(http, model=f"{TAG}:rerank", n=10))
    assert len(reply["choices"]) == 10 == len(reply["rjepa"]["candidates"])
    assert "num_candidates" in reply["rjepa"]["adjusted"][0]


def test_a_stream_of_several_choices_holds_the_same_texts(http: httpx.Client) -> None:
    for model in (TAG, f"{TAG}:rerank"):
        with openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0) as client:
            asked: dict[str, Any] = {"model": model, "messages": [QUESTION], "n": 2, "seed": 3, "max_tokens": 24}
            whole = client.chat.completions.create(**asked)
            texts = ["", ""]
            finished = set()
            for chunk in client.chat.completions.create(**asked, stream=True):
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
                    finished |= {choice.index} if choice.finish_reason else set()
            assert texts == [choice.message.content for choice in whole.choices] and finished == {0, 1}


ADJUSTED: dict[str, tuple[dict[str, Any], str | None]] = {
    "a seed of llama.cpp's users": ({"seed": -1}, "seed"),
    "a negative seed": ({"seed": -7}, "seed"),
    "a seed of 63 bits": ({"seed": 2**62 + 1}, "seed"),
    "no limit, by llama.cpp's users": ({"max_tokens": -1}, "max_tokens"),
    "a limit above ours": ({"max_tokens": 100_000}, "max_tokens"),
    "a limit above ours by its newer name": ({"max_tokens": None, "max_completion_tokens": 32_000}, "max_tokens"),
    "a whole number as JavaScript writes it": ({"max_tokens": 16.0, "seed": 3.0, "n": 1.0}, None),
}


@pytest.mark.parametrize("habit", ADJUSTED)
def test_limits_are_kept_and_said(http: httpx.Client, habit: str) -> None:
    changes, name = ADJUSTED[habit]
    reply = ask(http, **changes)
    said = good(reply)["rjepa"]["adjusted"]
    assert reply.headers.get("x-rjepa-adjusted") == name
    assert [one.partition(":")[0] for one in said] == ([name] if name else [])


def test_an_answer_that_reaches_its_limit_says_so(http: httpx.Client) -> None:
    assert good(ask(http, max_tokens=2))["choices"][0]["finish_reason"] == "length"


def test_temperature_0_is_no_reason_to_refuse_a_mode_that_was_chosen_by_name(http: httpx.Client) -> None:
    reply = good(ask(http, model=f"{TAG}:rerank", temperature=0))
    assert "temperature" in reply["rjepa"]["adjusted"][0] and len(reply["rjepa"]["candidates"]) == 8
    strict = ask(http, temperature=0, rjepa={"mode": "rerank"})
    assert strict.status_code == 400 and strict.json()["error"]["param"] == "temperature"


def test_a_long_few_shot_prompt_is_measured_against_the_context_and_nothing_else(http: httpx.Client) -> None:
    shots: list[dict[str, str]] = []
    for _ in range(100):
        shots += [QUESTION, {"role": "assistant", "content": "Step 1: 3 + 4 = 7\nAnswer: 7\n" + "x" * 100}]
    assert len(str(shots)) > 16_000
    good(ask(http, messages=[*shots, QUESTION]))
    reply = ask(http, messages=[{"role": "user", "content": "apples " * 3000}])
    assert reply.status_code == 400 and "tokens" in reply.json()["error"]["message"]


def test_a_json_schema_is_refused_where_it_cannot_be_kept(http: httpx.Client) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    error = ask(http, response_format=form).json()["error"]
    assert error["param"] == "response_format" and error["cure"]
    assert ask(http, response_format={"type": "text"}).status_code == 200


def test_a_stream_with_usage_ends_with_a_chunk_without_choices(http: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0) as client:
        options = {"include_usage": True, "include_obfuscation": False}
        chunks = list(
            client.chat.completions.create(
                model=TAG, messages=[QUESTION], stream=True, stream_options=options, max_tokens=8
            )
        )
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 8
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_rule_is_told_by_the_service_itself(http: httpx.Client) -> None:
    assert "ignored" in http.get("/v1/info").json()["parameters"]
