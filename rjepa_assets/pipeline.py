"""Materialise the graph for one dataset and one LLM, asset by asset, each in a Dagster run of its own.

A kill loses at most the asset in flight, and what that stage had already written is picked up by the library. An asset
is left alone where it was made by a run that succeeded, from the inputs as they are now, and its files are still there.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterExecutionInterruptedError
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from rjepa.datasets.recipe import load_recipe
from rjepa.datasets.stages import released_manifest
from rjepa.errors import NotFoundError, RjepaError, StorageError
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.jepa.config import load_jepa_config
from rjepa.students.catalog import load_record
from rjepa.students.resolving import resolve_student
from rjepa_assets.defs.partitions import DATASETS, LLMS, pair_key
from rjepa_assets.defs.students import RolloutConfig, TrainRolloutConfig
from rjepa_assets.defs.variants import SizesConfig, VariantsConfig
from rjepa_assets.defs.world_model import TrainingConfig
from rjepa_assets.outputs import output_of
from rjepa_assets.processes import PROCESS_TAG, Process

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's own log lines stay in its storage, where the UI shows them; the terminal has bars."""

_DATA_VERSION: Final = "dagster/data_version"
_INPUT_VERSION: Final = "dagster/input_data_version/"


_DEFAULTS: Final = {
    "rjepa_checkpoint": TrainingConfig().model_dump(),
    "rollouts": RolloutConfig().model_dump(),
    "train_rollouts": TrainRolloutConfig().model_dump(),
    "rjepa_variants": VariantsConfig().model_dump(),
    "variants_report": SizesConfig().model_dump(),
}
"""Configuration of stages, as it is where a run leaves it out."""

_RECIPES_TAG: Final = "rjepa/recipes"
"""Of a training's run: a hash of what its recipes said. Dagster's configuration holds their names alone, and a file of
configs/rjepa/ may be edited. A run without the tag, from the UI, is repeated, which finds the finished training."""

VARIANTS: Final = ("rjepa_variants", "variants_report")
"""Assets beside the path to a release: made where someone names them."""

TRAIN_ROLLOUTS: Final = "train_rollouts"
"""On the path of recipes that learn from wrong chains, beside that of the others."""


class StageFailedError(RjepaError):
    """A run of one asset failed for a reason that the library has not foreseen."""


class CheckFailedError(RjepaError):
    """What an asset made does not pass its blocking check."""


@dataclass(frozen=True)
class Target:
    """What to materialise: one dataset version and one LLM."""

    dataset: str
    llm_tag: str
    recipe: str = "demo"
    """Name of a run in configs/rjepa/."""
    release: bool = True
    """Whether to release what was evaluated, and so perhaps to serve it."""
    recipes: tuple[str, ...] = ("full", "rank", "textbook")
    """Runs of configs/rjepa/ to compare as variants, the main one first."""
    seeds: int = 3
    """Of each variant."""
    train_problems: int = TrainRolloutConfig().most
    """Training problems that the student answers, where labels are learnt from its answers."""
    sizes: str = ""
    """File with runs at several sizes of training data, for the variants' report."""


@dataclass(frozen=True)
class Step:
    """One asset of the target. `seconds` is None where it was there already."""

    asset: str
    partition: str
    number: int
    total: int
    seconds: float | None = None


class Pipeline:
    """The assets in order, on one instance: those named in `only`, or all that the target's recipe needs."""

    def __init__(
        self,
        defs: dg.Definitions,
        instance: dg.DagsterInstance,
        home: Home,
        target: Target,
        only: Collection[str] | None = None,
    ) -> None:
        self._instance, self._home, self._target = instance, home, target
        self._graph = defs.resolve_asset_graph()
        self._job = defs.resolve_implicit_global_asset_job_def()
        keys = self._graph.toposorted_asset_keys
        self._order = [key for key in keys if target.release or key != dg.AssetKey("release")]
        wanted = {key.to_user_string() for key in keys} - {*VARIANTS} if only is None else {*only}
        if only is None and not load_jepa_config(target.recipe).loss.uses_negatives:
            wanted.discard(TRAIN_ROLLOUTS)
        self._order = [key for key in self._order if key.to_user_string() in wanted]
        self.names = [key.to_user_string() for key in self._order]

    def run(self, starting: Callable[[Step], None], redo_from: str | None = None) -> Iterator[Step]:
        """Bring every asset up to date, in order, and yield each when it is.

        `redo_from` names an asset that is made again, with all that follows it, though it is up to date.

        Raises:
            RjepaError: a stage failed; nothing after it was started.
            KeyboardInterrupt: someone stopped it.
        """
        redo = False
        for number, key in enumerate(self._order, start=1):
            name = key.to_user_string()
            step = Step(name, self._partition(key), number, len(self._order))
            redo = redo or name == redo_from
            if redo or not self.is_current(key):
                starting(step)
                before = time.monotonic()
                self._materialise(key)
                step = Step(step.asset, step.partition, step.number, step.total, time.monotonic() - before)
            yield step

    def is_current(self, key: dg.AssetKey) -> bool:
        """Made by a run that succeeded (its blocking checks with it), from today's inputs, and still on the disk.

        Raises:
            InvalidInputError: the dataset was released from another recipe than the one that is here now.
        """
        made = self._latest(key, self._partition(key))
        if made is None or made.asset_materialization is None:
            return False
        run = self._instance.get_run_by_id(made.run_id)
        if run is None or run.status != dg.DagsterRunStatus.SUCCESS:
            return False
        tags = made.asset_materialization.tags or {}
        for parent in self._graph.get(key).parent_keys:
            if parent not in self._order:  # of recipes that need it, and this target's does not
                continue
            if tags.get(_INPUT_VERSION + parent.to_user_string()) != self._version_as_input(parent, key):
                return False
        name = key.to_user_string()
        if name == "problems":
            # A released dataset never changes: refuses an edited recipe, whose data nobody should take this for.
            released_manifest(self._home, load_recipe(self._home, self._target.dataset))
        if name == "student" and tags.get(_DATA_VERSION) != self._student_now():
            return False
        if any(run.tags.get(tag) != value for tag, value in self.recipe_tags(name).items()):
            return False
        if _stage_config(run.run_config, name) != _stage_config(self._run_config(name), name):
            return False
        return output_of(self._home, name, self._target.dataset, self._target.llm_tag).exists()

    def _materialise(self, key: dg.AssetKey) -> None:
        name = key.to_user_string()
        try:
            self._job.execute_in_process(
                run_config=self._run_config(name),
                instance=self._instance,
                partition_key=self._partition(key),
                asset_selection=[key],
                tags={PROCESS_TAG: Process.current().tag(), **self.recipe_tags(name)},
            )
        except DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except DagsterAssetCheckFailedError as error:
            raise CheckFailedError(
                f"what {name} made does not pass: {self._failed_checks(key)}",
                cure=f"look at {name} in the Dagster UI (rjepa up), mend its input or configuration, run this again",
            ) from error
        except dg.Failure as error:
            if isinstance(error.__cause__, RjepaError):
                raise error.__cause__ from None
            raise _unforeseen(name, error) from error
        except Exception as error:
            raise _unforeseen(name, error) from error

    def _run_config(self, name: str) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if name == "release":
            config["dataset"] = self._target.dataset
        if name == TRAIN_ROLLOUTS:
            config["most"] = self._target.train_problems
        if name == "rjepa_checkpoint":
            config["recipe"] = self._target.recipe
        if name == "rjepa_variants":
            config |= {"recipes": list(self._target.recipes), "seeds": self._target.seeds}
        if name == "variants_report":
            config["sizes"] = self._target.sizes
        return {**_QUIET, "ops": {name: {"config": config}}} if config else dict(_QUIET)

    def recipe_tags(self, name: str) -> dict[str, str]:
        """The tag of a run that trains."""
        names = {"rjepa_checkpoint": (self._target.recipe,), "rjepa_variants": self._target.recipes}.get(name)
        if names is None:
            return {}
        configs = [load_jepa_config(recipe) for recipe in names]
        configs += [load_jepa_config(config.trunk) for config in configs if config.trunk is not None]
        return {_RECIPES_TAG: sha256_json([config.model_dump(mode="json") for config in configs])}

    def _partition(self, key: dg.AssetKey) -> str:
        partitions = self._graph.get(key).partitions_def
        if partitions == DATASETS:
            return self._target.dataset
        if partitions == LLMS:
            return self._target.llm_tag
        return pair_key(self._target.dataset, self._target.llm_tag)

    def _student_now(self) -> str | None:
        """The one root that changes in place: its record or its files may have been replaced, or be gone (None)."""
        try:
            return resolve_student(self._home, load_record(self._home, self._target.llm_tag)).fingerprint
        except NotFoundError:
            return None

    def _latest(self, key: dg.AssetKey, partition: str) -> dg.EventLogRecord | None:
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
        records = self._instance.fetch_materializations(wanted, limit=1).records
        return records[0] if records else None

    def _version_as_input(self, parent: dg.AssetKey, child: dg.AssetKey) -> str:
        """What Dagster records of an input: SHA-256 over the data versions of its partitions, sorted by key."""
        partitions = [self._partition(parent)]
        if self._graph.get(child).partitions_def == LLMS and self._graph.get(parent).partitions_def != LLMS:
            made = self._instance.get_materialized_partitions(parent)
            partitions = sorted(key for key in made if key.endswith(f"|{self._target.llm_tag}"))
        versions = []
        for partition in partitions:
            record = self._latest(parent, partition)
            if record is not None and record.asset_materialization is not None:
                versions.append((record.asset_materialization.tags or {}).get(_DATA_VERSION, ""))
        return hashlib.sha256("".join(versions).encode()).hexdigest()

    def _failed_checks(self, key: dg.AssetKey) -> str:
        storage = self._instance.event_log_storage
        failed = []
        for check in self._graph.asset_check_keys:
            if check.asset_key == key and self._graph.get_check_spec(check).blocking:
                for record in storage.get_asset_check_execution_history(check, limit=1):
                    if record.status == AssetCheckExecutionRecordStatus.FAILED:
                        why = record.evaluation.description if record.evaluation else None
                        failed.append(f"{check.name} ({why})" if why else check.name)
        return ", ".join(failed) or "a blocking check"


def _stage_config(run_config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a run asked of a stage, as far as it shapes what is made. Which dataset is released last is not: an older
    one asked for again must not take the place of a newer one.
    """
    if name not in _DEFAULTS:
        return {}
    return {**_DEFAULTS[name], **run_config.get("ops", {}).get(name, {}).get("config", {})}


def _unforeseen(name: str, error: BaseException) -> RjepaError:
    text = str(error) or type(error).__name__
    if "disk is full" in text or "No space left" in text:
        return StorageError(
            f"the disk is full: cannot finish {name}",
            cure="free some space or point RJEPA_HOME at a larger disk, then run the same command again",
        )
    first_line = text.strip().splitlines()[0]
    return StageFailedError(
        f"{name} failed: {type(error).__name__}: {first_line}",
        cure="its run in the Dagster UI (rjepa up) shows where; what was finished is kept, run this again to go on",
    )
