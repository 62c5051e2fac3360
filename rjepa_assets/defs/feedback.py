"""Feedback of users, as Dagster sees it: interactions that the service keeps, and which of them joined a version."""

import warnings
from typing import Any

import dagster as dg

from rjepa.stages import StageReport
from rjepa_assets.defs.partitions import DATASETS
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import FEEDBACK_JOB, explained, made_by, partitioned_check, running, with_metadata


def _interactions() -> dg.AssetSpec:
    # A spec at the top of a module would be gathered as an asset of its own.
    return dg.AssetSpec(
        "interactions",
        description="Answers that their users let the service keep, with votes: rows of the database, counted here.",
        group_name="feedback",
        owners=["team:feedback"],
        kinds={"sql"},
        metadata=explained(
            kept="answers that are kept, with their words",
            deleted="answers that their users withdrew: an id and a date are left",
            thumbs_up="votes for an answer",
            thumbs_down="votes against one",
            reviewed="decisions of operators",
        ),
    )


def _count(home: HomeResource) -> dg.ObserveResult:
    """Count interactions. No data version: a version that is frozen does not become stale because somebody voted."""
    from rjepa.database import open_database
    from rjepa.living.watching import feedback_counts

    with open_database(home.open()) as database:
        return dg.ObserveResult(asset_key="interactions", metadata=feedback_counts(database))


with warnings.catch_warnings():
    # In beta on 1.13, pinned and tested; the stable decorator of one asset takes no owners.
    warnings.simplefilter("ignore", dg.BetaWarning)
    interactions = dg.multi_observable_source_asset(name="count_interactions", specs=[_interactions()])(_count)


@dg.asset(
    partitions_def=DATASETS,
    deps=[dg.AssetKey("interactions")],
    group_name="feedback",
    owners=["team:feedback"],
    kinds={"python", "json"},
    tags=made_by(FEEDBACK_JOB),
    code_version="1",
    metadata=explained(
        kept="interactions that were selected from",
        withdrawn="of them, deleted by their users since",
        accepted="learnt from",
        rejected="wrong, or voted against",
        review="left to a person (rjepa feedback review)",
        refused="never learnt from: duplicates, caps, held-out problems, opt-outs",
        negatives="wrong chains that a checker found, kept beside accepted ones",
        removed="problems of the version before that are left out, because their users withdrew them",
        funnel="every outcome with its reason",
        **{"reason_*": "interactions with this reason"},
    ),
)
def feedback_selection(
    context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """Which interactions joined a dataset version that a night made, which did not, and why."""
    from rjepa.living.joined import read_joined

    with running(context, home, progress) as stage:
        joined = read_joined(stage.home, stage.dataset)
        if joined is None:
            return stage.always(lambda: StageReport("none", {"kept": 0, "accepted": 0}))
        figures = {**joined.figures, "removed": len(joined.removes), "parent": joined.parent}
        figures["snapshot"] = joined.snapshot or "none"
        result = stage.always(lambda: StageReport(joined.selection, figures))
        return with_metadata(result, funnel=dg.MetadataValue.md(joined.markdown()))


@partitioned_check(feedback_selection, blocking=True, repeat=True)
def nothing_withdrawn_joined(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """None of the interactions that joined this version was deleted by its user since it was selected."""
    from rjepa.database import open_database
    from rjepa.living.joined import read_joined
    from rjepa.living.watching import deleted_interactions

    joined = read_joined(home.open(), context.partition_key)
    accepted = joined.accepted() if joined is not None else []
    with open_database(home.open()) as database:
        gone = deleted_interactions(database, accepted)
    return dg.AssetCheckResult(
        passed=not gone,
        metadata={"accepted": len(accepted), "withdrawn_since": len(gone)},
        description="the next night leaves them out" if gone else None,
    )
