"""What somebody asked for: the one asset that only people make. Who writes requests down is `rjepa_assets.requests`."""

from typing import Any

import dagster as dg

from rjepa_assets.defs.partitions import DATASET_BY_LLM
from rjepa_assets.defs.stage import DATASET_LLM_JOB, made_by


@dg.asset(
    partitions_def=DATASET_BY_LLM,
    group_name="requests",
    owners=["team:students"],
    kinds={"python"},
    tags=made_by(DATASET_LLM_JOB),
)
def request(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    """A dataset|LLM that somebody asked for: materialise it, and its rollouts and latents are made by themselves.

    `rjepa llm add`, `rjepa backfill` and `rjepa demo` ask, too. Nothing is made unasked.
    """
    return dg.MaterializeResult(data_version=dg.DataVersion(context.partition_key))
