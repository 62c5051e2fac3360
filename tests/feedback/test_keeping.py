"""Answers are kept with consent, redacted; votes replace each other; deletion leaves a tombstone and nothing else."""

import json

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from rjepa.database import Database
from rjepa.errors import InvalidInputError, RjepaError
from rjepa.feedback import consent, interactions
from rjepa.feedback.audit import read_audit
from rjepa.feedback.records import Content, NotKeptError, OptedOutError, Owner
from rjepa.feedback.tables import AUDIT
from rjepa.feedback.tickets import bring_content, hash_user, home_secret, read_ticket, sign
from rjepa.feedback.votes import give_vote, list_votes
from rjepa.home import Home

from .answers import WRONG, given

MAIL = "bob@example.org"
ALICE, BOB = Owner("key:aaaaaaaaaaaa", "u1"), Owner("key:aaaaaaaaaaaa", "u2")


def test_what_is_kept_is_redacted_and_comes_back_whole(database: Database) -> None:
    answer = given(f"Ana ({MAIL}) has 21 shells.", ALICE, steps=(f"Ask {MAIL}", "21 + 4 = 25"), answer=MAIL)
    kept = interactions.keep(database, answer)
    assert kept == interactions.find(database, answer.interaction_id)
    assert kept.content is not None
    assert kept.content.statement == "Ana (<EMAIL>) has 21 shells."
    assert kept.content.steps[0] == "Ask <EMAIL>" and kept.content.final_answer == "<EMAIL>"
    assert MAIL not in kept.content.text
    assert kept.redactions == {"email": 3}, "the question, and twice in the answer's text"
    assert kept.consent == consent.CONSENT_VERSION
    assert interactions.keep(database, answer) == kept


def test_a_vote_replaces_the_one_before_and_both_are_audited(database: Database) -> None:
    answer = given("What?", ALICE)
    give_vote(database, answer, "up")
    give_vote(database, answer, "up")
    give_vote(database, answer, "down")
    (vote,) = list_votes(database)
    assert (vote.vote, vote.owner) == ("down", ALICE)
    noted = [(entry.what, entry.details["before"], entry.details["vote"]) for entry in read_audit(database)]
    assert noted == [("voted", None, "up"), ("voted", "up", "down")]


def test_a_comment_is_kept_with_consent_alone_and_redacted(database: Database) -> None:
    answer = given("What?", ALICE)
    with pytest.raises(InvalidInputError, match="consent"):
        give_vote(database, answer, "down", "it is wrong")
    assert list_votes(database) == []
    interactions.keep(database, answer)
    assert give_vote(database, answer, None, f"write to {MAIL}").comment == "write to <EMAIL>"
    assert give_vote(database, answer, "down").comment == "write to <EMAIL>"


def test_deleting_leaves_an_id_and_a_time(database: Database) -> None:
    answer = given("A secret question", ALICE)
    interactions.keep(database, answer)
    give_vote(database, answer, "up", "a secret comment")
    gone = interactions.delete(database, ALICE, answer.interaction_id)
    assert gone.content is None and gone.deleted_at_ms
    (vote,) = list_votes(database)
    assert (vote.vote, vote.comment) == ("up", None)
    lines = [json.loads(line) for line in interactions.export(database, ALICE)]
    assert [line["content"] for line in lines] == [None]
    with pytest.raises(NotKeptError, match="deleted"):
        interactions.keep(database, answer)
    assert interactions.delete(database, ALICE, answer.interaction_id) == gone
    assert [entry.what for entry in read_audit(database, answer.interaction_id)] == ["kept", "voted", "deleted"]


def test_deleted_words_are_in_no_file_of_the_database(sqlite: Database, home: Home) -> None:
    answer = given("The canary-word sings", ALICE)
    interactions.keep(sqlite, answer)
    give_vote(sqlite, answer, "up", "another canary-word")

    def holds() -> list[str]:
        return [path.name for path in home.root.glob("rjepa.db*") if b"canary-word" in path.read_bytes()]

    assert holds()
    interactions.delete_all(sqlite, ALICE)
    assert holds() == []


def test_each_owner_sees_and_deletes_what_is_theirs(database: Database) -> None:
    mine, theirs, foreign = given("a", ALICE), given("b", BOB), given("c", Owner("key:bbbbbbbbbbbb"))
    for answer in (mine, theirs, foreign):
        interactions.keep(database, answer)
    with pytest.raises(NotKeptError):
        interactions.find_own(database, ALICE, theirs.interaction_id)
    with pytest.raises(NotKeptError):
        interactions.delete(database, Owner("key:bbbbbbbbbbbb"), mine.interaction_id)
    whole_client = Owner("key:aaaaaaaaaaaa")
    assert len(list(interactions.export(database, ALICE))) == 1
    assert len(list(interactions.export(database, whole_client))) == 2
    assert interactions.delete_all(database, whole_client) == 2
    left = [one.interaction_id for one in interactions.list_interactions(database) if one.content is not None]
    assert left == [foreign.interaction_id]


def test_nothing_is_kept_of_who_opted_out(database: Database) -> None:
    assert consent.opt_out(database, ALICE) and not consent.opt_out(database, ALICE)
    with pytest.raises(OptedOutError):
        interactions.keep(database, given("a", ALICE))
    interactions.keep(database, given("b", BOB))
    consent.opt_out(database, Owner(BOB.client))
    with pytest.raises(OptedOutError):
        interactions.keep(database, given("c", BOB))
    consent.opt_in(database, Owner(BOB.client))
    consent.opt_in(database, ALICE)
    interactions.keep(database, given("d", ALICE))


def test_a_client_is_in_the_workspace_that_it_was_put_into(database: Database) -> None:
    before = interactions.keep(database, given("a", ALICE))
    consent.join_workspace(database, ALICE.client, "lab", "cli")
    consent.set_workspace(database, "lab", False, "cli")
    after = interactions.keep(database, given("b", ALICE))
    assert (before.workspace, after.workspace) == ("default", "lab")
    with database.reading() as connection:
        assert consent.excluded_workspaces(connection) == {"lab"}
    with pytest.raises(InvalidInputError):
        consent.set_workspace(database, "No Such", True, "cli")


@pytest.mark.parametrize("statement", ["UPDATE feedback_audit SET who = 'nobody'", "DELETE FROM feedback_audit"])
def test_the_database_refuses_to_change_what_was_audited(database: Database, statement: str) -> None:
    give_vote(database, given("a"), "up")
    with pytest.raises((DBAPIError, RjepaError), match="append-only"):
        database.transact(lambda connection: connection.execute(text(statement)))
    with database.reading() as connection:
        assert len(connection.execute(select(AUDIT)).all()) == 1


def test_a_ticket_is_read_by_every_process_of_a_home_and_by_no_other(database: Database, home: Home) -> None:
    secret, answer = home_secret(database), given("a", ALICE, wrong=(WRONG,))
    ticket = sign(secret, answer)
    assert home_secret(database) == secret
    read = read_ticket(secret, ticket, answer.interaction_id)
    assert read.given.owner == ALICE and read.given.p_correct == answer.p_correct
    assert answer.content is not None
    as_javascript_writes_it = json.loads(answer.content.model_dump_json().replace("1.0", "1"))
    assert bring_content(read, Content(**as_javascript_writes_it)) == answer
    for name, other in (("final_answer", "19"), ("text", "Step 1: nothing"), ("steps", ()), ("finished", False)):
        with pytest.raises(InvalidInputError, match="reply"):
            bring_content(read, Content(**{**as_javascript_writes_it, name: other}))
    with pytest.raises(InvalidInputError, match="conversation"):
        bring_content(read, Content(**{**as_javascript_writes_it, "messages": [{"role": "user", "content": "b"}]}))
    for forged in ("", "t1..", ticket[:-1] + "!", ticket.replace(".", ".a", 1), "t2" + ticket[2:]):
        with pytest.raises(InvalidInputError, match="ticket"):
            read_ticket(secret, forged, answer.interaction_id)
    with pytest.raises(InvalidInputError, match="another answer"):
        read_ticket(secret, ticket, "chatcmpl-other")
    with pytest.raises(InvalidInputError, match="not made by this service"):
        read_ticket(b"\0" * 32, ticket, answer.interaction_id)


def test_an_end_user_is_known_by_a_keyed_hash(database: Database) -> None:
    secret = home_secret(database)
    assert hash_user(secret, MAIL) == hash_user(secret, MAIL) != hash_user(b"\0" * 32, MAIL)
    assert "bob" not in hash_user(secret, MAIL)
