"""The living loop in Dagster: the job of one night, the schedule and the sensor that begin one by themselves.

What a night does is planned in `rjepa.living.night`. A run of Dagster's has one partition, and a night's stages have
three kinds of them; so the job starts `rjepa retrain`, which launches an ordinary run for each, as `everything` does.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import dagster as dg

from rjepa.living.names import NIGHT_JOB, NIGHT_SCHEDULE, NIGHT_SENSOR
from rjepa_assets.defs.commands import follow
from rjepa_assets.defs.partitions import LLMS
from rjepa_assets.defs.resources import HomeResource
from rjepa_assets.requests import served_llms

if TYPE_CHECKING:
    from rjepa.database import Database

TRIGGER_TAG: Final = "rjepa/trigger"
"""Tag of a night's run that says what began it. Without one, a person did."""

_MOST_REQUESTS: Final = 3
"""Nights that one look of the sensor may ask for: training holds the accelerator, one after the other."""

_SECONDS_BETWEEN_LOOKS: Final = 120
"""Counting rows takes milliseconds; feedback that waits two minutes for a night of many is not late."""


@dg.op(tags={"kind": "python"})
def learn_from_feedback(context: dg.OpExecutionContext) -> None:
    """From feedback to a release that is better, or to a refusal that says why."""
    trigger = context.run.tags.get(TRIGGER_TAG, "person")
    follow(context, ["retrain", "--llm", context.partition_key, "--trigger", trigger])


@dg.job(
    name=NIGHT_JOB,
    partitions_def=LLMS,
    executor_def=dg.in_process_executor,
    description="One night of one LLM: the next dataset version from feedback, latents and rollouts of what is new,"
    " training that goes on from the served release, calibration, report, gate. What is served changes only if the"
    " gate says that it got better and lost nothing.",
)
def living_night() -> None:
    """See the description."""
    learn_from_feedback()


@dg.schedule(
    name=NIGHT_SCHEDULE,
    job=living_night,
    cron_schedule="0 2 * * *",
    description="A night at 02:00 for every LLM that serves a release. Off until learning is enabled.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
def nightly(context: dg.ScheduleEvaluationContext, home: HomeResource) -> list[dg.RunRequest]:
    """One request an LLM and night."""
    moment = context.scheduled_execution_time.isoformat()
    return [
        dg.RunRequest(run_key=f"{llm}@{moment}", partition_key=llm, tags={TRIGGER_TAG: "schedule"})
        for llm in served_llms(home.open())
    ]


@dg.sensor(
    name=NIGHT_SENSOR,
    job=living_night,
    minimum_interval_seconds=_SECONDS_BETWEEN_LOOKS,
    description="Begin a night where enough new feedback is accepted and no limit forbids it. Off until learning is"
    " enabled.",
    default_status=dg.DefaultSensorStatus.STOPPED,
)
def new_feedback(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult:
    """The cursor holds, by LLM, the newest state that was seen; a run's key is its selection's hash and attempt."""
    from rjepa.database import open_database

    seen: dict[str, str] = json.loads(context.cursor or "{}")
    reasons: list[str] = []
    requests: list[dg.RunRequest] = []
    with open_database(home.open()) as database:
        for llm, state, request, reason in _looks(home, database, seen):
            if request is not None and len(requests) == _MOST_REQUESTS:
                continue  # its state stays unseen, so that the next look asks for it
            seen[llm] = state
            reasons.append(f"{llm}: {reason}")
            requests += [request] if request is not None else []
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(seen))
    return dg.SensorResult(skip_reason="; ".join(reasons) or "no LLM serves a release", cursor=json.dumps(seen))


def _looks(
    home: HomeResource, database: "Database", seen: dict[str, str]
) -> Iterator[tuple[str, str, dg.RunRequest | None, str]]:
    """For each LLM: its state, the run that it wants, and why or why not."""
    from rjepa.errors import RjepaError
    from rjepa.living.recording import look
    from rjepa.living.watching import feedback_state

    for llm in served_llms(home.open()):
        state = feedback_state(home.open(), database, llm)
        if seen.get(llm) == state:
            yield llm, state, None, "nothing was said since the last look"
            continue
        try:
            found = look(home.open(), database, llm, trigger="sensor")
        except RjepaError as error:
            yield llm, state, None, str(error)
            continue
        if found.key is None:
            # A limit of time ends by itself: such a state is examined again.
            yield llm, "" if found.waits else state, None, found.text
            continue
        key = f"{llm}:{found.key}"
        yield llm, state, dg.RunRequest(run_key=key, partition_key=llm, tags={TRIGGER_TAG: "sensor"}), found.text
