"""The world model over latents: its normaliser, its training, and whether it has learnt anything."""

import os

import dagster as dg
from pydantic import Field

from rjepa_assets.defs.latents import latents
from rjepa_assets.defs.partitions import PAIRS, SAME_KEY, split_pair
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import GPU_POOL, image, materialized, partitioned_check, running
from rjepa_assets.defs.students import train_rollouts


class TrainingConfig(dg.Config):
    """Which run of configs/rjepa/ to train."""

    recipe: str = Field("demo", description="name of a file in configs/rjepa/")
    processes: int = Field(1, ge=1, description="how many train together on this machine, started by torchrun")


@dg.asset(
    partitions_def=PAIRS,
    deps=[dg.AssetDep(latents, partition_mapping=SAME_KEY)],
    group_name="world_model",
    owners=["team:world-model"],
    kinds={"numpy", "safetensors"},
)
def latent_normalizer(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """Per-dimension location and scale of the latents, fitted on the train split's right chains."""
    from rjepa.jepa.stage import fit_pair_normalizer

    dataset, llm_tag = split_pair(context.partition_key)
    with running(context, progress):
        return materialized(fit_pair_normalizer(home.open(), llm_tag, dataset))


@dg.asset(
    partitions_def=PAIRS,
    deps=[
        dg.AssetDep(latents, partition_mapping=SAME_KEY),
        dg.AssetDep(latent_normalizer, partition_mapping=SAME_KEY),
        dg.AssetDep(train_rollouts, partition_mapping=SAME_KEY),
    ],
    group_name="world_model",
    owners=["team:world-model"],
    kinds={"pytorch", "safetensors"},
    pool=GPU_POOL,
)
def rjepa_checkpoint(
    context: dg.AssetExecutionContext, config: TrainingConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """The trained R-JEPA: encoder, EMA target, predictor and heads, with its configuration and its training curve."""
    from rjepa.jepa.stage import train_pair

    dataset, llm_tag = split_pair(context.partition_key)
    with running(context, progress) as report_progress:
        trained = train_pair(
            home.open(),
            llm_tag,
            dataset,
            config.recipe,
            report_progress,
            processes=config.processes,
            environment=os.environ,
        )
        return materialized(trained.report, training_curve=image(trained.curve_png, "loss by update"))


@partitioned_check(rjepa_checkpoint, blocking=True)
def rjepa_has_skill_over_mean_and_copy(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """It predicts the next step better than the mean latent and than a copy of the previous step."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_pair(context.partition_key)
    found = read_diagnostics(home.open(), llm_tag, dataset)
    metadata = {"skill_over_mean": found.skill_over_mean, "skill_over_copy": found.skill_over_copy}
    return dg.AssetCheckResult(passed=min(metadata.values()) > 0, metadata=metadata)


@partitioned_check(rjepa_checkpoint)
def rjepa_beats_ridge(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """It predicts the next step better than ridge regression on the steps before it."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_pair(context.partition_key)
    skill = read_diagnostics(home.open(), llm_tag, dataset).skill_over_ridge
    return dg.AssetCheckResult(
        passed=skill > 0, severity=dg.AssetCheckSeverity.WARN, metadata={"skill_over_ridge": skill}
    )


@partitioned_check(rjepa_checkpoint, blocking=True)
def representation_has_not_collapsed(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """The encoder's states use many directions: their effective rank and spread are above a collapsed model's."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_pair(context.partition_key)
    found = read_diagnostics(home.open(), llm_tag, dataset)
    return dg.AssetCheckResult(
        passed=not found.collapsed, metadata={"rankme": found.rankme, "deviation": found.deviation}
    )


@partitioned_check(rjepa_checkpoint, blocking=True)
def every_parameter_moved(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """Training has changed every parameter that it may change: none is cut off from the loss."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_pair(context.partition_key)
    unmoved = read_diagnostics(home.open(), llm_tag, dataset).unmoved
    return dg.AssetCheckResult(passed=unmoved == 0, metadata={"unmoved": unmoved})


@partitioned_check(rjepa_checkpoint, blocking=True)
def target_gets_no_gradient(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """The loss does not push on the target encoder, which follows the context encoder by its average alone."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_pair(context.partition_key)
    pushed = read_diagnostics(home.open(), llm_tag, dataset).target_has_gradient
    return dg.AssetCheckResult(passed=not pushed, metadata={"target_has_gradient": pushed})
