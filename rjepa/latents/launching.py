"""Make one stage of one pair where its student lives: in this process, or in a process of its own environment.

For commands and other orchestrators. Assets go through Dagster Pipes (`rjepa_assets.environments`); the process that is
started is the same, `rjepa.latents.worker`.
"""

import json
import os
import subprocess
import sys
from typing import Any

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.latents.worker import MODULE, PairTask, run_task
from rjepa.processes import end_process
from rjepa.progress import Progress, silent
from rjepa.stages import StageReport
from rjepa.students.catalog import load_record
from rjepa.students.environments import check_environment, module_command, module_variables


def run_where_it_lives(home: Home, task: PairTask, progress: Progress = silent) -> StageReport:
    """Do a task where the student's record says.

    Raises:
        RjepaError: as `run_task`, wherever it ran; the environment cannot be used; its process was killed.
    """
    record = load_record(home, task.llm_tag)
    if record.environment is None:
        return run_task(home, task, progress)
    arguments = [*task.arguments(), "--judge-python", sys.executable, "--with-parent"]
    command = module_command(check_environment(record), MODULE, arguments)
    last: dict[str, Any] = {}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **module_variables(home)}
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = json.loads(line)
                if "done" in last:
                    progress(last["done"], last["total"], last["note"])
            code = process.wait()
        finally:
            # An interrupt of this process, or an error of the progress callback, ends the other too.
            end_process(process)
    if "problem" in last:
        raise InvalidInputError(last["problem"], cure=last["cure"])
    if code or "data_version" not in last:
        raise InvalidInputError(
            f"the process that makes {task.stage} of {task.llm_tag} ended with code {code}",
            cure="what it printed above says why (-9: killed, often for lack of memory); whole shards are kept",
        )
    return StageReport(last["data_version"], last["metadata"])
