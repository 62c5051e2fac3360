"""Latents back into words: a decoder that speaks, and one that guides the student. Made when they are asked for."""

from typing import Any

import dagster as dg
from pydantic import Field

from rjepa.files import read_json
from rjepa.parts import GUIDED_CALIBRATION
from rjepa.verbalizer.config import GUIDANCE_RECIPE
from rjepa_assets.defs.evaluation import judge_prefix_chances, score_calibration
from rjepa_assets.defs.inputs import decoder_recipe_version, latents_version, models_version, rjepa_version
from rjepa_assets.defs.latents import latents
from rjepa_assets.defs.partitions import DATASET_BY_LLM, SAME_KEY, split_partition
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import DECODERS_JOB, GPU_POOL, explained, made_by, partitioned_check, running
from rjepa_assets.defs.world_model import rjepa_checkpoint
from rjepa_assets.own_process import Call, call

_TRAINING = {
    "recipe": "run of configs/verbalizer/",
    "parameters": "numbers that were learnt",
    "updates": "steps of the optimiser",
    "seconds": "of training, over all runs that went on with it",
    "chains": "right chains of the train split",
    "loss": "nats a token, of the last updates",
}
"""Figures of a decoder's training: its metadata's keys and what they mean."""


class SpeakingConfig(dg.Config):
    """Which run of configs/verbalizer/ to train."""

    recipe: str = Field(default="speaking", description="name of a file in configs/verbalizer/")


class GuidingConfig(dg.Config):
    """Which run of configs/verbalizer/ to train."""

    recipe: str = Field(default=GUIDANCE_RECIPE, description="name of a file in configs/verbalizer/")


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[
        dg.AssetDep(latents, partition_mapping=SAME_KEY),
        dg.AssetDep(rjepa_checkpoint, partition_mapping=SAME_KEY),
    ],
    group_name="world_model",
    owners=["team:world-model"],
    kinds={"pytorch", "safetensors"},
    tags=made_by(DECODERS_JOB),
    pool=GPU_POOL,
    code_version="1",
    metadata=explained(
        **_TRAINING,
        vocabulary="tokens that it knows",
        spoken="what it says of validation steps, from each kind of latent and under each control",
        **{
            "exact_*": "share of validation steps whose very words it says, by where the latent came from",
            "last_number_*": "share whose last number it says",
            "valid_*": "share in which the checker finds no error",
            "round_trip_*": "share of the variance of what was spoken that its words explain when they are read again",
        },
    ),
)
def latent_decoder(
    context: dg.AssetExecutionContext, config: SpeakingConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """From a step's latent, observed or expected, to its text."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        folder = stage.home.models(llm_tag, dataset) / "verbalizer"
        arguments = {"llm_tag": llm_tag, "dataset": dataset, "recipe": config.recipe}
        return stage.once(
            {
                "recipe": decoder_recipe_version(config.recipe),
                "latents": latents_version(stage.home, llm_tag, dataset),
                "models": rjepa_version(stage.home, llm_tag, dataset),
            },
            [folder / "model.safetensors", folder / "measures.json"],
            lambda: call(
                context, stage.home, Call("rjepa.verbalizer.stage:build_verbalizer", arguments), stage.progress
            ),
        )


@partitioned_check(latent_decoder)
def spoken_steps_follow_from_their_latents(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """What it says of expected latents is valid at least twice as often as what it says of another step's."""
    dataset, llm_tag = split_partition(context.partition_key)
    measures = read_json(home.open().models(llm_tag, dataset) / "verbalizer" / "measures.json")
    valid = {one["source"]: float(one["valid"]) for one in measures if one["domain"] == "all"}
    return dg.AssetCheckResult(
        passed=valid["expected"] > 0 and valid["expected"] >= 2 * valid["shuffled"],
        severity=dg.AssetCheckSeverity.WARN,
        metadata={f"valid_{source}": share for source, share in valid.items()},
    )


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[
        dg.AssetDep(latents, partition_mapping=SAME_KEY),
        dg.AssetDep(rjepa_checkpoint, partition_mapping=SAME_KEY),
        dg.AssetDep(score_calibration, partition_mapping=SAME_KEY),
    ],
    group_name="world_model",
    owners=["team:world-model"],
    kinds={"pytorch", "safetensors"},
    tags=made_by(DECODERS_JOB),
    pool=GPU_POOL,
    code_version="2",
    metadata=explained(
        **_TRAINING,
        alpha="weight of what R-JEPA expects on the next word, chosen on validation problems",
        anneal="how much a surprising step takes off that weight",
        accuracy_alone="share of validation problems that the student's greedy chain answers right",
        accuracy_guided="of the best setting tried, alpha 0 (no guidance) among them, and so a little too good",
        choice="what several guided chains are chosen among by: logprob, or energy, R-JEPA's included",
        problems="validation problems that settings were tried on",
        guided_problems="validation problems that P(correct) of guided answers was fitted to; none: they were too few",
        guided_auroc="within-problem AUROC of the score that is fitted to guided chains, in sample",
        guided_least_error="the smallest max_error that mode nudge can promise",
        tried="accuracy of every setting",
    ),
)
def logit_guidance(
    context: dg.AssetExecutionContext, config: GuidingConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """From the latent that R-JEPA expects to a bias on the next token, its weight, and how sure a guided answer is."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        folder = stage.home.models(llm_tag, dataset) / "guidance"
        arguments = {"llm_tag": llm_tag, "dataset": dataset, "recipe": config.recipe}
        return stage.once(
            {
                "recipe": decoder_recipe_version(config.recipe),
                "latents": latents_version(stage.home, llm_tag, dataset),
                "models": rjepa_version(stage.home, llm_tag, dataset),
                "calibration": models_version(stage.home, llm_tag, dataset, "calibration.json"),
            },
            [folder / "model.safetensors", folder / "guidance.json", folder / "familiar.safetensors"],
            lambda: call(
                context, stage.home, Call("rjepa.evaluation.guided:build_guidance", arguments), stage.progress
            ),
        )


@partitioned_check(logit_guidance)
def guidance_helps_on_validation_problems(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """The guided greedy chain answers more validation problems right than the one that the student writes alone."""
    dataset, llm_tag = split_partition(context.partition_key)
    settings = read_json(home.open().models(llm_tag, dataset) / "guidance" / "guidance.json")
    alpha, tried = float(settings["alpha"]), settings["tried"]
    alone, guided = (
        float(tried[f"alpha {weight}, anneal {anneal}"])
        for weight, anneal in ((0.0, 0.0), (alpha, float(settings["anneal"])))
    )
    return dg.AssetCheckResult(
        passed=guided > alone,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"alone": alone, "guided": guided, "alpha": alpha},
    )


@partitioned_check(logit_guidance)
def guided_prefix_chances_come_true(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """P(correct) after each step of a guided chain comes true on validation problems that it was not fitted on."""
    dataset, llm_tag = split_partition(context.partition_key)
    fitted = home.open().models(llm_tag, dataset) / GUIDED_CALIBRATION
    if not fitted.is_file():
        why = (
            "too few validation problems have both right and wrong guided candidates: guided answers say no P(correct)"
        )
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=why)
    return judge_prefix_chances(fitted)
