"""What the world model is worth: weights fitted on validation, then every way of choosing on the same candidates."""

import dagster as dg

from rjepa_assets.defs.partitions import PAIRS, SAME_KEY, split_pair
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import image, materialized, running
from rjepa_assets.defs.students import rollouts, train_rollouts
from rjepa_assets.defs.world_model import latent_normalizer, rjepa_checkpoint


@dg.asset(
    partitions_def=PAIRS,
    deps=[
        dg.AssetDep(rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(latent_normalizer, partition_mapping=SAME_KEY),
        dg.AssetDep(rjepa_checkpoint, partition_mapping=SAME_KEY),
    ],
    group_name="evaluation",
    owners=["team:evaluation"],
    kinds={"scipy", "json"},
)
def score_calibration(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """Weights of energy, log-probability and length, and P(correct), fitted on the validation rollouts."""
    from rjepa.evaluation.stage import calibrate_pair

    dataset, llm_tag = split_pair(context.partition_key)
    with running(context, progress) as report_progress:
        return materialized(calibrate_pair(home.open(), llm_tag, dataset, report_progress))


@dg.asset(
    partitions_def=PAIRS,
    deps=[
        dg.AssetDep(rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(train_rollouts, partition_mapping=SAME_KEY),
        dg.AssetDep(score_calibration, partition_mapping=SAME_KEY),
    ],
    group_name="evaluation",
    owners=["team:evaluation"],
    kinds={"scipy", "matplotlib", "json"},
)
def benchmark_report(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """Every mode and every baseline on the same frozen candidates, with intervals: a leaderboard, plots, HTML."""
    from rjepa.evaluation.stage import benchmark_pair

    dataset, llm_tag = split_pair(context.partition_key)
    with running(context, progress) as report_progress:
        benchmark = benchmark_pair(home.open(), llm_tag, dataset, report_progress)
        plots = {f"plot_{name}": image(png, name) for name, png in benchmark.plots.items()}
        table = dg.MetadataValue.md(benchmark.leaderboard_markdown)
        gallery = dg.MetadataValue.md(benchmark.gallery_markdown)
        return materialized(benchmark.report, leaderboard=table, gallery=gallery, **plots)
