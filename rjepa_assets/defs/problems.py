"""Where the graph begins: problems of one dataset version. Chains over them are in `chains`."""

from typing import Any

import dagster as dg

from rjepa_assets.defs.feedback import feedback_selection
from rjepa_assets.defs.lake import LakeResource
from rjepa_assets.defs.partitions import DATASETS, SAME_KEY
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import DATASET_JOB, explained, made_by, partitioned_check, running


@dg.asset(
    partitions_def=DATASETS,
    deps=[dg.AssetDep(feedback_selection, partition_mapping=SAME_KEY)],
    group_name="problems",
    owners=["team:data"],
    kinds={"python", "parquet"},
    tags=made_by(DATASET_JOB),
    code_version="1",
    metadata=explained(
        problems="problems of this version",
        licence_unknown="of them, without a known licence",
        parent="the version that it grew from",
        parent_hash="hash of that version's manifest",
        **{"problems_*": "of one split, or of the parent", "*": "problems that were left out, by reason"},
    ),
)
def problems(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Statements and gold answers of one dataset version: normalised, deduplicated, split by structure."""
    from rjepa.datasets.building import build_problems
    from rjepa.datasets.recipe import load_recipe

    with running(context, home, progress) as stage:
        recipe = load_recipe(stage.home, stage.dataset)
        return stage.always(lambda: build_problems(stage.home, recipe, stage.progress))


@partitioned_check(problems, blocking=True)
def splits_do_not_leak(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """No statement and no structure lies in two splits, over all parts of the version."""
    from rjepa.datasets.leaks import measure_leaks

    leaks = measure_leaks(home.open(), context.partition_key)
    metadata = {
        "problems": leaks.problems,
        "statements_in_two_splits": leaks.statements_in_two_splits,
        "structures_in_two_splits": leaks.structures_in_two_splits,
    }
    passed = not (leaks.statements_in_two_splits or leaks.structures_in_two_splits)
    return dg.AssetCheckResult(passed=passed, metadata=metadata, description="; ".join(leaks.examples) or None)


@partitioned_check(problems, blocking=True)
def problem_ids_are_unique(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """No two problems have the same id, over all parts of the version."""
    from rjepa.datasets.leaks import measure_leaks

    leaks = measure_leaks(home.open(), context.partition_key)
    shown = "; ".join(leaks.examples) if leaks.repeated_ids else None
    return dg.AssetCheckResult(
        passed=not leaks.repeated_ids, metadata={"repeated_ids": leaks.repeated_ids}, description=shown
    )


@partitioned_check(problems, blocking=True, repeat=True)
def no_test_of_another_dataset_is_trained_on(
    context: dg.AssetCheckExecutionContext, home: HomeResource
) -> dg.AssetCheckResult:
    """No train or validation problem is a test problem of another dataset here; near-duplicates are a warning."""
    from rjepa.datasets.leaks import measure_seen_tests

    seen = measure_seen_tests(home.open(), context.partition_key)
    equal = sum(alike == 1.0 for *_, alike in seen.found)
    shown = "; ".join(f"{mine} is {other}'s {theirs} ({alike:.2f})" for mine, other, theirs, alike in seen.found[:5])
    return dg.AssetCheckResult(
        passed=not seen.found,
        severity=dg.AssetCheckSeverity.ERROR if equal else dg.AssetCheckSeverity.WARN,
        metadata={
            "compared_with": ", ".join(seen.compared_with) or "no other dataset",
            "not_compared_with": "; ".join(seen.unreadable) or "none",
            "equal": equal,
            "near": len(seen.found) - equal,
        },
        description=shown or None,
    )


@partitioned_check(problems, blocking=True)
def gold_answers_are_present(
    context: dg.AssetCheckExecutionContext, home: HomeResource, lake: LakeResource
) -> dg.AssetCheckResult:
    """Every problem has a gold answer, or what a checker judges answers by."""
    from rjepa.datasets.checking import measure_gaps

    with lake.over(home.open(), context.partition_key) as connection:
        gaps = measure_gaps(connection, context.partition_key)
    return dg.AssetCheckResult(
        passed=not gaps.without_gold,
        metadata={"problems": gaps.problems, "without_gold": gaps.without_gold},
        description=f"without: {', '.join(gaps.examples)}" if gaps.examples else None,
    )


@partitioned_check(problems)
def licences_are_known(
    context: dg.AssetCheckExecutionContext, home: HomeResource, lake: LakeResource
) -> dg.AssetCheckResult:
    """Every problem's licence is known; an unknown one is a warning, for what is made here may not be shared."""
    from rjepa.datasets.checking import measure_gaps

    with lake.over(home.open(), context.partition_key) as connection:
        gaps = measure_gaps(connection, context.partition_key)
    return dg.AssetCheckResult(
        passed=not gaps.licence_unknown,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"problems": gaps.problems, "licence_unknown": gaps.licence_unknown},
    )
