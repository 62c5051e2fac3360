"""What users gave back, as Dagster sees it: interactions that the service keeps, and what of them joined a version."""

from typing import Any

import dagster as dg

from rjepa.stages import StageReport
from rjepa_assets.defs.partitions import DATASETS
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import FEEDBACK_JOB, explained, made_by, running, with_metadata

_INTERACTIONS = dg.AssetSpec(
    "interactions",
    description="Answers that their users let the service keep, with their votes: rows of the database, counted here.",
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


@dg.multi_observable_source_asset(specs=[_INTERACTIONS])
def interactions(home: HomeResource) -> dg.ObserveResult:
    """Count them. No data version: a version that is frozen does not become stale because somebody voted."""
    from rjepa.database import open_database
    from rjepa.living.watching import feedback_counts

    with open_database(home.open()) as database:
        return dg.ObserveResult(asset_key="interactions", metadata=feedback_counts(database))


@dg.asset(
    partitions_def=DATASETS,
    deps=[_INTERACTIONS.key],
    group_name="feedback",
    owners=["team:feedback"],
    kinds={"python", "json"},
    tags=made_by(FEEDBACK_JOB),
    code_version="1",
    metadata=explained(
        kept="interactions that were looked at",
        withdrawn="of them, deleted by their users since",
        accepted="learnt from",
        rejected="wrong, or said to be",
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
    """What of the interactions joined a dataset version that a night made, what did not, and why."""
    from rjepa.living.joined import read_joined

    with running(context, home, progress) as stage:
        joined = read_joined(stage.home, stage.dataset)
        if joined is None:
            return stage.always(lambda: StageReport("none", {"kept": 0, "accepted": 0}))
        figures = {**joined.figures, "removed": len(joined.removes), "parent": joined.parent}
        figures["snapshot"] = joined.snapshot or "none"
        result = stage.always(lambda: StageReport(joined.selection, figures))
        return with_metadata(result, funnel=dg.MetadataValue.md(joined.markdown()))
