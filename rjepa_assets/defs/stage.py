"""The shell around every asset and check: claim the run, show progress, do nothing twice, put reports and errors in
Dagster's terms. What is made lives in `rjepa`; which files a stage reads and leaves stands in its own module.
"""

import base64
import contextlib
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dagster as dg

from rjepa.errors import RjepaError
from rjepa.files import read_json, sha256_json, write_json
from rjepa.home import Home
from rjepa.locks import stage_lock
from rjepa.progress import Progress
from rjepa.stages import Made, Receipt, StageReport
from rjepa_assets.defs.partitions import split_partition
from rjepa_assets.defs.resources import HomeResource, ProgressResource, StageLine
from rjepa_assets.processes import claim

GPU_POOL: Final = "gpu"
"""One stage at a time may use the accelerator (or, without one, all the cores): dagster.yaml gives pools one slot."""

JOB_TAG: Final = "rjepa/job"
"""Of an asset: the ready-made job that makes it. Jobs are put together from these tags (`rjepa_assets.defs.jobs`)."""

DATASET_JOB: Final = "dataset_version"
LLM_JOB: Final = "llm"
DATASET_LLM_JOB: Final = "dataset_and_llm"
RELEASE_JOB: Final = "release_llm"
VARIANTS_JOB: Final = "variants"
DECODERS_JOB: Final = "decoders"
CARRY_JOB: Final = "carry"
SEALED_JOB: Final = "sealed_problems"
REHEARSAL_JOB: Final = "rehearse"
FEEDBACK_JOB: Final = "feedback"
LORA_JOB: Final = "lora"

AGAIN_TAG: Final = "rjepa/again"
"""Of a run: make everything again, whatever receipts say."""

WHEN_WANTED: Final = (
    dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.in_progress()
    & ~dg.AutomationCondition.execution_failed()
)
"""What was asked for is filled: a stage of which nothing is there is made as soon as all that it needs is. `request` is
among its needs, and nothing but a person's asking makes that. What failed is left to a person, too."""

_FIGURES: Final = "figures"
"""Key of an asset's own metadata under which its figures are explained."""

_ALL_STAGES: Final = {"was_there_already": "whether this run found it as it is now, and had nothing to do"}

_PATHS: Final = ("path", "html")
"""Figures that are the path of a file or folder."""

_DIGITS: Final = 5
"""Digits of a figure that are shown: more than its interval needs."""

_LONGEST_PNG: Final = 50_000
"""Bytes. A plot travels inside the event's metadata; larger ones are named by path in the report."""

_LOCKED_BY_THE_LIBRARY: Final = ("latents", "rollouts", "train_rollouts")
"""Stages whose own process takes the lock."""

_DATA_VERSION: Final = "dagster/data_version"


@dataclass(frozen=True)
class StageAtWork:
    """One stage of one partition while it runs."""

    context: dg.AssetExecutionContext
    home: Home
    line: StageLine

    @property
    def progress(self) -> Progress:
        """Where the library's progress goes."""
        return self.line.progress

    @property
    def dataset(self) -> str:
        """Dataset version of a partition that has one."""
        return str(self.context.partition_key).split("|")[0]

    @property
    def dataset_and_llm(self) -> tuple[str, str]:
        """Dataset version and LLM of a dataset|LLM partition."""
        return split_partition(self.context.partition_key)

    def once(
        self,
        inputs: Mapping[str, str | int],
        outputs: Sequence[Path] | Callable[[], Sequence[Path]],
        make: Callable[[], Made],
    ) -> dg.MaterializeResult[Any]:
        """Make it, unless it was made from the same inputs and its files are as they were.

        Args:
            inputs: hashes of what the stage reads, and its settings. The version of its code is added.
            outputs: files and folders that it leaves, or what names them when asked.

        Raises:
            BusyError: another process makes the same at this moment.
        """
        name = self.context.asset_key.to_user_string()
        code = self.context.assets_def.code_versions_by_key.get(self.context.asset_key) or ""
        path = _receipts(self.home) / name / f"{self.context.partition_key}.json"
        receipt = Receipt(path, {**inputs, "code": code}, outputs)
        made = None if AGAIN_TAG in self.context.run.tags else receipt.find()
        if made is not None:
            return self._result(made, found=True)
        with self._locked():
            made = make()
            receipt.write(made)
        return self._result(made, found=False)

    def always(self, make: Callable[[], StageReport]) -> dg.MaterializeResult[Any]:
        """Make it: the library itself sees what is there already."""
        before = latest_version(self.context.instance, self.context.asset_key, self.context.partition_key)
        with self._locked():
            report = make()
        return self._result(Made(report), found=report.data_version == before)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        """The only right to write the stage's files, for any caller: two Dagster runs do not write them together."""
        name = self.context.asset_key.to_user_string()
        if name in _LOCKED_BY_THE_LIBRARY:
            return contextlib.nullcontext()
        return stage_lock(self.home, name, *reversed(self.context.partition_key.split("|")))

    def _result(self, made: Made, *, found: bool) -> dg.MaterializeResult[Any]:
        self.line.found = found
        metadata = figures_of(made.report.metadata)
        metadata |= {name: dg.MetadataValue.md(text) for name, text in made.texts.items()}
        metadata |= {name: image(png, name) for name, png in made.images.items()}
        metadata["was_there_already"] = dg.MetadataValue.bool(found)
        return dg.MaterializeResult(data_version=dg.DataVersion(made.report.data_version), metadata=metadata)


@contextlib.contextmanager
def running(context: dg.AssetExecutionContext, home: HomeResource, progress: ProgressResource) -> Iterator[StageAtWork]:
    """One stage at work. What a user can mend becomes a `dg.Failure` that says how, and is not retried."""
    claim(context.instance, context.run.run_id)
    try:
        with progress.show(context) as line:
            yield StageAtWork(context, home.open(), line)
    except RjepaError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def latest_version(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> str | None:
    """Data version of what was made last, None where nothing was."""
    made = _latest(instance, key, partition)
    return None if made is None else (made.tags or {}).get(_DATA_VERSION)


def latest_figures(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> dict[str, Any]:
    """Figures of what was made last, empty where nothing was."""
    made = _latest(instance, key, partition)
    return {} if made is None else {name: value.value for name, value in made.metadata.items()}


def _latest(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str) -> dg.AssetMaterialization | None:
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0].asset_materialization if records else None


def with_metadata(result: dg.MaterializeResult[Any], **more: Any) -> dg.MaterializeResult[Any]:
    """The same result with more to show, above what is there: it is what a person reads first."""
    return result._replace(metadata={**more, **(result.metadata or {})})


def image(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A small PNG, shown in the UI. A larger one is left out: its report holds it."""
    if len(png) > _LONGEST_PNG:
        return dg.MetadataValue.md(f"{title}: see the report ({len(png)} bytes)")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def partitioned_check(
    asset: dg.AssetsDefinition, *, blocking: bool = False, repeat: bool = False
) -> Callable[[Callable[..., dg.AssetCheckResult]], dg.AssetChecksDefinition]:
    """`dg.asset_check` with its asset's partitions, not asked twice of the same content: what passed has passed.

    Partitioned checks are in preview on 1.13, pinned and tested.

    Args:
        repeat: the check reads more than its asset, and is asked every time.
    """

    def decorate(function: Callable[..., dg.AssetCheckResult]) -> dg.AssetChecksDefinition:
        kept = function if repeat else _kept(asset.key, function)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)
            return dg.asset_check(asset=asset, blocking=blocking, partitions_def=asset.partitions_def)(kept)

    return decorate


def made_by(job: str) -> dict[str, str]:
    """Tags of an asset that a ready-made job makes."""
    return {JOB_TAG: job}


def explained(**figures: str) -> dict[str, Any]:
    """An asset's metadata: what each figure of its materialisations means. A name may hold `*` for any text."""
    lines = [f"- **{name}**: {text}" for name, text in {**figures, **_ALL_STAGES}.items()]
    return {_FIGURES: dg.MetadataValue.md("\n".join(lines))}


def figures_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as Dagster shows them: rounded numbers, and paths that can be copied."""
    return {name: _value(name, value) for name, value in values.items()}


def _value(name: str, value: Any) -> Any:
    if name in _PATHS and isinstance(value, str):
        return dg.MetadataValue.path(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{_DIGITS}g}")
    return value


def _receipts(home: Home) -> Path:
    return home.dagster / "receipts"


def _kept(key: dg.AssetKey, check: Callable[..., dg.AssetCheckResult]) -> Callable[..., dg.AssetCheckResult]:
    """A check that remembers what passed, by the data version of what it judged."""

    @functools.wraps(check)
    def ask(context: dg.AssetCheckExecutionContext, home: HomeResource, **others: Any) -> dg.AssetCheckResult:
        version = latest_version(context.instance, key, context.partition_key)
        name = f"{key.to_user_string()}.{check.__name__}"
        path = _receipts(home.open()) / "checks" / name / f"{context.partition_key}.json"
        question = sha256_json([version, inspect.getsource(check)])
        again = AGAIN_TAG in context.op_execution_context.run_tags
        if not again and (known := _passed(path, question)) is not None:
            return known
        result = check(context, home, **others)
        values = {name: getattr(value, "value", value) for name, value in (result.metadata or {}).items()}
        if result.passed and version is not None:
            write_json(path, {"question": question, "metadata": values, "description": result.description})
        return dg.AssetCheckResult(
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=figures_of(values),
        )

    return ask


def _passed(path: Path, question: str) -> dg.AssetCheckResult | None:
    try:
        kept = read_json(path)
        if kept["question"] == question:
            return dg.AssetCheckResult(
                passed=True, description=kept["description"], metadata=figures_of(kept["metadata"])
            )
    except (RjepaError, OSError, KeyError, TypeError):
        pass  # nothing is known of it: it is asked
    return None
