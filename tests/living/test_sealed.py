"""Sealed sets: how often each was used, when one is retired, and how a fresh one is drawn."""

from pathlib import Path

import pytest

from rjepa.database import open_database
from rjepa.datasets.reading import load_problems
from rjepa.datasets.recipe import load_recipe
from rjepa.datasets.versions import register_recipe
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.living import sealed
from rjepa.living.budget import Test, charge
from rjepa.living.drawing import draw_set, redrawn
from rjepa.living.sealed import list_sets, live_set, require_live_set, retire, seal
from rjepa.releases.gate import decide
from rjepa.releases.history import add_move
from tests.releases.test_night import pair, terms

TAG = "tiny-a"


def use(home: Home, number: int, name: str = "first") -> None:
    test = Test(
        llm_tag=TAG,
        challenger=f"{number:064d}",
        current="c" * 64,
        claim="all",
        candidates=name.ljust(64, "0"),
        sealed_set=name,
    )
    with open_database(home) as database:
        charge(database, test, lambda alpha, carried: 0.0)


def test_sets_are_used_in_the_order_in_which_they_were_sealed(home: Home, each_database: str) -> None:
    assert live_set(home, TAG) is None
    with pytest.raises(NotFoundError, match="sealed_candidates"):
        require_live_set(home, TAG)
    seal(home, TAG, "first", ("one", "two"))
    seal(home, TAG, "first", ("one", "two"))
    seal(home, TAG, "second", ("three",))
    use(home, 1)
    found = live_set(home, TAG)
    assert found is not None and found.name == "first" and found.uses == 1
    retire(home, TAG, "first", "somebody looked")
    retire(home, TAG, "first", "another reason")
    assert require_live_set(home, TAG).name == "second"
    assert [each.retired_why for each in list_sets(home, TAG)] == ["somebody looked", None]
    assert live_set(home, "tiny-b") is None


@pytest.mark.parametrize("again", [("first", ("three",)), ("second", ("two", "three")), ("second", ())])
def test_problems_are_sealed_once(home: Home, again: tuple[str, tuple[str, ...]]) -> None:
    seal(home, TAG, "first", ("one", "two"))
    with pytest.raises(InvalidInputError):
        seal(home, TAG, *again)


def test_a_set_that_promoted_something_is_never_asked_again(home: Home) -> None:
    seal(home, TAG, "sealed-1", ("one",))
    refusal = decide(*pair((10, 10), (10, 10), (10, 10)), rule="nightly", terms=terms())
    add_move(home, TAG, "refuse", None, "release", reason=refusal.reason, decision=refusal)
    assert require_live_set(home, TAG).name == "sealed-1"
    promotion = decide(*pair((40, 10), (40, 10), (40, 10)), rule="nightly", terms=terms())
    add_move(home, TAG, "promote", None, "release", reason=promotion.reason, decision=promotion)
    assert live_set(home, TAG) is None
    assert list_sets(home, TAG)[0].retired_why == "it promoted a release"


def test_a_set_is_retired_after_a_month_of_tests(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "USES", 3)
    seal(home, TAG, "first", ("one",))
    for number in (1, 2, 2, 1):
        use(home, number)
    assert require_live_set(home, TAG).uses == 2
    use(home, 3)
    assert live_set(home, TAG) is None


def test_a_fresh_set_has_other_problems_of_the_same_kind_for_testing_alone(home: Home) -> None:
    parent = load_recipe(home, "smoke")
    draw_set(home, TAG, "smoke", problems_a_domain=6)
    draw_set(home, TAG, "smoke", problems_a_domain=6)
    first, second = (load_problems(home, found.datasets[0]) for found in list_sets(home, TAG))
    assert {problem.domain for problem in first} == set(parent.counts)
    assert {problem.split for problem in first} == {"test"}
    assert not {problem.statement for problem in first} & {problem.statement for problem in second}
    # Released: what is in it never changes.
    assert (home.dataset(list_sets(home, TAG)[0].datasets[0]) / "manifest.json").exists()


def test_a_drawing_that_was_killed_goes_on_with_the_problems_that_it_had(home: Home, tmp_path: Path) -> None:
    recipe = redrawn(load_recipe(home, "smoke"), "sealed-1-smoke", 4711, 6)
    assert recipe is not None
    register_recipe(home, recipe)  # killed here
    draw_set(home, TAG, "smoke", problems_a_domain=6)
    assert load_recipe(home, "sealed-1-smoke").seed == 4711
    assert [found.datasets for found in list_sets(home, TAG)] == [("sealed-1-smoke",)]


@pytest.mark.parametrize("source", ["gsm_symbolic", "reasoning_gym"])
def test_every_generator_can_be_drawn_from_again(home: Home, source: str) -> None:
    recipe = redrawn(load_recipe(home, source), f"sealed-1-{source}", 5, 12)
    assert recipe is not None and recipe.hash() != load_recipe(home, source).hash()
    wanted = [task.split for task in recipe.tasks] or [split for row in recipe.counts.values() for split in row]
    assert set(wanted) == {"test"}
