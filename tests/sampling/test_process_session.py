"""A decoding session over the wire: what it offers here it offers there, and nothing runs that nobody waits for."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.sampling.local import LocalSource
from rjepa.sampling.loopback import TOKEN
from rjepa.sampling.process import ProcessSource
from rjepa.sampling.protocol import Capability, DecodingSession, require
from rjepa.sampling.server import make_server
from rjepa.sampling.student_process import StudentProcessError
from rjepa.students.loading import Student
from rjepa.students.sampled import ChainEnd, Event, Pass, RowRequest, StepEnd, Tokens, Until
from rjepa.students.session import Session
from tests.patience import wait_until
from tests.students.tiny import taught_pairs

STATEMENTS = [pair[0] for pair in taught_pairs()[:3]]
REQUESTS = [RowRequest(statement, 3, sample, 0.8, 40) for statement in STATEMENTS for sample in range(2)]


class WatchedSource(LocalSource):
    """A local source that remembers its sessions."""

    def __init__(self, student: Student) -> None:
        super().__init__(student)
        self.sessions: list[Session] = []
        self.passes = 0

    def session(self, *, capture: bool = True, keep_finished: bool = False) -> DecodingSession:
        self.sessions.append(Session(self._student, capture=capture, keep_finished=keep_finished))
        return self.sessions[-1]

    def sample(self, *arguments, progress, **options):  # type: ignore[no-untyped-def]
        def counted(done: int, total: int, note: str = "") -> None:
            self.passes += 1
            progress(done, total, note)

        return super().sample(*arguments, progress=counted, **options)


@pytest.fixture
def watched(taught: Student) -> WatchedSource:
    return WatchedSource(taught)


@pytest.fixture
def address(watched: WatchedSource) -> Iterator[str]:
    with make_server(watched, token="a-token") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def source(taught: Student, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessSource:
    monkeypatch.setenv(TOKEN, "a-token")
    return ProcessSource(Home(tmp_path), taught.record, address)


def play(session: DecodingSession, size: int) -> tuple[list[Event], list[object]]:
    """Everything that a session offers, once; the events and what came of it."""
    rows = session.add(REQUESTS)
    events: list[Event] = list(session.run(Until.STEP))
    child = session.fork(rows[0], sample_index=4, keep_steps=1)
    session.drop(rows[1])
    bias = torch.zeros(size)
    bias[session.tokens(rows[2])[0]] = -torch.inf
    session.set_bias(rows[2], bias)
    session.set_edit(rows[3], torch.full((32,), 0.5))
    early = session.latents(rows[0])
    events += session.run(Tokens(2))
    session.set_bias(rows[2], None)
    events += session.run(steps=False)
    chains = session.chains([*rows, child])
    facts: list[object] = [(c.text, c.token_ids, c.token_logprobs, c.finished) for c in chains]
    facts += [early.tolist(), [c.latents.tolist() for c in chains if c.latents is not None], session.is_over(child)]
    return events, [*facts, session.counts]


def test_a_session_there_does_what_a_session_here_does(taught: Student, source: ProcessSource) -> None:
    size = taught.model.get_output_embeddings().weight.shape[0]
    with LocalSource(taught).session(keep_finished=True) as here, source.session(keep_finished=True) as there:
        mine, its = play(here, size), play(there, size)
    assert its == mine
    assert any(isinstance(event, StepEnd) for event in mine[0])


def test_forks_between_two_events_join_there_as_they_do_here(taught: Student, source: ProcessSource) -> None:
    def forked(session: DecodingSession) -> list[list[int]]:
        rows = session.add(REQUESTS[:2])
        for event in session.run():
            if isinstance(event, Pass) and len(rows) < 4 and len(session.tokens(rows[0])) >= 4:
                rows.append(session.fork(rows[0], sample_index=len(rows), keep_tokens=3))
        return [session.tokens(row) for row in rows]

    with LocalSource(taught).session() as here, source.session() as there:
        assert forked(there) == forked(here)


def test_whoever_closes_the_iterator_or_leaves_stops_the_process_between_two_tokens(
    source: ProcessSource, watched: WatchedSource
) -> None:
    session = source.session()
    session.add(REQUESTS)
    run = session.run()
    for event in run:
        if isinstance(event, Pass) and session.counts.passes == 4:
            break
    (there,) = watched.sessions
    assert there.counts.passes == 4
    run.close()
    assert there.counts.passes == 4  # nothing was computed ahead of what was asked for
    session._connection.sock.close()  # as if this process had died
    session.close()
    wait_until(lambda: there._closed)
    assert there.counts.passes == 4


def test_leaving_plain_sampling_stops_it_within_a_few_tokens(
    taught: Student, source: ProcessSource, watched: WatchedSource
) -> None:
    class LeftError(Exception):
        pass

    def leave(done: int, total: int, note: str = "") -> None:
        raise LeftError

    statements = [pair[0] for pair in taught_pairs()[:200]]
    with Session(taught) as session:
        session.add([RowRequest(statement, 1, 0) for statement in statements])
        whole = sum(isinstance(event, Pass) for event in session.run(tokens=False, steps=False))
    with pytest.raises(LeftError):
        source.sample(statements, [0], seed=1, progress=leave)
    seen = -1
    while seen != watched.passes:
        seen = watched.passes
        time.sleep(0.3)
    assert 0 < watched.passes < whole
    assert source.sample(statements[:1], [0], seed=1)[0][0].token_ids  # and the process goes on serving


def test_progress_comes_from_there_while_chains_are_written(source: ProcessSource) -> None:
    calls: list[tuple[int, int]] = []
    source.sample(STATEMENTS, [0, 1], seed=1, progress=lambda done, total, note="": calls.append((done, total)))
    assert calls[0] == (0, 3) and calls[-1] == (3, 3)


def test_a_stream_from_there_comes_in_pieces(taught: Student, source: ProcessSource) -> None:
    *pieces, chain = source.stream(STATEMENTS[0], seed=3, sample_index=1)
    assert len(pieces) > 3 and "".join(map(str, pieces)) == chain.text
    assert chain.token_ids and chain.text == LocalSource(taught).sample([STATEMENTS[0]], [1], seed=3)[0][0].text


def test_what_cannot_be_sent_is_refused_with_the_reason(source: ProcessSource) -> None:
    with source.session() as session:
        (row,) = session.add(REQUESTS[:1])
        with pytest.raises(InvalidInputError, match="function for the edit(.|\n)*give a tensor"):
            session.set_edit(row, lambda state: state)
        with pytest.raises(ValueError, match="expected a bias"):
            session.set_bias(row, torch.zeros(3))
        with pytest.raises(ValueError, match="expected to keep"):
            session.fork(row, sample_index=0, keep_tokens=5)
        with pytest.raises(InvalidInputError, match="tokens"):
            session.add([RowRequest("word " * 400, 0)])
        assert any(isinstance(event, ChainEnd) for event in session.run())  # a refusal ends nothing
        assert np.isfinite(session.latents(row).astype(float)).all()


def test_a_source_says_what_it_lacks(taught: Student, source: ProcessSource) -> None:
    assert LocalSource(taught).capabilities == frozenset(Capability)
    assert source.capabilities == frozenset(Capability) - {Capability.CALLBACKS}
    require(source, Capability.FORK, "tree")
    with pytest.raises(InvalidInputError, match="mode nudge wants callbacks(.|\n)*in this process"):
        require(source, Capability.CALLBACKS, "nudge")


def test_a_session_whose_process_is_gone_says_so(taught: Student, tmp_path: Path) -> None:
    with make_server(LocalSource(taught)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        gone = ProcessSource(Home(tmp_path), taught.record, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    with pytest.raises(StudentProcessError, match="no student answers"):
        gone.session()
