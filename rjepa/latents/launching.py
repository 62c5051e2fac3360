"""Make one stage of one student and dataset where the student lives: in this process, or in a process of its own
environment.

For commands and other orchestrators. Assets go through Dagster Pipes (`rjepa_assets.environments`); the process that is
started is the same, `rjepa.latents.worker`.
"""

import sys

from rjepa.home import Home
from rjepa.latents.worker import MODULE, StudentTask, run_task
from rjepa.progress import Progress, silent
from rjepa.stages import StageReport
from rjepa.students.catalog import load_record
from rjepa.students.environments import check_environment, module_command, module_variables
from rjepa.workers import WorkerProcess


def run_where_it_lives(home: Home, task: StudentTask, progress: Progress = silent) -> StageReport:
    """Do a task where the student's record says.

    Raises:
        RjepaError: as `run_task`, wherever it ran; the environment cannot be used; its process was killed.
    """
    record = load_record(home, task.llm_tag)
    if record.environment is None:
        return run_task(home, task, progress)
    arguments = [*task.arguments(), "--judge-python", sys.executable, "--with-parent"]
    worker = WorkerProcess(
        module_command(check_environment(record), MODULE, arguments),
        what=f"the process that makes {task.stage} of {task.llm_tag}",
        cure="what it printed above says why (-9: killed, often for lack of memory); whole shards are kept",
        variables=module_variables(home),
    )
    finished = worker.follow(progress)
    return StageReport(finished.data_version, finished.metadata)
