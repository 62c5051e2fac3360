"""POST /v1/completions through the openai client, over a real student: what it writes, tells and refuses."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch

from rjepa.home import Home
from rjepa.students.loading import Student
from tests.tiny_release import STATEMENT, TAG

PROMPT = f"{STATEMENT}\nMia"


@pytest.fixture(scope="module")
def client(tiny_service: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny_service}/v1", api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def student(tiny_release: tuple[Home, Student]) -> Student:
    return tiny_release[1]


def ids_of(student: Student, text: str) -> list[int]:
    return list(student.tokenizer(text)["input_ids"])


def expected_logprobs(student: Student, ids: list[int]) -> torch.Tensor:
    """[tokens - 1, vocabulary]: what transformers gives for each token but the first."""
    with torch.inference_mode():
        return student.model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)


def test_a_text_goes_on_as_the_model_alone_would(client: openai.OpenAI, student: Student) -> None:
    reply = client.completions.create(model=TAG, prompt=PROMPT, temperature=0, max_tokens=12)
    ids = ids_of(student, PROMPT)
    written = student.model.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=12, pad_token_id=student.pad_id
    )[0, len(ids) :].tolist()
    text = student.tokenizer.decode(written, skip_special_tokens=True)
    assert reply.choices[0].text == text and reply.object == "text_completion"
    assert reply.usage is not None and reply.usage.prompt_tokens == len(ids)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_texts_and_token_ids_one_or_many_give_the_same(client: openai.OpenAI, student: Student) -> None:
    other = "Mia has 1 apples"
    kinds: list[Any] = [[PROMPT, other], [ids_of(student, PROMPT), ids_of(student, other)]]
    both = [client.completions.create(model=TAG, prompt=kind, seed=4, max_tokens=10, n=2) for kind in kinds]
    first, second = ([choice.text for choice in reply.choices] for reply in both)
    assert first == second and len(first) == 4
    assert [choice.index for choice in both[0].choices] == [0, 1, 2, 3]
    alone = client.completions.create(model=TAG, prompt=ids_of(student, PROMPT), seed=4, max_tokens=10, n=2)
    assert [choice.text for choice in alone.choices] == first[:2]


def test_a_stream_adds_up_to_the_whole_and_its_usage_too(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": TAG,
        "prompt": [PROMPT, "so"],
        "seed": 1,
        "max_tokens": 20,
        "logprobs": 2,
        "echo": True,
    }
    whole = client.completions.create(**asked)
    texts, tokens, values, finishes, usage = {}, {}, {}, {}, None
    for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            finishes[choice.index] = choice.finish_reason or finishes.get(choice.index)
            if choice.logprobs is not None:
                tokens.setdefault(choice.index, []).extend(choice.logprobs.tokens or [])
                values.setdefault(choice.index, []).extend(choice.logprobs.token_logprobs or [])
    for choice in whole.choices:
        assert texts[choice.index] == choice.text and finishes[choice.index] == choice.finish_reason
        assert choice.logprobs is not None and tokens[choice.index] == choice.logprobs.tokens
        np.testing.assert_allclose(values[choice.index][1:], choice.logprobs.token_logprobs[1:], atol=1e-4)
    assert usage == whole.usage


@pytest.mark.parametrize("limit", [0, 1])
def test_echo_tells_the_log_likelihood_of_a_prompt(client: openai.OpenAI, student: Student, limit: int) -> None:
    reply = client.completions.create(
        model=TAG, prompt=PROMPT, echo=True, logprobs=1, max_tokens=limit, temperature=0
    ).choices[0]
    ids = ids_of(student, PROMPT)
    logprobs = expected_logprobs(student, ids)
    told = reply.logprobs
    assert told is not None and told.token_logprobs is not None and told.top_logprobs is not None
    # One entry a token, and one for what was written, even where that ends the sequence: harnesses cut it off.
    assert len(told.token_logprobs) == len(told.tokens) == len(ids) + limit
    assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
    own = logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    np.testing.assert_allclose(told.token_logprobs[1 : len(ids)], own, atol=1e-4)
    greedy = [
        value == max(top.values()) for value, top in zip(told.token_logprobs, told.top_logprobs, strict=True) if top
    ]
    assert greedy[: len(ids) - 1] == (logprobs.argmax(-1) == torch.tensor(ids[1:])).tolist()
    assert reply.text.startswith(PROMPT) and "".join(told.tokens[: len(ids)]) == PROMPT
    assert told.text_offset[: len(ids)] == [len("".join(told.tokens[:place])) for place in range(len(ids))]


def test_a_text_ends_before_what_it_is_to_stop_at(client: openai.OpenAI) -> None:
    plain = client.completions.create(model=TAG, prompt=PROMPT, temperature=0, max_tokens=20).choices[0].text
    stop = plain[5:8]
    asked: dict[str, Any] = {
        "model": TAG,
        "prompt": PROMPT,
        "temperature": 0,
        "max_tokens": 20,
        "stop": [stop],
        "logprobs": 0,
    }
    reply = client.completions.create(**asked).choices[0]
    assert reply.text == plain[: plain.index(stop)] and reply.finish_reason == "stop"
    chunks = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True)]
    assert "".join(chunk.text for chunk in chunks) == reply.text and chunks[-1].finish_reason == "stop"
    told = [token for chunk in chunks if chunk.logprobs for token in chunk.logprobs.tokens or []]
    assert reply.logprobs is not None and told == reply.logprobs.tokens


def test_an_answer_line_ends_no_plain_text(client: openai.OpenAI, student: Student) -> None:
    prompt = f"{STATEMENT}\nAnswer:"
    reply = client.completions.create(model=TAG, prompt=prompt, temperature=0, max_tokens=12)
    ids = ids_of(student, prompt)
    written = student.model.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=12, pad_token_id=student.pad_id
    )[0, len(ids) :].tolist()
    assert reply.choices[0].text == student.tokenizer.decode(written, skip_special_tokens=True)


def test_a_bias_chooses_the_token_and_the_limit_ends_the_text(client: openai.OpenAI) -> None:
    biased = client.completions.create(
        model=TAG, prompt=PROMPT, max_tokens=6, logit_bias={"5": 100}, frequency_penalty=-2
    )
    assert biased.usage is not None and biased.usage.completion_tokens == 6
    assert biased.choices[0].finish_reason == "length"


def test_the_best_of_several_is_the_most_probable(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": TAG,
        "prompt": PROMPT,
        "seed": 3,
        "max_tokens": 10,
        "temperature": 1.5,
        "logprobs": 0,
    }
    all_of_them = client.completions.create(**asked, n=5).choices
    best = client.completions.create(**asked, n=2, best_of=5)

    def mean(choice: Any) -> float:
        pairs = zip(choice.logprobs.tokens, choice.logprobs.token_logprobs, strict=True)
        values = [value for token, value in pairs if token != "<|end|>"]
        return float(np.mean(values))

    expected = sorted(all_of_them, key=lambda choice: -mean(choice))[:2]
    assert [choice.text for choice in best.choices] == [choice.text for choice in expected]
    assert best.usage is not None and best.usage.completion_tokens == sum(
        len(one.logprobs.tokens) for one in all_of_them
    )


def test_what_other_servers_users_send_is_taken_or_listed(tiny_service: str) -> None:
    body = {
        "model": TAG, "prompt": PROMPT, "max_tokens": 6.0, "seed": -1, "top_k": -1, "min_p": 0.1, "user": "u",
        "repetition_penalty": 1.1, "stop": None, "logprobs": None, "suffix": None, "best_of": 1, "stream": False,
    }  # fmt: skip
    reply = httpx.post(f"{tiny_service}/v1/completions", json=body, timeout=60)
    assert reply.status_code == 200 and reply.headers["x-rjepa-ignored"] == "user, repetition_penalty"
    told = reply.json()["rjepa"]
    assert told["ignored"] == ["user", "repetition_penalty"]
    long = httpx.post(f"{tiny_service}/v1/completions", json=body | {"max_tokens": 100_000}, timeout=60).json()
    assert any("max_tokens" in line for line in long["rjepa"]["adjusted"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"best_of": 2, "stream": True}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"prompt": ""}, None),
        ({"prompt": [999_999]}, None),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": "many words " * 400}, None),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"999999": 1}}, None),
        ({"model": f"{TAG}:rerank"}, "model"),
        ({"logprobs": 6}, "logprobs"),
        ({"stop": ["x"] * 40}, "stop"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_with_a_cure(
    tiny_service: str, change: dict[str, Any], field: str | None
) -> None:
    body = {"model": TAG, "prompt": PROMPT, "max_tokens": 4} | change
    reply = httpx.post(f"{tiny_service}/v1/completions", json=body, timeout=60)
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["type"] == "invalid_request_error" and error["cure"]
    assert field is None or error["param"] == field, json.dumps(error)
