"""Feedback over HTTP: votes, consent, tickets, one's own contributions; with the `openai` client where it can."""

import functools
import json
from collections.abc import Callable, Iterator
from typing import get_args

import httpx
import openai
import pytest
from fastapi.testclient import TestClient

from rjepa.database import open_database
from rjepa.feedback.consent import CONSENT_VERSION
from rjepa.feedback.decisions import OUTCOMES, Reason
from rjepa.feedback.interactions import list_interactions
from rjepa.home import Home
from rjepa.keys import create_key
from serving.app import create_app
from serving.pages import Language, words
from serving.settings import ServiceSettings

from .fakes import fake_loader, ready

MESSAGES = [{"role": "user", "content": "Mia (mia@example.org) has 14 pens and gets 5. Tom has 2 fewer. How many?"}]
RERANK = {"mode": "rerank", "num_candidates": 3}


def ask(client: TestClient, **more: object) -> dict:
    body = {"model": "tiny-a", "messages": MESSAGES, "rjepa": RERANK, **more}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def say(client: TestClient, answered: dict, **more: object) -> httpx.Response:
    return client.post("/v1/feedback", json={"id": answered["id"], **more})


def field_of(chunk: openai.types.chat.ChatCompletionChunk) -> dict:
    return (chunk.model_extra or {}).get("rjepa") or {}


class With:
    """A client that shows a key. All share one loop, as the requests of a real service do."""

    def __init__(self, client: TestClient, key: str) -> None:
        self._client = client
        self._headers = {"authorization": f"Bearer {key}"}

    def __getattr__(self, method: str) -> Callable[..., httpx.Response]:
        return functools.partial(getattr(self._client, method), headers=self._headers)


@pytest.fixture
def keyed(settings: ServiceSettings, home: Home) -> Iterator[dict[str, With]]:
    """A service that asks for keys, and a client for each of two users, a viewer and an operator."""
    with open_database(home) as database:
        roles = {"alice": "user", "bob": "user", "vera": "viewer", "olga": "operator"}
        keys = {name: create_key(database, name, role)[0] for name, role in roles.items()}  # type: ignore[arg-type]
    app = create_app(settings.model_copy(update={"require_key": True}), fake_loader(home))
    with ready(app) as first:
        yield {name: With(first, key) for name, key in keys.items()}  # type: ignore[misc]


def test_a_vote_is_taken_without_keeping_any_word(client: TestClient, home: Home) -> None:
    reply = ask(client)
    told = say(client, reply, vote="up").json()
    assert (told["vote"], told["kept"], told["interaction"]) == ("up", False, None)
    assert say(client, reply, vote="down").json()["vote"] == "down"
    assert client.get(f"/v1/feedback/{reply['id']}").json()["vote"] == "down"
    assert client.get("/v1/me").json()["contributions"] == 0
    assert b"Mia" not in b"".join(path.read_bytes() for path in home.root.glob("rjepa.db*"))


def test_with_consent_an_answer_is_kept_redacted_with_all_that_can_be_learned_from(client: TestClient) -> None:
    reply = ask(client)
    told = say(client, reply, vote="up", consent=True, comment="thanks, tom@example.org").json()
    kept = told["interaction"]
    assert told["kept"] and told["comment"] == "thanks, <EMAIL>"
    assert kept["content"]["messages"][0]["content"].startswith("Mia (<EMAIL>) has 14 pens")
    assert kept["content"]["text"] == reply["choices"][0]["message"]["content"]
    assert kept["content"]["candidates"][1]["step_energies"] == [1.4, 1.8]
    assert (kept["mode"], kept["release"], kept["p_correct"]) == ("rerank", reply["system_fingerprint"], 0.75)
    assert kept["seed"] == reply["rjepa"]["seed"] and kept["consent"] == CONSENT_VERSION


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"id": "chatcmpl-never"}, 404, "no answer 'chatcmpl-never' is known here"),
        ({"id": "chatcmpl-never", "ticket": "t1.abc.def"}, 400, "not made by this service"),
        ({"vote": None}, 400, "nothing is said"),
        ({"comment": "fine"}, 400, "consent alone"),
        ({"vote": "sideways"}, 400, "vote"),
        ({"consent": "yes"}, 400, "consent"),
        ({"consent": True, "consent_version": "old"}, 409, "words that are not the ones of today"),
        ({"unknown": 1}, 400, "unknown"),
        ({"comment": "x" * 5000, "consent": True}, 400, "comment"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_cure(client: TestClient, more: dict, status: int, words: str) -> None:
    refused = say(client, ask(client), **({"vote": "up"} | more))
    error = refused.json()["error"]
    assert refused.status_code == status and words in error["message"] and error["cure"]
    assert client.get("/v1/me").json()["contributions"] == 0


def test_consent_can_be_given_with_the_question(client: TestClient) -> None:
    reply = ask(client, rjepa={**RERANK, "consent": True})
    assert reply["rjepa"]["kept"] is True
    assert client.get(f"/v1/feedback/{reply['id']}").json()["kept"]
    assert "kept" not in ask(client)["rjepa"]
    spoken = client.post("/v1/responses", json={"model": "tiny-a", "input": "How many?", "rjepa": {"consent": True}})
    simple = client.post("/v1/generate", json={"problem": "How many?", "options": {"consent": True}})
    for other in (spoken.json(), simple.json()):
        assert client.get(f"/v1/feedback/{other['id']}").json()["kept"]


def test_withdrawing_consent_deletes_what_is_kept(client: TestClient) -> None:
    reply = ask(client, rjepa={**RERANK, "consent": True})
    told = say(client, reply, consent=False).json()
    assert not told["kept"] and told["interaction"]["content"] is None and told["interaction"]["deleted_at_ms"]
    again = say(client, reply, consent=True)
    assert again.status_code == 404 and "deleted" in again.json()["error"]["message"]


def test_one_sees_exports_and_deletes_what_is_ones_own(keyed: dict[str, With]) -> None:
    alice, bob = keyed["alice"], keyed["bob"]
    first, second = (ask(alice, rjepa={**RERANK, "consent": True}) for _ in range(2))
    assert say(bob, first, vote="up").status_code == 404, "not his"
    assert bob.get(f"/v1/feedback/{first['id']}").status_code == 404
    assert bob.delete(f"/v1/feedback/{first['id']}").status_code == 404
    assert bob.get("/v1/me/contributions").text == ""
    exported = alice.get("/v1/me/contributions")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line)["id"] for line in exported.text.splitlines()] == [first["id"], second["id"]]
    assert alice.delete(f"/v1/feedback/{first['id']}").json()["deleted"]
    assert alice.delete("/v1/me/contributions").json()["deleted"] == 1
    assert [json.loads(line)["content"] for line in alice.get("/v1/me/contributions").text.splitlines()] == [None] * 2
    assert keyed["vera"].get("/v1/me").status_code == 403


def test_users_of_one_key_are_kept_apart_and_their_names_nowhere(keyed: dict[str, With], home: Home) -> None:
    alice = keyed["alice"]
    zoe = ask(alice, user="zoe@example.org", rjepa={**RERANK, "consent": True})
    yan = ask(alice, safety_identifier="yan", rjepa={**RERANK, "consent": True})
    assert say(alice, zoe, vote="up", user="yan").status_code == 404
    assert say(alice, zoe, vote="up", user="zoe@example.org").json()["vote"] == "up"
    assert len(alice.get("/v1/me/contributions", params={"user": "yan"}).text.splitlines()) == 1
    assert alice.delete("/v1/me/contributions", params={"user": "zoe@example.org"}).json()["deleted"] == 1
    assert alice.get(f"/v1/feedback/{yan['id']}", params={"user": "yan"}).json()["kept"]
    assert alice.get("/v1/me").json()["contributions"] == 1, "the key's holder sees all of its users"
    assert b"zoe@example" not in b"".join(path.read_bytes() for path in home.root.glob("rjepa.db*"))
    assert zoe["rjepa"]["ignored"] == []


def test_who_opts_out_is_not_asked_again(client: TestClient) -> None:
    assert client.post("/v1/me/opt-out").json()["opted_out"]
    reply = ask(client, rjepa={**RERANK, "consent": True})
    assert reply["rjepa"]["kept"] is False and "opted out" in reply["rjepa"]["not_kept"]
    refused = say(client, reply, consent=True)
    assert refused.status_code == 409 and refused.json()["error"]["code"] == "opted_out"
    assert client.get("/v1/me").json()["opted_out"]
    assert not client.delete("/v1/me/opt-out").json()["opted_out"]
    assert say(client, reply, consent=True).json()["kept"]


@pytest.mark.parametrize("way", ["chat", "responses", "generate"])
def test_after_a_restart_the_ticket_proves_what_was_given(
    way: str, settings: ServiceSettings, home: Home, client: TestClient
) -> None:
    if way == "chat":
        reply = ask(client, temperature=1)
    elif way == "responses":
        body = {"model": "tiny-a", "input": MESSAGES[0]["content"], "rjepa": RERANK}
        reply = client.post("/v1/responses", json=body).json()
    else:
        body = {"problem": MESSAGES[0]["content"], "mode": "rerank", "options": {"num_candidates": 3}}
        reply = client.post("/v1/generate", json=body).json()
    ticket = reply["rjepa"]["ticket"]
    with TestClient(create_app(settings, fake_loader(home)), base_url="http://localhost") as other:
        assert say(other, reply, vote="up").status_code == 404
        assert say(other, reply, vote="up", ticket=ticket).json()["vote"] == "up"
        missing = say(other, reply, consent=True, ticket=ticket)
        assert missing.status_code == 400 and "not held here any more" in missing.json()["error"]["message"]
        forged = json.loads(json.dumps(reply).replace("14 + 5 = 19", "14 + 5 = 18"))
        refused = say(other, reply, consent=True, ticket=ticket, reply=forged, messages=MESSAGES)
        assert refused.status_code == 400 and "is not the one of that answer" in refused.json()["error"]["message"]
        elsewhere = [{"role": "user", "content": "Something else?"}]
        assert say(other, reply, consent=True, ticket=ticket, reply=reply, messages=elsewhere).status_code == 400
        assert say(other, reply, consent=True, ticket=ticket, reply={"a": 1}, messages=MESSAGES).status_code == 400
        brought = say(other, reply, consent=True, ticket=ticket, reply=reply, messages=MESSAGES)
        assert brought.json()["kept"], brought.text
        assert brought.json()["interaction"]["content"]["final_answer"] == "17"


def test_the_openai_client_brings_what_feedback_needs(address: str, home: Home) -> None:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="not needed", max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model="tiny-a:rerank", messages=MESSAGES, stream=True, user="zoe", extra_body={"rjepa": {}}
            )
        )
        ticket = next(field["ticket"] for field in map(field_of, chunks) if "ticket" in field)
        told = client.post(
            "/feedback",
            body={"id": chunks[0].id, "vote": "up", "consent": True, "ticket": ticket, "user": "zoe"},
            cast_to=object,
        )
        assert told["kept"]  # type: ignore[index]
        with pytest.raises(openai.NotFoundError):
            client.post("/feedback", body={"id": "chatcmpl-0", "vote": "up"}, cast_to=object)
    with open_database(home) as database:
        assert [one.content.final_answer for one in list_interactions(database) if one.content] == ["17"]


def test_answers_go_out_where_the_database_cannot_be_opened(settings: ServiceSettings, home: Home) -> None:
    home.database.write_bytes(b"this is no database" * 100)
    with ready(create_app(settings, fake_loader(home))) as client:
        reply = ask(client, rjepa={**RERANK, "consent": True})
        assert reply["rjepa"]["ticket"] is None and reply["rjepa"]["kept"] is False
        refused = say(client, reply, vote="up")
        assert refused.status_code == 503 and "damaged" in refused.json()["error"]["message"]


def test_the_queue_is_for_operators_and_the_funnel_for_all_who_may_look(keyed: dict[str, With]) -> None:
    reply = ask(keyed["alice"], rjepa={**RERANK, "consent": True})
    counts = keyed["vera"].get("/v1/monitor/feedback").json()
    assert (counts["kept"], counts["review"], counts["reason_redacted_question"]) == (1, 1, 1)
    assert "Mia" not in keyed["vera"].get("/v1/monitor/feedback/section").text
    assert keyed["vera"].get("/v1/monitor/review").status_code == 403
    assert keyed["alice"].post("/v1/monitor/review", json={"id": reply["id"], "decision": "accept"}).status_code == 403
    (waiting,) = keyed["olga"].get("/v1/monitor/review").json()["data"]
    assert waiting["id"] == reply["id"] and waiting["content"]["final_answer"] == "17"
    assert "Mia" in keyed["olga"].get("/v1/monitor/feedback/section").text
    decided = keyed["olga"].post("/v1/monitor/review", json={"id": reply["id"], "decision": "accept"})
    assert decided.json() == {"id": reply["id"], "decision": "accept"}
    assert keyed["vera"].get("/v1/monitor/feedback").json()["reason_reviewer_accepted"] == 1
    gone = keyed["olga"].post("/v1/monitor/review", json={"id": "chatcmpl-never", "decision": "skip"})
    assert gone.status_code == 404


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_decision_has_words_in_both_languages(language: Language) -> None:
    known = words(language)["monitor"]
    assert [reason for reason in get_args(Reason) if f"feedback_{reason}" not in known] == []
    assert [outcome for outcome in OUTCOMES if f"outcome_{outcome}" not in known] == []
