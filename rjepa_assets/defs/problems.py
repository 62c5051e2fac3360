"""Where the graph begins: problems of one dataset version. Chains over them are in `chains`."""

import dagster as dg

from rjepa_assets.defs.partitions import DATASETS
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import materialized, partitioned_check, running


@dg.asset(partitions_def=DATASETS, group_name="problems", owners=["team:data"], kinds={"python", "parquet"})
def problems(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """Statements and gold answers of one dataset version: normalised, deduplicated, split by structure."""
    from rjepa.datasets.building import build_problems
    from rjepa.datasets.recipe import load_recipe

    with running(context, progress) as report_progress:
        recipe = load_recipe(home.open(), context.partition_key)
        return materialized(build_problems(home.open(), recipe, report_progress))


@partitioned_check(problems, blocking=True)
def splits_do_not_leak(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """No statement and no structure of the train split occurs in validation or test."""
    from rjepa.datasets.reading import load_problems
    from rjepa.datasets.splits import find_leaks

    leaks = find_leaks(load_problems(home.open(), context.partition_key))
    shown = "; ".join(leaks[:5]) or None
    return dg.AssetCheckResult(passed=not leaks, metadata={"leaks": len(leaks)}, description=shown)
