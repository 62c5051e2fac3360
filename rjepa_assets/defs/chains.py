"""Worked solutions of the problems: written, judged, and frozen as a dataset release."""

from typing import Any

import dagster as dg

from rjepa_assets.defs.lake import LakeResource
from rjepa_assets.defs.partitions import DATASETS, SAME_KEY
from rjepa_assets.defs.problems import problems
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import DATASET_JOB, explained, made_by, partitioned_check, running


@dg.asset(
    partitions_def=DATASETS,
    deps=[dg.AssetDep(problems, partition_mapping=SAME_KEY)],
    group_name="chains",
    owners=["team:data"],
    kinds={"python", "parquet"},
    tags=made_by(DATASET_JOB),
    code_version="1",
    metadata=explained(
        chains="chains that were written",
        corrupted="of them, with a planted mistake",
        **{"*": "what teachers were asked and what it cost"},
    ),
)
def teacher_chains(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Chains from teachers or the curriculum, right ones and planted wrong ones, not yet judged."""
    from rjepa.datasets.building import build_teacher_chains
    from rjepa.datasets.recipe import load_recipe

    with running(context, home, progress) as stage:
        recipe = load_recipe(stage.home, stage.dataset)
        return stage.always(lambda: build_teacher_chains(stage.home, recipe, stage.progress))


@dg.asset(
    partitions_def=DATASETS,
    deps=[dg.AssetDep(teacher_chains, partition_mapping=SAME_KEY)],
    group_name="chains",
    owners=["team:data"],
    kinds={"python", "parquet"},
    tags=made_by(DATASET_JOB),
    code_version="1",
    metadata=explained(
        chains="chains that were judged",
        valid="of them, judged right",
        problems_agreed_on="problems whose answer several teachers agree on",
        **{"rejected_*": "judged wrong, by reason"},
    ),
)
def validated_chains(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Every chain with a verdict, its reason and the first wrong step; wrong ones are kept as negatives only."""
    from rjepa.datasets.building import validate_chains
    from rjepa.datasets.recipe import load_recipe

    with running(context, home, progress) as stage:
        recipe = load_recipe(stage.home, stage.dataset)
        return stage.always(lambda: validate_chains(stage.home, recipe, stage.progress))


@partitioned_check(validated_chains, blocking=True)
def validation_rate_is_high(
    context: dg.AssetCheckExecutionContext, home: HomeResource, lake: LakeResource
) -> dg.AssetCheckResult:
    """Of the chains that were meant to be right, at least the recipe's `validation_floor` are judged right."""
    from rjepa.datasets.checking import measure_verdicts
    from rjepa.datasets.recipe import load_recipe

    floor = load_recipe(home.open(), context.partition_key).validation_floor
    with lake.over(home.open(), context.partition_key) as connection:
        found = measure_verdicts(connection, context.partition_key)
    metadata = {"worked": found.worked, "valid": found.valid, "required": floor}
    return dg.AssetCheckResult(passed=found.valid >= floor * found.worked, metadata=metadata)


@partitioned_check(validated_chains, blocking=True)
def every_chain_has_its_verdict(
    context: dg.AssetCheckExecutionContext, home: HomeResource, lake: LakeResource
) -> dg.AssetCheckResult:
    """Every chain has one verdict with its reason, and is of a train or validation problem of the dataset."""
    from rjepa.datasets.checking import measure_verdicts

    with lake.over(home.open(), context.partition_key) as connection:
        found = measure_verdicts(connection, context.partition_key)
    faults = {
        "unjudged": found.unjudged,
        "contradictory": found.contradictory,
        "of_no_problem": found.strays,
        "of_test_problems": found.of_tests,
    }
    return dg.AssetCheckResult(passed=not any(faults.values()), metadata={"chains": found.chains, **faults})


@dg.asset(
    partitions_def=DATASETS,
    deps=[
        dg.AssetDep(problems, partition_mapping=SAME_KEY),
        dg.AssetDep(validated_chains, partition_mapping=SAME_KEY),
    ],
    group_name="chains",
    owners=["team:data"],
    kinds={"json"},
    tags=made_by(DATASET_JOB),
    code_version="1",
    metadata=explained(
        problems="problems of the version",
        chains="chains of the version",
        valid_chains="of them, judged right",
        validation_rate="share of the chains that were meant to be right that are",
        duplicates_removed="problems that were equal to another one",
        licences="of the problems",
        warnings="what a user of the version should know",
        **{"*": "counts of what is new in it"},
    ),
)
def dataset_release(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """The manifest that freezes a dataset version: counts, sources, licences, validation rate, hash of every file."""
    from rjepa.datasets.building import release_dataset
    from rjepa.datasets.recipe import load_recipe

    with running(context, home, progress) as stage:
        recipe = load_recipe(stage.home, stage.dataset)
        return stage.always(lambda: release_dataset(stage.home, recipe))


@partitioned_check(dataset_release, blocking=True)
def manifest_counts_what_is_there(
    context: dg.AssetCheckExecutionContext, home: HomeResource, lake: LakeResource
) -> dg.AssetCheckResult:
    """The manifest's counts, which a version adds up from its parent's, are those of the records themselves."""
    from rjepa.datasets.checking import manifest_counts, measure_counts
    from rjepa.datasets.reading import load_manifest

    stated = manifest_counts(load_manifest(home.open(), context.partition_key))
    with lake.over(home.open(), context.partition_key) as connection:
        found = measure_counts(connection, context.partition_key)
    wrong = sorted(name for name in stated if stated[name] != found[name])
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={name: ", ".join(f"{key} {count}" for key, count in found[name].items()) for name in sorted(found)},
        description="; ".join(f"{name}: stated {stated[name]}, found {found[name]}" for name in wrong) or None,
    )
