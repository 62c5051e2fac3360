from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from rjepa.datasets.recipe import DatasetRecipe, dataset_names, load_recipe, registry_folder
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home

TEXT = "name: mine\nsource: curriculum\ncreated: 2026-01-01T00:00:00Z\ncounts: {math: {train: 3}}\n"


def write(home: Home, name: str, text: str) -> Path:
    path = registry_folder(home) / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_datasets_of_this_repository_load(home: Home) -> None:
    for name in ("v1.0.0", "gsm_symbolic"):
        assert name in dataset_names(home)
        assert load_recipe(home, name).name == name
    assert set(load_recipe(home, "v1.0.0").counts) == {"math", "code", "logic"}


def test_a_recipe_of_the_user_is_found_in_the_registry(home: Home) -> None:
    write(home, "mine", TEXT)
    assert load_recipe(home, "mine").counts == {"math": {"train": 3}}
    assert dataset_names(home)[-1] == "mine"


def test_an_unknown_dataset_is_refused_with_the_known_names(home: Home) -> None:
    with pytest.raises(NotFoundError, match=r"known: .*gsm_symbolic.*v1\.0\.0"):
        load_recipe(home, "v9.9.9")


@pytest.mark.parametrize("name", ["../etc", "a|b", "A", "", "a/b", ".."])
def test_a_name_that_is_no_tag_is_refused(home: Home, name: str) -> None:
    with pytest.raises(InvalidInputError, match="dataset version"):
        load_recipe(home, name)


def test_a_recipe_under_another_files_name_is_refused(home: Home) -> None:
    write(home, "yours", TEXT)
    with pytest.raises(InvalidInputError, match="describes 'mine'"):
        load_recipe(home, "yours")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seeed: 3\n", "seeed"),
        ("corrupted_share: 2\n", "corrupted_share"),
        ("version: one\n", "version"),
        ("source: imported\n", "content_sha256"),
        ("source: gsm_symbolic\n", "gsm_symbolic"),
        ("counts: {math: {dev: 3}}\n", "counts.math.dev"),
        ("counts: {math: {train: -3}}\n", "counts.math.train"),
        ("counts: {}\n", "counts are empty"),
        ("created: 2026-01-01T00:00:00\n", "created"),
    ],
)
def test_a_recipe_with_a_wrong_field_is_refused_and_the_field_is_named(home: Home, change: str, message: str) -> None:
    key = change.split(":")[0]
    kept = "".join(f"{line}\n" for line in TEXT.splitlines() if not line.startswith(f"{key}:"))
    write(home, "mine", kept + change)
    with pytest.raises(InvalidInputError, match=message):
        load_recipe(home, "mine")


def test_the_hash_follows_the_content_and_not_the_description() -> None:
    recipe = DatasetRecipe(
        name="mine", source="curriculum", created=datetime(2026, 1, 1, tzinfo=UTC), counts={"math": {"train": 3}}
    )
    assert recipe.hash() == recipe.model_copy(update={"description": "other words"}).hash()
    assert recipe.hash() != recipe.model_copy(update={"seed": 1}).hash()
    with pytest.raises(ValidationError):
        recipe.seed = 2  # type: ignore[misc]
