"""The protocol of workers, with real processes: what they send arrives, and how they end is told."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rjepa.errors import InvalidInputError
from rjepa.progress import MESSAGE_SECONDS, Throttled
from rjepa.workers import (
    Failed,
    Finished,
    Message,
    Progressed,
    WorkerProcess,
    message_values,
    read_message,
)

WORKER = """
import sys
from rjepa.workers import StdoutReporter
reporter = StdoutReporter()
print("a banner of some library")
for done in range(1001):
    reporter.progress(done, 1000, "at work")
{end}
"""


def worker(end: str, **options: bool) -> WorkerProcess:
    return WorkerProcess([sys.executable, "-c", WORKER.format(end=end)], what="the work", cure="try again", **options)


@pytest.mark.parametrize("message", [Progressed(1, 2, "x"), Finished("abc", {"n": 1}), Failed("broken", "mend it")])
def test_a_message_is_read_as_it_was_sent(message: Message) -> None:
    assert read_message(message_values(message)) == message


@pytest.mark.parametrize("values", [{}, {"done": 1, "more": 2}, {"else": 1}])
def test_what_is_no_message_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not a message"):
        read_message(values)


def test_what_a_worker_made_and_some_of_its_progress_arrive() -> None:
    seen: list[tuple[int, int, str]] = []
    finished = worker("reporter.finished('abc', {'chains': 3})").follow(lambda *report: seen.append(report))
    assert finished == Finished("abc", {"chains": 3})
    assert seen[0][0] == 0 and seen[-1] == (1000, 1000, "at work") and len(seen) < 500


def test_a_worker_s_own_words_of_what_went_wrong_arrive() -> None:
    with pytest.raises(InvalidInputError, match=r"no disk(.|\n)*buy one"):
        worker("reporter.failed('no disk', 'buy one'); sys.exit(1)").follow()


@pytest.mark.parametrize("end", ["raise SystemExit('oh no')", "import os; os.kill(os.getpid(), 9)", "pass"])
def test_a_worker_that_ends_without_a_word_is_told_with_its_code(end: str) -> None:
    code = {"p": "0", "r": "1", "i": "-9"}[end[0]]
    with pytest.raises(InvalidInputError, match=rf"the work failed with code {code}(.|\n)*try again") as failed:
        worker(end, keep_errors=True).follow()
    assert ("oh no" in failed.value.problem) == (end[0] == "r")


def test_an_error_of_whoever_listens_ends_the_worker() -> None:
    process = worker("import time; time.sleep(600)")

    def tired(done: int, total: int, note: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.follow(tired)
    children = [child for child in psutil.Process().children() if "a banner" in " ".join(child.cmdline())]
    assert not children


def test_progress_is_passed_on_a_few_times_a_second_and_at_the_end() -> None:
    seen: list[int] = []
    progress = Throttled(lambda done, total, note="": seen.append(done), MESSAGE_SECONDS, ends=True)
    for done in range(11):
        progress(done, 10)
    assert seen[0] == 0 and seen[-1] == 10 and len(seen) <= 11
    time.sleep(0.25)
    progress(3, 10)
    assert seen[-1] == 3


def test_the_worker_of_stages_speaks_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rjepa.latents.worker", "latents", "--llm", "nobody", "--dataset", "v1.0.0"]
    done = subprocess.run(
        command, env={"RJEPA_HOME": str(tmp_path), "PATH": ""}, capture_output=True, text=True, timeout=120
    )
    (line,) = done.stdout.splitlines()
    message = read_message(json.loads(line))
    assert isinstance(message, Failed) and "nobody" in message.problem and done.returncode == 1
