"""Which limit keeps a night from beginning, and how fast the next one learns."""

import pytest

from rjepa.living.attempts import Attempt, Outcome
from rjepa.living.limits import Offer, find_limit, learning_rate, refusals_in_a_row
from rjepa.living.settings import LearningSettings

NOW = 1_800_000_000_000
MINUTE = 60_000
SETTINGS = LearningSettings(enabled=True, min_interactions=10, max_attempts=3, learning_rate=1e-3)
ENOUGH = Offer(accepted=10, withdrawn=0)


OTHER = "1" * 64
"""What a night selects that is none of the past ones."""


def night(outcome: Outcome, minutes_ago: float) -> Attempt:
    moment = NOW - int(minutes_ago * MINUTE)
    return Attempt(
        id=1,
        llm_tag="tiny-a",
        trigger="schedule",
        began_at_ms=moment,
        ended_at_ms=moment,
        outcome=outcome,
        selection="0" * 64,
        accepted=10,
        dataset="v1.1.0",
        init_from=None,
        learning_rate=None,
        release_id=None,
        limit_name=None,
        limit_value=None,
        text="why",
    )


def test_enough_feedback_and_no_night_before_let_one_begin() -> None:
    assert find_limit(SETTINGS, ENOUGH, [], NOW, trigger="schedule") is None


def test_too_little_feedback_names_the_limit_its_value_and_what_there_is() -> None:
    found = find_limit(SETTINGS, Offer(9, 0), [], NOW, trigger="person")
    assert found is not None and (found.limit, found.value, found.found) == ("min_interactions", 10, 9)
    assert "9 new interactions are accepted, min_interactions is 10" in str(found.error())


def test_a_withdrawal_needs_no_new_feedback() -> None:
    assert find_limit(SETTINGS, Offer(0, 1), [], NOW, trigger="sensor") is None


@pytest.mark.parametrize("trigger", ["schedule", "sensor"])
def test_nights_begin_by_themselves_only_where_they_are_enabled(trigger: str) -> None:
    off = SETTINGS.model_copy(update={"enabled": False})
    found = find_limit(off, ENOUGH, [], NOW, trigger=trigger)  # type: ignore[arg-type]
    assert found is not None and found.limit == "enabled"
    assert find_limit(off, ENOUGH, [], NOW, trigger="person") is None


def test_so_many_nights_a_window_and_no_more_and_a_window_ends() -> None:
    nights = [night("refused", minutes_ago) for minutes_ago in (60, 120, 23 * 60)]
    found = find_limit(SETTINGS, ENOUGH, nights, NOW, trigger="person")
    assert found is not None and (found.limit, found.value) == ("max_attempts", 3)
    assert find_limit(SETTINGS, ENOUGH, nights, NOW + 61 * MINUTE, trigger="person") is None


def test_what_a_limit_refused_is_no_night() -> None:
    nights = [night("limited", 1), night("nothing_new", 2), night("failed", 3), night("limited", 4)]
    assert find_limit(SETTINGS, ENOUGH, nights, NOW, trigger="person") is None


def test_five_failures_in_ten_minutes_stop_it_and_ten_minutes_later_it_may_go_on() -> None:
    settings = SETTINGS.model_copy(update={"max_attempts": 100})
    four = [night("failed", minutes_ago) for minutes_ago in (1, 2, 3, 4)]
    assert find_limit(settings, ENOUGH, four, NOW, trigger="person") is None
    five = [*four, night("failed", 9)]
    found = find_limit(settings, ENOUGH, five, NOW, trigger="person")
    assert found is not None and (found.limit, found.value, found.found) == ("max_failures", 5, 5)
    assert "why" in found.problem
    assert find_limit(settings, ENOUGH, five, NOW + 2 * MINUTE, trigger="person") is None


def test_after_a_rollback_without_a_person_no_night_begins_for_a_while() -> None:
    found = find_limit(SETTINGS, ENOUGH, [], NOW, trigger="person", rolled_back_ms=NOW - 59 * MINUTE)
    assert found is not None and (found.limit, found.value) == ("cooldown_minutes", 60)
    assert find_limit(SETTINGS, ENOUGH, [], NOW, trigger="person", rolled_back_ms=NOW - 60 * MINUTE) is None


def test_each_refusal_in_a_row_halves_the_rate_and_a_release_ends_the_row() -> None:
    assert learning_rate(SETTINGS, [], OTHER) == 1e-3
    two = [night("refused", 1), night("failed", 2), night("limited", 3), night("refused", 4), night("promoted", 5)]
    assert refusals_in_a_row([*two, night("refused", 6)]) == 2
    assert learning_rate(SETTINGS, two, OTHER) == pytest.approx(0.25e-3)


def test_the_same_night_again_has_the_same_rate_since_it_offers_the_same_challenger() -> None:
    nights = [night("refused", 1), night("refused", 2).model_copy(update={"selection": OTHER})]
    assert learning_rate(SETTINGS, nights[:1], nights[0].selection) == 1e-3
    assert learning_rate(SETTINGS, nights, nights[0].selection) == pytest.approx(0.5e-3)


def test_many_refusals_lower_the_rate_three_times_and_no_more() -> None:
    assert learning_rate(SETTINGS, [night("refused", day) for day in range(1, 20)], OTHER) == pytest.approx(1e-3 / 8)


def test_no_rate_is_above_the_ceiling() -> None:
    low = SETTINGS.model_copy(update={"learning_rate_ceiling": 2e-4})
    assert learning_rate(low, [], OTHER) == 2e-4
