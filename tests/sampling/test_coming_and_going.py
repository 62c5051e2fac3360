"""Rows that join, wait and leave a running session, beside rows that do not notice."""

from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.sampled import ChainEnd, Pass, RowRequest, SampledChain, Token, Tokens, Until
from rjepa.students.session import Session

from .rows import HOT, STATEMENTS, alike, finish, identical, requests, written


def test_dropping_rows_leaves_the_others_as_they_were(student: Student) -> None:
    whole = written(student, requests(4, STATEMENTS[:3]))
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
        alike(chain, *written(student, [request]))


def test_who_takes_the_place_of_a_row_that_is_gone_reads_nothing_of_it(student: Student) -> None:
    wanted = requests(1)
    with Session(student) as session:
        rows = session.add(wanted)
        late: list[int] = []
        for event in session.run():
            if isinstance(event, Pass) and not late and len(session.tokens(rows[0])) >= 4:
                session.drop(rows[2])
                late = session.add([wanted[2]])
        assert late and session.is_over(late[0])
        chain = session.chain(late[0])
    alike(chain, *written(student, [wanted[2]]))


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
    straight = written(student, requests(2))
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
