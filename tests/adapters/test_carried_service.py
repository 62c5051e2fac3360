"""A carried release over HTTP and on the pages: what it answers, and what the service says it is."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from rjepa.home import Home
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.carried_release import SOURCE_WIDTH, adapt
from tests.serving.fakes import running, wait_for_release
from tests.tiny_release import STATEMENT, TAG, publish, register_student, taught_folder

TEXT = "R-JEPA carried from elsewhere (adapter, 5 % of latents)"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("carried-service")
    home = Home(root / "home")
    publish(home, register_student(home, taught_folder(tmp_path_factory)), root / "sources", carry=adapt)
    # Nothing listens at port 1: Dagster is away.
    settings = ServiceSettings(
        home=home.root, llm=TAG, reload_seconds=0.05, api_key=None, dagster_url="http://127.0.0.1:1", _env_file=None
    )
    app = create_app(settings)
    with running(app) as address:
        wait_for_release(app)
        yield address


def test_a_client_reranks_through_the_adapter(address: str) -> None:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
        reply = client.chat.completions.create(
            model=f"{TAG}:rerank", messages=[{"role": "user", "content": STATEMENT}], max_tokens=40
        )
    assert reply.choices[0].message.content
    candidates = reply.model_dump()["rjepa"]["candidates"]
    assert any(energy > 0 for candidate in candidates for energy in candidate["step_energies"])


def test_given_chains_are_scored_and_read_through_the_adapter(address: str) -> None:
    chains = ["Step 1: Mia has 3 + 4 = 7\nAnswer: 7\n", "Step 1: Mia has 3 + 4 = 8\nAnswer: 8\n"]
    scored = httpx.post(f"{address}/v1/rjepa/score", json={"problem": STATEMENT, "chains": chains}, timeout=60)
    assert scored.status_code == 200 and len(scored.json()["chains"]) == 2, scored.text
    read = httpx.post(f"{address}/v1/rjepa/latents", json={"problem": STATEMENT, "chains": chains[:1]}, timeout=60)
    assert read.status_code == 200 and read.json()["data"][0]["columns"] == SOURCE_WIDTH, read.text


def test_the_service_and_the_monitor_say_whose_r_jepa_it_is(address: str) -> None:
    carried = httpx.get(f"{address}/v1/info", timeout=60).json()["release"]["carried"]
    assert (carried["text"], carried["source"], carried["share"]) == (TEXT, "elsewhere", 0.05)
    models = httpx.get(f"{address}/v1/models", timeout=60).json()["data"]
    assert len(models) > 2 and {model["rjepa"]["carried_from"] for model in models} == {"elsewhere"}
    page = httpx.get(f"{address}/v1/monitor/sections", timeout=60).text
    assert "Its R-JEPA was carried from elsewhere by an adapter that was fitted on 5% of the latents." in page
