"""What happens by itself: what somebody asked for is filled, and nothing else. The rule is `stage.WHEN_WANTED`."""

import dagster as dg

from rjepa_assets.defs.partitions import DATASET, LLM
from rjepa_assets.defs.resources import HomeResource


@dg.sensor(
    description="Take the partition from LLMs and data sets that are not registered any more. None is added unasked.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def partitions_of_removed_names_go(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult:
    """A deleted partition's history stays in Dagster."""
    from rjepa.datasets.recipe import dataset_names
    from rjepa.students.catalog import list_records

    registered = {
        DATASET: set(dataset_names(home.open())),
        LLM: {record.llm_tag for record in list_records(home.open())},
    }
    requests = [
        dg.DeleteDynamicPartitionsRequest(name, gone)
        for name, keys in registered.items()
        if (gone := sorted(set(context.instance.get_dynamic_partitions(name)) - keys))
    ]
    return dg.SensorResult(dynamic_partitions_requests=requests)


fill_what_was_asked_for = dg.AutomationConditionSensorDefinition(
    "fill_what_was_asked_for",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Resolve, sample and extract for what somebody asked for: an LLM's partition, a dataset|LLM's request.",
)
