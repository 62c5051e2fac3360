"""Forks of rows: what they keep, what they read again, and noise of their own."""

import dataclasses

import numpy as np
import pytest

from rjepa.students.loading import Student
from rjepa.students.noise import Branch, row_noise
from rjepa.students.sampled import (
    Token,
    Tokens,
    Until,
)
from rjepa.students.session import Session

from .rows import MILD, STATEMENTS, alike, finish, requests, written


@pytest.mark.parametrize("kept", ["all", "some", "none", "prompt"])
def test_a_fork_writes_what_a_row_that_reads_the_same_beginning_writes(student: Student, kept: str) -> None:
    with Session(student) as session:
        (parent,) = session.add(requests(1, STATEMENTS[:1]))
        count = 0 if kept == "prompt" else 7
        if count:
            list(session.run(Tokens(count)))
        keep = {"all": 7, "some": 4, "none": 0, "prompt": 0}[kept]
        read = session.counts.read
        children = [session.fork(parent, sample_index=index, keep_tokens=keep) for index in range(3)]
        beginning = session.tokens(parent)[:keep]
        finish(session)
        assert all(session.tokens(child)[:keep] == beginning for child in children)
        re_read = session.counts.read - read
        chains = session.chains(children)
    if student.shares_prefix:
        assert re_read <= len(children) or not count  # at most the last kept token of each
    assert len({tuple(chain.token_ids) for chain in chains}) > 1  # each has noise of its own
    for index, chain in enumerate(chains):
        request = requests(1, STATEMENTS[:1], prefix=tuple(beginning), branches=(Branch(keep, index),))
        alike(chain, *written(student, request))


def test_a_fork_of_a_fork_and_forks_while_others_run_are_what_reading_again_gives(student: Student) -> None:
    with Session(student) as session:
        parent, other = session.add(requests(1, STATEMENTS[:2]))
        run = session.run(Until.CHAIN)
        child = grandchild = None
        for event in run:
            if isinstance(event, Token) and event.row == parent and len(session.tokens(parent)) == 6:
                child = session.fork(parent, sample_index=1, keep_tokens=5)
                grandchild = session.fork(child, sample_index=2, keep_tokens=3)
        assert child is not None and grandchild is not None
        tokens = session.tokens(child)
        chains = session.chains([parent, other, child, grandchild])
    assert tokens[:3] == session.tokens(grandchild)[:3]
    prefixes = ((), (), tuple(tokens[:5]), tuple(tokens[:3]))
    branches = ((), (), (Branch(5, 1),), (Branch(5, 1), Branch(3, 2)))
    for chain, statement, prefix, path in zip(
        chains, [STATEMENTS[0], *STATEMENTS[1:2], STATEMENTS[0], STATEMENTS[0]], prefixes, branches, strict=True
    ):
        alike(chain, *written(student, requests(1, [statement], prefix=prefix, branches=path)))


def test_a_finished_chain_is_forked_at_a_step_without_reading_it_again(taught: Student) -> None:
    with Session(taught, keep_finished=True) as session:
        rows = session.add(requests(3, temperature=MILD))
        finish(session)
        read = session.counts.read
        row = next(row for row in rows if session.chain(row).text.count("\n") > 2)
        child = session.fork(row, sample_index=0, keep_steps=1)
        first = session.chain(row).text.split("\n")[0]
        assert session.chain(child).text == f"{first}\n"
        finish(session)
        assert session.counts.read <= read + 1
        kept, forked = session.tokens(child), session.chain(child)
    count = len(taught.tokenizer(f"{first}\n", add_special_tokens=False)["input_ids"])
    begun = requests(3, temperature=MILD)[row]
    request = dataclasses.replace(begun, prefix=tuple(kept[:count]), branches=(Branch(count, 0),))
    alike(forked, *written(taught, [request]))


def test_without_keeping_finished_rows_their_forks_read_again_and_say_so(taught: Student) -> None:
    with Session(taught) as session:
        (row,) = session.add(requests(1, STATEMENTS[:1]))
        finish(session)
        finish(session)  # nothing is left to do, but for letting caches go
        read = session.counts.read
        session.fork(row, sample_index=0, keep_tokens=3)
        finish(session)
        assert session.counts.read == read + len(taught.tokenizer(f"{STATEMENTS[0]}\n")["input_ids"]) + 3


def test_noise_of_forks_is_their_own() -> None:
    root = row_noise(1, "a", 0, 8)
    fork = row_noise(1, "a", 0, 8, (Branch(3, 0),))
    others = [
        row_noise(1, "a", 0, 8, (Branch(3, 1),)),
        row_noise(1, "a", 0, 8, (Branch(4, 0),)),
        row_noise(1, "a", 0, 8, (Branch(3, 0), Branch(3, 0))),
        row_noise(1, "a", 1, 8, (Branch(3, 0),)),
        root,
    ]
    assert all(not np.array_equal(fork, other) for other in others)
    assert np.array_equal(fork, row_noise(1, "a", 0, 8, (Branch(3, 0),)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"keep_tokens": 99},
        {"keep_tokens": -1},
        {"keep_steps": 50},
        {"keep_tokens": 1, "keep_steps": 1},
    ],
)
def test_a_fork_that_keeps_what_is_not_there_is_refused(taught: Student, wrong: dict[str, int]) -> None:
    with Session(taught) as session:
        (row,) = session.add(requests(1, STATEMENTS[:1]))
        list(session.run(Tokens(4)))
        with pytest.raises(ValueError, match="expected"):
            session.fork(row, sample_index=0, **wrong)
