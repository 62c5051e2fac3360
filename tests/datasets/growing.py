"""Small versions to grow from one another, and a way to make them."""

from datetime import UTC, datetime
from pathlib import Path

from rjepa.datasets.recipe import DatasetRecipe, load_recipe
from rjepa.datasets.versions import create_version, register_recipe
from rjepa.home import Home
from tests.datasets.conftest import build
from tests.datasets.importing import import_dataset

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def first_version(home: Home, train: int = 12) -> DatasetRecipe:
    """v0.1.0, released: a little maths and logic."""
    counts = {domain: {"train": train, "validation": 4, "test": 4} for domain in ("math", "logic")}
    recipe = DatasetRecipe(name="v0.1.0", version="0.1.0", source="curriculum", created=CREATED, counts=counts)
    register_recipe(home, recipe)
    build(home, recipe)
    return recipe


def register_more(home: Home, name: str = "more", seed: int = 7, count: int = 6) -> DatasetRecipe:
    """Other problems of the curriculum, registered and not made."""
    counts = {"code": {"train": count, "validation": 2, "test": 2}, "math": {"train": count}}
    recipe = DatasetRecipe(name=name, source="curriculum", created=CREATED, counts=counts, seed=seed)
    register_recipe(home, recipe)
    return recipe


def register_rows(home: Home, folder: Path, rows: list[dict], name: str) -> DatasetRecipe:
    """An imported dataset."""
    import json

    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return import_dataset(home, file, name)


def make(home: Home, name: str) -> None:
    build(home, load_recipe(home, name))


def second_version(home: Home) -> None:
    """v0.1.0, and v0.2.0 that adds `more` to it; both made."""
    first_version(home)
    register_more(home)
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    make(home, "v0.2.0")
