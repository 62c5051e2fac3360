"""LoRAs of a student whose chains a vLLM server writes: the same verbs, by vLLM's own routes."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rjepa.home import Home
from rjepa.sampling.endpoint import key_variable
from rjepa.sampling.endpoint_loras import EndpointLoraError, EndpointLoras
from rjepa.students.catalog import load_record
from rjepa.students.lora.registering import lora_tag
from serving import loras
from serving.app import create_app
from tests.patience import PATIENCE, wait_until
from tests.sampling.servers import serving
from tests.sampling.vllm_server import Vllm
from tests.students.loras import put_lora
from tests.tiny_release import TAG, move_to_endpoint, publish, register_student, taught_folder

from .fakes import running, wait_for_release
from .test_loras import ask, loaded, reload, settings_of

KEY = "key-of-the-endpoint"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Vllm]]:
    root = tmp_path_factory.mktemp("vllm")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, root / "sources")
    for seed, name in enumerate(("night-1", "night-2")):
        put_lora(home, load_record(home, TAG), name, root / name, seed)
    with serving(Vllm(student, models=(TAG,), key=KEY)) as vllm:
        move_to_endpoint(home, load_record(home, TAG), vllm.url, TAG)
        yield home, vllm


@pytest.fixture(scope="module")
def service(home: tuple[Home, Vllm]) -> Iterator[tuple[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(key_variable(TAG), KEY)
        app = create_app(settings_of(home[0]))
        with running(app) as address:
            wait_for_release(app)
            yield address, app


@pytest.fixture
def vllm(home: tuple[Home, Vllm], service: tuple[str, Any]) -> Iterator[Vllm]:
    """The server behind the student's endpoint, afterwards without LoRAs again."""
    yield home[1]
    home[1].updates, home[1].refuses_loras = True, ""
    assert reload(service[0]).status_code == 200
    wait_until(lambda: not home[1].loras)


@pytest.fixture
def client(service: tuple[str, Any]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service[0]}/v1", api_key="x", max_retries=0) as client:
        yield client


def test_loading_choosing_and_taking_out_reach_the_server(
    client: openai.OpenAI, service: tuple[str, Any], home: tuple[Home, Vllm], vllm: Vllm
) -> None:
    address = service[0]
    base = ask(client, TAG)
    assert reload(address, "night-1", "night-2").status_code == 200
    folders = {Path(path) for path in vllm.paths.values()}
    assert folders == {(home[0].root / "loras" / TAG / name).resolve() for name in ("night-1", "night-2")}
    answers = {name: ask(client, f"{TAG}+{name}") for name in ("night-1", "night-2")}
    assert len({base, *answers.values()}) == 3
    assert httpx.delete(f"{address}/v1/lora/night-1").status_code == 200
    wait_until(lambda: len(vllm.loras) == 1)
    assert next(iter(vllm.loras)).startswith(f"{TAG}+night-2-")
    assert ask(client, f"{TAG}+night-2") == answers["night-2"]
    with pytest.raises(openai.NotFoundError):
        ask(client, f"{TAG}+night-1")


def test_latents_of_its_answers_are_those_of_the_student_with_the_lora(
    service: tuple[str, Any], home: tuple[Home, Vllm], vllm: Vllm
) -> None:
    reload(service[0], "night-1")
    source = service[1].state.loras.loaded["night-1"].answerer.source
    assert source.record.llm_tag == lora_tag(TAG, "night-1") and source.record.endpoint == vllm.url
    assert any("lora_A" in name for name, _ in source.student.model.named_parameters())


@pytest.mark.parametrize(
    ("updates", "says", "words"),
    [
        (False, "", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        (True, "LoRA rank 64 is greater than max_lora_rank 16.", "LoRA rank 64 is greater than max_lora_rank 16."),
    ],
)
def test_what_the_server_refuses_changes_nothing(
    client: openai.OpenAI, service: tuple[str, Any], vllm: Vllm, updates: bool, says: str, words: str
) -> None:
    reload(service[0], "night-1")
    before, there = ask(client, f"{TAG}+night-1"), set(vllm.loras)
    vllm.updates, vllm.refuses_loras = updates, says
    refused = reload(service[0], "night-1", "night-2")
    assert refused.status_code == 502 and words in refused.json()["error"]["message"]
    vllm.updates = True
    assert loaded(service[0]) == {"night-1"} and set(vllm.loras) == there
    assert ask(client, f"{TAG}+night-1") == before


def test_a_server_whose_name_leads_to_a_metadata_address_is_not_asked(
    home: tuple[Home, Vllm], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = load_record(home[0], TAG).model_copy(update={"endpoint": "http://innocent.example.com/v1"})
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *given, **more: [(socket.AF_INET, 1, 6, "", ("169.254.169.254", 80))]
    )
    with pytest.raises(EndpointLoraError, match=r"leads to 169\.254\.169\.254"):
        EndpointLoras(record, KEY).load("night-1", "/loras/night-1")


def test_one_that_the_server_forgot_is_loaded_there_again(
    client: openai.OpenAI, service: tuple[str, Any], vllm: Vllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    reload(service[0], "night-1")
    before = ask(client, f"{TAG}+night-1")
    vllm.loras.clear()  # it was started again
    assert reload(service[0], "night-1").status_code == 200
    assert ask(client, f"{TAG}+night-1") == before
    vllm.loras.clear()
    monkeypatch.setattr(loras, "_RENEW_SECONDS", 0.1)
    service[1].state.loras._renew_at = 0.0
    wait_until(lambda: vllm.loras)
    assert ask(client, f"{TAG}+night-1") == before


def test_the_server_keeps_a_lora_until_its_last_answer_has_ended(
    client: openai.OpenAI, service: tuple[str, Any], vllm: Vllm
) -> None:
    reload(service[0], "night-1")
    vllm.writes.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, client, f"{TAG}+night-1")
        wait_until(lambda: service[1].state.loras.loaded["night-1"].answering)
        assert httpx.delete(f"{service[0]}/v1/lora/night-1").status_code == 200
        assert reload(service[0]).status_code == 200  # changes come one after the other: the first is through
        assert loaded(service[0]) == set() and len(vllm.loras) == 1
        vllm.writes.set()
        assert answer.result(PATIENCE)
    wait_until(lambda: not vllm.loras)


def test_where_the_server_sees_the_folders_elsewhere_the_path_is_that(
    home: tuple[Home, Vllm], service: tuple[str, Any], vllm: Vllm
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(key_variable(TAG), KEY)
        app = create_app(settings_of(home[0], endpoint_loras="/elsewhere/loras"))
        with running(app) as address:
            wait_for_release(app)
            refused = reload(address, "night-1")
    message = refused.json()["error"]["message"]
    assert f"No adapter found for /elsewhere/loras/{TAG}/night-1" in message and "RJEPA_ENDPOINT_LORAS" in message
