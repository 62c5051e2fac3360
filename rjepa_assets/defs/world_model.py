"""The world model over latents: its normaliser, its training, and whether it has learnt anything."""

from typing import Any

import dagster as dg
from pydantic import Field

from rjepa.adapters.in_use import put_in_use
from rjepa.adapters.sources import SOURCE_FILES
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.jepa.config import load_jepa_config
from rjepa.stages import Made
from rjepa_assets.defs.inputs import latents_version, models_version, recipe_version, train_rollouts_version
from rjepa_assets.defs.latents import latents
from rjepa_assets.defs.partitions import DATASET_BY_LLM, SAME_KEY, split_partition
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import DATASET_LLM_JOB, GPU_POOL, explained, made_by, partitioned_check, running
from rjepa_assets.defs.students import train_rollouts
from rjepa_assets.own_process import Call, call


class TrainingConfig(dg.Config):
    """Which run of configs/rjepa/ to train."""

    recipe: str = Field(
        default="demo", description="name of a file in configs/rjepa/; what it says shapes the data version"
    )
    processes: int = Field(default=1, ge=1, description="how many train together on this machine, started by torchrun")
    init_from: str = Field(
        default="", description="release to go on from, for a recipe that says init_from (nightly); empty: from nothing"
    )
    grow_from: str = Field(
        default="", description="LLM whose R-JEPA is grown and trained on (recipe transfer); empty: from nothing"
    )
    share: float = Field(
        default=0.2, gt=0, le=1, description="part of the training problems that such a run learns from"
    )
    learning_rate: float | None = Field(default=None, description="of a run that goes on; None: the recipe's")
    replay_share: float | None = Field(default=None, description="share of old chains in a batch of such a run")
    ewc: float | None = Field(default=None, description="pull of such a run towards the old weights")

    def tuning(self) -> dict[str, float | None]:
        """What replaces values of the recipe."""
        return {"learning_rate": self.learning_rate, "replay_share": self.replay_share, "ewc": self.ewc}


class NormalizerConfig(dg.Config):
    """Where the normaliser comes from."""

    init_from: str = Field(
        default="", description="release whose normaliser is taken over as it is; empty: fitted on this dataset"
    )


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[dg.AssetDep(latents, partition_mapping=SAME_KEY)],
    group_name="world_model",
    owners=["team:world-model"],
    kinds={"numpy", "safetensors"},
    tags=made_by(DATASET_LLM_JOB),
    code_version="1",
    metadata=explained(
        chains="right chains of the train split",
        rows="vectors that it was fitted on",
        width="numbers a vector",
        scale_min="smallest scale of a dimension",
        scale_max="largest scale of a dimension",
    ),
)
def latent_normalizer(
    context: dg.AssetExecutionContext, config: NormalizerConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Per-dimension location and scale of the latents, fitted on the train split's right chains."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm

        def make() -> Made:
            from rjepa.jepa.stage import build_normalizer
            from rjepa.releases.going_on import take_normalizer_from

            if config.init_from:
                return Made(take_normalizer_from(stage.home, llm_tag, dataset, config.init_from))
            return Made(build_normalizer(stage.home, llm_tag, dataset))

        taken = {"init_from": config.init_from} if config.init_from else {}
        return stage.once(
            {"latents": latents_version(stage.home, llm_tag, dataset), **taken},
            [stage.home.models(llm_tag, dataset) / "normalizer.safetensors"],
            make,
        )


@partitioned_check(latent_normalizer, blocking=True)
def normalised_latents_are_centred_and_few_are_clipped(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """Under the normaliser, the latents of validation chains lie around 0, vary by about 1, and are seldom clipped."""
    from rjepa.jepa.stage import normalizer_file
    from rjepa.latents.normalised import measure_normalised
    from rjepa.latents.normalizer import load_normalizer
    from rjepa.latents.shards import open_latents

    dataset, llm_tag = split_partition(context.partition_key)
    latent_set = open_latents(home.open(), llm_tag, dataset).split("validation")
    found = measure_normalised(load_normalizer(normalizer_file(home.open(), llm_tag, dataset)), latent_set.latents)
    return dg.AssetCheckResult(passed=found.is_healthy, metadata=found.metadata())


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[
        dg.AssetDep(latents, partition_mapping=SAME_KEY),
        dg.AssetDep(latent_normalizer, partition_mapping=SAME_KEY),
        dg.AssetDep(train_rollouts, partition_mapping=SAME_KEY),
    ],
    group_name="world_model",
    owners=["team:world-model"],
    kinds={"pytorch", "safetensors"},
    tags=made_by(DATASET_LLM_JOB),
    pool=GPU_POOL,
    code_version="1",
    metadata=explained(
        recipe="run of configs/rjepa/",
        recipe_sha256="hash of what it said",
        parameters="numbers that were learnt",
        updates="steps of the optimiser",
        seconds="of training, over all runs that went on with it",
        loss="of the last updates",
        validation_energy="energy of held-out steps, at the end",
        training_curve="loss by update",
        init_from="release whose weights it went on from",
        new_chains="right chains of problems that this release has not learnt from",
        replayed_chains="old right chains that were shown again",
        grown_from="LLM whose R-JEPA it was grown from",
        share="part of the training problems that such a run learnt from",
        problems="they are so many",
        start_energy="energy of held-out steps before the first update",
        **{
            "skill_*": "share of a simple guess's error that it takes away; above 0 it has learnt something",
            "rankme*": "effective number of directions that states use",
            "*probe*": "accuracy of a linear probe on states, of an untrained encoder, and of guessing",
            "*": "measurements of the trained model (rjepa.jepa.diagnostics)",
        },
    ),
)
def rjepa_checkpoint(
    context: dg.AssetExecutionContext, config: TrainingConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """The trained R-JEPA: encoder, EMA target, predictor and heads, with its configuration and its training curve."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        recipe = recipe_version([config.recipe])
        folder = stage.home.models(llm_tag, dataset) / "rjepa"
        arguments: dict[str, Any] = {
            "llm_tag": llm_tag,
            "dataset": dataset,
            "recipe": config.recipe,
            "processes": config.processes,
        }

        function, goes_on = "rjepa.jepa.stage:build_checkpoint", {}
        if config.init_from:
            function = "rjepa.releases.going_on:build_checkpoint_from"
            arguments |= {"release_id": config.init_from, "tuning": config.tuning()}
            goes_on = {"init_from": config.init_from, "tuning": sha256_json(config.tuning())}
        elif config.grow_from:
            function = "rjepa.adapters.transferring:build_transferred"
            arguments = {
                "llm_tag": llm_tag,
                "dataset": dataset,
                "source": config.grow_from,
                "share": config.share,
                "recipe": config.recipe,
            }
            goes_on = {
                "grow_from": config.grow_from,
                "share": str(config.share),
                "source_models": models_version(stage.home, config.grow_from, dataset, *SOURCE_FILES),
                "source_latents": latents_version(stage.home, config.grow_from, dataset),
            }

        def make() -> Made:
            made = call(context, stage.home, Call(function, arguments), stage.progress)
            made.report.metadata["recipe_sha256"] = recipe
            return made

        done = stage.once(
            {
                "recipe": recipe,
                "processes": config.processes,
                "latents": latents_version(stage.home, llm_tag, dataset),
                "normalizer": models_version(stage.home, llm_tag, dataset, "normalizer.safetensors"),
                "train_rollouts": _learnt_from(stage.home, llm_tag, dataset, config.recipe),
                **goes_on,
            },
            [folder / "model.safetensors", folder / "diagnostics.json", folder / "config.json"],
            make,
        )
        # Also where there was nothing to do: who asks for it wants it, and not what was carried here meanwhile.
        put_in_use(stage.home, llm_tag, dataset, "native")
        return done


def _learnt_from(home: Home, llm_tag: str, dataset: str, recipe: str) -> str:
    """Version of the student's own chains, for a recipe that learns from wrong ones."""
    uses_them = load_jepa_config(recipe).loss.uses_negatives
    return train_rollouts_version(home, llm_tag, dataset) if uses_them else "unused"


@partitioned_check(rjepa_checkpoint, blocking=True)
def rjepa_has_skill_over_mean_and_copy(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """It predicts the next step better than the mean latent and than a copy of the previous step."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_partition(context.partition_key)
    found = read_diagnostics(home.open(), llm_tag, dataset)
    metadata = {"skill_over_mean": found.skill_over_mean, "skill_over_copy": found.skill_over_copy}
    return dg.AssetCheckResult(passed=min(metadata.values()) > 0, metadata=metadata)


@partitioned_check(rjepa_checkpoint)
def rjepa_beats_ridge(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """It predicts the next step better than ridge regression on the steps before it."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_partition(context.partition_key)
    skill = read_diagnostics(home.open(), llm_tag, dataset).skill_over_ridge
    return dg.AssetCheckResult(
        passed=skill > 0, severity=dg.AssetCheckSeverity.WARN, metadata={"skill_over_ridge": skill}
    )


@partitioned_check(rjepa_checkpoint, blocking=True)
def representation_has_not_collapsed(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """The encoder's states use many directions: their effective rank and spread are above a collapsed model's."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_partition(context.partition_key)
    found = read_diagnostics(home.open(), llm_tag, dataset)
    return dg.AssetCheckResult(
        passed=not found.collapsed, metadata={"rankme": found.rankme, "deviation": found.deviation}
    )


@partitioned_check(rjepa_checkpoint, blocking=True)
def every_parameter_moved(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """Training has changed every parameter that it may change: none is cut off from the loss."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_partition(context.partition_key)
    unmoved = read_diagnostics(home.open(), llm_tag, dataset).unmoved
    return dg.AssetCheckResult(passed=unmoved == 0, metadata={"unmoved": unmoved})


@partitioned_check(rjepa_checkpoint, blocking=True)
def target_gets_no_gradient(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """The loss does not push on the target encoder, which follows the context encoder by its average alone."""
    from rjepa.jepa.stage import read_diagnostics

    dataset, llm_tag = split_partition(context.partition_key)
    pushed = read_diagnostics(home.open(), llm_tag, dataset).target_has_gradient
    return dg.AssetCheckResult(passed=not pushed, metadata={"target_has_gradient": pushed})
