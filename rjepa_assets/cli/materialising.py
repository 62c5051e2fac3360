"""What `rjepa demo`, `rjepa backfill`, `rjepa report` and `rjepa data create` share: check what is asked for, then
launch Dagster's runs, with bars.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final, TextIO

from rjepa.errors import InvalidInputError, RjepaError
from rjepa.home import Home, check_tag
from rjepa.settings import load_settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from rjepa_assets.launching import Launch

_KEPT: Final = "What was finished is kept: run the same command again to go on."
STRATEGIES: Final = ("calibration", "transfer", "retrain")

_INTERRUPTED: Final = 130
"""Exit code of a command that Ctrl-C ended: 128 and the signal's number, as shells have it."""


def open_home() -> Home:
    """RJEPA_HOME as set, made absolute."""
    return Home(load_settings().home.expanduser().resolve())


def materialise(
    home: Home,
    dataset: str,
    llm_tag: str,
    recipe: str,
    *,
    guidance_recipe: str = "",
    release: bool = True,
    redo_from: str | None = None,
    improve: bool = False,
) -> None:
    """Bring every asset up to date, in order, showing each on stderr. With `redo_from`, that asset and all after it are
    made again, and what comes before is taken as it is. With `improve`, a release is served only if it is better.

    Args:
        guidance_recipe: as in `rjepa_assets.launching.release_launches`.

    Raises:
        NotFoundError: the dataset or the LLM is not registered, or there is no such training run.
        InvalidInputError: a bad name.
        BusyError: another process is at work on the same.
        RjepaError: a stage failed, with its cure.
    """
    _begin(home, dataset, [llm_tag], [recipe])
    _check_guidance(guidance_recipe)

    def launches() -> "list[Launch]":
        from rjepa_assets.launching import release_launches, stages_of, starting_from

        rule = "improve" if improve else "replace"
        named = stages_of(
            release_launches(dataset, llm_tag, recipe, guidance_recipe=guidance_recipe, release=release, rule=rule)
        )
        return named if redo_from is None else starting_from(named, redo_from)

    _launch(home, launches)


def materialise_dataset(home: Home, dataset: str) -> None:
    """Bring the assets of one dataset version up to date, to its release. No student is needed.

    Raises:
        NotFoundError: the dataset is not registered.
        BusyError: another process is at work on the same.
        RjepaError: a stage failed, with its cure.
    """
    _begin(home, dataset)

    def launches() -> "list[Launch]":
        from rjepa_assets.launching import dataset_launches, stages_of

        return stages_of(dataset_launches(dataset))

    _launch(home, launches)


def materialise_variants(
    home: Home,
    dataset: str,
    llm_tag: str,
    recipes: Collection[str],
    seeds: int,
    train_problems: int,
    sizes: str = "",
) -> None:
    """Bring several R-JEPAs of a dataset|LLM and the report that compares them up to date. Nothing is released.

    Raises:
        NotFoundError: the dataset, the LLM or a recipe is not there.
        InvalidInputError: a bad name.
        BusyError: another process is at work on the same.
        RjepaError: a stage failed, with its cure.
    """
    _begin(home, dataset, [llm_tag], recipes)

    def launches() -> "list[Launch]":
        from rjepa_assets.launching import stages_of, variants_launches

        return stages_of(variants_launches(dataset, llm_tag, list(recipes), seeds, train_problems, sizes))

    _launch(home, launches)


def materialise_lora(home: Home, dataset: str, llm_tag: str, recipe: str, name: str) -> None:
    """Bring a dataset version, a student and the LoRA that it learns from the version up to date.

    Raises:
        NotFoundError: the dataset, the LLM or the recipe is not there.
        InvalidInputError: a bad name.
        BusyError: another process is at work on the same.
        RjepaError: a stage failed, with its cure.
    """
    from rjepa.students.lora.recipe import load_lora_recipe

    _begin(home, dataset, [llm_tag])
    load_lora_recipe(recipe)

    def launches() -> "list[Launch]":
        from rjepa_assets.launching import lora_launches, stages_of

        return stages_of(lora_launches(dataset, llm_tag, recipe, name))

    _launch(home, launches)


def materialise_rollouts(home: Home, dataset: str, llm_tags: Collection[str]) -> None:
    """Bring the frozen candidates of several students on a dataset version up to date.

    Raises:
        NotFoundError: the dataset or an LLM is not there.
        BusyError: another process is at work on the same.
        RjepaError: a stage failed, with its cure.
    """
    _begin(home, dataset, llm_tags)

    def launches() -> "list[Launch]":
        from rjepa_assets.launching import rollouts_launches, stages_of

        return stages_of(rollouts_launches(dataset, llm_tags))

    _launch(home, launches)


def migrate_llm(
    home: Home,
    dataset: str,
    source: str,
    target: str,
    strategy: str,
    *,
    share: float | None = None,
    recipe: str = "",
    guidance_recipe: str = "",
    release: bool = True,
) -> str:
    """Give an LLM the R-JEPA of another, up to what is served. The dataset has to be there, and stays as it is.

    Args:
        source: empty for the only other LLM that has an R-JEPA on this dataset.
        strategy: calibration, transfer or retrain.
        share: of the training problems; None for the strategy's own.
        recipe: training run; empty for that of the source's R-JEPA (retrain), or the one of its name (transfer).
        guidance_recipe: as in `rjepa_assets.launching.release_launches`.

    Returns:
        The source.

    Raises:
        NotFoundError: the dataset is not made, an LLM is not registered, or the source has no R-JEPA on it.
        InvalidInputError: a strategy that is not known, a bad share, or several LLMs that could be the source.
        BusyError: another process is at work on the same.
        RjepaError: a stage failed, with its cure.
    """
    from rjepa.adapters.sources import choose_source, trained_recipe
    from rjepa.datasets.reading import load_manifest

    limit_threads()
    if strategy not in STRATEGIES:
        raise InvalidInputError(f"{strategy!r} is no strategy", cure=f"choose one of {', '.join(STRATEGIES)}")
    if share is not None and strategy == "retrain":
        raise InvalidInputError("retrain learns from every training problem", cure="leave --share out")
    if recipe and strategy == "calibration":
        raise InvalidInputError("calibration trains no R-JEPA, so that it has no recipe", cure="leave --recipe out")
    if share is not None and not 0 < share <= 1:
        raise InvalidInputError(f"a share of {share} cannot be learnt from", cure="choose one above 0, 1 at most")
    load_manifest(home, check_tag(dataset, "dataset version"))
    _check_llm(home, target)
    if source:
        _check_llm(home, source)
    source = choose_source(home, target, dataset, source)
    if strategy == "retrain":
        recipe = recipe or trained_recipe(home, source, dataset)
    _check_recipes([recipe] if recipe else [])
    _check_guidance(guidance_recipe)

    def launches() -> "list[Launch]":
        from rjepa_assets.launching import migration_launches, stages_of

        return stages_of(
            migration_launches(
                dataset, source, target, strategy, share, recipe, guidance_recipe=guidance_recipe, release=release
            )
        )

    _launch(home, launches)
    return source


def _begin(home: Home, dataset: str, llm_tags: Collection[str] = (), recipes: Collection[str] = ()) -> None:
    """Keep to the threads that were asked for, and look whether all that is named is there, before anything is made."""
    limit_threads()
    _check_dataset(home, dataset)
    for llm_tag in llm_tags:
        _check_llm(home, llm_tag)
    _check_recipes(recipes)


def _check_dataset(home: Home, dataset: str) -> None:
    from rjepa.datasets.recipe import load_recipe

    load_recipe(home, check_tag(dataset, "dataset version"))


def _check_llm(home: Home, llm_tag: str) -> None:
    from rjepa.students.catalog import load_record

    load_record(home, check_tag(llm_tag))


def _check_recipes(recipes: Collection[str]) -> None:
    from rjepa.jepa.config import load_jepa_config

    for recipe in recipes:
        load_jepa_config(check_tag(recipe, "name of a training run"))


def _check_guidance(recipe: str) -> None:
    from rjepa.verbalizer.config import load_decoder_config

    if recipe:
        load_decoder_config(check_tag(recipe, "name of a training run"))


def _launch(home: Home, launches: "Callable[[], list[Launch]]") -> None:
    """Launch the runs, one after the other."""
    from rjepa_assets.launching import run_all

    with with_instance(home) as (instance, stream):
        run_all(instance, launches(), stream)


@contextlib.contextmanager
def with_instance(home: Home) -> "Iterator[tuple[DagsterInstance, int]]":
    """Dagster's instance, on which runs of killed processes are failed first, and a terminal's descriptor for bars.

    Ctrl-C ends the process here and now: a run's thread knows no interrupt.
    """
    from rjepa_assets.instance import open_instance
    from rjepa_assets.processes import fail_abandoned_runs

    limit_threads()
    with open_instance(home) as instance, _terminal() as terminal:
        if gone := fail_abandoned_runs(instance):
            print(f"{len(gone)} run(s) of a process that was killed: going on from there", file=sys.stderr)
        try:
            yield instance, terminal.fileno()
        except KeyboardInterrupt:
            print(_KEPT, file=terminal, flush=True)
            os._exit(_INTERRUPTED)
        except RjepaError:
            print(_KEPT, file=sys.stderr)
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
