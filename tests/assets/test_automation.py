"""Automation over several ticks: requested partitions are filled, and no others."""

from collections.abc import Iterator

import dagster as dg
import pytest

from rjepa_assets.definitions import build_defs
from rjepa_assets.requests import ask_for, want_dataset, want_llm


class Daemon:
    """Dagster's automation, one tick at a time, on an instance of its own."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._defs = build_defs()
        self._cursor: dg.AutomationConditionEvaluation | None = None

    def tick(self) -> set[tuple[str, str | None]]:
        """Assets and partitions that are asked for."""
        result = dg.evaluate_automation_conditions(
            self._defs, self.instance, dg.AssetSelection.all(), cursor=self._cursor
        )
        self._cursor = result.cursor
        keys = self._defs.resolve_asset_graph().toposorted_asset_keys
        return {(key.to_user_string(), partition) for key in keys for partition in result.get_requested_partitions(key)}

    def restart(self) -> None:
        """Forget everything but what is in the instance, as a new machine does."""
        self._cursor = None

    def made(self, asset: str, partition: str) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A released dataset version and a resolved LLM whose combination was not requested."""
    with dg.DagsterInstance.ephemeral() as instance:
        want_dataset(instance, "v1.0.0")
        want_llm(instance, "tiny-a")
        started = Daemon(instance)
        started.made("dataset_release", "v1.0.0")
        started.made("student", "tiny-a")
        yield started


def test_nothing_is_made_unasked(daemon: Daemon) -> None:
    assert daemon.tick() == set()
    want_dataset(daemon.instance, "v1.1.0")
    daemon.made("dataset_release", "v1.1.0")
    assert daemon.tick() == set()
    assert daemon.tick() == set()


def test_a_registered_llm_is_resolved_then_what_was_asked_of_it_is_sampled_and_read_and_no_more(
    daemon: Daemon,
) -> None:
    daemon.tick()
    ask_for(daemon.instance, "v1.0.0", "second")
    assert daemon.tick() == {("student", "second")}
    daemon.made("student", "second")
    assert daemon.tick() == {("rollouts", "v1.0.0|second"), ("latents", "v1.0.0|second")}
    daemon.made("rollouts", "v1.0.0|second")
    daemon.made("latents", "v1.0.0|second")
    assert daemon.tick() == set()
    assert daemon.tick() == set()


def test_what_was_asked_for_before_the_daemon_started_is_filled_too(daemon: Daemon) -> None:
    ask_for(daemon.instance, "v1.0.0", "tiny-a")
    assert daemon.tick() == {("rollouts", "v1.0.0|tiny-a"), ("latents", "v1.0.0|tiny-a")}
    daemon.made("rollouts", "v1.0.0|tiny-a")
    daemon.restart()
    assert daemon.tick() == {("latents", "v1.0.0|tiny-a")}


def test_a_new_dataset_version_is_filled_for_those_llms_alone_that_were_asked_for(daemon: Daemon) -> None:
    ask_for(daemon.instance, "v1.0.0", "second")
    daemon.made("student", "second")
    for asset in ("rollouts", "latents"):
        daemon.made(asset, "v1.0.0|second")
    assert daemon.tick() == set()
    ask_for(daemon.instance, "v1.1.0", "second")
    assert daemon.tick() == set()  # the version is not there yet
    daemon.made("dataset_release", "v1.1.0")
    assert daemon.tick() == {("rollouts", "v1.1.0|second"), ("latents", "v1.1.0|second")}


def test_what_runs_or_failed_is_not_asked_for_again(daemon: Daemon) -> None:
    ask_for(daemon.instance, "v1.0.0", "tiny-a")
    job = build_defs().resolve_job_def("dataset_and_llm")
    tags = {
        "dagster/partition": "v1.0.0|tiny-a",
        "dagster/partition/dataset_version": "v1.0.0",
        "dagster/partition/llm_tag": "tiny-a",
    }
    run = daemon.instance.create_run_for_job(
        job.get_subset(asset_selection={dg.AssetKey("latents")}), tags=tags, status=dg.DagsterRunStatus.STARTED
    )
    assert daemon.tick() == {("rollouts", "v1.0.0|tiny-a")}
    daemon.made("rollouts", "v1.0.0|tiny-a")
    daemon.instance.report_run_failed(run, "the disk was full")
    assert daemon.tick() == set()


def test_what_was_carried_to_an_llm_is_calibrated_and_judged_once_and_nothing_is_released(daemon: Daemon) -> None:
    for asset in ("rollouts", "latents", "rjepa_checkpoint"):
        daemon.made(asset, "v1.0.0|tiny-a")
    ask_for(daemon.instance, "v1.0.0", "second")
    daemon.made("student", "second")
    daemon.made("latents", "v1.0.0|second")
    daemon.tick()
    daemon.made("adapter", "v1.0.0|second")
    assert daemon.tick() <= {("rollouts", "v1.0.0|second")}, "nothing can be judged before there are candidates"
    daemon.made("rollouts", "v1.0.0|second")
    judged = {("score_calibration", "v1.0.0|second"), ("benchmark_report", "v1.0.0|second")}
    assert daemon.tick() == judged
    daemon.made("score_calibration", "v1.0.0|second")
    daemon.made("benchmark_report", "v1.0.0|second")
    assert daemon.tick() == set()
    daemon.made("adapter", "v1.0.0|second")
    assert daemon.tick() == judged, "another adapter is judged anew"
