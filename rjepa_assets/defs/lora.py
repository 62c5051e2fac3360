"""A student that has learnt: the LoRA that a student gets from a dataset version. Made when it is asked for.

The student with the LoRA is a student of its own, with a partition of its own; what it samples and what is made of it
is made by the same assets as for any other.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from rjepa.students.lora.files import CONFIG, MANIFEST, WEIGHTS, lora_folder
from rjepa.students.lora.registering import lora_tag
from rjepa_assets.defs.inputs import lora_data_version, lora_recipe_version, student_version
from rjepa_assets.defs.partitions import DATASET_BY_LLM
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import (
    GPU_POOL,
    LORA_JOB,
    explained,
    figures_of,
    latest_figures,
    made_by,
    partitioned_check,
    running,
)
from rjepa_assets.defs.students import OF_A_STUDENT_ON_A_DATASET
from rjepa_assets.own_process import Call, call
from rjepa_assets.requests import want_llm

_FILES = (CONFIG, WEIGHTS, MANIFEST)


class LoraConfig(dg.Config):
    """Which run of configs/lora/ to train, and what to call what comes of it."""

    recipe: str = Field(default="night", description="name of a file in configs/lora/; it shapes the data version")
    name: str = Field(
        default="", description="of the LoRA: clients call the student LLM+NAME; empty: the dataset version's name"
    )


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=OF_A_STUDENT_ON_A_DATASET,
    group_name="students",
    owners=["team:students"],
    kinds={"pytorch", "safetensors"},
    tags=made_by(LORA_JOB),
    pool=GPU_POOL,
    code_version="1",
    metadata=explained(
        llm_tag="the student with the LoRA, as it is registered",
        path="folder of its files",
        recipe="run of configs/lora/",
        rank="of the matrices that are kept: the one with the lowest validation loss",
        parameters="numbers that were learnt",
        updates="steps of the optimiser after which the validation loss was lowest",
        learnt="domains of the new chains",
        new_chains="right training chains that the replayed version does not have",
        old_chains="right training chains of the replayed version",
        left_out="chains that were longer than the recipe takes",
        loss_new="nats a token of new validation chains",
        loss_new_base="the same, of the student without it",
        loss_old="nats a token of old validation chains",
        loss_old_base="the same, of the student without it",
        **{"loss_rank_*": "what each rank came to: new and old chains, weighed as in a batch"},
    ),
)
def student_lora(
    context: dg.AssetExecutionContext, config: LoraConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """A LoRA learnt from a dataset version's right chains, feedback included; its student is registered with it."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        name = config.name or dataset
        arguments = {"llm_tag": llm_tag, "dataset": dataset, "recipe": config.recipe, "name": name}
        result = stage.once(
            {
                "recipe": lora_recipe_version(config.recipe),
                "name": name,
                "dataset": lora_data_version(stage.home, dataset, config.recipe),
                "student": student_version(stage.home, llm_tag),
            },
            [lora_folder(stage.home, llm_tag, name) / file for file in _FILES],
            lambda: call(context, stage.home, Call("rjepa.students.lora.stage:make_lora", arguments), stage.progress),
        )
        want_llm(context.instance, lora_tag(llm_tag, name))
        return result


@partitioned_check(student_lora)
def new_chains_are_likelier_and_old_ones_not_much_less(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """On validation chains, the loss of what is new has fallen, and that of what is old risen by a quarter at most."""
    from rjepa.students.lora.checking import judge_losses

    figures = latest_figures(context.instance, student_lora.key, context.partition_key)
    found = judge_losses(figures)
    return dg.AssetCheckResult(
        passed=found.passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=figures_of(found.figures),
        description=found.text,
    )
