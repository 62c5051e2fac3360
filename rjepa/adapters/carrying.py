"""What the stage `adapter` leaves: the adapter and the R-JEPA that it was fitted for, together in one folder, in use.

How an adapter is fitted lives in `rjepa.adapters.stage`; opening what lies here in `rjepa.adapters.opening`.
"""

import shutil
from pathlib import Path

from rjepa.adapters.adapter import Adapter
from rjepa.adapters.in_use import carried_folder, put_in_use
from rjepa.adapters.opening import WorldModelFiles, files_in_use
from rjepa.adapters.stage import fit_adapter
from rjepa.errors import InvalidInputError
from rjepa.files import atomic_folder, sha256_file
from rjepa.home import Home
from rjepa.jepa.checkpoint import MODEL_FILE
from rjepa.jepa.diagnostics import Diagnostics, diagnose
from rjepa.jepa.stage import model_folder, normalizer_file, write_diagnostics
from rjepa.latents.shards import extent_made, open_latents
from rjepa.parts import ADAPTER_FOLDER, MODEL_FILES, MODEL_FOLDER, NORMALIZER
from rjepa.progress import Progress, silent
from rjepa.stages import Figures, Made, StageReport


def build_adapter(
    home: Home, llm_tag: str, dataset: str, source: str, share: float, progress: Progress = silent
) -> Made:
    """Fit an adapter from `source` to the student, put the source's R-JEPA in use through it, and measure what came of
    it on the student's own latents.

    Args:
        share: part of the training problems that the adapter is fitted on.

    Raises:
        NotFoundError: latents of one of the two, or the source's R-JEPA, are not made yet.
        InvalidInputError: the two read no chain in common, or too few problems.
    """
    fitted = fit_adapter(home, llm_tag, dataset, source, share, progress)
    carry(home, fitted.adapter)
    facts = fitted.adapter.facts
    found = diagnose_carried(home, llm_tag, dataset)
    figures: Figures = {
        "source": facts.source.llm_tag,
        "method": facts.method,
        "share": facts.share,
        "problems": facts.problems,
        "pairs": facts.pairs,
        "r2": facts.r2,
        "r2_back": facts.r2_back,
        "agreement": facts.agreement,
        "coverage": facts.coverage,
        "seconds": facts.seconds,
        "width": facts.target.width,
        "source_width": facts.source.width,
    }
    figures |= {name: value for name, value in found.metadata().items() if not isinstance(value, bool)}
    version = files_in_use(home, llm_tag, dataset).sha256()
    return Made(StageReport(version, figures), fitted.texts, fitted.images)


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
    latents = open_latents(home, llm_tag, dataset, extent=extent_made(home, llm_tag, dataset))
    found = diagnose(model, reader, latents.split("validation"), fit_on=latents.split("train"))
    write_diagnostics(files.model, found)
    return found
