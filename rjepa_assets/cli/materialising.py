"""What `rjepa demo` and `rjepa backfill` share: bring the graph up to date for one dataset and one LLM, with bars."""

import contextlib
import logging
import os
import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final, TextIO

from rjepa.errors import InvalidInputError, RjepaError
from rjepa.home import Home, check_tag
from rjepa.settings import load_settings

if TYPE_CHECKING:
    from rjepa_assets.pipeline import Step, Target

_DATASET_ASSETS: Final = ("problems", "teacher_chains", "validated_chains", "dataset_release")
_SAMPLED_ASSETS: Final = ("student", "rollouts", "latents", "latent_normalizer")
_BUSY: Final = "wait for it to finish, or stop it; it loses nothing"


def open_home() -> Home:
    """RJEPA_HOME as set, made absolute."""
    return Home(load_settings().home.expanduser().resolve())


def materialise(
    home: Home, dataset: str, llm_tag: str, recipe: str, *, release: bool = True, redo_from: str | None = None
) -> None:
    """Bring every asset up to date, in order, showing each on stderr.

    Raises:
        NotFoundError: the dataset or the LLM is not registered.
        InvalidInputError: a bad name, or another process is at work in this home.
        RjepaError: a stage failed, with its cure.
        KeyboardInterrupt: someone stopped it.
    """
    limit_threads()
    from rjepa.datasets.recipe import load_recipe
    from rjepa.jepa.config import load_jepa_config
    from rjepa.students.catalog import load_record

    load_recipe(home, check_tag(dataset, "dataset version"))
    load_jepa_config(check_tag(recipe, "name of a training run"))
    load_record(home, check_tag(llm_tag))

    from rjepa_assets.pipeline import Target

    _bring_up(home, Target(dataset, llm_tag, recipe, release), redo_from=redo_from)


def materialise_dataset(home: Home, dataset: str) -> None:
    """Bring the assets of one dataset version up to date, to its release. No student is needed.

    Raises:
        NotFoundError: the dataset is not registered.
        InvalidInputError: another process is at work in this home.
        RjepaError: a stage failed, with its cure.
    """
    limit_threads()
    from rjepa.datasets.recipe import load_recipe

    load_recipe(home, check_tag(dataset, "dataset version"))

    from rjepa_assets.pipeline import Target

    _bring_up(home, Target(dataset, llm_tag=""), only=_DATASET_ASSETS)


def materialise_variants(
    home: Home,
    dataset: str,
    llm_tag: str,
    recipes: Collection[str],
    seeds: int,
    train_problems: int,
    sizes: str = "",
) -> None:
    """Bring several R-JEPAs of a pair and the report that compares them up to date. Nothing is released.

    Raises:
        NotFoundError: the dataset, the LLM or a recipe is not there.
        InvalidInputError: a bad name, or another process is at work in this home.
        RjepaError: a stage failed, with its cure.
    """
    limit_threads()
    from rjepa.datasets.recipe import load_recipe
    from rjepa.jepa.config import load_jepa_config
    from rjepa.students.catalog import load_record

    load_recipe(home, check_tag(dataset, "dataset version"))
    load_record(home, check_tag(llm_tag))
    for recipe in recipes:
        load_jepa_config(check_tag(recipe, "name of a training run"))

    from rjepa_assets.pipeline import TRAIN_ROLLOUTS, VARIANTS, Target

    target = Target(
        dataset,
        llm_tag,
        release=False,
        recipes=tuple(recipes),
        seeds=seeds,
        train_problems=train_problems,
        sizes=sizes,
    )
    _bring_up(home, target, only=(*_DATASET_ASSETS, *_SAMPLED_ASSETS, TRAIN_ROLLOUTS, *VARIANTS))


def _bring_up(
    home: Home, target: "Target", *, redo_from: str | None = None, only: Collection[str] | None = None
) -> None:
    from rjepa_assets.definitions import build_defs
    from rjepa_assets.defs.resources import HomeResource, ProgressResource
    from rjepa_assets.instance import add_partitions, only_one, open_instance
    from rjepa_assets.pipeline import Pipeline
    from rjepa_assets.processes import fail_abandoned_runs, insistent_interrupt

    # Ctrl-C may land while SQLAlchemy closes a connection of Dagster's storage: it would log a traceback.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    with open_instance(home) as instance, only_one(home, "materialise", _BUSY), _terminal() as terminal:
        if gone := fail_abandoned_runs(instance):
            print(f"{len(gone)} run(s) of a process that was killed: going on from there", file=sys.stderr)
        add_partitions(instance, home)
        progress = ProgressResource(style="bar", stream=terminal.fileno())
        defs = build_defs({"home": HomeResource(root=str(home.root)), "progress": progress})
        pipeline = Pipeline(defs, instance, home, target, only)
        if redo_from is not None and redo_from not in pipeline.names:
            names = ", ".join(pipeline.names)
            raise InvalidInputError(f"there is no asset {redo_from!r}", cure=f"choose one of {names}")
        try:
            with insistent_interrupt():
                for step in pipeline.run(lambda step: _begin(terminal, step), redo_from):
                    _say(terminal, step, "is up to date" if step.seconds is None else f"done in {step.seconds:.1f} s")
        except (RjepaError, KeyboardInterrupt):
            print("What was finished is kept: run the same command again to go on.", file=sys.stderr)
            raise


def limit_threads() -> None:
    """Hand RJEPA_THREADS to torch, whether or not it is imported yet, and to the processes that this one starts."""
    if threads := load_settings().threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)


@contextlib.contextmanager
def _terminal() -> Iterator[TextIO]:
    """Stderr as it is now: Dagster redirects descriptor 2 into a run's compute log while the run lasts."""
    with os.fdopen(os.dup(2), "w", buffering=1) as terminal:
        yield terminal


def _begin(terminal: TextIO, step: "Step") -> None:
    """A line for logs; on a terminal the bar says as much."""
    if not terminal.isatty():
        _say(terminal, step, "...")


def _say(terminal: TextIO, step: "Step", what: str) -> None:
    print(f"[{step.number:2}/{step.total}] {step.asset} {step.partition}: {what}", file=terminal)
