"""The LLM under study, and what it answers: resolved weights, and the frozen candidates sampled from them."""

from pathlib import Path
from typing import Any, Final

import dagster as dg
from pydantic import Field

from rjepa.latents.worker import StudentTask
from rjepa.stages import Made, file_version
from rjepa_assets.defs.chains import dataset_release
from rjepa_assets.defs.inputs import student_version
from rjepa_assets.defs.partitions import DATASET_BY_LLM, LLMS, SAME_DATASET, SAME_KEY, SAME_LLM, split_partition
from rjepa_assets.defs.request import request
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import (
    DATASET_LLM_JOB,
    GPU_POOL,
    LLM_JOB,
    VARIANTS_JOB,
    WHEN_WANTED,
    explained,
    made_by,
    partitioned_check,
    running,
)
from rjepa_assets.own_process import Call, call, make_with_student


class RolloutConfig(dg.Config):
    """How many chains a problem, and from which seed."""

    num_candidates: int = Field(
        default=8, ge=2, le=64, description="K: sampled chains a problem, beside the greedy one"
    )
    seed: int = Field(default=0, ge=0, description="of the sampling noise")


@dg.asset(
    partitions_def=LLMS,
    group_name="students",
    owners=["team:students"],
    kinds={"huggingface", "safetensors"},
    tags=made_by(LLM_JOB),
    pool=GPU_POOL,
    automation_condition=WHEN_WANTED,
    code_version="1",
    metadata=explained(
        model="what the record names: a hub id, a folder, a bundled student or a recipe",
        path="folder of its files",
        architecture="class of the model",
        weight_megabytes="its weights on the disk",
        layer_idx="the layer whose hidden states are read; -2 is before the last one",
        quantisation="how its weights are stored",
        dtype="type of its numbers when loaded",
        segmentation="what begins a step",
        device="where it runs",
        device_reason="why there",
        memory_megabytes="estimated need when it samples",
        hidden_size="width of its hidden states",
        num_hidden_layers="its depth",
        vocab_size="tokens that it knows",
        lora="the LoRA on its weights, as BASE+NAME",
        lora_rank="rank of that LoRA",
    ),
)
def student(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """The student's weights: bundled, a local folder or the hub. Its version hashes all that shapes latents."""
    with running(context, home, progress) as stage:
        llm_tag = context.partition_key
        return stage.once(
            {"student": student_version(stage.home, llm_tag)},
            [stage.home.student(llm_tag) / "resolved.json"],
            lambda: call(
                context,
                stage.home,
                Call("rjepa.students.stage:resolve_and_record", {"llm_tag": llm_tag}),
                stage.progress,
            ),
        )


@partitioned_check(student, repeat=True)
def student_is_still_the_one_that_was_resolved(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """The files and the record hash to the fingerprint of latents and rollouts; they are not replaced since."""
    from rjepa_assets.defs.stage import latest_version

    now = student_version(home.open(), context.partition_key)
    then = latest_version(context.instance, student.key, context.partition_key)
    return dg.AssetCheckResult(
        passed=now == then,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"resolved": (then or "nothing")[:12], "now": now[:12]},
        description=None if now == then else "materialise student again, then what is made of it",
    )


OF_A_STUDENT_ON_A_DATASET: Final = (
    dg.AssetDep(dataset_release, partition_mapping=SAME_DATASET),
    dg.AssetDep(student, partition_mapping=SAME_LLM),
)
"""What a student makes of a released dataset depends on both."""

WANTED: Final = (*OF_A_STUDENT_ON_A_DATASET, dg.AssetDep(request, partition_mapping=SAME_KEY))
"""The same, for what is made as soon as somebody asked for it."""

_ROLLOUTS: Final = explained(
    problems="problems that were answered",
    chains="chains that were sampled",
    tokens_per_second="sampling speed of this run",
    shards="files that hold them",
    shards_reused="of them, that were there already",
    **{
        "*mean_at_1": "share of sampled chains that are right",
        "*pass_at_k": "share of problems with a right chain among K",
        "*mixed*": "share of problems with right and wrong chains",
        "*": "counts and rates of the sampling, by domain where they name one",
    },
)


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=WANTED,
    group_name="students",
    owners=["team:students"],
    kinds={"pytorch", "parquet", "safetensors"},
    tags=made_by(DATASET_LLM_JOB),
    pool=GPU_POOL,
    automation_condition=WHEN_WANTED,
    code_version="1",
    metadata=_ROLLOUTS,
)
def rollouts(
    context: dg.AssetExecutionContext, config: RolloutConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """K chains a problem sampled by the student, judged and frozen, with latents: what every method chooses from."""
    dataset, llm_tag = split_partition(context.partition_key)
    task = StudentTask("rollouts", llm_tag, dataset, num_candidates=config.num_candidates, seed=config.seed)
    return _sampled(context, home, progress, task)


class TrainRolloutConfig(RolloutConfig):
    """How many chains a problem, from which seed, and for how many problems."""

    max_problems: int = Field(
        default=2500, ge=1, description="training problems, evenly spread; of a smaller dataset all"
    )


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=OF_A_STUDENT_ON_A_DATASET,
    group_name="students",
    owners=["team:students"],
    kinds={"pytorch", "parquet", "safetensors"},
    tags=made_by(VARIANTS_JOB),
    pool=GPU_POOL,
    code_version="1",
    metadata=_ROLLOUTS,
)
def train_rollouts(
    context: dg.AssetExecutionContext, config: TrainRolloutConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """K judged chains for each of some training problems: what `rank` and the supervised baselines learn from."""
    dataset, llm_tag = split_partition(context.partition_key)
    task = StudentTask(
        "train_rollouts",
        llm_tag,
        dataset,
        num_candidates=config.num_candidates,
        seed=config.seed,
        max_problems=config.max_problems,
    )
    return _sampled(context, home, progress, task)


def _sampled(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource, task: StudentTask
) -> dg.MaterializeResult[Any]:
    with running(context, home, progress) as stage:
        folder = stage.home.rollouts if task.stage == "rollouts" else stage.home.train_rollouts
        inputs: dict[str, str | int] = {
            "dataset": file_version(stage.home.dataset(task.dataset) / "manifest.json"),
            "student": student_version(stage.home, task.llm_tag),
            "num_candidates": task.num_candidates,
            "seed": task.seed,
            "problems": task.max_problems or 0,
        }

        def make() -> Made:
            return make_with_student(context, stage.home, task, stage.progress)

        version, shards = folder(task.llm_tag, task.dataset), stage.home.shards("rollouts", task.llm_tag)
        return stage.once(inputs, lambda: files_of_version(version, shards), make)


def files_of_version(folder: Path, shards: Path) -> list[Path]:
    """A version of latents or rollouts with the shards that it stands on: one that is gone is made again."""
    from rjepa.latents.versions import version_files  # it loads pyarrow

    return version_files(folder, shards)


@partitioned_check(rollouts)
def rollouts_are_in_the_target_regime(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """The student is neither too weak nor too strong for a choice among its answers to show anything."""
    from rjepa.latents.regime import judge_regime
    from rjepa.latents.rollouts import open_rollouts

    dataset, llm_tag = split_partition(context.partition_key)
    regime = judge_regime(open_rollouts(home.open(), llm_tag, dataset))
    return dg.AssetCheckResult(passed=regime.is_met, metadata=regime.metadata(), description=regime.text)
