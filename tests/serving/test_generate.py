"""POST /v1/generate over a real release: the same answer as in a chat, in a simple form."""

import httpx
import pytest

from tests.tiny_release import STATEMENT, TAG


@pytest.mark.parametrize("mode", ["off", "rerank"])
def test_a_problem_has_the_answer_that_it_has_in_a_chat(tiny_service: str, mode: str) -> None:
    options = {"num_candidates": 3} if mode == "rerank" else {}
    body = {"problem": STATEMENT, "model": TAG, "mode": mode, "options": options, "seed": 3, "max_tokens": 40}
    reply = httpx.post(f"{tiny_service}/v1/generate", json=body, timeout=60).raise_for_status().json()
    chat = {
        "model": TAG,
        "messages": [{"role": "user", "content": STATEMENT}],
        "rjepa": {"mode": mode, **options},
        "seed": 3,
        "max_tokens": 40,
    }
    told = httpx.post(f"{tiny_service}/v1/chat/completions", json=chat, timeout=60).raise_for_status().json()
    assert reply["object"] == "rjepa.answer" and reply["text"] == told["choices"][0]["message"]["content"]
    assert reply["usage"] == told["usage"]
    assert (mode == "rerank") == (reply["p_correct"] is not None)
    for field in ("p_correct", "final_answer"):
        assert reply[field] == told["rjepa"][field]


def test_what_is_unknown_is_listed_and_a_question_without_a_problem_is_refused(tiny_service: str) -> None:
    body = {"problem": STATEMENT, "mode": "off", "max_tokens": 5, "top_a": 1}
    reply = httpx.post(f"{tiny_service}/v1/generate", json=body, timeout=60).raise_for_status()
    assert "top_a" in reply.text
    refused = httpx.post(f"{tiny_service}/v1/generate", json={"mode": "off"}, timeout=60)
    assert refused.status_code == 400 and "problem" in refused.json()["error"]["message"]
