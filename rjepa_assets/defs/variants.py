"""More than one R-JEPA for a pair, for `rjepa report`: other recipes and seeds, and a report that holds them all.

Nothing here is part of the path to a release, and nothing is made unasked.
"""

import dagster as dg
from pydantic import Field

from rjepa_assets.defs.latents import latents
from rjepa_assets.defs.partitions import PAIRS, SAME_KEY, split_pair
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import GPU_POOL, image, materialized, running
from rjepa_assets.defs.students import rollouts, train_rollouts
from rjepa_assets.defs.world_model import latent_normalizer


class VariantsConfig(dg.Config):
    """What to train side by side."""

    recipes: list[str] = Field(
        ["full", "rank", "textbook"], description="names of files in configs/rjepa/, the main one first"
    )
    seeds: int = Field(3, description="of each; the textbook baseline has one")


class SizesConfig(dg.Config):
    """What a report shows beside its own figures."""

    sizes: str = Field("", description="file with runs at several sizes of training data; empty for none")


@dg.asset(
    partitions_def=PAIRS,
    deps=[
        dg.AssetDep(latents, partition_mapping=SAME_KEY),
        dg.AssetDep(latent_normalizer, partition_mapping=SAME_KEY),
        dg.AssetDep(train_rollouts, partition_mapping=SAME_KEY),
    ],
    group_name="variants",
    owners=["team:world-model"],
    kinds={"pytorch", "safetensors"},
    pool=GPU_POOL,
)
def rjepa_variants(
    context: dg.AssetExecutionContext, config: VariantsConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """Several R-JEPAs, each recipe under several seeds: never served, only compared."""
    from rjepa.evaluation.variants import train_variants

    dataset, llm_tag = split_pair(context.partition_key)
    with running(context, progress) as report_progress:
        return materialized(
            train_variants(home.open(), llm_tag, dataset, config.recipes, config.seeds, report_progress)
        )


@dg.asset(
    partitions_def=PAIRS,
    deps=[
        dg.AssetDep(rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(train_rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(rjepa_variants, partition_mapping=SAME_KEY),
    ],
    group_name="variants",
    owners=["team:evaluation"],
    kinds={"scipy", "matplotlib", "json"},
)
def variants_report(
    context: dg.AssetExecutionContext, config: SizesConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """Every variant and every baseline on the same frozen candidates, over seeds, held against the targets."""
    from pathlib import Path

    from rjepa.evaluation.variants import report_variants

    dataset, llm_tag = split_pair(context.partition_key)
    sizes = Path(config.sizes) if config.sizes else None
    with running(context, progress) as report_progress:
        benchmark = report_variants(home.open(), llm_tag, dataset, sizes, report_progress)
        plots = {f"plot_{name}": image(png, name) for name, png in benchmark.plots.items()}
        table = dg.MetadataValue.md(benchmark.leaderboard_markdown)
        gallery = dg.MetadataValue.md(benchmark.gallery_markdown)
        return materialized(benchmark.report, leaderboard=table, gallery=gallery, **plots)
