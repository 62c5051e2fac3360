"""Teachers of a scripted endpoint, problems to ask them, and a home."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from rjepa.home import Home
from rjepa.schemas import Problem
from rjepa.teacher import Teacher

from .scripted import Answer, Request, Scripted, serving

KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Request], Answer]], Scripted]]:
    """Serves a script until the test ends."""
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(serving(script))


def teacher(server: Scripted, name: str = "ada", **settings: Any) -> Teacher:
    """A teacher at a scripted endpoint: two cents for a thousand tokens either way, and quick to give up."""
    settings = {"usd_per_mtok_in": 20, "usd_per_mtok_out": 20, "max_tokens": 100, "timeout": 30} | settings
    return Teacher(name=name, base_url=server.url, model=f"model-{name}", api_key=SecretStr(KEY), **settings)


def problems(count: int) -> list[Problem]:
    """Small sums."""
    return [
        Problem(problem_id=f"p{n}", domain="math", source="test", statement=f"What is {n} + 4?", answer_gold=str(n + 4))
        for n in range(count)
    ]
