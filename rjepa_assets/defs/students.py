"""The LLM under study, and what it answers: resolved weights, and the frozen candidates sampled from them."""

from typing import Final

import dagster as dg
from pydantic import Field

from rjepa.latents.worker import PairTask
from rjepa_assets.defs.chains import dataset_release
from rjepa_assets.defs.partitions import LLMS, PAIRS, SAME_DATASET, SAME_LLM, split_pair
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import GPU_POOL, WHEN_MISSING, materialized, partitioned_check, running
from rjepa_assets.environments import make_pair


class RolloutConfig(dg.Config):
    """How many chains a problem, and from which seed."""

    num_candidates: int = Field(8, ge=2, le=64, description="K: sampled chains a problem, beside the greedy one")
    seed: int = Field(0, ge=0, description="of the sampling noise")


@dg.asset(
    partitions_def=LLMS,
    group_name="students",
    owners=["team:students"],
    kinds={"huggingface", "safetensors"},
    pool=GPU_POOL,
    automation_condition=WHEN_MISSING,
)
def student(context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource) -> dg.MaterializeResult:
    """The student's weights: bundled, a local folder or the hub. Its version hashes all that shapes latents."""
    from rjepa.students.stage import resolve_and_record

    with running(context, progress) as report_progress:
        return materialized(resolve_and_record(home.open(), context.partition_key, report_progress))


OF_A_STUDENT_ON_A_DATASET: Final = (
    dg.AssetDep(dataset_release, partition_mapping=SAME_DATASET),
    dg.AssetDep(student, partition_mapping=SAME_LLM),
)
"""What a student makes of a released dataset depends on both."""


@dg.asset(
    partitions_def=PAIRS,
    deps=OF_A_STUDENT_ON_A_DATASET,
    group_name="students",
    owners=["team:students"],
    kinds={"pytorch", "parquet", "safetensors"},
    pool=GPU_POOL,
    automation_condition=WHEN_MISSING,
)
def rollouts(
    context: dg.AssetExecutionContext, config: RolloutConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """K chains a problem sampled by the student, judged and frozen, with latents: what every method chooses from."""
    dataset, llm_tag = split_pair(context.partition_key)
    task = PairTask("rollouts", llm_tag, dataset, num_candidates=config.num_candidates, seed=config.seed)
    with running(context, progress) as report_progress:
        return make_pair(context, home.open(), task, report_progress)


class TrainRolloutConfig(RolloutConfig):
    """How many chains a problem, from which seed, and for how many problems."""

    most: int = Field(2500, ge=1, description="training problems, evenly spread; of a smaller dataset all")


@dg.asset(
    partitions_def=PAIRS,
    deps=OF_A_STUDENT_ON_A_DATASET,
    group_name="students",
    owners=["team:students"],
    kinds={"pytorch", "parquet", "safetensors"},
    pool=GPU_POOL,
)
def train_rollouts(
    context: dg.AssetExecutionContext, config: TrainRolloutConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """K judged chains for each of some training problems: what `rank` and the supervised baselines learn from."""
    dataset, llm_tag = split_pair(context.partition_key)
    task = PairTask(
        "train_rollouts",
        llm_tag,
        dataset,
        num_candidates=config.num_candidates,
        seed=config.seed,
        max_problems=config.most,
    )
    with running(context, progress) as report_progress:
        return make_pair(context, home.open(), task, report_progress)


@partitioned_check(rollouts)
def rollouts_are_in_the_target_regime(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """The student is neither too weak nor too strong for a choice among its answers to show anything."""
    from rjepa.latents.regime import judge_regime
    from rjepa.latents.rollouts import open_rollouts

    dataset, llm_tag = split_pair(context.partition_key)
    regime = judge_regime(open_rollouts(home.open(), llm_tag, dataset))
    return dg.AssetCheckResult(passed=regime.is_met, metadata=regime.metadata(), description=regime.text)
