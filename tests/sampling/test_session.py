"""A decoding session: rows that wait, fork, drop, are biased and edited, beside rows that do not notice."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rjepa.home import Home
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.noise import Branch, row_noise
from rjepa.students.sampled import (
    GREEDY,
    ChainEnd,
    Event,
    Pass,
    RowRequest,
    SampledChain,
    StepEnd,
    Token,
    Tokens,
    Until,
)
from rjepa.students.session import Session
from tests.students.architectures import write_model
from tests.students.tiny import open_tiny, taught_pairs

STATEMENTS = [pair[0] for pair in taught_pairs()[:6]]
HOT = 1.5
"""A temperature at which the taught student's samples differ."""
MILD = 0.6
"""One at which it keeps to the form of a chain."""


def requests(
    count: int, statements: list[str] | None = None, temperature: float = HOT, **options: Any
) -> list[RowRequest]:
    return [
        RowRequest(statement, 7, sample, temperature, 40, **options)
        for statement in statements or STATEMENTS
        for sample in range(count)
    ]


def finish(session: Session, **options: bool) -> list[Event]:
    return list(session.run(Until.CHAIN, **options))


def alike(one: SampledChain, other: SampledChain) -> None:
    """The same tokens, and the same numbers within rounding."""
    assert (one.text, one.token_ids, one.finished) == (other.text, other.token_ids, other.finished)
    np.testing.assert_allclose(one.token_logprobs, other.token_logprobs, atol=1e-4)
    if one.latents is not None and other.latents is not None:
        np.testing.assert_allclose(one.latents.astype(float), other.latents.astype(float), atol=8e-3)


def identical(one: SampledChain, other: SampledChain) -> bool:
    return all(
        np.array_equal(mine, its) if isinstance(mine, np.ndarray) else mine == its
        for mine, its in zip(vars(one).values(), vars(other).values(), strict=True)
    )


@pytest.fixture(scope="module", params=["taught", "gpt_neox", "gemma2"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    """Of each kind of cache: shared prefixes, transformers' own, and one whose attention forgets (32 tokens)."""
    if request.param == "taught":
        found: Student = request.getfixturevalue("taught")
        return found
    folder = write_model(tmp_path_factory.mktemp(request.param) / "model", request.param)
    return open_tiny(Home(tmp_path_factory.mktemp("home")), folder)


def test_many_questions_in_one_session_equal_each_alone(student: Student) -> None:
    wanted = requests(2) + [RowRequest(STATEMENTS[0], 3, GREEDY, None, 9), RowRequest(STATEMENTS[1], 4, 5, 0.3, 17)]
    with Session(student) as session:
        rows = session.add(wanted)
        finish(session)
        together = session.chains(rows)
    for request, chain in zip(wanted, together, strict=True):
        with Session(student) as alone:
            (row,) = alone.add([request])
            finish(alone)
            alike(chain, alone.chain(row))
    assert len(together[-2].token_ids) <= 9 and len(together[-1].token_ids) <= 17


def test_stopping_at_each_step_changes_no_chain(student: Student) -> None:
    with Session(student) as session:
        rows = session.add(requests(3))
        finish(session)
        straight = session.chains(rows)
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
    with Session(student) as session:
        rows = session.add(requests(2))
        finish(session)
        straight = session.chains(rows)
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
        with Session(student) as session:
            request = requests(1, STATEMENTS[:1], prefix=tuple(beginning), branches=(Branch(keep, index),))[0]
            (row,) = session.add([request])
            finish(session)
            alike(chain, session.chain(row))


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
        with Session(student) as session:
            (row,) = session.add(requests(1, [statement], prefix=prefix, branches=path))
            finish(session)
            alike(chain, session.chain(row))


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
    with Session(taught) as session:
        request = dataclasses.replace(
            requests(3, temperature=MILD)[row], prefix=tuple(kept[:count]), branches=(Branch(count, 0),)
        )
        (again,) = session.add([request])
        finish(session)
        alike(session.chain(again), forked)


def test_without_keeping_finished_rows_their_forks_read_again_and_say_so(taught: Student) -> None:
    with Session(taught) as session:
        (row,) = session.add(requests(1, STATEMENTS[:1]))
        finish(session)
        finish(session)  # nothing is left to do, but for letting caches go
        read = session.counts.read
        session.fork(row, sample_index=0, keep_tokens=3)
        finish(session)
        assert session.counts.read == read + len(taught.tokenizer(f"{STATEMENTS[0]}\n")["input_ids"]) + 3


def test_dropping_rows_leaves_the_others_as_they_were(student: Student) -> None:
    with Session(student) as session:
        rows = session.add(requests(4, STATEMENTS[:3]))
        finish(session)
        whole = session.chains(rows)
    with Session(student) as session:
        rows = session.add(requests(4, STATEMENTS[:3]))
        list(session.run(Tokens(4)))
        gone = [rows[1], rows[6]]
        for row in gone:
            session.drop(row)
        finish(session)
        for row, chain in zip(rows, whole, strict=True):
            if row in gone:
                assert session.tokens(row) == chain.token_ids[:4]
            else:
                alike(session.chain(row), chain)


def test_dropping_a_row_of_a_batch_that_stays_whole_changes_no_bit_of_the_others(taught: Student) -> None:
    def sampled(drop: bool) -> list[SampledChain]:
        with Session(taught) as session:
            rows = session.add(requests(8, STATEMENTS[:1]))
            for event in session.run():
                if drop and isinstance(event, Pass) and len(session.tokens(rows[0])) == 3:
                    session.drop(rows[3])
            return [session.chain(row) for row in rows if row != rows[3]]

    for one, other in zip(sampled(False), sampled(True), strict=True):
        assert identical(one, other)


def test_rows_that_join_between_two_tokens_write_what_they_write_alone(student: Student) -> None:
    first, second = requests(2, STATEMENTS[:1]), requests(2, STATEMENTS[1:3])
    with Session(student) as session:
        rows = session.add(first)
        late: list[int] = []
        for event in session.run():
            if isinstance(event, Pass) and not late and len(session.tokens(rows[0])) >= 3:
                late = session.add(second)
        assert late and all(session.is_over(row) for row in rows + late)
        chains = session.chains(rows + late)
    for request, chain in zip(first + second, chains, strict=True):
        with Session(student) as alone:
            (row,) = alone.add([request])
            finish(alone)
            alike(chain, alone.chain(row))


def test_latents_come_step_by_step_and_are_those_of_the_whole_chain(taught: Student) -> None:
    with Session(taught) as session:
        rows = session.add(requests(2, temperature=MILD))
        early: dict[int, list[np.ndarray]] = {row: [] for row in rows}
        while not all(session.is_over(row) for row in rows):
            for event in session.run(Until.STEP):
                if isinstance(event, StepEnd):
                    early[event.row].append(session.latents(event.row))
        for row in rows:
            whole = session.chain(row).latents
            assert whole is not None and early[row]
            for latents in early[row]:
                np.testing.assert_array_equal(latents, whole[: len(latents)])


def test_an_edit_that_changes_nothing_changes_no_bit(student: Student) -> None:
    def sampled(edit: bool) -> list[SampledChain]:
        with Session(student) as session:
            rows = session.add(requests(2, STATEMENTS[:2]))
            if edit:
                session.set_edit(rows[0], lambda state: state)
                session.set_edit(rows[1], torch.zeros(student.hidden_size))
            finish(session)
            return session.chains(rows)

    for one, other in zip(sampled(False), sampled(True), strict=True):
        assert identical(one, other)


def test_an_edit_moves_the_states_of_its_row_from_then_on_and_no_others(student: Student) -> None:
    with Session(student) as session:
        rows = session.add(requests(2, STATEMENTS[:2]))
        finish(session)
        plain = session.chains(rows)
    shift = torch.full((student.hidden_size,), 3.0)
    with Session(student) as session:
        rows = session.add(requests(2, STATEMENTS[:2]))
        session.set_edit(rows[0], shift)
        finish(session)
        edited = session.chains(rows)
    assert edited[0].latents is not None and plain[0].latents is not None
    np.testing.assert_array_equal(edited[0].latents[0], plain[0].latents[0])  # the prompt was read before
    width = student.hidden_size
    assert np.abs(edited[0].latents[1, :width].astype(float) - plain[0].latents[1, :width].astype(float)).mean() > 1
    assert edited[0].token_ids[0] == plain[0].token_ids[0] and edited[0].token_logprobs != plain[0].token_logprobs
    for one, other in zip(plain[1:], edited[1:], strict=True):
        alike(one, other)


def test_a_bias_of_minus_infinity_forbids_a_token_and_leaves_log_probabilities_alone(student: Student) -> None:
    with Session(student) as session:
        (row,) = session.add([RowRequest(STATEMENTS[0], 1, GREEDY, None, 10)])
        finish(session)
        plain = session.chain(row)
    size = student.model.get_output_embeddings().weight.shape[0]
    forbidden = torch.zeros(size)
    forbidden[plain.token_ids[0]] = -torch.inf
    with Session(student) as session:
        biased, callable_, free = session.add([RowRequest(STATEMENTS[0], 1, GREEDY, None, 10)] * 3)
        session.set_bias(biased, forbidden)
        session.set_bias(callable_, lambda tokens: forbidden if not tokens else None)
        finish(session)
        assert plain.token_ids[0] not in session.tokens(biased)
        assert session.tokens(callable_)[0] != plain.token_ids[0]
        assert session.chain(biased).token_logprobs[0] < plain.token_logprobs[0]
        assert np.isfinite(session.chain(biased).token_logprobs).all()
        alike(session.chain(free), plain)
        with pytest.raises(ValueError, match="expected a bias"):
            session.set_bias(free, torch.zeros(3))


def test_closing_the_iterator_stops_between_two_tokens_and_another_run_goes_on(student: Student) -> None:
    with Session(student) as session:
        rows = session.add(requests(2))
        finish(session)
        straight = session.chains(rows)
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


def test_a_free_text_step_is_over_when_the_next_begins(taught: Student, tmp_path: Path) -> None:
    record = taught.record.model_copy(update={"segmentation": "punctuation"})
    student = dataclasses.replace(taught, record=record)
    with Session(student) as session:
        rows = session.add(requests(2))
        ended = [event for event in finish(session) if isinstance(event, StepEnd)]
        assert ended
        for event in ended:
            tokens = session.tokens(event.row)
            from rjepa.chains import segment_spans

            text = student.pieces.text(tokens[: event.tokens])
            assert len(segment_spans(text, "punctuation")) == event.steps
        assert rows


def test_a_session_that_is_never_over_holds_no_more_than_its_rows(student: Student) -> None:
    wanted = requests(1) * 3
    alone = sample_indices(student, STATEMENTS, [0], seed=7, temperature=HOT, max_new_tokens=40)
    with Session(student) as session:
        running: dict[int, RowRequest] = {}
        found: list[tuple[str, SampledChain]] = []
        gone: list[int] = []
        most = 0

        def seat() -> None:
            session.forget(gone)
            gone.clear()
            while wanted and len(running) < 3:
                request = wanted.pop(0)
                (row,) = session.add([request])
                assert row not in running
                running[row] = request

        seat()
        for event in session.run(Until.CHAIN):
            if isinstance(event, ChainEnd):
                found.append((running.pop(event.row).statement, session.chain(event.row)))
                gone.append(event.row)
            if isinstance(event, Pass):
                seat()
                most = max(most, *running, 0)
        assert not wanted and not running and len(found) == 18
    expected = {statement: row[0] for statement, row in zip(STATEMENTS, alone, strict=True)}
    for statement, chain in found:
        alike(chain, expected[statement])
    assert most < 12


def test_rows_that_are_held_wait_until_they_may_go_on_and_write_what_they_would_have_written(student: Student) -> None:
    with Session(student) as session:
        rows = session.add(requests(2))
        finish(session)
        straight = session.chains(rows)
    with Session(student) as session:
        rows = session.add(requests(2))
        held: dict[int, int] = {}
        for event in session.run(Until.CHAIN):
            if isinstance(event, Token):
                assert event.row not in held
            if isinstance(event, Pass):
                for row in [row for row, left in held.items() if left == 0]:
                    session.go_on(row)
                held = {row: left - 1 for row, left in held.items() if left}
                first = next((row for row in rows if row not in held and not session.is_over(row)), None)
                if first is not None and len(session.tokens(first)) % 5 == 0 and len(held) < 4:
                    session.hold(first)
                    held[first] = 2
        while held:  # a run ends where all rows wait
            row, _ = held.popitem()
            session.go_on(row)
            finish(session)
        for chain, expected in zip(session.chains(rows), straight, strict=True):
            alike(chain, expected)


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
    with Session(taught) as session:
        rows = session.add([first, second])
        finish(session)
        for chain, other in zip(session.chains(rows), chains, strict=True):
            alike(chain, other)
