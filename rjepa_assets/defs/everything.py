"""The job over stages of different partitions: everything for one dataset version and LLM.

A run of Dagster's has one partition, so this starts the runs of the other jobs, in order, through the command line:
each is an ordinary run of its own, which the runs page shows beside this one. What they do is described in
`rjepa_assets.launching`.
"""

import dagster as dg
from pydantic import Field

from rjepa_assets.defs.commands import follow


class EverythingConfig(dg.Config):
    """What to bring up to date, from problems to a release."""

    dataset: str = Field(default="v1.0.0", description="dataset version, or the name of an imported data set")
    llm: str = Field(default="tiny-a", description="LLM: `rjepa llm list` names them")
    recipe: str = Field(default="demo", description="training run of R-JEPA: a file of configs/rjepa/")
    release: bool = Field(default=True, description="release what was evaluated, and serve it if the gate agrees")


@dg.op(tags={"kind": "python"})
def bring_up_to_date(context: dg.OpExecutionContext, config: EverythingConfig) -> None:
    """Everything for one dataset version and LLM."""
    options = ["--llm", config.llm, "--dataset", config.dataset, "--recipe", config.recipe]
    follow(context, ["backfill", *options, "--release" if config.release else "--no-release"])


@dg.job(
    executor_def=dg.in_process_executor,
    description="Everything for one dataset version and one LLM: problems, chains, weights, latents, rollouts,"
    " training, evaluation, release. What is there already is left as it is.",
)
def everything() -> None:
    """See the description."""
    bring_up_to_date()
