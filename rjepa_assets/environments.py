"""Where a student's stages run: in this process, or, if its record names an environment, in a process there.

The other process is `rjepa.latents.worker`, started through Dagster Pipes: metadata, data version, progress and errors
come back, a crash stays outside. Both do the same work on the same files, so both give the same data version.
"""

import contextlib
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Final

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError
from dagster._core.pipes.client import PipesParams
from dagster._core.pipes.context import PipesMessageHandler

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.latents.worker import MODULE, PairTask, run_task
from rjepa.progress import Progress
from rjepa.students.catalog import StudentRecord, load_record
from rjepa.students.environments import check_environment, module_command, module_variables
from rjepa_assets.defs.stage import materialized

_EXIT_CODE: Final = re.compile(r"code (-?\d+)")
"""Of Dagster's message: its error carries the code nowhere else."""


class StudentProcessError(RjepaError):
    """The process of a student's stage has failed, or was killed."""


def make_pair(
    context: dg.AssetExecutionContext, home: Home, task: PairTask, progress: Progress
) -> dg.MaterializeResult:
    """Run one stage of one pair where its student lives.

    Raises:
        RjepaError: as the stage itself, wherever it ran; the environment is not there or lacks packages; its process
            died.
    """
    record = load_record(home, task.llm_tag)
    if record.environment is None:
        return materialized(run_task(home, task, progress))
    return _in_environment(context, home, record, task, progress)


def _in_environment(
    context: dg.AssetExecutionContext, home: Home, record: StudentRecord, task: PairTask, progress: Progress
) -> dg.MaterializeResult:
    python = check_environment(record)
    arguments = [*task.arguments(), "--judge-python", sys.executable, "--with-parent"]
    reader = _ProgressReader(progress)
    context.log.info(f"{task.stage} runs in the student's environment: {python}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Dagster's client uses what Dagster calls deprecated, and in preview
            done = dg.PipesSubprocessClient(message_reader=reader).run(
                context=context, command=module_command(python, MODULE, arguments), env=module_variables(home)
            )
            return done.get_materialize_result(implicit_materialization=False)
    except DagsterPipesExecutionError as error:
        raise _failure(reader.told, task, str(error)) from error


class _ProgressReader(dg.PipesTempFileMessageReader):
    """Dagster's own reader, which also hands the worker's progress on while it comes. `told` is its last words of what
    went wrong.
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self.told: Mapping[str, str] = {}

    @contextlib.contextmanager
    def read_messages(self, handler: PipesMessageHandler) -> Iterator[PipesParams]:
        handle = handler.handle_message

        def listen(message: Any) -> None:
            payload = message["params"].get("payload") if message["method"] == "report_custom_message" else None
            if payload is None:
                handle(message)
            elif "done" in payload:
                self._progress(payload["done"], payload["total"], payload["note"])
            else:
                self.told = payload

        handler.handle_message = listen  # Dagster itself shows custom messages only when the process has ended
        with super().read_messages(handler) as params:
            yield params


def _failure(told: Mapping[str, str], task: PairTask, dagsters_words: str) -> StudentProcessError:
    if told:
        return StudentProcessError(told["problem"], cure=told["cure"])
    found = _EXIT_CODE.search(dagsters_words)
    code = int(found.group(1)) if found else 1
    if code >= 0:
        return StudentProcessError(
            f"the process that makes {task.stage} of {task.llm_tag} on {task.dataset} ended with code {code}",
            cure="what it printed is in the run's stderr (rjepa up); what was finished is kept, run it again to go on",
        )
    killed_by = signal.Signals(-code).name
    why = "; the system does so when memory runs out" if code == -signal.SIGKILL else ""
    return StudentProcessError(
        f"the process that makes {task.stage} of {task.llm_tag} on {task.dataset} was killed ({killed_by}{why})",
        cure="free memory or lower sampling.batch_size of the student, then run it again: whole shards are kept",
    )
