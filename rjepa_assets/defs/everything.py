"""Jobs over stages of different partitions: everything for one dataset version and LLM, and the night.

A run of Dagster's has one partition, so these start the runs of the other jobs, in order, through the command line:
each is an ordinary run of its own, which the runs page shows beside this one. What they do is described in
`rjepa_assets.launching`.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

import dagster as dg
from pydantic import Field

from rjepa.processes import end_process
from rjepa_assets.defs.resources import HomeResource
from rjepa_assets.requests import newest_dataset, served_llms

_TAIL: Final = 20
"""Last lines of a command that failed, which its failure shows."""


class EverythingConfig(dg.Config):
    """What to bring up to date, from problems to a release."""

    dataset: str = Field(default="v1.0.0", description="dataset version, or the name of an imported data set")
    llm: str = Field(default="tiny-a", description="LLM: `rjepa llm list` names them")
    recipe: str = Field(default="demo", description="training run of R-JEPA: a file of configs/rjepa/")
    release: bool = Field(default=True, description="release what was evaluated, and serve it if the gate agrees")


class NightConfig(dg.Config):
    """What the night works on."""

    dataset: str = Field(default="", description="dataset version; empty: the newest one that is released")
    llms: list[str] = Field(default=[], description="LLMs; empty: those that serve a release")
    recipe: str = Field(default="demo", description="training run of R-JEPA: a file of configs/rjepa/")


@dg.op(tags={"kind": "python"})
def bring_up_to_date(context: dg.OpExecutionContext, config: EverythingConfig) -> None:
    """Everything for one dataset version and LLM."""
    _backfill(context, config.dataset, config.llm, config.recipe, release=config.release)


@dg.op(tags={"kind": "python"})
def learn_from_what_is_there(context: dg.OpExecutionContext, config: NightConfig, home: HomeResource) -> None:
    """Validation, latents, rollouts, training, calibration, report and gate for the newest version, LLM by LLM."""
    dataset = config.dataset or newest_dataset(home.open())
    llms = config.llms or served_llms(home.open())
    context.log.info(f"{dataset}: {', '.join(llms) or 'no LLM serves a release, nothing to do'}")
    failed = []
    for llm in llms:
        try:
            _backfill(context, dataset, llm, config.recipe, release=True, improve=True)
        except dg.Failure as error:
            context.log.warning(f"{llm}: {error.description}")
            failed.append(llm)
    if failed:
        raise dg.Failure(description=f"not done: {', '.join(failed)} (above)", allow_retries=False)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Everything for one dataset version and one LLM: problems, chains, weights, latents, rollouts,"
    " training, evaluation, release. What is there already is left as it is.",
)
def everything() -> None:
    """See the description."""
    bring_up_to_date()


@dg.job(
    executor_def=dg.in_process_executor,
    description="The nightly round over the newest dataset version, for every LLM that serves a release.",
)
def night() -> None:
    """See the description."""
    learn_from_what_is_there()


every_night = dg.ScheduleDefinition(
    name="every_night",
    job=night,
    cron_schedule="0 2 * * *",
    description="The night at 02:00. Off until you turn it on.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)


def _backfill(
    context: dg.OpExecutionContext, dataset: str, llm: str, recipe: str, *, release: bool, improve: bool = False
) -> None:
    """Run `rjepa backfill`; its lines become the run's log.

    Raises:
        dg.Failure: it failed; its last lines are shown.
    """
    options = ["--llm", llm, "--dataset", dataset, "--recipe", recipe, "--release" if release else "--no-release"]
    options += ["--improve"] if improve else []
    last: deque[str] = deque(maxlen=_TAIL)
    with _started(["-m", "rjepa.cli.main", "backfill", *options]) as process:
        try:
            for line in process.stdout or ():
                last.append(line)
                context.log.info(line.rstrip())
            code = process.wait()
        finally:
            end_process(process)
    if code:
        raise dg.Failure(description="".join(last), allow_retries=False)


def _started(arguments: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
