"""What the student's hidden states say at each step of every validated chain."""

from typing import Any

import dagster as dg

from rjepa.latents.worker import StudentTask
from rjepa.stages import file_version
from rjepa_assets.defs.inputs import student_version
from rjepa_assets.defs.lake import LakeResource
from rjepa_assets.defs.partitions import DATASET_BY_LLM, split_partition
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import (
    DATASET_LLM_JOB,
    GPU_POOL,
    WHEN_WANTED,
    explained,
    made_by,
    partitioned_check,
    running,
)
from rjepa_assets.defs.students import WANTED, files_of_version
from rjepa_assets.own_process import make_with_student


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=WANTED,
    group_name="latents",
    owners=["team:students"],
    kinds={"pytorch", "safetensors", "parquet"},
    tags=made_by(DATASET_LLM_JOB),
    pool=GPU_POOL,
    automation_condition=WHEN_WANTED,
    code_version="1",
    metadata=explained(
        chains="chains with latents",
        steps="vectors: one a step",
        width="numbers a vector",
        tokens_per_second="reading speed of this run",
        shards="files that hold them",
        shards_reused="of them, that were there already",
        **{"*": "counts and sizes of what was read"},
    ),
)
def latents(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """One vector a step of every validated chain: content-addressed shards of safetensors, with Parquet beside them."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        return stage.once(
            {
                "dataset": file_version(stage.home.dataset(dataset) / "manifest.json"),
                "student": student_version(stage.home, llm_tag),
            },
            lambda: files_of_version(stage.home.latents(llm_tag, dataset), stage.home.shards("latents", llm_tag)),
            lambda: make_with_student(context, stage.home, StudentTask("latents", llm_tag, dataset), stage.progress),
        )


@partitioned_check(latents, blocking=True)
def latents_are_finite_and_spread(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """No value is NaN or infinite, and the dimensions vary from step to step."""
    from rjepa.latents.shards import open_latents
    from rjepa.latents.spread import measure_spread

    dataset, llm_tag = split_partition(context.partition_key)
    spread = measure_spread(open_latents(home.open(), llm_tag, dataset))
    return dg.AssetCheckResult(passed=spread.is_healthy, metadata=spread.metadata())


@partitioned_check(latents, blocking=True)
def wrong_chains_are_no_targets(
    context: dg.AssetCheckExecutionContext, home: HomeResource, lake: LakeResource
) -> dg.AssetCheckResult:
    """What may become a target is the latents of chains that were judged right, in their problem's own split."""
    from rjepa.datasets.checking import measure_wrong_targets

    dataset, llm_tag = split_partition(context.partition_key)
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
