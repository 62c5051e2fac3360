"""From kept interactions to the next dataset version and back out of it: nothing held out, nothing withdrawn."""

import pytest

from rjepa.database import Database
from rjepa.datasets.parts import MANIFEST
from rjepa.datasets.reading import load_chains, load_problems
from rjepa.datasets.recipe import load_recipe
from rjepa.datasets.versions import create_version
from rjepa.feedback import consent, interactions
from rjepa.feedback.evidence import gather
from rjepa.feedback.examples import add_example
from rjepa.feedback.records import Given, Owner
from rjepa.feedback.selection import select
from rjepa.feedback.snapshot import Snapshot, feedback_problems, feedback_weights, write_snapshot
from rjepa.feedback.votes import give_vote
from rjepa.files import read_json
from rjepa.home import Home
from rjepa.schemas import Problem
from rjepa.validation.judge import judge
from tests.datasets.growing import first_version, make, register_rows

from .answers import WRONG, given

ALICE = Owner("key:aaaaaaaaaaaa")
NEW = "Ana finds 21 shells on a beach, then 4 more, and Ben has 7 fewer than she has. How many shells has Ben?"


def approve(database: Database, statement: str, vote: str = "up", owner: Owner = ALICE, **more: object) -> Given:
    answer = given(statement, owner, **more)  # type: ignore[arg-type]
    interactions.keep(database, answer)
    give_vote(database, answer, vote)  # type: ignore[arg-type]
    return answer


def reasons(home: Home, database: Database, parent: str = "v0.1.0") -> dict[str, str]:
    return {one.interaction_id: one.reason for one in select(gather(home, database, parent)).chosen}


def snapshot(home: Home, database: Database, parent: str) -> Snapshot:
    return write_snapshot(home, select(gather(home, database, parent)), parent)


@pytest.fixture
def version(home: Home) -> list[Problem]:
    first_version(home)
    return load_problems(home, "v0.1.0")


def test_a_question_of_a_held_out_split_is_never_learned_from(
    home: Home, sqlite: Database, version: list[Problem]
) -> None:
    test, validation, train = (
        next(problem for problem in version if problem.split == split) for split in ("test", "validation", "train")
    )
    expected = {}
    for problem, reason in ((test, "held_out_problem"), (validation, "held_out_problem"), (train, "known_problem")):
        answer = approve(sqlite, problem.statement.upper(), answer=problem.answer_gold)
        expected[answer.interaction_id] = reason
    story = next(one for one in version if one.split == "test" and len(one.statement.split(" has ")) > 5)
    near = story.statement.replace(" has ", " owns ", 1)
    expected[approve(sqlite, near).interaction_id] = "held_out_problem"
    assert reasons(home, sqlite) == expected
    assert snapshot(home, sqlite, "v0.1.0").name is None


def test_accepted_interactions_become_the_next_version_and_deleted_ones_leave_it(
    home: Home, sqlite: Database, version: list[Problem]
) -> None:
    answer = approve(sqlite, NEW)
    wrong = approve(sqlite, NEW, "down", Owner("key:bbbbbbbbbbbb"), steps=WRONG, answer="19")
    made = snapshot(home, sqlite, "v0.1.0")
    assert (made.problems, made.chains, made.removes) == (1, 2, ())
    assert snapshot(home, sqlite, "v0.1.0") == made, "made again, it is the same"
    assert made.name is not None

    create_version(home, "v0.2.0", parent="v0.1.0", adds=[made.name])
    make(home, "v0.2.0")
    ((problem_id, seen),) = feedback_problems(home, "v0.2.0").items()
    assert set(seen) == {answer.interaction_id, wrong.interaction_id}
    problem = next(one for one in load_problems(home, "v0.2.0") if one.problem_id == problem_id)
    assert (problem.statement, problem.answer_gold, problem.split) == (NEW, "18", "train")
    assert problem.licence == f"consent:{consent.CONSENT_VERSION}"
    chains = {chain.is_valid: chain for chain in load_chains(home, "v0.2.0") if chain.problem_id == problem_id}
    assert chains[True].steps == ["Ana has 21 + 4 = 25 shells", "Ben has 25 - 7 = 18 shells"]
    assert (chains[False].validation_reason, chains[False].first_error_step) == ("wrong_arithmetic", 0)
    assert read_json(home.dataset("v0.2.0") / MANIFEST)["validation_rate"] == 1.0, "negatives are not meant to be right"

    assert reasons(home, sqlite, "v0.2.0")[answer.interaction_id] == "already_learned"
    assert not snapshot(home, sqlite, "v0.2.0").changes_anything
    assert snapshot(home, sqlite, "v0.1.0") == made, "a night that was killed after the version begins anew from it"

    interactions.delete(sqlite, Owner("key:bbbbbbbbbbbb"), wrong.interaction_id)
    after = snapshot(home, sqlite, "v0.2.0")
    assert after.removes == (problem_id,)
    create_version(home, "v9.0.0", parent="v0.2.0", removes=after.removes)
    make(home, "v9.0.0")
    assert feedback_problems(home, "v9.0.0") == {}
    rest = snapshot(home, sqlite, "v9.0.0")
    assert (rest.problems, rest.chains) == (1, 1), "what others gave is still theirs to give"
    assert rest.name not in (None, made.name)
    create_version(home, "v9.1.0", parent="v9.0.0", adds=[str(rest.name)])
    make(home, "v9.1.0")
    assert list(feedback_problems(home, "v9.1.0").values()) == [(answer.interaction_id,)]


def test_who_opts_out_later_leaves_the_next_version(home: Home, sqlite: Database, version: list[Problem]) -> None:
    approve(sqlite, NEW)
    made = snapshot(home, sqlite, "v0.1.0")
    create_version(home, "v0.2.0", parent="v0.1.0", adds=[str(made.name)])
    make(home, "v0.2.0")
    consent.opt_out(sqlite, ALICE)
    assert snapshot(home, sqlite, "v0.2.0").removes == tuple(feedback_problems(home, "v0.2.0"))
    consent.opt_in(sqlite, ALICE)
    consent.join_workspace(sqlite, ALICE.client, "lab", "cli")
    consent.set_workspace(sqlite, "lab", False, "cli")
    assert snapshot(home, sqlite, "v0.2.0").removes == (), "it was kept in the workspace of that day"


def test_what_a_snapshot_registers_is_a_data_set_like_any_other(
    home: Home, sqlite: Database, version: list[Problem]
) -> None:
    approve(sqlite, NEW, p=None)
    recipe = load_recipe(home, str(snapshot(home, sqlite, "v0.1.0").name))
    assert recipe.source == "imported" and recipe.warnings == []


def test_a_gold_answer_of_another_data_set_decides_before_any_vote(
    home: Home, sqlite: Database, version: list[Problem]
) -> None:
    rows = [{"statement": NEW, "answer": "18", "split": "train", "domain": "math", "licence": "MIT"}]
    register_rows(home, home.root, rows, "mine")
    make(home, "mine")
    right, wrong = approve(sqlite, NEW, "down"), approve(sqlite, NEW, "up", answer="17", p=0.99)
    assert judge(load_problems(home, "mine")[0], [], "18").is_correct
    assert reasons(home, sqlite) == {right.interaction_id: "vote_against_check", wrong.interaction_id: "check_failed"}


def test_the_weight_of_an_operators_example_goes_with_it_into_the_next_version(
    home: Home, sqlite: Database, version: list[Problem]
) -> None:
    solution = "Step 1: Ana has 21 + 4 = 25 shells.\nStep 2: Ben has 25 - 7 = 18 shells.\nAnswer: 18"
    add_example(sqlite, NEW, solution, "key:operator", "tiny-a", weight=2.5)
    approve(sqlite, NEW.replace("shells", "stones").replace("beach", "hill").replace("21", "35"), answer="32")
    made = snapshot(home, sqlite, "v0.1.0")
    assert made.name is not None
    create_version(home, "v0.2.0", parent="v0.1.0", adds=[made.name])
    make(home, "v0.2.0")
    assert list(feedback_weights(home, "v0.2.0").values()) == [2.5]
    assert feedback_weights(home, "v0.2.0").keys() <= feedback_problems(home, "v0.2.0").keys()
