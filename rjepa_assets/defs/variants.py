"""More than one R-JEPA for a dataset|LLM, for `rjepa report`: other recipes and seeds, and a report of them all.

Nothing here is part of the path to a release, and nothing is made unasked.
"""

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from rjepa.stages import Made, file_version
from rjepa_assets.defs.inputs import (
    latents_version,
    models_version,
    recipe_version,
    rollouts_version,
    train_rollouts_version,
)
from rjepa_assets.defs.latents import latents
from rjepa_assets.defs.leaderboard import leaderboard_table
from rjepa_assets.defs.partitions import DATASET_BY_LLM, SAME_KEY
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import GPU_POOL, VARIANTS_JOB, explained, made_by, running, with_metadata
from rjepa_assets.defs.students import rollouts, train_rollouts
from rjepa_assets.defs.world_model import latent_normalizer
from rjepa_assets.own_process import Call, call


class VariantsConfig(dg.Config):
    """What to train side by side."""

    recipes: list[str] = Field(
        default=["full", "rank", "textbook"], description="names of files in configs/rjepa/, the main one first"
    )
    seeds: int = Field(default=3, description="of each; the textbook baseline has one")


class SizesConfig(dg.Config):
    """What a report shows beside its own figures."""

    sizes: str = Field(default="", description="file with runs at several sizes of training data; empty for none")


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[
        dg.AssetDep(latents, partition_mapping=SAME_KEY),
        dg.AssetDep(latent_normalizer, partition_mapping=SAME_KEY),
        dg.AssetDep(train_rollouts, partition_mapping=SAME_KEY),
    ],
    group_name="variants",
    owners=["team:world-model"],
    kinds={"pytorch", "safetensors"},
    tags=made_by(VARIANTS_JOB),
    pool=GPU_POOL,
    code_version="1",
    metadata=explained(
        runs="trained models",
        **{"*": "a figure of one run, named by recipe and seed (explained at rjepa_checkpoint)"},
    ),
)
def rjepa_variants(
    context: dg.AssetExecutionContext, config: VariantsConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Several R-JEPAs, each recipe under several seeds: never served, only compared."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        arguments = {"llm_tag": llm_tag, "dataset": dataset, "recipes": config.recipes, "seeds": config.seeds}
        return stage.once(
            {
                "recipes": recipe_version(config.recipes),
                "names": " ".join(config.recipes),
                "seeds": config.seeds,
                "latents": latents_version(stage.home, llm_tag, dataset),
                "train_rollouts": train_rollouts_version(stage.home, llm_tag, dataset),
                "normalizer": models_version(stage.home, llm_tag, dataset, "normalizer.safetensors"),
            },
            [stage.home.models(llm_tag, dataset) / "variants" / "variants.json"],
            lambda: call(
                context, stage.home, Call("rjepa.evaluation.variants:train_variants", arguments), stage.progress
            ),
        )


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    deps=[
        dg.AssetDep(rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(train_rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(rjepa_variants, partition_mapping=SAME_KEY),
    ],
    group_name="variants",
    owners=["team:evaluation"],
    kinds={"scipy", "matplotlib", "json"},
    tags=made_by(VARIANTS_JOB),
    code_version="1",
    metadata=explained(
        leaderboard="every variant and every baseline, on all problems",
        html="the whole report, with plots",
        **{"*": "a figure of the main run (explained at benchmark_report)"},
    ),
)
def variants_report(
    context: dg.AssetExecutionContext, config: SizesConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Every variant and every baseline on the same frozen candidates, over seeds, held against the targets."""
    with running(context, home, progress) as stage:
        dataset, llm_tag = stage.dataset_and_llm
        sizes = Path(config.sizes) if config.sizes else None
        folder = stage.home.reports(llm_tag, dataset) / "variants"

        def make() -> Made:
            from rjepa.evaluation.variants import report_variants

            found = report_variants(stage.home, llm_tag, dataset, sizes, stage.progress)
            plots = {f"plot_{name}": png for name, png in found.plots.items()}
            return Made(found.report, {"gallery": found.gallery_markdown}, plots)

        result = stage.once(
            {
                "rollouts": rollouts_version(stage.home, llm_tag, dataset),
                "train_rollouts": train_rollouts_version(stage.home, llm_tag, dataset),
                "variants": models_version(
                    stage.home, llm_tag, dataset, "normalizer.safetensors", "variants/variants.json"
                ),
                "sizes": "none" if sizes is None else file_version(sizes),
            },
            [folder / "report.json", folder / "report.html"],
            make,
        )
        return with_metadata(result, leaderboard=leaderboard_table(folder / "report.json"))
