"""Launch ordinary Dagster runs from this process: which jobs bring a dataset version and an LLM up to date, one run
each, in order; what became of them, in the library's terms.

Stages themselves see whether there is anything to do, so nothing is worked out here. A run is in Dagster's storage like
one that the UI launched; its process tag alone marks it.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from rjepa.errors import InvalidInputError, RjepaError, StorageError
from rjepa.evaluation.domains import ALL
from rjepa.jepa.config import load_jepa_config
from rjepa.living.defaults import PROBLEMS_A_DOMAIN
from rjepa.living.names import NIGHT_RECIPE
from rjepa_assets.definitions import build_defs
from rjepa_assets.defs.partitions import DATASET, LLM, partition_key
from rjepa_assets.defs.resources import ProgressResource
from rjepa_assets.defs.stage import (
    AGAIN_TAG,
    CARRY_JOB,
    DATASET_JOB,
    DATASET_LLM_JOB,
    DECODERS_JOB,
    FEEDBACK_JOB,
    LLM_JOB,
    LORA_JOB,
    RELEASE_JOB,
    SEALED_JOB,
    VARIANTS_JOB,
)
from rjepa_assets.defs.students import TrainRolloutConfig
from rjepa_assets.pools import wait_for_pools
from rjepa_assets.processes import PARTITION_TAG, PROCESS_TAG, Process, cancel_runs_of, children_can_be_ended
from rjepa_assets.requests import REQUEST, want_dataset, want_llm

if TYPE_CHECKING:
    from rjepa.living.night import Plan

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's own log lines stay in its storage, where the UI shows them; the terminal has bars."""

_LOOK_SECONDS: Final = 0.2
"""Between two looks at a run: what a Ctrl-C may have to wait."""


class StageFailedError(RjepaError):
    """A run failed for a reason that the library has not foreseen."""


class CheckFailedError(RjepaError):
    """What an asset made does not pass its blocking check."""


@dataclass(frozen=True)
class Launch:
    """One run: a job, its partition, and what of it is left out or configured."""

    job: str
    partition: str
    assets: tuple[str, ...] = ()
    """Of the job, in order. Empty: all."""
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By asset."""
    again: bool = False
    """Make everything again, whatever receipts say."""

    def run_config(self) -> dict[str, Any]:
        """As Dagster takes it."""
        return {**_QUIET, "ops": {asset: {"config": dict(values)} for asset, values in self.config.items()}}

    def tags(self) -> dict[str, str]:
        """Partition and process of the run."""
        tags = {PARTITION_TAG: self.partition, PROCESS_TAG: Process.current().tag()}
        if "|" in self.partition:
            dataset, llm_tag = self.partition.split("|")
            tags |= {f"{PARTITION_TAG}/{DATASET}": dataset, f"{PARTITION_TAG}/{LLM}": llm_tag}
        return tags | ({AGAIN_TAG: "true"} if self.again else {})


def dataset_launches(dataset: str) -> list[Launch]:
    """Bring a dataset version to its release."""
    return [Launch(DATASET_JOB, dataset)]


def release_launches(
    dataset: str,
    llm_tag: str,
    recipe: str,
    *,
    guidance_recipe: str = "",
    release: bool = True,
    rule: str = "replace",
) -> list[Launch]:
    """Bring a dataset version and an LLM to an evaluated world model and, with `release`, to what is served.

    Args:
        guidance_recipe: that `logit_guidance` is trained by; both decoders are made then. Empty: neither.
        rule: of the gate: "replace", or "improve" where no person asked for this release.
    """
    key = partition_key(dataset, llm_tag)
    launches = [*dataset_launches(dataset), Launch(LLM_JOB, llm_tag)]
    if load_jepa_config(recipe).loss.uses_negatives:
        launches.append(Launch(VARIANTS_JOB, key, ("train_rollouts",)))
    launches.append(Launch(DATASET_LLM_JOB, key, config={"rjepa_checkpoint": {"recipe": recipe}}))
    launches += _decoders_launches(key, guidance_recipe)
    if release:
        launches.append(Launch(RELEASE_JOB, llm_tag, config={"release": {"dataset": dataset, "rule": rule}}))
    return launches


def _decoders_launches(key: str, guidance_recipe: str) -> list[Launch]:
    return (
        [Launch(DECODERS_JOB, key, config={"logit_guidance": {"recipe": guidance_recipe}})] if guidance_recipe else []
    )


TRANSFER: Final = "transfer"
"""Run of configs/rjepa/ by which a grown R-JEPA is trained on."""


def migration_launches(
    dataset: str,
    source: str,
    target: str,
    strategy: str,
    share: float | None,
    recipe: str,
    *,
    guidance_recipe: str = "",
    release: bool = True,
) -> list[Launch]:
    """Give an LLM an R-JEPA on a dataset version that is there, judge it, with `release` bring it to what is served.

    Args:
        strategy: `calibration` carries the source's R-JEPA, `transfer` grows it and trains it on, `retrain` trains one.
        share: of the training problems, for an adapter or a transfer; None for the asset's own.
        recipe: training run, for `retrain` and `transfer`; empty for the one of `transfer` that there is.
        guidance_recipe: as in `release_launches`.
    """
    key = partition_key(dataset, target)
    launches = [Launch(LLM_JOB, target)]
    if strategy == "calibration":
        chosen: dict[str, Any] = {"source": source} | ({} if share is None else {"share": share})
        # The adapter reads what it needs by itself; decoders learn from all chains.
        launches.append(
            Launch(DATASET_LLM_JOB, key, ("request", "rollouts", *(["latents"] if guidance_recipe else [])))
        )
        launches.append(Launch(CARRY_JOB, key, config={"adapter": chosen}))
    else:
        training: dict[str, Any] = {"recipe": recipe}
        if strategy == "transfer":
            training = {"recipe": recipe or TRANSFER, "grow_from": source} | ({} if share is None else {"share": share})
        if load_jepa_config(training["recipe"]).loss.uses_negatives:
            launches.append(Launch(VARIANTS_JOB, key, ("train_rollouts",)))
        launches.append(Launch(DATASET_LLM_JOB, key, config={"rjepa_checkpoint": training}))
    launches += _decoders_launches(key, guidance_recipe)
    if release:
        launches.append(Launch(RELEASE_JOB, target, config={"release": {"dataset": dataset}}))
    return launches


@dataclass(frozen=True)
class NightChoices:
    """What whoever begins a night may choose; the rest is settings and limits."""

    recipe: str = NIGHT_RECIPE
    """training run of configs/rjepa/, one that says init_from"""
    sealed_problems: int = PROBLEMS_A_DOMAIN
    """of a fresh sealed set, in each domain"""
    claim: str = ALL
    """where the night has to be better: "all", or a domain"""


def night_launches(plan: "Plan", dataset: str, choices: NightChoices) -> list[Launch]:
    """Bring a night's version to an R-JEPA that went on from a release, and to the gate.

    Args:
        dataset: the version, as `rjepa.living.night.prepare` named it.
    """
    key = partition_key(dataset, plan.llm_tag)
    training = {"recipe": choices.recipe, "init_from": plan.init_from, **plan.tuning.model_dump()}
    trained = {"latent_normalizer": {"init_from": plan.init_from}, "rjepa_checkpoint": training}
    launches = [Launch(FEEDBACK_JOB, dataset), *dataset_launches(dataset), Launch(LLM_JOB, plan.llm_tag)]
    launches.append(Launch(DATASET_LLM_JOB, key, config=trained))
    launches += _decoders_launches(key, plan.guidance_recipe)
    sealed = {"dataset": dataset, "problems_a_domain": choices.sealed_problems}
    # What was withdrawn has to leave what is served, whether or not anything gets better: a night that forgets is
    # judged as a person's release is, even if it learns beside that (docs/living.md, Forgetting).
    gate = {"dataset": dataset, "rule": "replace" if plan.removes else "nightly", "claim": choices.claim}
    return [
        *launches,
        Launch(SEALED_JOB, plan.llm_tag, config={"sealed_candidates": sealed}),
        Launch(RELEASE_JOB, plan.llm_tag, config={"release": gate}),
    ]


def variants_launches(
    dataset: str,
    llm_tag: str,
    recipes: Sequence[str],
    seeds: int,
    train_problems: int = TrainRolloutConfig().max_problems,
    sizes: str = "",
) -> list[Launch]:
    """Bring several R-JEPAs and the report that compares them up to date. Nothing is released.

    Args:
        seeds: of each recipe.
        train_problems: training problems that the LLM answers, where labels are learnt from its answers.
        sizes: file with runs at several sizes of training data, for the report; empty for none.
    """
    key = partition_key(dataset, llm_tag)
    return [
        *dataset_launches(dataset),
        Launch(LLM_JOB, llm_tag),
        Launch(DATASET_LLM_JOB, key, ("request", "rollouts", "latents", "latent_normalizer")),
        Launch(
            VARIANTS_JOB,
            key,
            config={
                "train_rollouts": {"max_problems": train_problems},
                "rjepa_variants": {"recipes": list(recipes), "seeds": seeds},
                "variants_report": {"sizes": sizes},
            },
        ),
    ]


def lora_launches(dataset: str, llm_tag: str, recipe: str, name: str) -> list[Launch]:
    """Bring a dataset version and an LLM to a LoRA.

    Args:
        recipe: a file of configs/lora/.
        name: of the LoRA.
    """
    config = {"student_lora": {"recipe": recipe, "name": name}}
    key = partition_key(dataset, llm_tag)
    return [*dataset_launches(dataset), Launch(LLM_JOB, llm_tag), Launch(LORA_JOB, key, config=config)]


def rollouts_launches(dataset: str, llm_tags: Collection[str]) -> list[Launch]:
    """Bring a dataset version to the frozen candidates of several students."""
    launches = dataset_launches(dataset)
    for llm_tag in llm_tags:
        key = partition_key(dataset, llm_tag)
        launches += [Launch(LLM_JOB, llm_tag), Launch(DATASET_LLM_JOB, key, ("request", "rollouts"))]
    return launches


def stages_of(launches: Sequence[Launch]) -> list[Launch]:
    """The same launches with their assets named, in the order of the graph."""
    defs = build_defs()
    order = [key.to_user_string() for key in defs.resolve_asset_graph().toposorted_asset_keys]
    named = []
    for launch in launches:
        job = defs.resolve_job_def(launch.job)
        wanted = launch.assets or {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
        named.append(replace(launch, assets=tuple(name for name in order if name in wanted)))
    return named


def starting_from(launches: Sequence[Launch], asset: str) -> list[Launch]:
    """What is left of named launches (`stages_of`) from one asset on, to be made again.

    Raises:
        InvalidInputError: none of them makes it.
    """
    names = [name for launch in launches for name in _shown(launch)]
    if asset not in names:
        raise InvalidInputError(f"there is no asset {asset!r}", cure=f"choose one of {', '.join(names)}")
    left = [launch for launch in launches]
    while asset not in left[0].assets:
        del left[0]
    first = left[0].assets[left[0].assets.index(asset) :]
    left[0] = replace(left[0], assets=first)
    return [
        replace(launch, again=True, config={name: it for name, it in launch.config.items() if name in launch.assets})
        for launch in left
    ]


def run_all(instance: dg.DagsterInstance, launches: Sequence[Launch], stream: int) -> None:
    """Run named launches (`stages_of`) in this process, one after the other, with lines and bars on `stream`.

    Raises:
        RjepaError: a stage failed; nothing after it was started.
        KeyboardInterrupt: someone stopped it. The run is marked as cancelled, its processes are ended; this process
            has to end, too, for its threads go on.
    """
    total = sum(len(_shown(launch)) for launch in launches)
    first = 1
    with children_can_be_ended():
        for launch in launches:
            _want(instance, launch)
            _run(instance, launch, (stream, first, total))
            first += len(_shown(launch))


def define_job(name: str, stream: int, first: int, total: int) -> dg.JobDefinition:
    """A job whose stages show themselves on a terminal. Dagster calls this again wherever it needs the job."""
    progress = ProgressResource(stream=stream, first=first, total=total)
    return build_defs({"progress": progress}).resolve_job_def(name)


def _shown(launch: Launch) -> list[str]:
    """Assets that show themselves: a request takes no time."""
    return [name for name in launch.assets if name != REQUEST.to_user_string()]


def _want(instance: dg.DagsterInstance, launch: Launch) -> None:
    """Add the partition of what is launched."""
    if launch.job in (DATASET_JOB, FEEDBACK_JOB):
        want_dataset(instance, launch.partition)
    elif "|" in launch.partition:
        want_dataset(instance, launch.partition.split("|")[0])
    else:
        want_llm(instance, launch.partition)


def _run(instance: dg.DagsterInstance, launch: Launch, terminal: tuple[int, int, int]) -> None:
    arguments: Any = (launch.job, *terminal)  # Dagster's annotation has room for one
    job = dg.build_reconstructable_job("rjepa_assets.launching", "define_job", arguments)
    wait_for_pools(instance, _pools_of(launch), f"{launch.job} of {launch.partition}", terminal[0])
    running = _Running(instance, job, launch)
    running.start()
    try:
        while running.is_alive():
            running.join(_LOOK_SECONDS)
    except KeyboardInterrupt:
        cancel_runs_of(instance, Process.current())
        raise
    if running.error is not None:
        raise _in_our_words(instance, launch, running.error) from running.error


def _pools_of(launch: Launch) -> set[str]:
    """Pools of which a run's stages need a slot."""
    graph = build_defs().resolve_asset_graph()
    ours = {dg.AssetKey(name) for name in launch.assets}
    nodes = (node for node in graph.assets_defs if ours & set(node.keys))
    return {pool for node in nodes if (pool := node.op.pool) is not None}


class _Running(threading.Thread):
    """A run beside the main thread, which stays free for Ctrl-C: Python drops an interrupt that arrives in a weak
    reference's callback, SQLAlchemy's pool logs it, and Dagster forgets one where a run is about to end.
    """

    def __init__(self, instance: dg.DagsterInstance, job: Any, launch: Launch) -> None:
        super().__init__(name=f"run of {launch.job}", daemon=True)
        self._instance, self._job, self._launch = instance, job, launch
        self.error: Exception | None = None

    def run(self) -> None:
        """Execute it, with its first error kept."""
        try:
            dg.execute_job(
                self._job,
                self._instance,
                run_config=self._launch.run_config(),
                tags=self._launch.tags(),
                raise_on_error=True,
                asset_selection=[dg.AssetKey(name) for name in self._launch.assets],
            )
        except Exception as error:  # noqa: BLE001 - the main thread raises it, in our words
            self.error = error


def _in_our_words(instance: dg.DagsterInstance, launch: Launch, error: Exception) -> RjepaError:
    if failed := list(_failed_checks(instance, launch)):
        return CheckFailedError(
            f"what {launch.job} made does not pass: {', '.join(failed)}",
            cure="look at the run in the Dagster UI (rjepa up), mend its input or configuration, run this again",
        )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RjepaError):
            return cause
        cause = cause.__cause__
    text = str(error) or type(error).__name__
    if "disk is full" in text or "No space left" in text:
        return StorageError(
            f"the disk is full: cannot finish {launch.job}",
            cure="free some space or point RJEPA_HOME at a larger disk, then run the same command again",
        )
    return StageFailedError(
        f"{launch.job} failed: {type(error).__name__}: {text.strip().splitlines()[0]}",
        cure="its run in the Dagster UI (rjepa up) shows where; what was finished is kept, run this again to go on",
    )


def _failed_checks(instance: dg.DagsterInstance, launch: Launch) -> Iterator[str]:
    """Blocking checks that this process's last run of a job has failed."""
    mine = dg.RunsFilter(job_name=launch.job, tags={PROCESS_TAG: Process.current().tag()})
    for run in instance.get_runs(mine, limit=1):
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
            found = entry.dagster_event.event_specific_data if entry.dagster_event else None
            if isinstance(found, dg.AssetCheckEvaluation) and not found.passed and found.blocking:
                why = f" ({found.description})" if found.description else ""
                yield f"{found.asset_key.to_user_string()}'s {found.check_name}{why}"
