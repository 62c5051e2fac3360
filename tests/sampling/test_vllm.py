"""vLLM's own server behind a student: chains, modes that act on steps, LoRAs. What it answers is what the student does.

`RJEPA_VLLM=~/vllm/bin/vllm python -m pytest -m vllm` (docs/environments.md)
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.reasoning.question import ask
from rjepa.sampling.completions import FORMS
from rjepa.sampling.endpoint import EndpointSource
from rjepa.students.catalog import load_record
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.rescoring import score_chains
from rjepa.students.sampled import GREEDY
from serving.app import create_app
from tests.patience import wait_until
from tests.sampling.vllm_program import needs_vllm, vllm
from tests.serving.fakes import running, wait_for_release
from tests.serving.test_loras import alone, loaded, reload, settings_of
from tests.serving.test_loras import ask as ask_chat
from tests.speaking_release import publish_speaking
from tests.students.loras import put_lora
from tests.tiny_release import STATEMENT, TAG, addition, move_to_endpoint, register_student, teach

pytestmark = [pytest.mark.vllm, pytest.mark.slow, needs_vllm]

STATEMENTS = [addition(random.Random(seed))[0] for seed in range(3)]


@dataclass
class Made:
    """A release whose student's weights are here, and the same one whose chains vLLM writes, with its LoRAs."""

    home: Home
    student: Student
    here: Engine
    there: Engine
    url: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    root = tmp_path_factory.mktemp("vllm")
    home, folder = Home(root / "home"), root / "taught"
    teach(folder, head_dim=32)  # vLLM's attention knows no smaller heads
    student = register_student(home, folder)
    publish_speaking(home, student, root, guided=True)
    for seed, name in enumerate(("night-1", "night-2")):
        put_lora(home, load_record(home, TAG), name, root / name, seed)
    put_lora(home, load_record(home, TAG), "large", root / "large", r=16)
    here = Engine.load(home, TAG, "cpu")
    loras = ("--enable-lora", "--max-lora-rank", "8")
    with vllm(folder, TAG, *loras, VLLM_ALLOW_RUNTIME_LORA_UPDATING="True") as url:
        move_to_endpoint(home, student.record, url, TAG)
        yield Made(home, student, here, Engine.load(home, TAG, "cpu"), url)


@pytest.fixture
def address(made: Made) -> Iterator[str]:
    """The service in front of it; afterwards it has no LoRAs again."""
    app = create_app(settings_of(made.home))
    with running(app) as address:
        wait_for_release(app)
        yield address
        assert reload(address).status_code == 200


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
        yield client


def test_its_chains_are_the_students_with_the_students_log_probabilities(made: Made) -> None:
    source = made.there.source
    assert isinstance(source, EndpointSource)
    rows = source.sample(STATEMENTS, [GREEDY, 0, 1, 2, 3, 4, 5], seed=1, temperature=0.9)
    assert source._form is FORMS[0]  # nothing had to be left out
    own = sample_indices(made.student, STATEMENTS, [GREEDY], seed=1)
    for statement, row, (greedy,) in zip(STATEMENTS, rows, own, strict=True):
        prompt = made.student.tokenizer(f"{statement}\n")["input_ids"]
        scores = score_chains(made.student, [prompt] * len(row), [chain.token_ids for chain in row])
        assert row[0].text == greedy.text and len({chain.text for chain in row}) > 1
        for chain, score in zip(row, scores, strict=True):
            assert sum(chain.token_logprobs) == pytest.approx(sum(score.logprobs), abs=0.01)


@pytest.mark.parametrize(
    ("mode", "options", "temperature"),
    [
        ("nudge", {}, None),
        ("nudge", {"alpha": 2.0, "num_candidates": 3}, 0.8),
        ("repair", {"chains": 1, "rounds": 2, "surprise": 0.5}, None),
        ("tree", {"branching": 2, "width": 2}, None),
        ("plan", {"verb": "complete", "steps": "Mia has 3 + 4 = 7\n?"}, None),
        ("off", {}, 0.0),
    ],
)
def test_every_mode_answers_as_with_the_weights_here(
    made: Made, mode: str, options: dict[str, Any], temperature: float | None
) -> None:
    question = ask(STATEMENT, mode, options, temperature=temperature, seed=2)
    own, answer = made.here.answer(question), made.there.answer(question)
    assert (answer.text, answer.final_answer, answer.finished) == (own.text, own.final_answer, own.finished)
    assert [one.text for one in answer.candidates] == [one.text for one in own.candidates]


def test_loras_are_loaded_there_chosen_by_name_and_taken_out(made: Made, client: openai.OpenAI, address: str) -> None:
    base = ask_chat(client, TAG, temperature=0.0)
    assert reload(address, "night-1", "night-2").status_code == 200
    answers = {name: ask_chat(client, f"{TAG}+{name}", temperature=0.0) for name in ("night-1", "night-2")}
    assert len({base, *answers.values()}) == 3
    for name, answer in answers.items():
        assert answer == alone(made.home, name, temperature=0.0)
    assert httpx.delete(f"{address}/v1/lora/night-1").status_code == 200
    wait_until(lambda: len(models(made.url)) == 2)
    assert ask_chat(client, f"{TAG}+night-2", temperature=0.0) == answers["night-2"]
    with pytest.raises(openai.NotFoundError):
        ask_chat(client, f"{TAG}+night-1")


def test_a_lora_that_it_refuses_changes_nothing(made: Made, client: openai.OpenAI, address: str) -> None:
    reload(address, "night-1")
    before = ask_chat(client, f"{TAG}+night-1", temperature=0.0)
    refused = reload(address, "night-1", "large")
    assert refused.status_code == 502 and "rank" in refused.json()["error"]["message"]
    assert loaded(address) == {"night-1"} and len(models(made.url)) == 2
    assert ask_chat(client, f"{TAG}+night-1", temperature=0.0) == before


def test_a_server_that_may_load_no_loras_says_how_to_let_it(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", raising=False)
    folder = tmp_path / "taught"
    folder.symlink_to(made.student.path)
    with vllm(folder, TAG) as url:
        move_to_endpoint(made.home, made.student.record, url, TAG)
        app = create_app(settings_of(made.home))
        with running(app) as address:
            wait_for_release(app)
            refused = reload(address, "night-1")
    assert refused.status_code == 502 and "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in refused.json()["error"]["cure"]


def models(url: str) -> set[str]:
    """What it serves."""
    return {entry["id"] for entry in httpx.get(f"{url}/models").json()["data"]}
