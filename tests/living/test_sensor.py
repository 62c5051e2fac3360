"""What begins a night in Dagster: the sensor asks once for the same feedback, the schedule once a night."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest

from rjepa.database import Database
from rjepa.home import Home
from rjepa.living.attempts import begin, finish, list_attempts
from rjepa.living.names import NIGHT_JOB, NIGHT_SCHEDULE, NIGHT_SENSOR
from rjepa.living.night import Plan, plan_night
from rjepa.living.settings import change_settings
from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.living import TRIGGER_TAG, new_feedback, nightly
from rjepa_assets.defs.partitions import LLM
from rjepa_assets.defs.resources import HomeResource
from rjepa_assets.defs.stage import DECODERS_JOB
from rjepa_assets.launching import NightChoices, night_launches
from tests.assets.running import rjepa

from .approving import BEACH, FARM, approve

pytestmark = pytest.mark.usefixtures("publisher")


def tick(home: Home, cursor: str | None) -> dg.SensorResult:
    context = dg.build_sensor_context(cursor=cursor, resources={"home": HomeResource(root=str(home.root))})
    result = new_feedback(context)
    assert isinstance(result, dg.SensorResult)
    return result


def asked(result: dg.SensorResult) -> list[tuple[str | None, str | None]]:
    return [(request.partition_key, request.tags[TRIGGER_TAG]) for request in result.run_requests or []]


def test_new_feedback_asks_for_one_night_and_a_replayed_tick_for_the_same_one(home: Home, database: Database) -> None:
    quiet = tick(home, None)
    assert not asked(quiet) and "nothing to learn" in str(quiet.skip_reason)
    approve(database, BEACH)
    first = tick(home, quiet.cursor)
    assert asked(first) == [("tiny-a", "sensor")]
    again = tick(home, quiet.cursor)
    assert [one.run_key for one in again.run_requests or []] == [one.run_key for one in first.run_requests or []]
    later = tick(home, first.cursor)
    assert not asked(later) and "nothing was said" in str(later.skip_reason)
    approve(database, FARM)
    assert asked(tick(home, later.cursor)) == [("tiny-a", "sensor")]


def test_a_limit_is_named_written_down_and_where_time_lifts_it_looked_at_again(home: Home, database: Database) -> None:
    approve(database, BEACH)
    change_settings(database, {"min_interactions": 2}, who="test")
    few = tick(home, None)
    assert not asked(few) and "min_interactions is 2" in str(few.skip_reason)
    assert [one.limit_name for one in list_attempts(database, "tiny-a")] == ["min_interactions"]
    change_settings(database, {"min_interactions": 1, "max_attempts": 1}, who="test")
    plan = plan_night(home, database, "tiny-a")
    assert isinstance(plan, Plan)
    refused = begin(database, "tiny-a", "person", plan.selection.sha256, 1)
    finish(database, refused, "refused", "not better")
    approve(database, FARM)
    held = tick(home, few.cursor)
    assert not asked(held) and "max_attempts is 1" in str(held.skip_reason)
    change_settings(database, {"max_attempts": 2}, who="test")
    assert asked(tick(home, held.cursor)) == [("tiny-a", "sensor")], "nothing new was said, and it may begin now"


def test_where_learning_is_off_the_sensor_asks_for_nothing(home: Home, database: Database) -> None:
    approve(database, BEACH)
    change_settings(database, {"enabled": False}, who="test")
    assert not asked(tick(home, None))


def test_the_schedule_asks_for_every_llm_that_serves(home: Home) -> None:
    moment = datetime(2026, 1, 1, 2)
    resources = {"home": HomeResource(root=str(home.root))}
    context = dg.build_schedule_context(scheduled_execution_time=moment, resources=resources)
    requests = nightly(context)
    assert [(one.partition_key, one.tags[TRIGGER_TAG]) for one in requests] == [("tiny-a", "schedule")]


def test_what_the_service_asks_dagster_for_is_there(tmp_path: Path) -> None:
    defs = build_defs()
    assert defs.resolve_job_def(NIGHT_JOB).partitions_def is not None
    assert defs.resolve_sensor_def(NIGHT_SENSOR).default_status == dg.DefaultSensorStatus.STOPPED
    assert defs.resolve_schedule_def(NIGHT_SCHEDULE).default_status == dg.DefaultScheduleStatus.STOPPED


@pytest.mark.parametrize(("removes", "rule"), [((), "nightly"), (("feedback-1",), "replace")])
def test_only_a_night_that_forgets_need_not_be_better(
    home: Home, database: Database, removes: tuple[str, ...], rule: str
) -> None:
    approve(database, BEACH)
    plan = plan_night(home, database, "tiny-a")
    assert isinstance(plan, Plan)
    *_, gate = night_launches(replace(plan, removes=removes), "v1.1.0", NightChoices(claim="math"))
    assert gate.config["release"] == {"dataset": "v1.1.0", "rule": rule, "claim": "math"}


@pytest.mark.parametrize("guidance", ["", "guidance-long"])
def test_a_night_makes_what_guides_by_the_run_that_made_what_is_served(
    home: Home, database: Database, guidance: str
) -> None:
    approve(database, BEACH)
    plan = plan_night(home, database, "tiny-a")
    assert isinstance(plan, Plan) and plan.guidance_recipe == ""
    launches = night_launches(replace(plan, guidance_recipe=guidance), "v1.1.0", NightChoices())
    configs = [dict(launch.config) for launch in launches if launch.job == DECODERS_JOB]
    assert configs == ([{"logit_guidance": {"recipe": guidance}}] if guidance else [])


def test_the_job_of_a_night_runs_the_command_and_says_what_came_of_it(
    home: Home, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RJEPA_HOME", str(home.root))
    job = build_defs({"home": HomeResource(root=str(home.root))}).resolve_job_def(NIGHT_JOB)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(LLM, ["tiny-a"])
        done = job.execute_in_process(instance=instance, partition_key="tiny-a", tags={TRIGGER_TAG: "schedule"})
    assert done.success
    (attempt,) = list_attempts(database, "tiny-a")
    assert (attempt.outcome, attempt.trigger) == ("nothing_new", "schedule")


def test_the_command_says_which_limit_refuses_and_its_value(
    home: Home, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_settings(database, {"min_interactions": 7}, who="test")
    approve(database, BEACH)
    dry = rjepa(home.root, "retrain", "--dry-run")
    assert dry.code == 0 and "min_interactions is 7" in dry.stdout and list_attempts(database, "tiny-a") == []
    ran = rjepa(home.root, "retrain", "--json")
    assert json.loads(ran.stdout)[0]["outcome"] == "limited"
    assert list_attempts(database, "tiny-a")[0].limit_value == 7
