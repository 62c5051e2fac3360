"""Clients that no one here wrote, in an environment of their own: `make clients` builds it from requirements.txt."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import tiny_release, tiny_service

__all__ = ["tiny_release", "tiny_service"]

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).resolve().parent / "scripts"
ENVIRONMENT = Path(os.environ.get("RJEPA_CLIENTS", ROOT / ".venv-clients"))

Client = Callable[..., Any]


@pytest.fixture(scope="session", autouse=True)
def clients_folder() -> Path:
    """The `bin` folder of the clients' environment; without it the test is skipped."""
    folder = ENVIRONMENT / "bin"
    if not (folder / "python").exists():
        pytest.skip(f"no environment with clients at {ENVIRONMENT}: make clients")
    return folder


@pytest.fixture
def client_environment(tmp_path: Path) -> dict[str, str]:
    """The variables of a client: nothing of this machine's keys, nothing fetched from elsewhere, a home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return kept | {
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "OPENAI_API_KEY": "x",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


@pytest.fixture
def client(clients_folder: Path, client_environment: dict[str, str], tmp_path: Path) -> Client:
    """Runs a script of `scripts/` there; returns the JSON value of its last line."""

    def run(script: str, *arguments: str, **variables: str) -> Any:
        done = subprocess.run(
            [clients_folder / "python", SCRIPTS / script, *arguments],
            env=client_environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
