"""What the student's hidden states say at each step of every validated chain."""

import dagster as dg

from rjepa.latents.worker import PairTask
from rjepa_assets.defs.lake import LakeResource
from rjepa_assets.defs.partitions import PAIRS, split_pair
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import GPU_POOL, WHEN_MISSING, partitioned_check, running
from rjepa_assets.defs.students import OF_A_STUDENT_ON_A_DATASET
from rjepa_assets.environments import make_pair


@dg.asset(
    partitions_def=PAIRS,
    deps=OF_A_STUDENT_ON_A_DATASET,
    group_name="latents",
    owners=["team:students"],
    kinds={"pytorch", "safetensors", "parquet"},
    pool=GPU_POOL,
    automation_condition=WHEN_MISSING,
)
def latents(context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource) -> dg.MaterializeResult:
    """One vector a step of every validated chain: content-addressed shards of safetensors, with Parquet beside them."""
    dataset, llm_tag = split_pair(context.partition_key)
    with running(context, progress) as report_progress:
        return make_pair(context, home.open(), PairTask("latents", llm_tag, dataset), report_progress)


@partitioned_check(latents, blocking=True)
def latents_are_finite_and_spread(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """No value is NaN or infinite, and the dimensions vary from step to step."""
    from rjepa.latents.shards import open_latents
    from rjepa.latents.spread import measure_spread

    dataset, llm_tag = split_pair(context.partition_key)
    spread = measure_spread(open_latents(home.open(), llm_tag, dataset))
    return dg.AssetCheckResult(passed=spread.is_healthy, metadata=spread.metadata())


@partitioned_check(latents, blocking=True)
def wrong_chains_are_no_targets(
    context: dg.AssetCheckExecutionContext, home: HomeResource, lake: LakeResource
) -> dg.AssetCheckResult:
    """What may become a target is the latents of chains that were judged right, in their problem's own split."""
    from rjepa.datasets.checking import measure_wrong_targets

    dataset, llm_tag = split_pair(context.partition_key)
    with lake.over(home.open(), dataset) as connection:
        found = measure_wrong_targets(connection, llm_tag, dataset)
    return dg.AssetCheckResult(
        passed=not found.total,
        metadata={
            "targets": found.targets,
            "not_judged_right": found.not_valid,
            "not_in_the_dataset": found.not_in_dataset,
            "not_in_their_split": found.not_train,
        },
        description=f"e.g. {', '.join(found.examples)}" if found.examples else None,
    )
