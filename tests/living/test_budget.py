"""The budget of errors over nights, on SQLite and on Postgres: what a test costs, once, and until when."""

import threading

import pytest
from sqlalchemy import select, update

from rjepa.database import open_database
from rjepa.home import Home
from rjepa.living.budget import (
    BUDGET,
    NIGHT_TESTS,
    NIGHTS,
    SHARE,
    Charge,
    Test,
    budget_left,
    charge,
    earlier_candidates,
)

DAY = 24 * 3600 * 1000


def make_test(challenger: int, *, sealed_set: str = "sealed-1", claim: str = "all", llm_tag: str = "tiny-a") -> Test:
    return Test(
        llm_tag=llm_tag,
        challenger=f"{challenger:064d}",
        current="c" * 64,
        claim=claim,
        candidates=sealed_set.ljust(64, "0"),
        sealed_set=sealed_set,
    )


def ask(home: Home, test: Test, evidence: float = 0.0) -> Charge:
    with open_database(home) as database:
        return charge(database, test, lambda alpha, carried: carried + evidence)


def test_asking_twice_about_the_same_costs_once(home: Home, each_database: str) -> None:
    first, again = ask(home, make_test(1)), ask(home, make_test(1))
    assert first == again and first.alpha == SHARE and first.uses == 1
    assert first.left == pytest.approx(BUDGET - SHARE)
    # Another claim about the same is another question.
    assert ask(home, make_test(1, claim="math")).left == pytest.approx(BUDGET - 2 * SHARE)


def test_every_window_of_thirty_nights_spends_at_most_the_budget(home: Home, each_database: str) -> None:
    levels = [ask(home, make_test(number)).alpha for number in range(NIGHTS + 5)]
    assert sum(levels) <= BUDGET + 1e-12 and levels.count(0.0) == 5
    with open_database(home) as database:
        assert budget_left(database, "tiny-a") < SHARE
        with database.reading() as connection:
            kept = connection.execute(select(NIGHT_TESTS.c.id)).all()
        assert len(kept) == NIGHTS  # what nothing was looked at for is not recorded
        # Another student's releases are another promise.
        assert budget_left(database, "tiny-b") == BUDGET
        oldest = update(NIGHT_TESTS).where(NIGHT_TESTS.c.challenger == make_test(0).challenger)
        database.transact(
            lambda connection: connection.execute(oldest.values(tested_at_ms=NIGHT_TESTS.c.tested_at_ms - 31 * DAY))
        )
    assert ask(home, make_test(99)).alpha == SHARE
    assert ask(home, make_test(100)).alpha == 0.0


def test_earlier_sets_of_the_same_two_are_known_whatever_was_claimed_and_none_of_others(home: Home) -> None:
    first, second, third = (make_test(1, sealed_set=f"sealed-{number}") for number in (1, 2, 3))
    for test in (first, make_test(1, claim="math"), second, make_test(2, sealed_set="sealed-9")):
        ask(home, test)
    with open_database(home) as database:
        assert earlier_candidates(database, third) == [first.candidates, second.candidates]
        assert earlier_candidates(database, make_test(3)) == []


def test_evidence_is_carried_to_other_problems_and_not_to_other_challengers(home: Home) -> None:
    ask(home, make_test(1), evidence=2.0)
    assert ask(home, make_test(2)).carried == 0.0
    assert ask(home, make_test(1, sealed_set="sealed-2"), evidence=1.5).carried == 2.0
    assert ask(home, make_test(1, sealed_set="sealed-3")).carried == 3.5
    assert ask(home, make_test(1, sealed_set="sealed-4", claim="math")).carried == 0.0


def test_nights_that_ask_at_once_do_not_spend_more_than_there_is(home: Home, each_database: str) -> None:
    found: list[Charge] = []
    ask(home, make_test(1000))

    def several(first: int) -> None:
        found.extend(ask(home, make_test(number)) for number in range(first, first + 12))

    threads = [threading.Thread(target=several, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.alpha > 0 for each in found) == NIGHTS - 1
    assert sorted(each.uses for each in found if each.alpha > 0) == list(range(2, NIGHTS + 1))
