"""One stage of one pair, in a process of its own: latents, rollouts or train_rollouts of a student on a dataset.

    python -m rjepa.latents.worker latents --llm qwen-awq --dataset v1.0.0
    python -m rjepa.latents.worker rollouts --llm qwen-awq --dataset v1.0.0 --num-candidates 8 --seed 0

It runs in the student's environment, which needs the packages of configs/environments/ and no Dagster. Started by
Dagster Pipes it reports there; else progress, the result, or what went wrong are JSON objects on stdout, one a line:

    {"done": 100, "total": 400, "note": "812 tokens/s"}
    {"data_version": "9f3c...", "metadata": {"problems": 400, ...}}
    {"problem": "...", "cure": "..."}
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.processes import claim_stdout, end_with_parent
from rjepa.progress import Progress, silent
from rjepa.schemas import Split
from rjepa.stages import StageReport
from rjepa.students.catalog import load_record
from rjepa.students.resolving import resolve_student

MODULE: Final = "rjepa.latents.worker"
_SECONDS_BETWEEN_REPORTS: Final = 0.2
_STARTED_BY_PIPES: Final = "DAGSTER_PIPES_CONTEXT"


@dataclass(frozen=True)
class PairTask:
    """What to make of a student on a dataset. What follows `dataset` is of the two kinds of rollouts alone: `splits` of
    None are those of the stage, `most` limits the problems.
    """

    stage: Literal["latents", "rollouts", "train_rollouts"]
    llm_tag: str
    dataset: str
    num_candidates: int = 8
    seed: int = 0
    splits: tuple[Split, ...] | None = None
    most: int | None = None

    def arguments(self) -> list[str]:
        """The same, as this module's command line."""
        given = [self.stage, "--llm", self.llm_tag, "--dataset", self.dataset]
        if self.stage != "latents":
            given += ["--num-candidates", str(self.num_candidates), "--seed", str(self.seed)]
            given += ["--splits", *self.splits] if self.splits else []
            given += ["--most", str(self.most)] if self.most is not None else []
        return given


def run_task(home: Home, task: PairTask, progress: Progress = silent) -> StageReport:
    """Do it in this process.

    Raises:
        RjepaError: as `open_student`, and `build_latents` or `build_rollouts`.
    """
    # An unknown student, or one without its files, is told at once: torch takes seconds to import.
    resolve_student(home, load_record(home, task.llm_tag))
    from rjepa.latents.rollouts import build_rollouts
    from rjepa.latents.shards import build_latents
    from rjepa.students.stage import open_student

    student = open_student(home, task.llm_tag)
    if task.stage == "latents":
        return build_latents(home, student, task.dataset, progress)
    return build_rollouts(
        home,
        student,
        task.dataset,
        num_candidates=task.num_candidates,
        seed=task.seed,
        room=task.stage,
        splits=task.splits,
        most=task.most,
        progress=progress,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and report; the exit code."""
    told = _parser().parse_args(arguments)
    if told.with_parent:
        end_with_parent()
    splits = tuple(told.splits) if told.splits else None
    task = PairTask(told.stage, told.llm, told.dataset, told.num_candidates, told.seed, splits, told.most)
    report = _ToDagster() if _STARTED_BY_PIPES in os.environ else _ToStdout()
    try:
        from rjepa.settings import load_settings

        if told.judge_python is not None:
            from rjepa.validation.pool import use_interpreter

            use_interpreter(told.judge_python)
        report.finished(run_task(Home(load_settings().home), task, report.progress))
        return 0
    except RjepaError as error:
        report.failed(error.problem, error.cure)
    except ImportError as error:
        traceback.print_exc()
        report.failed(f"{sys.executable} cannot load what the student needs: {error}", _how_to_install(told.llm))
    except Exception as error:
        traceback.print_exc()
        report.failed(
            f"{told.stage} of {told.llm} failed: {type(error).__name__}: {error}",
            "what it printed says where; what was finished is kept, run it again to go on",
        )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="Make one stage of one pair.")
    parser.add_argument("stage", choices=["latents", "rollouts", "train_rollouts"])
    parser.add_argument("--llm", required=True, help="llm_tag of the student")
    parser.add_argument("--dataset", required=True, help="dataset version")
    parser.add_argument("--num-candidates", type=int, default=PairTask.num_candidates, help="of rollouts: chains each")
    parser.add_argument("--seed", type=int, default=PairTask.seed, help="of rollouts: of the sampling noise")
    parser.add_argument("--splits", nargs="+", help="of rollouts: whose problems, if not the stage's own")
    parser.add_argument("--most", type=int, help="of rollouts: most problems, evenly spread")
    parser.add_argument(
        "--judge-python",
        type=Path,
        help="interpreter of the platform: the checkers of answers that need libraries (math-verify) run there",
    )
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one does")
    return parser


class _Report(Protocol):
    def progress(self, done: int, total: int, note: str = "") -> None: ...

    def finished(self, report: StageReport) -> None: ...

    def failed(self, problem: str, cure: str) -> None: ...


class _Rated:
    """Tells whether it is time for another line of progress: the first, the last, and a few a second."""

    def __init__(self) -> None:
        self._last = 0.0

    def is_due(self, done: int, total: int) -> bool:
        if done < total and time.monotonic() - self._last < _SECONDS_BETWEEN_REPORTS:
            return False
        self._last = time.monotonic()
        return True


class _ToStdout(_Report):
    """JSON lines."""

    def __init__(self) -> None:
        self._rate, self._stdout = _Rated(), claim_stdout()

    def progress(self, done: int, total: int, note: str = "") -> None:
        if self._rate.is_due(done, total):
            self._say({"done": done, "total": total, "note": note})

    def finished(self, report: StageReport) -> None:
        self._say({"data_version": report.data_version, "metadata": report.metadata})

    def failed(self, problem: str, cure: str) -> None:
        self._say({"problem": problem, "cure": cure})

    def _say(self, value: dict) -> None:
        print(json.dumps(value), file=self._stdout, flush=True)


class _ToDagster(_Report):
    """A materialisation with its data version. Progress and errors are custom messages with the same keys as above."""

    def __init__(self) -> None:
        from dagster_pipes import open_dagster_pipes

        self._pipes = open_dagster_pipes()
        self._rate = _Rated()

    def progress(self, done: int, total: int, note: str = "") -> None:
        if self._rate.is_due(done, total):
            self._pipes.report_custom_message({"done": done, "total": total, "note": note})

    def finished(self, report: StageReport) -> None:
        self._pipes.report_asset_materialization(metadata=report.metadata, data_version=report.data_version)
        self._pipes.close()

    def failed(self, problem: str, cure: str) -> None:
        self._pipes.report_custom_message({"problem": problem, "cure": cure})
        self._pipes.close()


def _how_to_install(llm_tag: str) -> str:
    from rjepa.configs import CONFIGS

    return f"{sys.executable} -m pip install -r {CONFIGS / 'environments' / 'student.txt'} (and what {llm_tag} needs)"


if __name__ == "__main__":
    sys.exit(main())
