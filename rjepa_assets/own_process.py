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
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster_pipes import PipesDefaultMessageWriter

from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.latents.worker import MODULE as STUDENT_WORKER
from rjepa.latents.worker import StudentTask
from rjepa.progress import Progress
from rjepa.stages import Made, StageReport
from rjepa.students.catalog import load_record
from rjepa.students.environments import check_environment, module_command, module_variables

STAGE_WORKER: Final = "rjepa_assets.stage_process"

_LOOK_SECONDS: Final = 0.02
"""Between two looks at the worker's messages: bars move a few times a second."""

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


class _Reader(dg.PipesMessageReader):
    """Hands the worker's messages on while they come, and keeps what else it says: `failed` (problem and cure), `texts`
    and `images` (base64).

    Dagster's own reader of files takes the beginning of a line for a line where the worker is just writing it, and
    fails the stage; this one waits for the line's end.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.failed: Mapping[str, str] = {}
        self.texts: Mapping[str, str] = {}
        self.images: Mapping[str, str] = {}

    @contextlib.contextmanager
    def read_messages(self, handler: Any) -> Iterator[Any]:
        """Read, in a thread, what the worker writes into a file of its own, until the `with` ends."""
        with tempfile.TemporaryDirectory() as folder:
            path, is_over = Path(folder) / "messages", threading.Event()
            path.touch()
            thread = threading.Thread(target=self._read, args=(path, handler, is_over), daemon=True)
            thread.start()
            try:
                yield {PipesDefaultMessageWriter.FILE_PATH_KEY: str(path)}
            finally:
                is_over.set()
                thread.join()

    def no_messages_debug_text(self) -> str:
        """What Dagster adds where no message came at all."""
        return "The worker was to write its messages into a temporary file."

    def _read(self, path: Path, handler: Any, is_over: threading.Event) -> None:
        with path.open(encoding="utf-8") as stream:
            begun = ""
            while True:
                is_last = is_over.is_set()  # looked at before reading: what was written until then is read
                *lines, begun = (begun + stream.read()).split("\n")
                for line in lines:
                    self._take(handler, json.loads(line))
                if is_last:
                    return
                time.sleep(_LOOK_SECONDS)

    def _take(self, handler: Any, message: Any) -> None:
        """Custom messages are taken here: Dagster itself shows them only when the process has ended."""
        payload = message["params"].get("payload") if message["method"] == "report_custom_message" else None
        if payload is None:
            handler.handle_message(message)
        elif "done" in payload:
            self._progress(payload["done"], payload["total"], payload["note"])
        elif "texts" in payload:
            self.texts, self.images = payload["texts"], payload["images"]
        else:
            self.failed = payload


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
