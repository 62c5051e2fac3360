"""The stage that makes a LoRA: which chains, every rank of the recipe, the best of them sealed and registered.

It is done once: the same recipe on the same dataset versions and the same base is found again, whatever its name.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rjepa.datasets.reading import load_manifest
from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.locks import stage_lock
from rjepa.progress import Progress, silent
from rjepa.stages import Figures, StageReport
from rjepa.students.lora.corpus import LoraCorpus, read_corpus
from rjepa.students.lora.files import Lora, lora_folder, read_lora, seal_lora
from rjepa.students.lora.recipe import LoraRecipe, load_lora_recipe, replay_dataset
from rjepa.students.lora.registering import describe_lora, register_lora, resolve_base
from rjepa.students.lora.training import TrainedLora, train_lora
from rjepa.students.resolving import ResolvedStudent, resolve_student

_CODE: Final = 1
"""Raised when equal inputs train another LoRA than before."""
LOCK: Final = "lora"
"""Name of the lock that is held while a LoRA is made, and is followed by its base and its name (`rjepa.locks`)."""


def make_lora(
    home: Home, llm_tag: str, dataset: str, recipe: str = "night", name: str = "", progress: Progress = silent
) -> StageReport:
    """Train the LoRA of a student on a dataset version by a recipe of configs/lora/. As `train_registered`.

    Raises:
        NotFoundError: there is no such recipe.
    """
    return train_registered(home, llm_tag, dataset, load_lora_recipe(recipe), name or dataset, progress)


def train_registered(
    home: Home, llm_tag: str, dataset: str, recipe: LoraRecipe, name: str, progress: Progress = silent
) -> StageReport:
    """Train a LoRA of every rank that the recipe names, keep the one with the lowest validation loss as `name`, and
    register the student with it. A run that was ended goes on; one that was made of the same is found. One of the same
    name that was made of something else is replaced: the student of that tag then has another fingerprint.

    Returns:
        The new student's fingerprint as data version, and what was measured.

    Raises:
        RjepaError: as `resolve_base` and `read_corpus`; the dataset is not released; the same LoRA is being trained.
    """
    base, folder = resolve_base(home, llm_tag), lora_folder(home, llm_tag, name)
    inputs = _inputs(home, base, dataset, recipe)
    with stage_lock(home, LOCK, llm_tag, name):
        found = _find(folder, inputs) or _train(home, base, dataset, recipe, folder, inputs, progress)
        record = register_lora(home, found)
    figures = {key: value for key, value in found.manifest.figures.items() if key != "made_of"}
    return StageReport(
        resolve_student(home, record).fingerprint, {"llm_tag": record.llm_tag, "path": str(folder), **figures}
    )


def _train(
    home: Home,
    base: ResolvedStudent,
    dataset: str,
    recipe: LoraRecipe,
    folder: Path,
    inputs: dict[str, str],
    progress: Progress,
) -> Lora:
    """Every rank, from where a run of the same was ended; the best one, sealed."""
    from rjepa.students.loading import load_student

    student = load_student(base)
    work = folder.parent / f".{folder.name}-{sha256_json(inputs)[:12]}"
    corpus = read_corpus(home, student, dataset, recipe)
    trained = [
        train_lora(student, corpus, recipe, rank, work / f"rank-{rank}", _share(progress, recipe.ranks, number))
        for number, rank in enumerate(recipe.ranks)
    ]
    best = choose(trained, recipe)
    manifest = describe_lora(
        base,
        folder.name,
        origin="trained",
        dataset=dataset,
        dataset_sha256=inputs["dataset"],
        recipe=recipe.model_dump(mode="json"),
        figures={"made_of": sha256_json(inputs), **_figures(trained, best, corpus, recipe)},
    )
    found = seal_lora(best.folder, folder, manifest)
    shutil.rmtree(work)
    return found


def choose(trained: Sequence[TrainedLora], recipe: LoraRecipe) -> TrainedLora:
    """The LoRA with the lowest validation loss; of equal ones the smallest."""
    return min(trained, key=lambda one: (one.after.weighted(recipe.replay.share), one.rank))


def _inputs(home: Home, base: ResolvedStudent, dataset: str, recipe: LoraRecipe) -> dict[str, str]:
    """All that decides what is trained, but for the machine."""
    before = replay_dataset(home, dataset, recipe)
    return {
        "code": str(_CODE),
        "base": base.fingerprint,
        "recipe": sha256_json(recipe.model_dump(mode="json", exclude={"name"})),
        "dataset": str(load_manifest(home, dataset)["data_hash"]),
        "replay": "" if before is None else str(load_manifest(home, before)["data_hash"]),
    }


def _find(folder: Path, inputs: dict[str, str]) -> Lora | None:
    """What was made of the same, if it is whole."""
    try:
        lora = read_lora(folder)
    except (NotFoundError, CorruptError):
        return None
    return lora if lora.manifest.figures.get("made_of") == sha256_json(inputs) else None


def _figures(trained: Sequence[TrainedLora], best: TrainedLora, corpus: LoraCorpus, recipe: LoraRecipe) -> Figures:
    values: dict[str, Any] = {
        "recipe": recipe.name,
        "rank": best.rank,
        "parameters": best.parameters,
        "updates": best.best_update,
        "new_chains": len(corpus.new),
        "old_chains": len(corpus.old),
        "left_out": corpus.left_out,
        "learnt": " ".join(corpus.new_domains),
        "loss_new": best.after.new,
        "loss_new_base": best.before.new,
        **{f"loss_rank_{one.rank}": one.after.weighted(recipe.replay.share) for one in trained},
    }
    if best.after.old is not None and best.before.old is not None:
        values |= {"loss_old": best.after.old, "loss_old_base": best.before.old}
    return values


def _share(progress: Progress, ranks: Sequence[int], number: int) -> Progress:
    """One rank's progress as a part of all."""

    def tell(done: int, total: int, note: str = "") -> None:
        progress(number * total + done, len(ranks) * total, note)

    return tell
