"""What is served: one bundle an LLM, built only from what passed, and only served if the gate agrees."""

import dagster as dg
from pydantic import Field

from rjepa_assets.defs.evaluation import benchmark_report
from rjepa_assets.defs.partitions import LLMS, SAME_LLM
from rjepa_assets.defs.resources import HomeResource, ProgressResource
from rjepa_assets.defs.stage import materialized, partitioned_check, running


class ReleaseConfig(dg.Config):
    """Which dataset version's model to release."""

    dataset: str = Field("", description="dataset version; empty: the newest vX.Y.Z that was evaluated for this LLM")


@dg.asset(
    partitions_def=LLMS,
    deps=[dg.AssetDep(benchmark_report, partition_mapping=SAME_LLM)],
    group_name="release",
    owners=["team:serving"],
    kinds={"json", "safetensors"},
)
def release(
    context: dg.AssetExecutionContext, config: ReleaseConfig, home: HomeResource, progress: ProgressResource
) -> dg.MaterializeResult:
    """The atomic bundle that is served: what it holds, why it was promoted or refused, and what it replaced."""
    from rjepa.releases.stage import release_pair

    with running(context, progress):
        report = release_pair(home.open(), context.partition_key, config.dataset or None, run_id=context.run.run_id)
        return materialized(report)


@partitioned_check(release, blocking=True)
def release_hashes_match(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    """Every byte of the served bundle is the one its manifest names."""
    from rjepa.errors import RjepaError
    from rjepa.releases.bundle import verify
    from rjepa.releases.pointer import require_current

    try:
        manifest = verify(home.open(), context.partition_key, require_current(home.open(), context.partition_key))
    except RjepaError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    return dg.AssetCheckResult(passed=True, metadata={"release": manifest.release_id, "files": len(manifest.files)})
