"""What can be launched as one, and what happens by itself. Nothing here trains unasked."""

import dagster as dg

from rjepa_assets.defs.partitions import DATASET, LLM
from rjepa_assets.defs.resources import HomeResource

dataset_job = dg.define_asset_job(
    "dataset_job",
    selection=["problems", "teacher_chains", "validated_chains", "dataset_release"],
    description="Build and freeze one dataset version.",
)
student_job = dg.define_asset_job("student_job", selection=["student"], description="Resolve one student's weights.")
llm_job = dg.define_asset_job(
    "llm_job",
    selection=["rollouts", "latents", "latent_normalizer", "rjepa_checkpoint", "score_calibration", "benchmark_report"],
    description="From one student and one dataset to its evaluated world model.",
)
release_job = dg.define_asset_job(
    "release_job",
    selection=["release"],
    description="Bundle what was evaluated for one LLM; serve it if it is better.",
)
variants_job = dg.define_asset_job(
    "variants_job",
    selection=["train_rollouts", "rjepa_variants", "variants_report"],
    description="Train several R-JEPAs of one student and dataset, and judge them side by side.",
)
JOBS = [dataset_job, student_job, llm_job, release_job, variants_job]


@dg.sensor(
    description="Give every registered student and dataset its partition, and take it from those that are gone.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def partitions_follow_the_registry(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult:
    """Mirror the library's registry into the two dynamic dimensions; history of a deleted key stays in Dagster."""
    from rjepa.datasets.recipe import dataset_names
    from rjepa.students.catalog import list_records

    registered = {
        DATASET: set(dataset_names(home.open())),
        LLM: {record.llm_tag for record in list_records(home.open())},
    }
    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    for name, keys in registered.items():
        known = set(context.instance.get_dynamic_partitions(name))
        if added := sorted(keys - known):
            requests.append(dg.AddDynamicPartitionsRequest(name, added))
        if gone := sorted(known - keys):
            requests.append(dg.DeleteDynamicPartitionsRequest(name, gone))
    return dg.SensorResult(dynamic_partitions_requests=requests)


pick_up_what_is_missing = dg.AutomationConditionSensorDefinition(
    "pick_up_what_is_missing",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Resolve, sample and extract for students and datasets that appear.",
)
SENSORS = [partitions_follow_the_registry, pick_up_what_is_missing]
