"""Whose R-JEPA is carried to an LLM, and which of two is in use."""

from pathlib import Path

import pytest

from rjepa.adapters.in_use import in_use, put_in_use
from rjepa.adapters.sources import SOURCE_FILES, choose_source, trained_recipe
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.jepa.config import load_jepa_config
from rjepa.students.catalog import save_record
from tests.students import tiny


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three LLMs of a user's own, beside the bundled ones."""
    home = Home(tmp_path / "home")
    for llm_tag in ("first", "second", "third"):
        save_record(home, tiny.record(tmp_path, llm_tag=llm_tag))
    return home


def train(home: Home, llm_tag: str, recipe: str = "demo") -> None:
    for name in SOURCE_FILES:
        path = home.models(llm_tag, "v1.0.0") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, load_jepa_config(recipe).model_copy(update={"poolings": ("mean",)}).model_dump(mode="json"))


def test_the_only_other_llm_with_an_r_jepa_is_the_source(home: Home) -> None:
    with pytest.raises(NotFoundError, match="no other LLM than third") as none:
        choose_source(home, "third", "v1.0.0")
    assert "rjepa backfill" in none.value.cure
    train(home, "third")
    train(home, "first")
    assert choose_source(home, "third", "v1.0.0") == "first"


def test_between_two_sources_nobody_guesses(home: Home) -> None:
    train(home, "first")
    train(home, "second")
    with pytest.raises(InvalidInputError, match="first, second have an R-JEPA"):
        choose_source(home, "third", "v1.0.0")
    assert choose_source(home, "third", "v1.0.0", "second") == "second"


def test_a_source_without_an_r_jepa_and_the_target_itself_are_refused(home: Home) -> None:
    train(home, "first")
    with pytest.raises(NotFoundError, match="second has no R-JEPA") as refused:
        choose_source(home, "third", "v1.0.0", "second")
    assert "those that have one: first" in refused.value.cure
    with pytest.raises(InvalidInputError, match="third is both"):
        choose_source(home, "third", "v1.0.0", "third")
    with pytest.raises(NotFoundError):
        choose_source(home, "third", "v2.0.0", "first")


def test_the_recipe_is_known_by_what_it_says(home: Home) -> None:
    for llm_tag, recipe in (("first", "demo"), ("second", "full")):  # the two have one name in their files
        train(home, llm_tag, recipe)
        assert trained_recipe(home, llm_tag, "v1.0.0") == recipe
    path = home.models("first", "v1.0.0") / "rjepa" / "config.json"
    write_json(path, read_json(path) | {"seed": 77})
    with pytest.raises(InvalidInputError, match="no run of configs/rjepa/"):
        trained_recipe(home, "first", "v1.0.0")


def test_what_was_asked_for_last_is_in_use(home: Home) -> None:
    assert in_use(home, "third", "v1.0.0") == "native"
    put_in_use(home, "third", "v1.0.0", "carried")
    assert (in_use(home, "third", "v1.0.0"), in_use(home, "third", "v1.1.0")) == ("carried", "native")
    put_in_use(home, "third", "v1.0.0", "native")
    assert in_use(home, "third", "v1.0.0") == "native"
    write_json(home.models("third", "v1.0.0") / "in_use.json", {"rjepa": "borrowed"})
    with pytest.raises(CorruptError, match="names no R-JEPA"):
        in_use(home, "third", "v1.0.0")
