"""Worked solutions of the problems: written, judged, and frozen as a dataset release."""

from typing import Final

import dagster as dg

from rjepa_assets.defs.partitions import DATASETS, SAME_KEY
from rjepa_assets.defs.problems import problems
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import materialized, partitioned_check, running

_LOWEST_VALID_SHARE: Final = 0.95
"""Of the chains that were meant to be right: below it the source or its checker is broken, not merely noisy."""


@dg.asset(
    partitions_def=DATASETS,
    deps=[dg.AssetDep(problems, partition_mapping=SAME_KEY)],
    group_name="chains",
    owners=["team:data"],
    kinds={"python", "parquet"},
)
def teacher_chains(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """Chains from teachers or the curriculum, right ones and planted wrong ones, not yet judged."""
    from rjepa.datasets.building import build_teacher_chains
    from rjepa.datasets.recipe import load_recipe

    with running(context, progress) as report_progress:
        recipe = load_recipe(home.open(), context.partition_key)
        return materialized(build_teacher_chains(home.open(), recipe, report_progress))


@dg.asset(
    partitions_def=DATASETS,
    deps=[dg.AssetDep(teacher_chains, partition_mapping=SAME_KEY)],
    group_name="chains",
    owners=["team:data"],
    kinds={"python", "parquet"},
)
def validated_chains(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """Every chain with a verdict, its reason and the first wrong step; wrong ones are kept as negatives only."""
    from rjepa.datasets.building import validate_chains
    from rjepa.datasets.recipe import load_recipe

    with running(context, progress) as report_progress:
        recipe = load_recipe(home.open(), context.partition_key)
        return materialized(validate_chains(home.open(), recipe, report_progress))


@partitioned_check(validated_chains, blocking=True)
def validation_rate_is_high(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """At least 95 % of the chains that were meant to be right are judged right."""
    from rjepa.datasets.measures import worked_validity
    from rjepa.datasets.reading import load_chains

    worked, valid = worked_validity(load_chains(home.open(), context.partition_key))
    metadata = {"worked": worked, "valid": valid, "required": _LOWEST_VALID_SHARE}
    return dg.AssetCheckResult(passed=valid >= _LOWEST_VALID_SHARE * worked, metadata=metadata)


@dg.asset(
    partitions_def=DATASETS,
    deps=[
        dg.AssetDep(problems, partition_mapping=SAME_KEY),
        dg.AssetDep(validated_chains, partition_mapping=SAME_KEY),
    ],
    group_name="chains",
    owners=["team:data"],
    kinds={"json"},
)
def dataset_release(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """The manifest that freezes a dataset version: counts, sources, licences, validation rate, hash of every file."""
    from rjepa.datasets.building import release_dataset
    from rjepa.datasets.recipe import load_recipe

    with running(context, progress):
        return materialized(release_dataset(home.open(), load_recipe(home.open(), context.partition_key)))
