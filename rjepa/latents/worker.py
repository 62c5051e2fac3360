"""One stage of a student on a dataset, in a process of its own: latents, rollouts or train_rollouts.

    python -m rjepa.latents.worker latents --llm qwen-awq --dataset v1.0.0
    python -m rjepa.latents.worker rollouts --llm qwen-awq --dataset v1.0.0 --num-candidates 8 --seed 0

It runs in the student's environment, which needs the packages of configs/environments/ and no Dagster. Started by
Dagster Pipes it reports there; else on its stdout, as `rjepa.workers` says. What the stages do lies in
`rjepa.latents.building` and `rjepa.latents.freezing`.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from rjepa.errors import NotFoundError, RjepaError
from rjepa.home import Home
from rjepa.processes import end_with_parent
from rjepa.progress import MESSAGE_SECONDS, Progress, Throttled, silent
from rjepa.schemas import Split
from rjepa.stages import StageReport
from rjepa.students.catalog import StudentRecord, load_record
from rjepa.students.resolving import resolve_student
from rjepa.workers import Failed, Message, Progressed, StdoutReporter, message_values

MODULE: Final = "rjepa.latents.worker"
_STARTED_BY_PIPES: Final = "DAGSTER_PIPES_CONTEXT"


@dataclass(frozen=True)
class StudentTask:
    """What to make of a student on a dataset. `share`, of the training problems, is of latents alone; what comes before
    it is of the two kinds of rollouts: `splits` of None are those of the stage; of more problems than `max_problems`,
    some are chosen.
    """

    stage: Literal["latents", "rollouts", "train_rollouts"]
    llm_tag: str
    dataset: str
    num_candidates: int = 8
    seed: int = 0
    splits: tuple[Split, ...] | None = None
    max_problems: int | None = None
    share: float = 1.0

    def arguments(self) -> list[str]:
        """The same, as this module's command line."""
        given = [self.stage, "--llm", self.llm_tag, "--dataset", self.dataset]
        if self.stage == "latents":
            given += ["--share", str(self.share)] if self.share < 1 else []
        else:
            given += ["--num-candidates", str(self.num_candidates), "--seed", str(self.seed)]
            given += ["--splits", *self.splits] if self.splits else []
            given += ["--max-problems", str(self.max_problems)] if self.max_problems is not None else []
        return given


def run_task(home: Home, task: StudentTask, progress: Progress = silent) -> StageReport:
    """Do it in this process.

    Raises:
        RjepaError: as `open_student`, and `build_latents` or `build_rollouts`.
    """
    # An unknown student, or one without its files, is refused at once, and what is there already is found: torch takes
    # seconds to import.
    record = load_record(home, task.llm_tag)
    resolved = resolve_student(home, record)
    if (found := _find(home, task, record, resolved.fingerprint)) is not None:
        return found
    from rjepa.latents.building import build_latents
    from rjepa.latents.freezing import build_rollouts
    from rjepa.students.stage import open_student

    student = open_student(home, task.llm_tag)
    if task.stage == "latents":
        return build_latents(home, student, task.dataset, progress, share=task.share)
    return build_rollouts(
        home,
        student,
        task.dataset,
        num_candidates=task.num_candidates,
        seed=task.seed,
        asset=task.stage,
        splits=task.splits,
        max_problems=task.max_problems,
        progress=progress,
    )


def _find(home: Home, task: StudentTask, record: StudentRecord, fingerprint: str) -> StageReport | None:
    """The report of what is made and whole already; None where there is something to do."""
    from rjepa.latents.rollouts import RolloutRequest, find_rollouts
    from rjepa.latents.shards import LatentRequest, find_latents

    try:
        if task.stage == "latents":
            return find_latents(home, record, fingerprint, LatentRequest(task.dataset, share=task.share))
        request = RolloutRequest(
            task.dataset, task.num_candidates, task.seed, task.stage, task.splits, task.max_problems
        )
        return find_rollouts(home, record, fingerprint, request)
    except NotFoundError:  # of the dataset: the build says so
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and report; the exit code."""
    options = _parser().parse_args(arguments)
    if options.with_parent:
        end_with_parent()
    splits = tuple(options.splits) if options.splits else None
    task = StudentTask(
        options.stage,
        options.llm,
        options.dataset,
        options.num_candidates,
        options.seed,
        splits,
        options.max_problems,
        options.share,
    )
    reporter: _Reporter = _DagsterReporter() if _STARTED_BY_PIPES in os.environ else StdoutReporter()
    try:
        from rjepa.settings import load_settings

        if options.judge_python is not None:
            from rjepa.validation.pool import use_interpreter

            use_interpreter(options.judge_python)
        report = run_task(Home(load_settings().home), task, reporter.progress)
        reporter.finished(report.data_version, report.metadata)
        return 0
    except RjepaError as error:
        reporter.failed(error.problem, error.cure)
    except ImportError as error:
        traceback.print_exc()
        reporter.failed(f"{sys.executable} cannot load what the student needs: {error}", _how_to_install(options.llm))
    except Exception as error:  # noqa: BLE001 the process that started this one gets every error
        traceback.print_exc()
        reporter.failed(
            f"{options.stage} of {options.llm} failed: {type(error).__name__}: {error}",
            "what it printed says where; what was finished is kept, run it again to go on",
        )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {MODULE}", description="Make one stage of one student on one dataset."
    )
    parser.add_argument("stage", choices=["latents", "rollouts", "train_rollouts"])
    parser.add_argument("--llm", required=True, help="llm_tag of the student")
    parser.add_argument("--dataset", required=True, help="dataset version")
    parser.add_argument(
        "--num-candidates", type=int, default=StudentTask.num_candidates, help="of rollouts: chains each"
    )
    parser.add_argument("--seed", type=int, default=StudentTask.seed, help="of rollouts: of the sampling noise")
    parser.add_argument("--splits", nargs="+", help="of rollouts: whose problems, if not the stage's own")
    parser.add_argument("--max-problems", type=int, help="of rollouts: so many at most, evenly spread")
    parser.add_argument("--share", type=float, default=StudentTask.share, help="of latents: of the training problems")
    parser.add_argument(
        "--judge-python",
        type=Path,
        help="interpreter of the platform: the checkers of answers that need libraries (sympy, say) run there",
    )
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one does")
    return parser


class _Reporter(Protocol):
    progress: Throttled

    def finished(self, data_version: str, metadata: Mapping[str, int | float | str]) -> None: ...

    def failed(self, problem: str, cure: str) -> None: ...


class _DagsterReporter:
    """A materialisation with its data version. Progress and errors are custom messages, those of `rjepa.workers`."""

    def __init__(self) -> None:
        from dagster_pipes import open_dagster_pipes

        self._pipes = open_dagster_pipes()
        self.progress = Throttled(self._progressed, MESSAGE_SECONDS, ends=True)

    def finished(self, data_version: str, metadata: Mapping[str, int | float | str]) -> None:
        """Report the materialisation."""
        self._pipes.report_asset_materialization(metadata=metadata, data_version=data_version)
        self._pipes.close()

    def failed(self, problem: str, cure: str) -> None:
        """Report what went wrong."""
        self._send(Failed(problem, cure))
        self._pipes.close()

    def _progressed(self, done: int, total: int, note: str = "") -> None:
        self._send(Progressed(done, total, note))

    def _send(self, message: Message) -> None:
        self._pipes.report_custom_message(message_values(message))


def _how_to_install(llm_tag: str) -> str:
    from rjepa.configs import CONFIGS

    return f"{sys.executable} -m pip install -r {CONFIGS / 'environments' / 'student.txt'} (and what {llm_tag} needs)"


if __name__ == "__main__":
    sys.exit(main())
