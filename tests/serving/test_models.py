"""A mode and a release are chosen by the model's name, on a real service with two releases."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rjepa.engine import Engine
from rjepa.home import Home
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.patience import wait_until
from tests.tiny_release import STATEMENT, TAG, publish, register_student, taught_folder

from .fakes import FakeEngine, fake_loader, running, wait_for_release
from .fakes import publish as publish_fake

MESSAGES: list[Any] = [{"role": "user", "content": STATEMENT}]
GONE = "20200101T000000Z-000000000000"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, list[str]]:
    root = tmp_path_factory.mktemp("models")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    return home, [publish(home, student, root / f"sources{seed}", seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def client(releases: tuple[Home, list[str]]) -> Iterator[openai.OpenAI]:
    app = create_app(ServiceSettings(home=releases[0].root, llm=TAG, api_key=None, _env_file=None))
    with running(app) as address:
        wait_for_release(app)
        with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
            yield client


def ask(client: openai.OpenAI, model: str, **extra: Any) -> dict[str, Any]:
    body = {"rjepa": {"seed": 5} | extra}
    reply = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=24, extra_body=body)
    assert reply.model == model
    return reply.model_extra["rjepa"] | {"text": reply.choices[0].message.content}


def test_the_list_has_an_entry_a_mode_and_one_a_release(
    client: openai.OpenAI, releases: tuple[Home, list[str]]
) -> None:
    first, second = releases[1]
    listed = {model.id: model for model in client.models.list()}
    assert {TAG, f"{TAG}:off", f"{TAG}:rerank", f"{TAG}@{first}", f"{TAG}@{second}"} <= listed.keys()
    assert listed[TAG].model_extra["rjepa"]["release"] == second
    assert set(listed[f"{TAG}@{first}"].model_extra["rjepa"]["modes"]) >= {"off", "rerank"}
    for name in [*listed, f"{TAG}@{first}:rerank"]:
        assert client.models.retrieve(name).id == name


def test_every_name_that_is_listed_answers(client: openai.OpenAI) -> None:
    for name in [model.id for model in client.models.list()]:
        assert ask(client, name)["text"]


def test_a_mode_that_the_release_is_not_fitted_for_is_not_offered(releases: tuple[Home, list[str]]) -> None:
    engine = Engine.load(releases[0], TAG, "cpu")
    assert {"off", "rerank", "repair"} <= set(engine.modes)
    without = engine._parts.calibration.model_copy(update={"step_quantiles": ()})
    engine._parts = replace(engine._parts, calibration=without)
    assert "rerank" in engine.modes and "repair" not in engine.modes


def test_a_mode_is_chosen_by_the_model_s_name(client: openai.OpenAI) -> None:
    assert ask(client, TAG)["mode"] == "off"
    named = ask(client, f"{TAG}:rerank")
    assert named["mode"] == "rerank" and named["text"] == ask(client, TAG, mode="rerank")["text"]
    assert ask(client, f"{TAG}:rerank", mode="rerank", num_candidates=2)["candidates"][1]["index"] == 1


def test_a_release_that_is_not_current_answers_by_its_id(
    client: openai.OpenAI, releases: tuple[Home, list[str]]
) -> None:
    first, second = releases[1]
    old, new = ask(client, f"{TAG}@{first}:rerank"), ask(client, f"{TAG}@{second}:rerank")
    assert (old["release_id"], new["release_id"]) == (first, second)
    assert [c["text"] for c in old["candidates"]] == [c["text"] for c in new["candidates"]]
    assert old["candidates"][0]["step_energies"] != new["candidates"][0]["step_energies"]


def test_two_modes_that_contradict_each_other_are_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="name the mode once") as error:
        ask(client, f"{TAG}:rerank", mode="off")
    assert error.value.param == "rjepa.mode"


@pytest.mark.parametrize(
    "name", [f"{TAG}:telepathy", f"{TAG}@{GONE}", f"{TAG}@..", f"{TAG}@{GONE}:off", "x:y:z", "gpt-5", ""]
)
def test_a_name_of_no_model_is_not_found_and_says_where_the_names_are(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError, match="GET /v1/models") as error:
        ask(client, name)
    assert error.value.code == "model_not_found"


def test_no_more_than_two_older_releases_stay_loaded(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    older = [publish_fake(home, seed) for seed in range(4)][:3]
    engines: list[FakeEngine] = []
    with running(create_app(ServiceSettings(home=home.root, _env_file=None), fake_loader(home, engines))) as address:
        wait_until(lambda: httpx.get(f"{address}/v1/ready").status_code == 200)

        def ask_for(release_id: str) -> None:
            body = {"model": f"tiny-a@{release_id}", "messages": MESSAGES}
            assert httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).status_code == 200

        for release_id in (*older, older[2], older[1], older[0], older[1]):
            ask_for(release_id)
    assert [engine.release_id for engine in engines][1:] == [*older, older[0]]


def test_a_release_whose_bytes_were_changed_is_not_served(
    client: openai.OpenAI, releases: tuple[Home, list[str]], tmp_path: Path
) -> None:
    home, (first, _) = releases
    app = create_app(ServiceSettings(home=home.root, llm=TAG, api_key=None, _env_file=None))
    path = next(home.releases(TAG).joinpath(first).rglob("model.safetensors"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with running(app) as address:
            wait_for_release(app)
            body = {"model": f"{TAG}@{first}", "messages": MESSAGES}
            reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
            assert reply.status_code == 503 and reply.json()["error"]["code"] == "corrupt"
            assert (
                httpx.post(f"{address}/v1/chat/completions", json=body | {"model": TAG}, timeout=60).status_code == 200
            )
    finally:
        path.write_bytes(whole)
