"""The service with a real engine: a tiny student that was taught for a few seconds, and an untrained R-JEPA."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from rjepa.home import Home
from rjepa.students.loading import Student
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.tiny_release import STATEMENT, TAG, publish, register_student, taught_folder

from .fakes import running, wait_until

MESSAGES = [{"role": "user", "content": STATEMENT}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Student]:
    root = tmp_path_factory.mktemp("service")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, root / "sources")
    return home, student


@pytest.fixture(scope="module")
def service(made: tuple[Home, Student]) -> Iterator[openai.OpenAI]:
    app = create_app(ServiceSettings(home=made[0].root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None))
    with running(app) as address:
        wait_until(lambda: app.state.host.state.engine is not None, 60)
        with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
            yield client


def test_streamed_and_whole_answers_are_the_same(service: openai.OpenAI) -> None:
    body = {"rjepa": {"mode": "rerank", "num_candidates": 4, "seed": 5}}
    whole = service.chat.completions.create(model=TAG, messages=MESSAGES, extra_body=body)
    chunks = list(service.chat.completions.create(model=TAG, messages=MESSAGES, extra_body=body, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content and text.startswith("Step 1:")
    assert len(whole.model_extra["rjepa"]["candidates"]) == 4


def test_the_student_alone_streams_token_by_token(service: openai.OpenAI) -> None:
    chunks = list(service.chat.completions.create(model=TAG, messages=MESSAGES, stream=True))
    assert len(chunks) > 8 and chunks[-1].choices[0].finish_reason == "stop"


def test_a_problem_too_long_for_the_student_is_a_bad_request(service: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="shorten"):
        service.chat.completions.create(model=TAG, messages=[{"role": "user", "content": "apples " * 400}], stream=True)


def test_a_new_release_takes_over_while_the_service_runs(
    service: openai.OpenAI, made: tuple[Home, Student], tmp_path: Path
) -> None:
    home, student = made
    second = publish(home, student, tmp_path, seed=4)

    def served() -> str | None:
        return service.chat.completions.create(model=TAG, messages=MESSAGES, max_tokens=2).system_fingerprint

    wait_until(lambda: served() == second)
