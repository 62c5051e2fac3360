"""Teachers: OpenAI-compatible endpoints that make up problems, solve them, file them and say what they think of chains.

What they write is unjudged: validity is the validators' word alone.
"""

from rjepa.teacher.jobs import job_folder, job_names, job_spending, run_job
from rjepa.teacher.plans import JobPlan, JobResult, Wish
from rjepa.teacher.settings import Teacher, Teachers, load_teachers

__all__ = [
    "JobPlan",
    "JobResult",
    "Teacher",
    "Teachers",
    "Wish",
    "job_folder",
    "job_names",
    "job_spending",
    "load_teachers",
    "run_job",
]
