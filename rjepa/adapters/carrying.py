"""What the stage `adapter` leaves: the adapter and the R-JEPA that it was fitted for, together in one folder, in use.

How an adapter is fitted lives in `rjepa.adapters.fitting`; opening what lies here in `rjepa.adapters.opening`.
"""

import shutil
from pathlib import Path

from rjepa.adapters.adapter import Adapter
from rjepa.adapters.opening import WorldModelFiles, carried_folder, put_in_use
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import atomic_folder, sha256_file
from rjepa.home import Home
from rjepa.jepa.checkpoint import MODEL_FILE
from rjepa.jepa.diagnostics import Diagnostics, diagnose
from rjepa.jepa.stage import model_folder, normalizer_file, write_diagnostics
from rjepa.latents.shards import open_latents
from rjepa.parts import ADAPTER_FOLDER, MODEL_FILES, MODEL_FOLDER, NORMALIZER
from rjepa.students.catalog import list_records


def choose_source(home: Home, target: str, dataset: str, source: str = "") -> str:
    """The student whose R-JEPA is carried to `target`: the one that is named, or the only other one that has any.

    Raises:
        NotFoundError: the one that is named, or any other, has no R-JEPA of its own on this dataset.
        InvalidInputError: none is named and there are several, or source and target are one.
    """
    if source == target:
        raise InvalidInputError(
            f"an R-JEPA is carried from one LLM to another, and {target} is both", cure="name another source"
        )
    trained = [record.llm_tag for record in list_records(home) if _is_trained(home, record.llm_tag, dataset)]
    others = [llm_tag for llm_tag in trained if llm_tag != target]
    if source in others:
        return source
    if source:
        known = f"; those that have one: {', '.join(others)}" if others else ""
        raise NotFoundError(
            f"{source} has no R-JEPA that was trained on {dataset}",
            cure=f"rjepa backfill --llm {source} --dataset {dataset}{known}",
        )
    if not others:
        raise NotFoundError(
            f"no other LLM than {target} has an R-JEPA that was trained on {dataset}",
            cure=f"train one first: rjepa backfill --llm LLM --dataset {dataset}",
        )
    if len(others) > 1:
        raise InvalidInputError(
            f"{', '.join(others)} have an R-JEPA that was trained on {dataset}, and which is to be carried to {target} "
            "is not said",
            cure="name one as the source (in the UI: the configuration of asset adapter)",
        )
    return others[0]


def carry(home: Home, adapter: Adapter) -> Path:
    """Lay the adapter and the R-JEPA that it was fitted for down for its target, and put them in use.

    Returns:
        The folder.

    Raises:
        NotFoundError: the source's R-JEPA is gone.
        InvalidInputError: it was trained again while the adapter was fitted.
    """
    facts = adapter.facts
    model = model_folder(home, facts.source.llm_tag, facts.dataset)
    normalizer = normalizer_file(home, facts.source.llm_tag, facts.dataset)
    with atomic_folder(carried_folder(home, facts.target.llm_tag, facts.dataset)) as folder:
        copied = WorldModelFiles(folder / MODEL_FOLDER, folder / NORMALIZER)
        copied.model.mkdir()
        for name in MODEL_FILES:
            shutil.copyfile(model / name, copied.model / name)
        shutil.copyfile(normalizer, copied.normalizer)
        found = sha256_file(copied.model / MODEL_FILE), sha256_file(copied.normalizer)
        if found != (facts.model_sha256, facts.normalizer_sha256):
            raise InvalidInputError(
                f"the R-JEPA of {facts.source.llm_tag} was trained again while the adapter was fitted",
                cure="materialise adapter again",
            )
        adapter.save(folder / ADAPTER_FOLDER)
    put_in_use(home, facts.target.llm_tag, facts.dataset, "carried")
    return carried_folder(home, facts.target.llm_tag, facts.dataset)


def diagnose_carried(home: Home, llm_tag: str, dataset: str) -> Diagnostics:
    """Measure what was carried on the target's own latents, as a native R-JEPA is measured, and keep what was found.

    Raises:
        NotFoundError: nothing was carried, or the latents are not made.
    """
    files = WorldModelFiles.laid_out(carried_folder(home, llm_tag, dataset))
    model, reader = files.open()
    latents = open_latents(home, llm_tag, dataset)
    found = diagnose(model, reader, latents.split("validation"), fit_on=latents.split("train"))
    write_diagnostics(files.model, found)
    return found


def _is_trained(home: Home, llm_tag: str, dataset: str) -> bool:
    native = model_folder(home, llm_tag, dataset) / MODEL_FILE
    return native.is_file() and normalizer_file(home, llm_tag, dataset).is_file()
