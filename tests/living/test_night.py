"""What a night is going to do: which version, from which release on, and what keeps it from beginning."""

import pytest

from rjepa.database import Database
from rjepa.datasets.reading import problem_ids
from rjepa.datasets.recipe import load_recipe
from rjepa.datasets.versions import create_version
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.feedback import interactions
from rjepa.feedback.consent import opt_out
from rjepa.feedback.examples import add_example
from rjepa.feedback.records import Owner
from rjepa.feedback.votes import give_vote
from rjepa.home import Home
from rjepa.living.attempts import begin, finish, list_attempts
from rjepa.living.joined import read_joined
from rjepa.living.night import NoNight, Plan, outcome_of, plan_night, prepare, settle
from rjepa.living.recording import look, plan_and_record
from rjepa.living.settings import change_settings
from rjepa.living.watching import deleted_interactions, feedback_counts, feedback_state
from rjepa.releases.lineage import last_clean, learnt_problems, lineage
from rjepa.releases.pointer import require_current, rollback
from tests.datasets.growing import make, register_more
from tests.feedback.answers import given
from tests.releases.conftest import Publisher

from .approving import ALICE, BEACH, FARM, approve


def planned(home: Home, database: Database) -> Plan:
    plan = plan_night(home, database, "tiny-a")
    assert isinstance(plan, Plan), plan
    return plan


def promoted_night(home: Home, database: Database, publisher: Publisher, seed: int, accuracy: float) -> str:
    """A night whose release is served: its version is made, its weights went on from what the plan says."""
    plan = planned(home, database)
    dataset = prepare(home, plan)
    make(home, dataset)
    done = publisher.publish(seed, accuracy, dataset=dataset, rule="improve", init_from=plan.init_from)
    assert done.current == done.manifest.release_id
    return dataset


def test_a_night_learns_what_is_accepted_on_top_of_what_is_served(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    plan = planned(home, database)
    assert (plan.parent, plan.init_from, plan.accepted, plan.removes) == ("v0.1.0", plan.served, 1, ())
    dataset = prepare(home, plan)
    recipe = load_recipe(home, dataset)
    assert (recipe.parent, len(recipe.adds)) == ("v0.1.0", 1)
    joined = read_joined(home, dataset)
    assert joined is not None and joined.figures["accepted"] == 1
    assert "approved_and_probable" in joined.markdown() and BEACH not in joined.model_dump_json()


def test_prepared_again_it_is_the_same_version(home: Home, database: Database, publisher: Publisher) -> None:
    approve(database, BEACH)
    assert prepare(home, planned(home, database)) == prepare(home, planned(home, database))


def test_a_version_that_the_gate_refused_is_no_parent_and_its_feedback_is_looked_at_again(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    first = prepare(home, planned(home, database))
    make(home, first)
    approve(database, FARM)
    plan = planned(home, database)
    assert (plan.parent, plan.accepted) == ("v0.1.0", 2)
    assert prepare(home, plan) != first


def test_a_version_that_an_operator_made_is_grown_from(home: Home, database: Database, publisher: Publisher) -> None:
    register_more(home)
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    make(home, "v0.2.0")
    approve(database, BEACH)
    assert planned(home, database).parent == "v0.2.0"


def test_what_was_learnt_and_served_is_not_learnt_again(home: Home, database: Database, publisher: Publisher) -> None:
    approve(database, BEACH)
    dataset = promoted_night(home, database, publisher, 2, 0.6)
    found = plan_night(home, database, "tiny-a")
    assert isinstance(found, NoNight) and "nothing to learn" in found.text
    approve(database, FARM)
    plan = planned(home, database)
    assert (plan.parent, plan.accepted) == (dataset, 1)


def test_after_a_withdrawal_the_night_goes_on_from_the_last_release_that_never_saw_it(
    home: Home, database: Database, publisher: Publisher
) -> None:
    first = require_current(home, "tiny-a")
    approve(database, BEACH)
    promoted_night(home, database, publisher, 2, 0.6)
    clean = require_current(home, "tiny-a")
    seen = approve(database, FARM, Owner("key:bbbbbbbbbbbb"))
    dataset = promoted_night(home, database, publisher, 3, 0.7)
    interactions.delete_all(database, Owner("key:bbbbbbbbbbbb"))
    plan = planned(home, database)
    assert (plan.parent, plan.accepted, len(plan.removes)) == (dataset, 0, 1)
    assert plan.init_from == clean != first
    without = prepare(home, plan)
    make(home, without)
    assert problem_ids(home, without).isdisjoint(plan.removes)
    assert without.startswith("v2.") and seen.interaction_id in deleted_interactions(database, [seen.interaction_id])


def test_forgetting_needs_no_new_feedback(home: Home, database: Database, publisher: Publisher) -> None:
    change_settings(database, {"min_interactions": 50}, who="test")
    approve(database, BEACH)
    promoted = plan_night(home, database, "tiny-a")
    assert isinstance(promoted, NoNight) and promoted.limit is not None
    change_settings(database, {"min_interactions": 1}, who="test")
    promoted_night(home, database, publisher, 2, 0.6)
    change_settings(database, {"min_interactions": 50}, who="test")
    interactions.delete_all(database, ALICE)
    assert isinstance(plan_night(home, database, "tiny-a", trigger="forget"), Plan)


def test_a_night_that_forgets_learns_nothing_new_which_waits_for_the_next(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    promoted_night(home, database, publisher, 2, 0.6)
    approve(database, FARM, Owner("key:bbbbbbbbbbbb"))
    assert planned(home, database).accepted == 1
    interactions.delete_all(database, ALICE)
    forgets = planned(home, database)
    assert (forgets.accepted, len(forgets.removes)) == (0, 1)
    assert forgets.selection.funnel.by_outcome("refused") == {"night_forgets": 1}
    dataset = prepare(home, forgets)
    assert not load_recipe(home, dataset).adds
    make(home, dataset)
    publisher.publish(3, 0.6, dataset=dataset, rule="replace", init_from=forgets.init_from)
    after = planned(home, database)
    assert (after.accepted, after.removes) == (1, ())


def test_lineage_says_what_a_release_has_learnt_from(home: Home, database: Database, publisher: Publisher) -> None:
    first = require_current(home, "tiny-a")
    approve(database, BEACH)
    dataset = promoted_night(home, database, publisher, 2, 0.6)
    second = require_current(home, "tiny-a")
    assert [manifest.release_id for manifest in lineage(home, "tiny-a", second)] == [second, first]
    new = learnt_problems(home, "tiny-a", second) - learnt_problems(home, "tiny-a", first)
    assert new and new <= problem_ids(home, dataset)
    assert last_clean(home, "tiny-a", new) == first
    assert last_clean(home, "tiny-a", []) == second
    assert last_clean(home, "tiny-a", problem_ids(home, "v0.1.0")) is None


def test_where_every_release_saw_it_the_night_says_how_to_train_from_nothing(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    dataset = prepare(home, planned(home, database))
    make(home, dataset)
    publisher.publish(9, 0.9, dataset=dataset)  # trained from nothing on all of it
    interactions.delete_all(database, ALICE)
    with pytest.raises(InvalidInputError, match="have learnt what was withdrawn"):
        plan_night(home, database, "tiny-a")


def test_without_a_release_there_is_nothing_to_go_on_from(home: Home, database: Database) -> None:
    with pytest.raises(NotFoundError):
        plan_night(home, database, "tiny-a")


def test_a_limit_is_written_down_once_with_its_value(home: Home, database: Database, publisher: Publisher) -> None:
    change_settings(database, {"min_interactions": 5}, who="test")
    approve(database, BEACH)
    for _ in range(2):
        assert isinstance(plan_and_record(home, database, "tiny-a", "person"), NoNight)
    (attempt,) = list_attempts(database, "tiny-a")
    assert (attempt.outcome, attempt.limit_name, attempt.limit_value) == ("limited", "min_interactions", 5)


def test_the_same_feedback_asks_for_one_night_and_again_only_where_that_failed(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    first = look(home, database, "tiny-a", trigger="sensor")
    assert first.key is not None and look(home, database, "tiny-a", trigger="sensor") == first
    plan = planned(home, database)
    facts = {"dataset": "v1.1.0", "init_from": plan.init_from}
    failed = begin(database, "tiny-a", "sensor", plan.selection.sha256, 1, **facts)
    finish(database, failed, "failed", "disk full")
    again = look(home, database, "tiny-a", trigger="sensor")
    assert again.key is not None and again.key != first.key
    refused = begin(database, "tiny-a", "sensor", plan.selection.sha256, 1, **facts)
    finish(database, refused, "refused", "not better")
    assert look(home, database, "tiny-a", trigger="sensor").key is None
    approve(database, FARM)
    assert look(home, database, "tiny-a", trigger="sensor").key is not None


def test_the_rate_of_the_next_night_is_lower_after_a_refusal(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    rate = planned(home, database).tuning.learning_rate
    begun = begin(database, "tiny-a", "person", "0" * 64, 1, dataset="v1.1.0")
    finish(database, begun, "refused", "not better")
    assert planned(home, database).tuning.learning_rate == pytest.approx((rate or 0) / 2)


def test_a_night_that_was_killed_is_closed_by_what_it_had_come_to(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    plan = planned(home, database)
    dataset = prepare(home, plan)
    make(home, dataset)
    begin(database, "tiny-a", "person", plan.selection.sha256, 1, dataset=dataset)
    settle(home, database, "tiny-a")
    assert list_attempts(database, "tiny-a")[0].outcome == "failed"
    begin(database, "tiny-a", "person", plan.selection.sha256, 1, dataset=dataset)
    publisher.publish(2, 0.6, dataset=dataset, rule="improve", init_from=plan.init_from)
    settle(home, database, "tiny-a")
    assert list_attempts(database, "tiny-a")[0].outcome == "promoted"
    rollback(home, "tiny-a")
    assert outcome_of(home, "tiny-a", dataset)[0] == "promoted", "a rollback is no decision of the night"


def test_a_killed_night_is_not_what_the_gate_said_of_the_same_version_before(
    home: Home, database: Database, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(database, FARM)
    plan = planned(home, database)
    dataset = prepare(home, plan)
    make(home, dataset)
    publisher.publish(2, 0.3, dataset=dataset, rule="improve", init_from=plan.init_from)
    assert outcome_of(home, "tiny-a", dataset)[0] == "refused"
    later = database.now_ms
    monkeypatch.setattr(Database, "now_ms", lambda _, connection: later(connection) + 2000)
    begin(database, "tiny-a", "person", plan.selection.sha256, 1, dataset=dataset)
    settle(home, database, "tiny-a")
    assert list_attempts(database, "tiny-a")[0].outcome == "failed"


def test_the_state_of_feedback_changes_with_whatever_is_said(
    home: Home, database: Database, publisher: Publisher
) -> None:
    states = [feedback_state(home, database, "tiny-a")]

    def changed() -> bool:
        states.append(feedback_state(home, database, "tiny-a"))
        return states[-1] not in states[:-1]

    assert not changed()
    answer = given(BEACH, ALICE)
    interactions.keep(database, answer)
    assert changed()
    give_vote(database, answer, "up")
    assert changed()
    give_vote(database, answer, "down")
    assert changed()
    assert feedback_counts(database) == {"kept": 1, "deleted": 0, "thumbs_up": 0, "thumbs_down": 1, "reviewed": 0}
    interactions.delete_all(database, ALICE)
    assert changed()
    publisher.publish(5, 0.9, dataset="v0.1.0")
    assert changed()
    change_settings(database, {"min_interactions": 7}, who="test")
    assert changed()


def test_without_users_data_a_night_learns_operators_examples_and_still_forgets(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    solution = "Step 1: The farm has 21 + 4 = 25 birds.\nStep 2: After the fox it has 25 - 7 = 18 birds.\nAnswer: 18"
    example = add_example(database, FARM, solution, "key:operator", "tiny-a")
    dataset = promoted_night(home, database, publisher, 2, 0.7)
    change_settings(database, {"include_user_data": False}, who="test")
    assert isinstance(plan_night(home, database, "tiny-a"), NoNight)
    interactions.delete(database, Owner("key:operator"), example.interaction_id)
    plan = planned(home, database)
    assert plan.accepted == 0 and len(plan.removes) == 1 and plan.parent == dataset


def test_who_opts_out_is_forgotten_even_while_users_data_are_left_out(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    promoted_night(home, database, publisher, 2, 0.7)
    change_settings(database, {"include_user_data": False}, who="test")
    opt_out(database, ALICE)
    assert len(planned(home, database).removes) == 1


def test_an_approved_answer_waits_while_users_data_are_left_out(
    home: Home, database: Database, publisher: Publisher
) -> None:
    approve(database, BEACH)
    change_settings(database, {"include_user_data": False}, who="test")
    assert isinstance(plan_night(home, database, "tiny-a"), NoNight)
    change_settings(database, {"include_user_data": True}, who="test")
    assert planned(home, database).accepted == 1
