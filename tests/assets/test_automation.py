"""What happens by itself when a student is added, told tick by tick."""

from collections.abc import Iterator

import dagster as dg
import pytest

from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.partitions import DATASET, LLM


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

    def made(self, asset: str, partition: str) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(DATASET, ["v1.0.0", "never-made"])
        instance.add_dynamic_partitions(LLM, ["tiny-a"])
        started = Daemon(instance)
        started.made("dataset_release", "v1.0.0")
        yield started


def test_what_was_missing_before_the_daemon_started_is_left_alone(daemon: Daemon) -> None:
    assert daemon.tick() == set()
    assert daemon.tick() == set()


def test_an_added_student_is_resolved_then_sampled_and_read_and_no_more(daemon: Daemon) -> None:
    daemon.tick()
    daemon.instance.add_dynamic_partitions(LLM, ["second"])
    assert daemon.tick() == {("student", "second")}
    assert daemon.tick() == set()
    daemon.made("student", "second")
    assert daemon.tick() == {("rollouts", "v1.0.0|second"), ("latents", "v1.0.0|second")}
    daemon.made("rollouts", "v1.0.0|second")
    daemon.made("latents", "v1.0.0|second")
    assert daemon.tick() == set()
