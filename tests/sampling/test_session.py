"""A decoding session: chains and events, stopping and going on, latents on the way."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rjepa.chains import segment_spans
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.sampled import (
    GREEDY,
    ChainEnd,
    Event,
    Pass,
    RowRequest,
    StepEnd,
    Token,
    Tokens,
    Until,
)
from rjepa.students.session import Session

from .rows import HOT, MILD, STATEMENTS, alike, finish, requests, written


def test_many_questions_in_one_session_equal_each_alone(student: Student) -> None:
    wanted = requests(2) + [RowRequest(STATEMENTS[0], 3, GREEDY, None, 9), RowRequest(STATEMENTS[1], 4, 5, 0.3, 17)]
    together = written(student, wanted)
    for request, chain in zip(wanted, together, strict=True):
        alike(chain, *written(student, [request]))
    assert len(together[-2].token_ids) <= 9 and len(together[-1].token_ids) <= 17


def test_stopping_at_each_step_changes_no_chain(student: Student) -> None:
    straight = written(student, requests(3))
    with Session(student) as session:
        rows = session.add(requests(3))
        rounds = 0
        while not all(session.is_over(row) for row in rows):
            ends = [event for event in session.run(Until.STEP) if isinstance(event, StepEnd | ChainEnd)]
            assert len(ends) == len({event.row for event in ends})  # each row stops at its own end
            rounds += 1
        stepped = session.chains(rows)
    assert rounds > 1
    for one, other in zip(straight, stepped, strict=True):
        alike(one, other)


def test_stopping_after_some_tokens_changes_no_chain(student: Student) -> None:
    straight = written(student, requests(2))
    with Session(student) as session:
        rows = session.add(requests(2))
        list(session.run(Tokens(5)))
        assert all(len(session.tokens(row)) == 5 or session.is_over(row) for row in rows)
        finish(session)
        for one, other in zip(straight, session.chains(rows), strict=True):
            alike(one, other)


def test_events_tell_every_token_step_and_end(taught: Student) -> None:
    with Session(taught) as session:
        rows = session.add(requests(2, temperature=MILD))
        events = finish(session)
        for row in rows:
            chain = session.chain(row)
            mine = [event for event in events if not isinstance(event, Pass) and event.row == row]
            tokens = [event for event in mine if isinstance(event, Token)]
            assert [event.token for event in tokens][: len(chain.token_ids)] == chain.token_ids
            text = "".join(event.text for event in mine if isinstance(event, Token | ChainEnd))
            assert text == chain.text
            (end,) = [event for event in mine if isinstance(event, ChainEnd)]
            assert end.finished == chain.finished
            for step in (event for event in mine if isinstance(event, StepEnd)):
                kept = taught.pieces.text(chain.token_ids[: step.tokens])
                assert kept.endswith("\n") and kept.count("\n") == step.steps
        assert session.counts.generated == sum(isinstance(event, Token) for event in events)
        assert session.counts.generated == sum(event.generated for event in events if isinstance(event, Pass))


def test_a_prompt_is_read_once_for_all_rows_of_it(taught: Student) -> None:
    with Session(taught) as session:
        session.add(requests(4, STATEMENTS[:1]))
        list(session.run(Tokens(1)))
        assert session.counts.read == len(taught.tokenizer(f"{STATEMENTS[0]}\n")["input_ids"])


def test_latents_come_step_by_step_and_are_those_of_the_whole_chain(taught: Student) -> None:
    with Session(taught) as session:
        rows = session.add(requests(2, temperature=MILD))
        early: dict[int, list[np.ndarray]] = {row: [] for row in rows}
        while not all(session.is_over(row) for row in rows):
            for event in session.run(Until.STEP):
                if isinstance(event, StepEnd):
                    early[event.row].append(session.latents(event.row))
        fresh = written(taught, requests(2, temperature=MILD))
        for row, at_once in zip(rows, fresh, strict=True):
            whole = session.chain(row).latents
            assert whole is not None and early[row] and at_once.latents is not None
            np.testing.assert_allclose(whole.astype(float), at_once.latents.astype(float), atol=8e-3, rtol=2e-3)
            for latents in early[row]:
                np.testing.assert_array_equal(latents, whole[: len(latents)])


def test_closing_the_iterator_stops_between_two_tokens_and_another_run_goes_on(student: Student) -> None:
    straight = written(student, requests(2))
    with Session(student) as session:
        rows = session.add(requests(2))
        run = session.run()
        for event in run:
            if isinstance(event, Pass) and len(session.tokens(rows[0])) == 3:
                break
        run.close()
        passes = session.counts.passes
        assert passes == 4 and len(session.tokens(rows[0])) == 3  # one for the prompts, one for each token
        assert not student.captured._forward_hooks
        finish(session)
        for one, other in zip(straight, session.chains(rows), strict=True):
            alike(one, other)


def test_closing_the_session_stops_a_run_and_frees_its_caches(taught: Student) -> None:
    session = Session(taught)
    rows = session.add(requests(2))
    run: Iterator[Event] = session.run()
    next(run)
    session.close()
    passes = session.counts.passes
    assert not any(isinstance(event, ChainEnd) for event in run) and session.counts.passes == passes
    assert session.chain(rows[0]).token_ids and not taught.captured._forward_hooks
    with pytest.raises(ValueError, match="open session"):
        session.add(requests(1))


def test_progress_that_raises_stops_plain_sampling_between_two_tokens(taught: Student) -> None:
    class LeftError(Exception):
        pass

    calls = 0

    def leave(done: int, total: int, note: str = "") -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise LeftError

    with pytest.raises(LeftError):
        sample_indices(taught, STATEMENTS, [0, 1], seed=1, progress=leave)
    assert calls == 3 and not taught.captured._forward_hooks


def test_a_free_text_step_is_over_when_the_next_begins(taught: Student, tmp_path: Path) -> None:
    record = taught.record.model_copy(update={"segmentation": "punctuation"})
    student = dataclasses.replace(taught, record=record)
    with Session(student) as session:
        rows = session.add(requests(2))
        ended = [event for event in finish(session) if isinstance(event, StepEnd)]
        assert ended
        for event in ended:
            tokens = session.tokens(event.row)
            text = student.pieces.text(tokens[: event.tokens])
            assert len(segment_spans(text, "punctuation")) == event.steps
        assert rows


def test_a_row_says_itself_whether_it_wants_latents_and_whether_its_cache_is_kept(taught: Student) -> None:
    first, second = RowRequest(STATEMENTS[0], 7, 0, HOT, 40), RowRequest(STATEMENTS[0], 7, 1, HOT, 40)
    plain = dataclasses.replace(second, capture=False)
    kept = dataclasses.replace(first, keep_finished=True)
    with Session(taught) as session:
        rows = session.add([kept, plain])
        finish(session)
        chains = session.chains(rows)
        assert chains[0].latents is not None and chains[1].latents is None
        read = session.counts.read
        session.fork(rows[0], sample_index=9, keep_tokens=3)
        finish(session)
        assert session.counts.read <= read + 1
    for chain, other in zip(written(taught, [first, second]), chains, strict=True):
        alike(chain, other)
