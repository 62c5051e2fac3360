"""Heavy stages in a process of their own, through Dagster Pipes: a crash (a full memory, a driver) ends one stage, is
reported as such, and leaves the run's process, which holds no accelerator, to say so.

A student whose record names a Python environment has its stages there. The processes that are started are
`rjepa.latents.worker` (whatever needs the student's packages alone) and `rjepa_assets.stage_process`.
"""

import base64
import contextlib
import json
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dagster as dg

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.latents.worker import MODULE as STUDENT_WORKER
from rjepa.latents.worker import StudentTask
from rjepa.progress import Progress
from rjepa.stages import Made, StageReport
from rjepa.students.catalog import load_record
from rjepa.students.environments import check_environment, module_command, module_variables

STAGE_WORKER: Final = "rjepa_assets.stage_process"

_EXIT_CODE: Final = re.compile(r"code (-?\d+)")
"""Of Dagster's message: its error carries the code nowhere else."""


class StageProcessError(RjepaError):
    """The process of a stage has failed, or was killed."""


@dataclass(frozen=True)
class Call:
    """A stage function of the library, "module:function", with its arguments beside home and progress (JSON values)."""

    function: str
    arguments: Mapping[str, Any]


def make_with_student(context: dg.AssetExecutionContext, home: Home, task: StudentTask, progress: Progress) -> Made:
    """Run one stage of a student on a dataset in a process where its student lives.

    Raises:
        RjepaError: as the stage itself; the environment is not there or lacks packages; its process died.
    """
    record = load_record(home, task.llm_tag)
    python = Path(sys.executable) if record.environment is None else check_environment(record)
    arguments = [*task.arguments(), "--with-parent"]
    if record.environment is not None:
        arguments += ["--judge-python", sys.executable]
        context.log.info(f"{task.stage} runs in the student's environment: {python}")
    what = f"makes {task.stage} of {task.llm_tag} on {task.dataset}"
    command = module_command(python, STUDENT_WORKER, arguments)
    return _follow(context, command, module_variables(home), progress, what)


def call(context: dg.AssetExecutionContext, home: Home, stage: Call, progress: Progress) -> Made:
    """Run a stage function in a process of its own.

    Raises:
        RjepaError: as the function; its process died.
    """
    arguments = [stage.function, json.dumps(stage.arguments)]
    command = module_command(Path(sys.executable), STAGE_WORKER, arguments)
    what = f"makes {context.asset_key.to_user_string()} of {context.partition_key}"
    return _follow(context, command, module_variables(home), progress, what)


def _follow(
    context: dg.AssetExecutionContext,
    command: Sequence[str],
    variables: Mapping[str, str],
    progress: Progress,
    what: str,
) -> Made:
    reader = _Reader(progress)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Dagster's client uses what Dagster calls deprecated, and in preview
            done = dg.PipesSubprocessClient(message_reader=reader).run(
                context=context, command=list(command), env=dict(variables)
            )
            result = done.get_materialize_result(implicit_materialization=False)
    except Exception as error:
        # Of an ending process Dagster tells with a class of its own that is in no public module.
        if "Pipes" not in type(error).__name__:
            raise
        raise _failure(reader.failed, what, str(error)) from error
    version = result.data_version.value if result.data_version else ""
    values = {name: getattr(value, "value", value) for name, value in (result.metadata or {}).items()}
    figures = {name: value for name, value in values.items() if isinstance(value, int | float | str)}
    images = {name: base64.b64decode(png) for name, png in reader.images.items()}
    return Made(StageReport(version, figures), reader.texts, images)


class _Reader(dg.PipesTempFileMessageReader):
    """Dagster's own reader, which also hands the worker's progress on while it comes, and keeps what else it says:
    `failed` (problem and cure), `texts` and `images` (base64).
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self.failed: Mapping[str, str] = {}
        self.texts: Mapping[str, str] = {}
        self.images: Mapping[str, str] = {}

    @contextlib.contextmanager
    def read_messages(self, handler: Any) -> Iterator[Any]:
        """Read as the base class does; custom messages are taken here."""
        handle = handler.handle_message

        def listen(message: Any) -> None:
            payload = message["params"].get("payload") if message["method"] == "report_custom_message" else None
            if payload is None:
                handle(message)
            elif "done" in payload:
                self._progress(payload["done"], payload["total"], payload["note"])
            elif "texts" in payload:
                self.texts, self.images = payload["texts"], payload["images"]
            else:
                self.failed = payload

        handler.handle_message = listen  # Dagster itself shows custom messages only when the process has ended
        with super().read_messages(handler) as params:
            yield params


def _failure(failed: Mapping[str, str], what: str, dagsters_words: str) -> StageProcessError:
    if failed:
        return StageProcessError(failed["problem"], cure=failed["cure"])
    found = _EXIT_CODE.search(dagsters_words)
    code = int(found.group(1)) if found else 1
    if code >= 0:
        return StageProcessError(
            f"the process that {what} ended with code {code}",
            cure="what it printed is in the run's stderr (rjepa up); what was finished is kept, run it again to go on",
        )
    killed_by = signal.Signals(-code).name
    why = "; the system does so when memory runs out" if code == -signal.SIGKILL else ""
    return StageProcessError(
        f"the process that {what} was killed ({killed_by}{why})",
        cure="free memory or lower sampling.batch_size of the student, then run it again: what was finished is kept",
    )
