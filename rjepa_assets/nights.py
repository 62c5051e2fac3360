"""Run one night: plan it, make it with ordinary Dagster runs, and write down what it came to.

The command `rjepa retrain` and, through it, the job `living_night` are the only callers. What a night learns and
whether it may begin is decided in `rjepa.living`; each stage is an asset.
"""

from dataclasses import dataclass

import dagster as dg

from rjepa.database import open_database
from rjepa.errors import RjepaError
from rjepa.home import Home
from rjepa.living.attempts import Outcome, Trigger, begin, finish
from rjepa.living.night import NoNight, outcome_of, prepare, settle
from rjepa.living.recording import plan_and_record
from rjepa.living.watching import feedback_counts
from rjepa.locks import stage_lock
from rjepa_assets.launching import NightChoices, night_launches, run_all, stages_of


@dataclass(frozen=True)
class Night:
    """How a night ended. `release` is the bundle that it made, whether or not it is served."""

    outcome: Outcome
    text: str
    dataset: str | None = None
    release: str | None = None


def run_night(
    home: Home,
    instance: dg.DagsterInstance,
    llm_tag: str,
    stream: int,
    *,
    trigger: Trigger = "person",
    choices: NightChoices | None = None,
) -> Night:
    """One whole night of an LLM, with lines and bars on `stream`. One that was killed is gone on with.

    Raises:
        BusyError: another process is at one.
        RjepaError: a stage failed; that is written down.
    """
    with stage_lock(home, "night", llm_tag), open_database(home) as database:
        settle(home, database, llm_tag)
        plan = plan_and_record(home, database, llm_tag, trigger)
        _observe(instance, feedback_counts(database))
        if isinstance(plan, NoNight):
            return Night(plan.outcome, plan.describe())
        dataset = prepare(home, plan)
        facts = {"dataset": dataset, "init_from": plan.init_from, "learning_rate": plan.tuning.learning_rate}
        attempt = begin(database, llm_tag, trigger, plan.selection.sha256, plan.accepted, **facts)
        try:
            run_all(instance, stages_of(night_launches(plan, dataset, choices or NightChoices())), stream)
        except RjepaError as error:
            finish(database, attempt, "failed", str(error))
            raise
        outcome, text, release = outcome_of(home, llm_tag, dataset)
        finish(database, attempt, outcome, text, release)
        return Night(outcome, text, dataset, release)


def _observe(instance: dg.DagsterInstance, counts: dict[str, int]) -> None:
    """Show on the page of the asset `interactions` how many there are."""
    instance.report_runless_asset_event(dg.AssetObservation("interactions", metadata=counts))
