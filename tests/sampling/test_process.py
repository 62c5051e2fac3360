"""A student in a process of its own environment: the same chains and answers, over HTTP; started, watched and ended."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from rjepa.engine import Engine
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.home import Home
from rjepa.reasoning.events import Done, StepWritten, Text
from rjepa.reasoning.question import ask
from rjepa.sampling.local import LocalSource
from rjepa.sampling.loopback import SERVER, TOKEN
from rjepa.sampling.process import ProcessSource
from rjepa.sampling.server import make_server
from rjepa.sampling.student_process import StudentProcessError
from rjepa.sampling.wire import pack_chains, unpack_chains
from rjepa.students.catalog import load_record, save_record
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.sampled import GREEDY, SampledChain
from tests.patience import PATIENCE, wait_until
from tests.students.environments import lean_environment, runs
from tests.students.tiny import taught_pairs
from tests.tiny_release import STATEMENT, TAG, publish, register_student, taught_folder

pytestmark = pytest.mark.slow

STATEMENTS = [pair[0] for pair in taught_pairs()[:3]]


def same(one: list[list[SampledChain]], other: list[list[SampledChain]]) -> bool:
    for row, others in zip(one, other, strict=True):
        for chain, twin in zip(row, others, strict=True):
            assert (chain.text, chain.token_ids, chain.finished) == (twin.text, twin.token_ids, twin.finished)
            assert (chain.token_logprobs, chain.self_certainty) == (twin.token_logprobs, twin.self_certainty)
            for name in ("latents", "sentences"):
                mine, its = getattr(chain, name), getattr(twin, name)
                assert (mine is None) == (its is None)
                assert mine is None or (mine.dtype == its.dtype and np.array_equal(mine, its))
    return True


@pytest.fixture
def address(taught: Student) -> Iterator[str]:
    """A server of the taught student, in a thread, that wants a token."""
    with make_server(LocalSource(taught), token="a-token") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("capture", [True, False])
def test_chains_come_over_the_wire_as_they_were(taught: Student, capture: bool) -> None:
    rows = sample_indices(taught, STATEMENTS, [GREEDY, 0, 1], seed=1, capture=capture)
    assert same(unpack_chains(pack_chains(rows)), rows)
    with pytest.raises(CorruptError, match="no chains"):
        unpack_chains(b"something else altogether")


def test_a_student_at_an_address_samples_and_streams_as_if_it_were_here(
    taught: Student, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "a-token")
    remote, local = ProcessSource(Home(tmp_path), taught.record, address), LocalSource(taught)
    assert (remote.fingerprint, remote.context_length) == (taught.fingerprint, taught.context_length)
    assert remote.count_prompt(STATEMENTS[0]) == local.count_prompt(STATEMENTS[0])
    options = {"seed": 3, "temperature": 0.7, "max_new_tokens": 20}
    assert same(remote.sample(STATEMENTS, [0, 1], **options), local.sample(STATEMENTS, [0, 1], **options))
    *pieces, chain = remote.stream(STATEMENTS[0], seed=3, sample_index=GREEDY)
    *own_pieces, own = local.stream(STATEMENTS[0], seed=3, sample_index=GREEDY)
    assert "".join(map(str, pieces)) == "".join(map(str, own_pieces)) == chain.text == own.text
    with pytest.raises(InvalidInputError, match="tokens"):
        remote.sample(["word " * 400], [0], seed=1)


def test_the_token_the_student_and_the_address_have_to_be_right(
    taught: Student, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StudentProcessError, match="token is missing or wrong"):
        ProcessSource(Home(tmp_path), taught.record, address)
    monkeypatch.setenv(TOKEN, "a-token")
    with pytest.raises(InvalidInputError, match="is tiny-test, not other"):
        ProcessSource(Home(tmp_path), taught.record.model_copy(update={"llm_tag": "other"}), address)
    for elsewhere in ("http://example.org:80", "https://127.0.0.1:1", "http://127.0.0.1:1/x"):
        with pytest.raises(InvalidInputError, match="no address of a student"):
            ProcessSource(Home(tmp_path), taught.record, elsewhere)
    with pytest.raises(StudentProcessError, match="no student answers"):
        ProcessSource(Home(tmp_path), taught.record, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/sample", "application/json", "{", 400),
        ("/sample", "application/json", json.dumps({"statements": ["x"]}), 400),
        ("/sample", "text/plain", json.dumps({"statements": ["x"], "samples": [0], "seed": 1}), 400),
        ("/count", "application/json", "[]", 400),
        ("/shutdown", "application/json", "{}", 404),
    ],
)
def test_a_bad_request_is_refused_and_the_server_goes_on(
    address: str, path: str, kind: str, body: str, status: int
) -> None:
    for wanted, token in ((status, "a-token"), (404 if status == 404 else 401, "wrong")):
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE)
        connection.request("POST", path, body, {"content-type": kind, "authorization": f"Bearer {token}"})
        response = connection.getresponse()
        reply = json.loads(response.read())
        connection.close()
        assert response.status == wanted and reply["problem"] and reply["cure"]


def test_the_engine_answers_with_a_student_in_its_own_environment_and_survives_its_death(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path / "home")
    publish(home, register_student(home, taught_folder(tmp_path_factory)), tmp_path / "sources")
    here = Engine.load(home, TAG, "cpu")
    environment = str(lean_environment(tmp_path / "env"))
    save_record(home, load_record(home, TAG).model_copy(update={"environment": environment}))
    there = Engine.load(home, TAG, "cpu")
    process = next(one for one in psutil.Process().children() if runs(one, SERVER))
    for question in (ask(STATEMENT, "off"), ask(STATEMENT, options={"num_candidates": 4}, seed=5)):
        mine, its = here.answer(question), there.answer(question)
        assert (its.text, its.prompt_tokens) == (mine.text, mine.prompt_tokens)
        assert its.cost.tokens_generated == mine.cost.tokens_generated
        np.testing.assert_allclose(its.p_correct or 0, mine.p_correct or 0, atol=1e-3)
        *events, last = there.run(question)
        pieces = [event.text for event in events if isinstance(event, Text | StepWritten)]
        assert isinstance(last, Done) and "".join(pieces) == last.answer.text == mine.text
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    assert there.answer(ask(STATEMENT, "off")).text == here.answer(ask(STATEMENT, "off")).text  # it was started anew
    process = next(one for one in psutil.Process().children() if runs(one, SERVER))
    del there
    process.wait(PATIENCE)  # the student's process ends by itself with the engine that used it


def test_a_student_that_cannot_be_loaded_there_says_why(tmp_path: Path, taught: Student) -> None:
    home = Home(tmp_path)
    environment = str(lean_environment(tmp_path / "env"))
    broken = taught.record.model_copy(update={"environment": environment})
    with pytest.raises(StudentProcessError, match="no student is called 'tiny-test'"):
        ProcessSource(home, broken)


def test_a_helper_ends_when_the_process_that_started_it_is_killed() -> None:
    child = "import time; from rjepa.processes import *; end_with_parent(); print('up', flush=True); time.sleep(600)"
    parent = (
        "import subprocess, sys, time\n"
        f"helper = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "helper.stdout.readline(); print(helper.pid, flush=True); time.sleep(60)"
    )
    started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert started.stdout is not None
    helper = psutil.Process(int(started.stdout.readline()))
    started.kill()
    started.wait()
    started.stdout.close()
    wait_until(lambda: not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE)
