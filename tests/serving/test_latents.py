"""Embeddings, similarity, and what R-JEPA makes of chains that are given: through real clients, over a real release."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from safetensors.numpy import load

from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.reasoning.question import ask
from rjepa.sampling.local import LocalSource
from rjepa.students.loading import Student
from tests.tiny_release import STATEMENT, TAG

TEXTS = ["Mia has 3 apples", "Mia has 3 apples and buys 4", "Tom sold many books \u00e9t\u00e9"]
CHAIN = {"steps": ["Mia has 3 + 4 = 7", "so 7 apples"], "answer": "7"}


@pytest.fixture(scope="module")
def client(tiny_service: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny_service}/v1", api_key="x", max_retries=0) as client:
        yield client


def post(address: str, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    reply = httpx.post(f"{address}/v1/{path}", json=body, timeout=60)
    assert reply.status_code == status, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_a_texts_vector_is_the_mean_of_its_states_with_length_one(
    client: openai.OpenAI, tiny_release: tuple[Home, Student]
) -> None:
    student = tiny_release[1]
    reply = client.embeddings.create(model=TAG, input=TEXTS)  # the client asks for base64 by itself
    floats = client.embeddings.create(model=TAG, input=TEXTS, encoding_format="float")
    ids = [student.tokenizer(text)["input_ids"] for text in TEXTS]
    by_ids = client.embeddings.create(model=TAG, input=ids)
    for index, text in enumerate(ids):
        with torch.inference_mode():
            states = student.model(input_ids=torch.tensor([text]), output_hidden_states=True).hidden_states
        mean = states[student.depth][0].float().mean(0).numpy()
        np.testing.assert_allclose(reply.data[index].embedding, mean / np.linalg.norm(mean), atol=1e-5)
        np.testing.assert_allclose(floats.data[index].embedding, reply.data[index].embedding, atol=1e-6)
        np.testing.assert_allclose(by_ids.data[index].embedding, reply.data[index].embedding, atol=1e-6)
    assert reply.usage.prompt_tokens == sum(map(len, ids)) and reply.data[2].index == 2
    one = client.embeddings.create(model=TAG, input=TEXTS[0])
    np.testing.assert_allclose(one.data[0].embedding, reply.data[0].embedding, atol=1e-5)


def test_texts_that_say_alike_are_more_similar(tiny_service: str) -> None:
    reply = post(tiny_service, "similarity", source=TEXTS[0], texts=[TEXTS[0], *TEXTS[1:]])
    same, alike, other = (one["similarity"] for one in reply["data"])
    assert same == pytest.approx(1, abs=1e-5) and 1 > alike > other
    table = np.array(post(tiny_service, "similarity", texts=TEXTS)["similarities"])
    np.testing.assert_allclose(table, table.T, atol=1e-6)
    assert table[0, 1] == pytest.approx(alike, abs=1e-5)


def test_given_chains_are_judged_as_candidates_that_were_sampled(
    tiny_service: str, tiny_release: tuple[Home, Student]
) -> None:
    engine = Engine.load(tiny_release[0], TAG, "cpu")
    answer = engine.answer(ask(STATEMENT, "rerank", {"num_candidates": 6}, seed=3, temperature=0.7))
    whole = [one for one in answer.candidates if one.finished]
    texts = [one.text for one in answer.candidates]
    reply = post(tiny_service, "rjepa/score", problem=STATEMENT, chains=texts)
    chosen = next(one.index for one in answer.candidates if one.chosen)
    assert reply["chosen"] == chosen and reply["chains"][reply["ranking"][0]]["rank"] == 0
    assert whole
    for given, sampled in zip(reply["chains"], answer.candidates, strict=True):
        energies = [step["energy"] for step in given["steps"]]
        np.testing.assert_allclose(energies, sampled.step_energies, atol=5e-3)
        assert given["logprob"] == pytest.approx(sampled.logprob, abs=0.05)
        assert given["final_answer"] == sampled.final_answer and given["rank"] == sampled.rank
        assert "".join(step["text"] for step in given["steps"]) in given["text"]


def test_steps_and_text_are_the_same_chain_and_its_first_doubtful_step_is_named(tiny_service: str) -> None:
    text = "Step 1: Mia has 3 + 4 = 7\nStep 2: so 7 apples\nAnswer: 7\n"
    reply = post(tiny_service, "rjepa/score", problem=STATEMENT, chains=[text, CHAIN])
    first, second = reply["chains"]
    assert first["text"] == second["text"] and first["steps"] == second["steps"]
    threshold = reply["step_threshold"]
    for chain in reply["chains"]:
        doubtful = [place for place, step in enumerate(chain["steps"], 1) if threshold and step["energy"] > threshold]
        assert chain["first_doubtful_step"] == (doubtful[0] if doubtful else None)
        assert all(0 <= step["share_of_right_steps_below"] <= 1 for step in chain["steps"])
    alone = post(tiny_service, "rjepa/score", problem=STATEMENT, chain=CHAIN)
    assert alone["chains"][0]["steps"][0]["energy"] == pytest.approx(first["steps"][0]["energy"], abs=1e-4)


def test_latents_are_those_that_the_release_reads(tiny_service: str, tiny_release: tuple[Home, Student]) -> None:
    home, student = tiny_release
    listed = post(tiny_service, "rjepa/latents", problem=STATEMENT, chain=CHAIN)["data"][0]
    packed = post(tiny_service, "rjepa/latents", problem=STATEMENT, chain=CHAIN, encoding_format="base64")["data"][0]
    tensors = load(base64.b64decode(packed["safetensors"]))
    np.testing.assert_allclose(np.array(listed["latents"]), tensors["latents"], atol=1e-6)
    (chain,) = LocalSource(student).reader.chains(
        [STATEMENT], ["Step 1: Mia has 3 + 4 = 7\nStep 2: so 7 apples\nAnswer: 7\n"]
    )
    expected = Engine.load(home, TAG, "cpu").parts.reader.read(chain.latents)
    np.testing.assert_allclose(tensors["latents"], expected, atol=1e-3)
    assert listed["segments"] == 4 and listed["energies"][0] == 0 and min(listed["energies"][1:]) > 0
    assert tensors["latents"].dtype == np.float32


def test_what_is_expected_of_a_hidden_step_does_not_depend_on_it(tiny_service: str) -> None:
    steps = ["Mia has 3 + 4 = 7", "so 7 apples"]
    body: dict[str, Any] = {"problem": STATEMENT, "answer": "7"}
    unknown = post(
        tiny_service, "rjepa/predict_masked", steps=[*steps[:1], None], texts={"2": [steps[1], "zzz qq"]}, **body
    )
    (step,) = unknown["data"]
    assert step["step"] == 2 and step["error"] is None and len(step["latent"]) == len(step["restored"]) > 0
    errors = [one["error"] for one in step["texts"]]
    assert errors == sorted(errors) and {one["text"] for one in step["texts"]} == {steps[1], "zzz qq"}
    # The last step of two, without an answer after it: nothing that R-JEPA sees has read it.
    known = post(tiny_service, "rjepa/predict_masked", steps=steps, masked=[2], problem=STATEMENT)["data"][0]
    other = post(tiny_service, "rjepa/predict_masked", steps=[steps[0], "zzz"], masked=[2], problem=STATEMENT)["data"][
        0
    ]
    gone = post(
        tiny_service, "rjepa/predict_masked", steps=[steps[0], None], problem=STATEMENT, texts={"2": [steps[1]]}
    )["data"][0]
    np.testing.assert_allclose(known["latent"], other["latent"], atol=1e-4)
    np.testing.assert_allclose(known["latent"], gone["latent"], atol=1e-4)
    assert known["error"] != pytest.approx(other["error"]) and gone["texts"][0]["error"] == pytest.approx(
        known["error"], abs=1e-3
    )


def test_a_problem_in_an_answer_out(tiny_service: str) -> None:
    body = {"problem": STATEMENT, "seed": 5, "mode": "rerank", "options": {"num_candidates": 3}}
    reply, again = post(tiny_service, "generate", **body), post(tiny_service, "generate", **body)
    assert reply["text"] == again["text"] and reply["steps"] and len(reply["rjepa"]["candidates"]) == 3
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]
    assert post(tiny_service, "generate", problem=STATEMENT)["rjepa"]["mode"] == "off"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("embeddings", {"model": TAG, "input": "a", "dimensions": 3}),
        ("embeddings", {"model": TAG, "input": []}),
        ("embeddings", {"model": TAG, "input": ""}),
        ("embeddings", {"model": TAG, "input": [[1, 99_999_999]]}),
        ("embeddings", {"model": f"{TAG}:rerank", "input": "a"}),
        ("embeddings", {"model": TAG, "input": "many words " * 500}),
        ("similarity", {"texts": ["a", ""]}),
        ("rjepa/score", {"problem": STATEMENT}),
        ("rjepa/score", {"problem": STATEMENT, "chains": [""]}),
        ("rjepa/score", {"problem": STATEMENT, "chains": [{"text": "a", "steps": ["b"]}]}),
        ("rjepa/score", {"problem": STATEMENT, "chains": ["many words " * 500]}),
        ("rjepa/score", {"problem": "many words " * 500, "chains": ["a"]}),
        ("rjepa/latents", {"problem": "", "chain": "a"}),
        ("rjepa/predict_masked", {"problem": STATEMENT, "steps": ["a", "b"]}),
        ("rjepa/predict_masked", {"problem": STATEMENT, "steps": [None]}),
        ("rjepa/predict_masked", {"problem": STATEMENT, "steps": ["a", None], "masked": [9]}),
        ("rjepa/predict_masked", {"problem": STATEMENT, "steps": ["a", None], "texts": {"1": ["b"]}}),
        ("rjepa/predict_masked", {"problem": STATEMENT, "steps": ["a", None], "texts": {"x": ["b"]}}),
        ("generate", {"problem": "  "}),
        ("generate", {"problem": STATEMENT, "mode": "none"}),
        ("generate", {"problem": STATEMENT, "options": {"no_such_option": 1}}),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)
def test_what_cannot_be_read_is_refused_with_a_cure(tiny_service: str, path: str, body: dict[str, Any]) -> None:
    error = post(tiny_service, path, 400, **body)["error"]
    assert error["type"] == "invalid_request_error" and error["cure"]
