"""The shell around every asset and check: claim the run, show progress, put reports and errors in Dagster's terms."""

import base64
import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import dagster as dg

from rjepa.errors import RjepaError
from rjepa.progress import Progress
from rjepa.stages import StageReport
from rjepa_assets.defs.resources import ProgressResource
from rjepa_assets.processes import claim

GPU_POOL: Final = "gpu"
"""One stage at a time may use the accelerator (or, without one, all the cores): dagster.yaml gives pools one slot."""

WHEN_MISSING: Final = dg.AutomationCondition.on_missing()
"""A student or dataset that appears is picked up by itself. Training is not: someone asks for it."""

_LONGEST_PNG: Final = 50_000
"""Bytes. A plot travels inside the event's metadata; larger ones are named by path in the report."""


@contextlib.contextmanager
def running(context: dg.AssetExecutionContext, progress: ProgressResource) -> Iterator[Progress]:
    """One stage at work. What a user can mend becomes a `dg.Failure` that says how, and is not retried."""
    claim(context.instance, context.run.run_id)
    try:
        with progress.show(context) as report_progress:
            yield report_progress
    except RjepaError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def materialized(report: StageReport, **extra: Any) -> dg.MaterializeResult:
    """A stage's report as Dagster sees it: the hash of the content as data version, numbers under stable names."""
    metadata: Mapping[str, Any] = {**report.metadata, **extra}
    return dg.MaterializeResult(data_version=dg.DataVersion(report.data_version), metadata=metadata)


def image(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A small PNG, shown in the UI. A larger one is left out: its report holds it."""
    if len(png) > _LONGEST_PNG:
        return dg.MetadataValue.md(f"{title}: see the report ({len(png)} bytes)")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def partitioned_check(
    asset: dg.AssetsDefinition, *, blocking: bool = False
) -> Callable[[Callable[..., dg.AssetCheckResult]], dg.AssetChecksDefinition]:
    """`dg.asset_check` with its asset's partitions. Partitioned checks are in preview on 1.13, pinned and tested."""

    def decorate(function: Callable[..., dg.AssetCheckResult]) -> dg.AssetChecksDefinition:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)
            return dg.asset_check(asset=asset, blocking=blocking, partitions_def=asset.partitions_def)(function)

    return decorate
