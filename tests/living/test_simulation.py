"""The simulated nights' script and figures, without running one."""

import numpy as np
import pytest

from rjepa.living.simulation.measuring import Measured, difference, mean_of
from rjepa.living.simulation.script import (
    FAMILY,
    FULL,
    OLD,
    POISONER,
    SIZES,
    USERS,
    User,
    asked_recipe,
    base_recipe,
    labelled_recipe,
    measured_recipe,
)
from rjepa.living.simulation.telling import SimulatedNight, draw, figures, lines


def measured(shares: dict[str, float], problems: int = 40) -> Measured:
    domains = [domain for domain in shares for _ in range(problems)]
    right = np.concatenate([np.arange(problems) < round(share * problems) for share in shares.values()])
    return Measured(tuple(domains), right, np.where(right, 0.8, np.nan))


def night(number: int, old: float, family: float, unfiltered: float) -> SimulatedNight:
    first = {"math": 0.5, "code": 0.5, "logic": 0.25}
    return SimulatedNight(
        night=number,
        events="nothing special",
        outcome="promoted" if number == 2 else "refused",
        text="why",
        served="release",
        seconds=90.0,
        funnel={"accepted": 3},
        lies=0.2,
        arms={
            "living": measured({"math": old, "code": 0.5, "logic": family}),
            "never": measured(first),
            "unfiltered": measured({"math": 0.5, "code": unfiltered, "logic": family}),
        },
    )


def test_one_vote_in_five_is_a_lie() -> None:
    assert np.mean([user.honesty for user in USERS]) == pytest.approx(0.8)
    random = np.random.default_rng(0)
    votes = [user.vote(True, random) == "up" for user in USERS for _ in range(500)]
    assert np.mean(votes) == pytest.approx(0.8, abs=0.02)
    assert all(POISONER.vote(is_right, random) == ("down" if is_right else "up") for is_right in (True, False))
    assert User("x", 1.0).vote(False, random) == "down"


def test_the_family_is_in_no_data_before_users_ask_for_it() -> None:
    assert FAMILY not in base_recipe(FULL, 0).counts
    assert set(asked_recipe(FULL, 1, "users", 0).counts) == set(OLD)
    assert set(asked_recipe(FULL, 2, "users", 0).counts) == {*OLD, FAMILY}
    events = [scene.events for scene in FULL.scenes]
    assert len(events) == 7 and events[3] == "a poisoner floods" and events[4] == "a broken checkpoint"
    assert "withdraws" in events[5] and "arrives" in events[1]


def test_nobody_is_asked_the_same_on_two_days_or_by_two_sizes() -> None:
    seeds = {
        asked_recipe(size, day, who, seed).seed
        for size in SIZES.values()
        for day in range(1, len(size.scenes) + 1)
        for who in ("users", "poisoner")
        for seed in (0, 1)
    }
    assert len(seeds) == 2 * 2 * len(FULL.scenes)


def test_another_seed_has_other_problems_everywhere() -> None:
    seeds = [make(FULL, seed).seed for make in (base_recipe, labelled_recipe, measured_recipe) for seed in range(5)]
    assert len(set(seeds)) == len(seeds)


def test_figures_name_the_worst_that_was_forgotten_with_its_interval() -> None:
    found = figures([night(1, 0.5, 0.25, 0.5), night(2, 0.45, 0.5, 0.25)])
    worst = found["worst_forgetting"]
    assert (worst["living"]["night"], worst["living"]["domain"]) == (2, "math")
    value, low, high = worst["unfiltered"]["difference"]
    assert value == pytest.approx(-0.25) and low <= value <= high < 0
    assert found["nights"][1]["arms"]["living"][FAMILY]["against_never"][0] == pytest.approx(0.25)


def test_what_is_measured_comes_back_from_json_and_problems_without_both_kinds_have_no_auroc() -> None:
    found = measured({"math": 0.5, "logic": 0.0})
    again = Measured.from_json(found.to_json())
    assert again.domains == found.domains and np.array_equal(again.right, found.right)
    assert mean_of(again.auroc[again.mask("math")]).value == pytest.approx(0.8)
    assert np.isnan(mean_of(again.auroc[again.mask("logic")]).value)
    assert difference(found, found, "all").to_json() == [0.0, 0.0, 0.0]


def test_the_table_and_the_plot_show_every_night() -> None:
    nights = [night(number, 0.5, 0.25, 0.5) for number in range(1, 8)]
    table = lines(nights)
    assert "never retrain" in table and "retrain on everything" in table and table.count("refused") == 6
    png = draw(nights, FULL.scenes)
    assert png.startswith(b"\x89PNG") and len(png) > 10_000
