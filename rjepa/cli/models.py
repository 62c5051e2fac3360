"""Name a trained R-JEPA on the command line: a release, the checkpoint of a dataset and LLM, or one of its variants."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rjepa.home import Home
    from rjepa.inference.calibration import ScoreCalibration
    from rjepa.jepa.model import RJepa
    from rjepa.jepa.reader import Reader
    from rjepa.parts import Content

CHECKPOINT = "checkpoint"
CURRENT = "current"
NAMING = (
    "`current` or a release id; `checkpoint` for what was trained last on the dataset; or a variant of `rjepa report`, "
    "RECIPE or RECIPE-SEED"
)
_RELEASE = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")


@dataclass(frozen=True)
class CalibratedModel:
    """A trained R-JEPA with the calibration that was fitted for it. `dataset` is the one it was trained on."""

    name: str
    dataset: str
    student_fingerprint: str
    world_model: tuple["RJepa", "Reader"]
    calibration: "ScoreCalibration"
    content: "Content | None"
    """What a release of it holds; None for a variant, which is never released."""


def is_release(name: str) -> bool:
    """Whether a name is a release's id."""
    return _RELEASE.fullmatch(name) is not None


def open_model(home: "Home", llm_tag: str, dataset: str, name: str) -> CalibratedModel:
    """Open what `name` (see `NAMING`) stands for.

    Raises:
        NotFoundError: there is no such release, checkpoint or variant.
        CorruptError: a file of it is not what it should be.
    """
    if name == CURRENT or is_release(name):
        return _open_release(home, llm_tag, name)
    from rjepa.adapters.opening import open_world_model
    from rjepa.evaluation.stage import calibration_file, checkpoint_content
    from rjepa.inference.calibration import ScoreCalibration
    from rjepa.jepa.stage import open_variant
    from rjepa.latents.shards import latent_fingerprint

    if name == CHECKPOINT:
        calibration = ScoreCalibration.load(calibration_file(home, llm_tag, dataset))
        world_model = open_world_model(home, llm_tag, dataset)
        fingerprint = latent_fingerprint(home, llm_tag, dataset)
        content = checkpoint_content(home, llm_tag, dataset, fingerprint)
        return CalibratedModel(name, dataset, fingerprint, world_model, calibration, content)
    from rjepa.errors import NotFoundError
    from rjepa.evaluation.variants import list_variants, variant_calibration, variants_file

    runs = list_variants(home, llm_tag, dataset) if variants_file(home, llm_tag, dataset).exists() else []
    for run in runs:
        if name in (f"{run.recipe}-{run.seed}", run.recipe):
            calibration = variant_calibration(home, llm_tag, dataset, run)
            world_model = open_variant(home, llm_tag, dataset, run.recipe, run.seed)
            fingerprint = latent_fingerprint(home, llm_tag, dataset)
            return CalibratedModel(name, dataset, fingerprint, world_model, calibration, None)
    known = ", ".join([CURRENT, CHECKPOINT, *(f"{run.recipe}-{run.seed}" for run in runs)])
    raise NotFoundError(
        f"{llm_tag} on {dataset} has no R-JEPA called {name!r}", cure=f"name one of {known} or a release id"
    )


def _open_release(home: "Home", llm_tag: str, name: str) -> CalibratedModel:
    from rjepa.adapters.opening import WorldModelFiles
    from rjepa.inference.calibration import ScoreCalibration
    from rjepa.parts import CALIBRATION
    from rjepa.releases.bundle import release_folder, verify
    from rjepa.releases.pointer import require_current

    manifest = verify(home, llm_tag, require_current(home, llm_tag) if name == CURRENT else name)
    folder = release_folder(home, llm_tag, manifest.release_id)
    world_model = WorldModelFiles.laid_out(folder).open("cpu")
    calibration = ScoreCalibration.load(folder / CALIBRATION)
    return CalibratedModel(
        manifest.release_id, manifest.dataset, manifest.student_fingerprint, world_model, calibration, manifest
    )
