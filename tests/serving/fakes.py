"""A small engine at the public interface, releases for it, and a real server around an app."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors.numpy import save_file

from rjepa.errors import InvalidInputError, TooLongError
from rjepa.files import write_json
from rjepa.home import Home
from rjepa.parts import reranking_parts
from rjepa.reasoning.answer import Answer, CandidateReport, Example, Explanation
from rjepa.reasoning.costs import Cost
from rjepa.reasoning.events import Done, Event, Text, Working
from rjepa.reasoning.modes.rerank import RerankOptions
from rjepa.reasoning.question import Question
from rjepa.receipts import Receipt, make_receipt
from rjepa.releases.bundle import Diagnosis, Facts
from rjepa.releases.pointer import require_current
from serving.host import AnswersQuestions, EngineLoader
from serving.server import GracefulServer
from tests.candidates import report_candidate
from tests.patience import PATIENCE, wait_until
from tests.tiny_release import release_parts

STEPS = ["Mia has 14 + 5 = 19", "Tom has 19 - 2 = 17"]


class FakeEngine:
    """The same steps for everything. A statement with `slow` takes a second, `endless` ten; `long` is refused."""

    def __init__(self, release_id: str, llm_tag: str = "tiny-a") -> None:
        self.llm_tag = llm_tag
        self.release_id = release_id
        self.sampling_temperature = 0.8
        self.modes = ("off", "rerank")
        self.checks_at_once = True
        self.most_rows = 1  # one job that writes at a time, so that others wait
        self.warm = False
        self.calls: list[Question] = []
        self.closed = threading.Event()

    def require_mode(self, name: str) -> None:
        if name not in self.modes:
            raise InvalidInputError(f"mode {name} needs more than this release has", cure="release more")

    def check(self, question: Question) -> tuple[str, ...]:
        if "long" in question.statement:
            raise TooLongError("the problem has 4000 tokens, the student reads 512", cure="shorten it")
        return ()

    def run(self, question: Question) -> Iterator[Event]:
        """A step of work every 50 ms, then the answer's lines, then the answer."""
        assert self.warm
        self.calls.append(question)
        statement = question.statement
        if "broken" in statement:
            raise RuntimeError("a secret detail")
        try:
            for _ in range(200 if "endless" in statement else 20 if "slow" in statement else 0):
                time.sleep(0.05)
                yield Working()
            answer = self._answer(question)
            for line in answer.text.splitlines(keepends=True):
                if "drip" in statement:
                    yield Working()  # as a real engine does between two tokens: what was said so far goes out
                    time.sleep(0.2)
                yield Text(line)
            yield Done(answer)
        finally:
            self.closed.set()

    def run_many(self, questions: Sequence[Question], *, shown: bool = True) -> Iterator[tuple[int, Event]]:
        """One after the other."""
        for index, question in enumerate(questions):
            with contextlib.closing(self.run(question)) as events:
                yield from ((index, event) for event in events)

    def receipt(self, question: Question, answer: Answer, *, keep_question: bool = False) -> Receipt:
        return make_receipt(question, answer, "s" * 64, {}, keep_question=keep_question)

    def _answer(self, question: Question) -> Answer:
        familiar = "foreign" not in question.statement
        count = question.options.num_candidates if isinstance(question.options, RerankOptions) else 0
        candidates = [_candidate(index, familiar) for index in range(count)]
        return Answer(
            mode=question.mode,
            text="Step 1: Mia has 14 + 5 = 19\nStep 2: Tom has 19 - 2 = 17\nAnswer: 17\n",
            steps=STEPS,
            final_answer="17",
            finished=True,
            candidates=candidates,
            p_correct=candidates[0].p_correct if candidates else None,
            explanation=_explanation(candidates, familiar) if candidates else None,
            prompt_tokens=12,
            cost=Cost(tokens_generated=20 * max(1, count), tokens_read=12, seconds=0.5),
            seed=question.seed,
            llm_tag=self.llm_tag,
            release_id=self.release_id,
        )

    def examples(self, limit: int) -> list[Example]:
        return [Example(domain="math", statement="Mia has 14 pens and gets 5. Tom has 2 fewer.\nHow many has Tom?")][
            :limit
        ]

    def info(self) -> dict[str, Any]:
        return {"id": self.release_id, "created": 1_760_000_000, "dataset": "v1.0.0"}

    def warm_up(self) -> None:
        self.warm = True


def _candidate(index: int, familiar: bool) -> CandidateReport:
    return report_candidate(
        index,
        STEPS,
        final_answer=str(17 + index % 3),
        logprob=-3.5 - index,
        step_energies=[0.4 + index, 0.8 + index],
        score=1.0 - index,
        contributions={"logprob": 0.5, "energy": 0.5 - index},
        p_correct=0.75 if familiar else None,
    )


def _explanation(candidates: list[CandidateReport], familiar: bool) -> Explanation:
    several = len(candidates) > 1
    return Explanation(
        selection="best_of",
        reason="best_score" if several else "only_candidate",
        runner_up=1 if several else None,
        margin=1.0 if several else None,
        margin_terms={"energy": 1.0} if several else {},
        familiar=familiar,
        text="Candidate 1: best score.",
    )


def publish(
    home: Home,
    seed: int,
    llm_tag: str = "tiny-a",
    fingerprint: str = "s" * 64,
    dataset: str = "v1.0.0",
    init_from: str | None = None,
) -> str:
    """Release content that follows from one number, for the student with a fingerprint; returns the id."""
    folder = home.models(llm_tag, dataset)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.full(4, seed, dtype=np.float32)}, folder / "model.safetensors")
    save_file({"location": np.zeros(4, dtype=np.float32)}, folder / "normalizer.safetensors")
    write_json(folder / "config.json", {"seed": seed, "init_from": init_from})
    write_json(folder / "calibration.json", {"alpha": 1.0})
    facts = Facts("d" * 64, fingerprint, Diagnosis(passed=True), "test", "run-1")
    parts = reranking_parts(folder, folder / "normalizer.safetensors", folder / "calibration.json")
    return release_parts(home, llm_tag, dataset, parts, facts)


def fake_loader(home: Home, made: list[FakeEngine] | None = None) -> EngineLoader:
    """Loads a fake of whatever `CURRENT` names; appends it to `made`."""

    def load(previous: AnswersQuestions | None, release_id: str | None = None) -> FakeEngine:
        engine = FakeEngine(release_id or require_current(home, "tiny-a"))
        engine.warm = release_id is not None
        if made is not None:
            made.append(engine)
        return engine

    return load


@contextlib.contextmanager
def ready(app: FastAPI, *, raise_server_exceptions: bool = True) -> Iterator[TestClient]:
    """A client of `app` in this process, once a release is served."""
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=raise_server_exceptions) as client:
        wait_until(lambda: client.get("/v1/ready").status_code == 200)
        yield client


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve `app` on a free port of this machine; yields its address."""
    with stoppable(app) as (address, _):
        yield address


@contextlib.contextmanager
def stoppable(app: FastAPI) -> Iterator[tuple[str, GracefulServer]]:
    """The same, with the server: `should_exit = True` is what SIGTERM does."""
    server = GracefulServer(app, app.state.settings, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def wait_for_release(app: FastAPI) -> None:
    """Wait until a release is served. A fresh clone compiles first: minutes, where the machine is crowded."""
    wait_until(lambda: app.state.host.state.engine is not None, 240)
