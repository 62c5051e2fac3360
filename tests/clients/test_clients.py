"""litellm, inspect-ai, optillm and schemathesis, as they come from PyPI, against the real service."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from rjepa.processes import end_process
from tests.clients.conftest import Client
from tests.patience import wait_until
from tests.tiny_release import STATEMENT, TAG

pytestmark = pytest.mark.slow

ASKS_DAGSTER = "^/v1/(monitor/|learning/learn|learning/manual)"
"""Routes that need Dagster, which is not here, and say so with a 503."""

MESSAGES: list[Any] = [{"role": "user", "content": STATEMENT}]


def test_litellm_s_openai_provider(tiny_service: str, client: Client) -> None:
    got = client("with_litellm.py", tiny_service, TAG, STATEMENT)
    assert len(got["texts"]) == 2 and got["streamed"] == got["texts"][0]
    assert got["too_long"] == "ContextWindowExceededError"
    assert "Step 1:" in got["streamed"] and "Step 1:" in got["responded"] and got["second"]


def test_inspect_ai_s_openai_api_provider(tiny_service: str, client: Client, tmp_path: Path) -> None:
    address = {"RJEPA_BASE_URL": f"{tiny_service}/v1", "RJEPA_API_KEY": "x"}
    got = client("with_inspect.py", TAG, STATEMENT, str(tmp_path / "logs"), **address)
    assert got["status"] == "success", got["error"]
    assert len(got["outputs"]) == 2 and all(got["outputs"])


@contextlib.contextmanager
def optillm(folder: Path, environment: dict[str, str], address: str, log: Path) -> Iterator[openai.OpenAI]:
    """optillm's own server in front of ours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [folder / "python", "-m", "optillm.server", "--base-url", f"{address}/v1", "--port", str(port)]
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True) as server,
    ):
        try:
            wait_until(lambda: "Running on" in log.read_text() or server.poll() is not None, 120)
            assert server.poll() is None, log.read_text()[-3000:]
            with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0) as client:
                yield client
        finally:
            end_process(server)


def test_optillm_pointed_at_us_chooses_among_n_and_passes_a_mode_through(
    tiny_service: str, clients_folder: Path, client_environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "optillm.log"
    with optillm(clients_folder, client_environment, tiny_service, log) as client:
        best = client.chat.completions.create(model=f"bon-{TAG}", messages=MESSAGES)
        assert best.choices[0].message.content
        assert "Generated 3 initial completions using n parameter" in log.read_text()  # else it asks one by one
        plain = client.chat.completions.create(model=f"none-{TAG}:rerank", messages=MESSAGES)
        assert len(plain.model_extra["rjepa"]["candidates"]) == 8


def test_no_document_s_request_breaks_the_service_or_gets_an_undocumented_reply(
    tiny_service: str, clients_folder: Path, client_environment: dict[str, str], tmp_path: Path
) -> None:
    document = httpx.get(f"{tiny_service}/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        # What is generated names real models and modes, so that some of it is answered.
        known = {
            "model": {"type": "string", "enum": [TAG, f"{TAG}:rerank", "gpt-5"]},
            "rjepa": {"enum": [None, {"mode": "off"}]},
        }
        schema.get("properties", {}).update(
            {name: known[name] for name in known if name in schema.get("properties", {})}
        )
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document))
    checks = "not_a_server_error,status_code_conformance"
    done = subprocess.run(
        [
            *(clients_folder / "schemathesis", "run", path, "--url", tiny_service, "--checks", checks),
            *("--phases", "coverage,fuzzing", "--max-examples", "12", "--seed", "1", "--request-timeout", "60"),
            *("--exclude-path-regex", ASKS_DAGSTER),
        ],
        env=client_environment | {"NO_COLOR": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert httpx.get(f"{tiny_service}/v1/health").status_code == 200
