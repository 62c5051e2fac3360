"""The world model's two stages for one student and one dataset: fit the normaliser, train and diagnose R-JEPA.

Reads latents, calls, writes files. The measurements themselves live in `trainer` and `diagnostics`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch

from rjepa.errors import CorruptError
from rjepa.files import read_json, write_json
from rjepa.home import Home, check_tag
from rjepa.jepa.checkpoint import load_model
from rjepa.jepa.config import load_jepa_config
from rjepa.jepa.curves import draw_curve
from rjepa.jepa.diagnostics import Diagnostics, diagnose
from rjepa.jepa.model import RJepa
from rjepa.jepa.trainer import train
from rjepa.latents.normalizer import Normalizer, fit_normalizer, load_normalizer, save_normalizer
from rjepa.latents.sets import LatentSet
from rjepa.latents.shards import open_latents
from rjepa.progress import Progress, silent
from rjepa.stages import StageReport

DIAGNOSTICS_FILE: Final = "diagnostics.json"


@dataclass(frozen=True)
class Trained:
    """A trained model's report, and its loss by update as a PNG."""

    report: StageReport
    curve_png: bytes


def normalizer_file(home: Home, llm_tag: str, dataset: str) -> Path:
    """Where the normaliser of one student and dataset lies."""
    return home.models(llm_tag, dataset) / "normalizer.safetensors"


def model_folder(home: Home, llm_tag: str, dataset: str) -> Path:
    """Where the world model of one student and dataset lies: weights, training state, report, diagnostics."""
    return home.models(llm_tag, dataset) / "rjepa"


def open_world_model(home: Home, llm_tag: str, dataset: str) -> tuple[RJepa, Normalizer]:
    """The trained model, on the best device there is, with its normaliser.

    Raises:
        NotFoundError: it was not trained yet.
        CorruptError: a file is not what it should be.
    """
    normalizer = load_normalizer(normalizer_file(home, llm_tag, dataset))
    return load_model(model_folder(home, llm_tag, dataset), _device()), normalizer


def fit_pair_normalizer(home: Home, llm_tag: str, dataset: str) -> StageReport:
    """Fit on the right chains of the train split, and write."""
    train_set = open_latents(home, llm_tag, dataset).split("train")
    right = train_set.select(train_set.first_error < 0)
    normalizer = fit_normalizer(right)
    version = save_normalizer(normalizer_file(home, llm_tag, dataset), normalizer)
    return StageReport(
        version,
        {
            "chains": len(right),
            "rows": len(right.latents),
            "width": normalizer.width,
            "scale_min": float(normalizer.scale.min()),
            "scale_max": float(normalizer.scale.max()),
        },
    )


def train_pair(home: Home, llm_tag: str, dataset: str, recipe: str, progress: Progress = silent) -> Trained:
    """Train the run `recipe` of configs/rjepa/, or go on with it, and diagnose what came of it."""
    return _train_into(model_folder(home, llm_tag, dataset), home, llm_tag, dataset, recipe, None, progress)


def train_variant(
    home: Home, llm_tag: str, dataset: str, recipe: str, seed: int, progress: Progress = silent
) -> Trained:
    """Train another recipe, or the same one under another seed, beside the one that may be released. Nothing serves it;
    `rjepa report` and `rjepa eval compare` judge it."""
    folder = variant_folder(home, llm_tag, dataset, recipe, seed)
    return _train_into(folder, home, llm_tag, dataset, recipe, seed, progress)


def variant_folder(home: Home, llm_tag: str, dataset: str, recipe: str, seed: int) -> Path:
    """Where one variant lies: `<recipe>-<seed>`."""
    return home.models(llm_tag, dataset) / "variants" / f"{check_tag(recipe, 'name of a training run')}-{seed}"


def open_variant(home: Home, llm_tag: str, dataset: str, recipe: str, seed: int) -> tuple[RJepa, Normalizer]:
    """A trained variant, on the best device there is, with the pair's normaliser (errors as `open_world_model`)."""
    normalizer = load_normalizer(normalizer_file(home, llm_tag, dataset))
    return load_model(variant_folder(home, llm_tag, dataset, recipe, seed), _device()), normalizer


def _train_into(
    folder: Path, home: Home, llm_tag: str, dataset: str, recipe: str, seed: int | None, progress: Progress
) -> Trained:
    config = load_jepa_config(recipe)
    if seed is not None:
        config = config.model_copy(update={"seed": seed})
    normalizer = load_normalizer(normalizer_file(home, llm_tag, dataset))
    latents = open_latents(home, llm_tag, dataset)
    train_set, validation = latents.split("train"), latents.split("validation")
    report = train(config, train_set, validation, normalizer, folder, progress, _device())
    write_json(folder / "config.json", config.model_dump(mode="json"))
    found = _diagnose_once(folder, report.data_version, normalizer, train_set, validation)
    metadata: dict[str, int | float | str] = {
        "recipe": recipe,
        "parameters": report.parameters,
        "updates": report.updates,
        "seconds": report.seconds,
        "chains": report.chains,
        "wrong_chains": report.wrong_chains,
        "loss": report.curve[-1]["total"] if report.curve else 0.0,
        "validation_energy": report.validation[-1]["energy"] if report.validation else 0.0,
    }
    metadata |= {name: value for name, value in found.metadata().items() if not isinstance(value, bool)}
    return Trained(StageReport(report.data_version, metadata), draw_curve(report.curve, report.validation))


def read_diagnostics(home: Home, llm_tag: str, dataset: str) -> Diagnostics:
    """What was measured of the trained model.

    Raises:
        NotFoundError: it was not trained yet.
        CorruptError: the file does not fit.
    """
    path = model_folder(home, llm_tag, dataset) / DIAGNOSTICS_FILE
    try:
        return Diagnostics(**read_json(path)["diagnostics"])
    except (KeyError, TypeError) as error:
        raise CorruptError(
            f"{path} does not hold diagnostics", cure="delete it and materialise rjepa_checkpoint"
        ) from error


def _diagnose_once(
    folder: Path, model_version: str, normalizer: Normalizer, train_set: LatentSet, validation: LatentSet
) -> Diagnostics:
    path = folder / DIAGNOSTICS_FILE
    if path.exists():
        known = read_json(path)
        if known.get("model") == model_version:
            return Diagnostics(**known["diagnostics"])
    found = diagnose(load_model(folder, _device()), normalizer, validation, fit_on=train_set)
    write_json(path, {"model": model_version, "diagnostics": asdict(found)})
    return found


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
