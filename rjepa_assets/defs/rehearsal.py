"""What the newest bundle would have changed for users, whether the gate took it or not. Counts alone: the words of
users stay in the database, where deletion reaches them.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from rjepa.files import sha256_json
from rjepa.living.defaults import REHEARSED_ANSWERS
from rjepa.stages import StageReport
from rjepa_assets.defs.partitions import LLMS
from rjepa_assets.defs.release import release
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import GPU_POOL, REHEARSAL_JOB, explained, made_by, running


class RehearsalConfig(dg.Config):
    """Which release, and on how many answers."""

    release: str = Field(default="", description="id of a bundle; empty: the newest that was made")
    most: int = Field(default=REHEARSED_ANSWERS, gt=0, description="newest answers that are ranked again")


@dg.asset(
    partitions_def=LLMS,
    deps=[release],
    group_name="release",
    owners=["team:serving"],
    kinds={"pytorch"},
    tags=made_by(REHEARSAL_JOB),
    pool=GPU_POOL,
    code_version="1",
    metadata=explained(
        release="the bundle that was rehearsed",
        rehearsed="stored answers whose candidates it ranked again",
        not_reproduced="answers that reading again does not reproduce: not counted",
        answers_changed="of the rehearsed, that would have been other answers",
        changed_thumbs_up="of the changed, that a user had liked",
        changed_thumbs_down="of the changed, that a user had not liked",
        p_correct_before="mean P(correct) of what was answered",
        p_correct_after="mean P(correct) of what would have been",
        **{"*": "answers that were left out, by reason"},
    ),
)
def rehearsal(
    context: dg.AssetExecutionContext, config: RehearsalConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult[Any]:
    """What the newest bundle would have answered to the questions that users let us keep."""
    with running(context, home, progress) as stage:

        def make() -> StageReport:
            from rjepa.rehearsing import rehearse_release

            found = rehearse_release(
                stage.home, context.partition_key, config.release or None, most=config.most, progress=stage.progress
            )
            return StageReport(sha256_json(found.model_dump(mode="json")), found.metadata())

        return stage.always(make)
