import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rjepa.datasets.building import build_problems, build_teacher_chains, release_dataset, validate_chains
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.home import Home
from rjepa.stages import StageReport

STAGES = (build_problems, build_teacher_chains, validate_chains)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def recipe() -> DatasetRecipe:
    """A small curriculum dataset."""
    counts = {domain: {"train": 12, "validation": 4, "test": 4} for domain in ("math", "code", "logic")}
    return DatasetRecipe(name="small", source="curriculum", created=datetime(2026, 1, 1, tzinfo=UTC), counts=counts)


@pytest.fixture
def problem_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as a JSON-lines file."""

    def write(rows: list[dict], name: str = "problems.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def build(home: Home, recipe: DatasetRecipe) -> list[StageReport]:
    """All four stages in order."""
    return [stage(home, recipe) for stage in STAGES] + [release_dataset(home, recipe)]
