"""Feedback that a night accepts."""

from rjepa.database import Database
from rjepa.feedback import interactions
from rjepa.feedback.records import Given, Owner
from rjepa.feedback.votes import give_vote
from tests.feedback.answers import given

ALICE = Owner("key:aaaaaaaaaaaa")
BEACH = "Ana finds 21 shells on a beach, then 4 more, and Ben has 7 fewer than she has. How many shells has Ben?"
FARM = "A farm keeps 21 hens and buys 4 geese; a fox takes 7 birds one night. How many birds are left on the farm?"


def approve(database: Database, statement: str, owner: Owner = ALICE) -> Given:
    answer = given(statement, owner)
    interactions.keep(database, answer)
    give_vote(database, answer, "up")
    return answer
