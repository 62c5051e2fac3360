"""The world model's two stages for one student and one dataset: fit the normaliser, train and diagnose R-JEPA.

Reads latents, calls, writes files. The measurements themselves live in `trainer` and `diagnostics`.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from rjepa.device import best_device
from rjepa.errors import CorruptError, InvalidInputError
from rjepa.files import read_json, sha256_file, write_json
from rjepa.home import Home, check_tag
from rjepa.jepa.checkpoint import MODEL_FILE, load_model
from rjepa.jepa.config import SERVED, JepaConfig, Tuning, load_jepa_config
from rjepa.jepa.curves import draw_curve
from rjepa.jepa.diagnostics import Diagnostics, diagnose
from rjepa.jepa.distributed import Processes
from rjepa.jepa.growing import Grown
from rjepa.jepa.launching import train_with_processes
from rjepa.jepa.model import RJepa
from rjepa.jepa.reader import Reader
from rjepa.jepa.starting import Start
from rjepa.jepa.tracking import Tracking
from rjepa.jepa.trainer import TrainReport, train
from rjepa.latents.normalizer import Normalizer, fit_normalizer, load_normalizer, save_normalizer
from rjepa.latents.rollouts import find_train_rollouts
from rjepa.latents.sets import LatentSet
from rjepa.latents.shards import latent_poolings, open_latents
from rjepa.latents.versions import MANIFEST
from rjepa.progress import Progress, silent
from rjepa.stages import StageReport

DIAGNOSTICS_FILE: Final = "diagnostics.json"
_FITTED_CHAINS: Final = 50_000
"""Chains, evenly spread, that a normaliser is fitted on: more than it reads rows of, and few enough for memory."""


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


def open_checkpoint(home: Home, llm_tag: str, dataset: str) -> tuple[RJepa, Reader]:
    """The model that was trained on this student's own latents, on the best device there is, with its reader. What is
    in use for a student and dataset may be another's, carried over: `rjepa.adapters.opening`.

    Raises:
        NotFoundError: it was not trained yet.
        CorruptError: a file is not what it should be.
    """
    normalizer = load_normalizer(normalizer_file(home, llm_tag, dataset))
    model = load_model(model_folder(home, llm_tag, dataset), best_device())
    return model, Reader.of(model.config, normalizer)


def build_normalizer(home: Home, llm_tag: str, dataset: str) -> StageReport:
    """Fit on the right chains of the train split, and write."""
    train_set = open_latents(home, llm_tag, dataset).split("train")
    right = np.flatnonzero(train_set.first_error < 0)
    spread = np.unique(np.linspace(0, max(len(right) - 1, 0), min(len(right), _FITTED_CHAINS)).astype(np.int64))
    sample = train_set.select(right[spread])
    normalizer = fit_normalizer(sample)
    version = save_normalizer(normalizer_file(home, llm_tag, dataset), normalizer)
    return StageReport(
        version,
        {
            "chains": len(right),
            "rows": len(sample.latents),
            "width": normalizer.width,
            "scale_min": float(normalizer.scale.min()),
            "scale_max": float(normalizer.scale.max()),
        },
    )


def build_checkpoint(
    home: Home,
    llm_tag: str,
    dataset: str,
    recipe: str,
    progress: Progress = silent,
    *,
    seed: int | None = None,
    processes: int = 1,
    environment: Mapping[str, str] | None = None,
    start: Start | None = None,
    tuning: Tuning | None = None,
    grown: Grown | None = None,
) -> Trained:
    """Train the run `recipe` of configs/rjepa/, or go on with it, and diagnose what came of it. A trunk that it starts
    from is trained first, as a variant of the same seed.

    Args:
        start: the release that a recipe with `init_from` goes on from. Its normaliser has to be the dataset's
            (`take_normalizer`), so that energies before and after can be compared.
        tuning: values of such a run that replace the recipe's.
        grown: what the run begins with instead of random weights, and the problems that it learns from
            (`rjepa.adapters.transferring`).
        seed: None trains the model that may be released. A seed trains a variant beside it, with the recipe's own seed
            replaced: nothing serves it, `rjepa report` and `rjepa eval compare` judge it.
        processes: how many train together on this machine.
        environment: variables that may ask for W&B (`rjepa.jepa.tracking`).

    Raises:
        InvalidInputError: the recipe needs a release to go on from and none is given, or the other way round; or
            training fails as in `train`.
    """
    config, folder = _config(home, llm_tag, dataset, recipe, seed), _folder(home, llm_tag, dataset, recipe, seed)
    _check_start(config, start, processes)
    if tuning is not None:
        config = config.tuned(tuning)
    if config.trunk is not None:
        build_checkpoint(
            home,
            llm_tag,
            dataset,
            config.trunk,
            progress,
            seed=config.seed,
            processes=processes,
            environment=environment,
        )
    if processes > 1:
        train_with_processes(home, llm_tag, dataset, recipe, seed, processes, progress)
    normalizer = load_normalizer(normalizer_file(home, llm_tag, dataset))
    latents = open_latents(home, llm_tag, dataset)
    train_set, validation = latents.split("train"), latents.split("validation")
    learnt = train_set if grown is None else grown.chosen(train_set)
    tracking = _tracking(environment or {}, home, llm_tag, dataset)
    sampled = _sampled(config, home, llm_tag, dataset)
    # After several processes this finds their finished run.
    report = train(
        config,
        learnt,
        validation,
        normalizer,
        folder,
        progress,
        best_device(),
        tracking=tracking,
        sampled=sampled,
        trunk=_trunk_folder(config, home, llm_tag, dataset),
        start=start,
        grown=grown,
    )
    trained = _trained_config(config, start) if grown is None else grown.config_for(config)
    write_json(folder / "config.json", trained.model_dump(mode="json"))
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
    if start is not None:
        metadata |= {
            "init_from": start.release,
            "learning_rate": config.optim.learning_rate,
            "new_chains": report.new_chains,
            "replayed_chains": report.replayed_chains,
            "replay_share": config.replay.share if config.replay else 0.0,
            "ewc": config.replay.ewc if config.replay else 0.0,
            "start_energy": report.start_energy or 0.0,
        }
    if grown is not None:
        metadata |= {
            "grown_from": grown.source,
            "share": grown.share,
            "problems": len(grown.problems),
            "start_energy": report.start_energy or 0.0,
        }
    metadata |= {name: value for name, value in found.metadata().items() if not isinstance(value, bool)}
    return Trained(StageReport(report.data_version, metadata), draw_curve(report.curve, report.validation))


def take_normalizer(home: Home, llm_tag: str, dataset: str, source: Path) -> StageReport:
    """Take a release's normaliser over for a dataset: what goes on from a release reads latents as it did."""
    normalizer = load_normalizer(source)
    version = save_normalizer(normalizer_file(home, llm_tag, dataset), normalizer)
    scales = {"scale_min": float(normalizer.scale.min()), "scale_max": float(normalizer.scale.max())}
    return StageReport(version, {"width": normalizer.width, **scales})


def train_together(
    home: Home,
    llm_tag: str,
    dataset: str,
    recipe: str,
    seed: int | None,
    progress: Progress,
    processes: Processes,
    environment: Mapping[str, str],
    device: torch.device | str,
) -> TrainReport:
    """The training of `build_checkpoint`, by one of several processes: only the first one
    checks hashes, writes and reports. Nothing is diagnosed.
    """
    latents = open_latents(home, llm_tag, dataset, verify=processes.first)
    config = _config(home, llm_tag, dataset, recipe, seed)
    return train(
        config,
        latents.split("train"),
        latents.split("validation"),
        load_normalizer(normalizer_file(home, llm_tag, dataset)),
        _folder(home, llm_tag, dataset, recipe, seed),
        progress,
        device,
        processes,
        _tracking(environment, home, llm_tag, dataset),
        _sampled(config, home, llm_tag, dataset),
        _trunk_folder(config, home, llm_tag, dataset),
    )


def _check_start(config: JepaConfig, start: Start | None, processes: int) -> None:
    if config.init_from is not None and start is None:
        raise InvalidInputError(
            f"training run {config.name!r} goes on from a release, and none is given",
            cure="rjepa retrain, or choose another run of configs/rjepa/, e.g. demo",
        )
    if config.init_from is None and start is not None:
        raise InvalidInputError(
            f"training run {config.name!r} starts from nothing, and release {start.release} is given to go on from",
            cure=f"choose a run with `init_from: {SERVED}`, e.g. nightly",
        )
    if start is not None and processes > 1:
        raise InvalidInputError(
            f"training run {config.name!r} goes on from a release in one process, asked for {processes}",
            cure="leave `processes` at 1: so short a run gains nothing from more",
        )


def _trained_config(config: JepaConfig, start: Start | None) -> JepaConfig:
    """The config that lies beside the weights: of a run that went on from a release, with its id and its shape."""
    return config if start is None else start.config_for(config)


def _sampled(config: JepaConfig, home: Home, llm_tag: str, dataset: str) -> LatentSet | None:
    """The student's own chains for training problems, for a config that learns from wrong ones; None if there are
    none, and the dataset's own wrong chains have to do.
    """
    found = find_train_rollouts(home, llm_tag, dataset) if config.loss.uses_negatives else None
    return None if found is None else found.latents


def _trunk_folder(config: JepaConfig, home: Home, llm_tag: str, dataset: str) -> Path | None:
    return None if config.trunk is None else variant_folder(home, llm_tag, dataset, config.trunk, config.seed)


def variant_folder(home: Home, llm_tag: str, dataset: str, recipe: str, seed: int) -> Path:
    """Where one variant lies: `<recipe>-<seed>`."""
    return home.models(llm_tag, dataset) / "variants" / f"{check_tag(recipe, 'name of a training run')}-{seed}"


def open_variant(home: Home, llm_tag: str, dataset: str, recipe: str, seed: int) -> tuple[RJepa, Reader]:
    """A trained variant, on the best device there is, with the reader of its dataset and LLM.

    Errors as in `open_checkpoint`.
    """
    normalizer = load_normalizer(normalizer_file(home, llm_tag, dataset))
    model = load_model(variant_folder(home, llm_tag, dataset, recipe, seed), best_device())
    return model, Reader.of(model.config, normalizer)


def read_diagnostics(home: Home, llm_tag: str, dataset: str) -> Diagnostics:
    """What was measured of the trained model.

    Raises:
        NotFoundError: it was not trained yet.
        CorruptError: the file does not fit.
    """
    return read_diagnostics_in(model_folder(home, llm_tag, dataset))


def read_diagnostics_in(folder: Path) -> Diagnostics:
    """What was measured of the model of a folder (errors as `read_diagnostics`)."""
    path = folder / DIAGNOSTICS_FILE
    try:
        return Diagnostics.from_json(read_json(path)["diagnostics"])
    except (KeyError, TypeError) as error:
        raise CorruptError(
            f"{path} does not hold diagnostics", cure="delete it and materialise rjepa_checkpoint, or adapter"
        ) from error


def _diagnose_once(
    folder: Path, model_version: str, normalizer: Normalizer, train_set: LatentSet, validation: LatentSet
) -> Diagnostics:
    path = folder / DIAGNOSTICS_FILE
    if path.exists():
        known = read_json(path)
        # What an earlier version of the code measured is not all there is now.
        with contextlib.suppress(KeyError, TypeError):
            if known["model"] == model_version:
                return Diagnostics.from_json(known["diagnostics"])
    model = load_model(folder, best_device())
    found = diagnose(model, Reader.of(model.config, normalizer), validation, fit_on=train_set)
    write_diagnostics(folder, found)
    return found


def write_diagnostics(folder: Path, found: Diagnostics) -> None:
    """Keep what was measured of the model of a folder beside it."""
    values = {"model": sha256_file(folder / MODEL_FILE), "diagnostics": asdict(found)}
    write_json(folder / DIAGNOSTICS_FILE, values)


def _config(home: Home, llm_tag: str, dataset: str, recipe: str, seed: int | None) -> JepaConfig:
    config = load_jepa_config(recipe).reading(latent_poolings(home, llm_tag, dataset))
    return config if seed is None else config.model_copy(update={"seed": seed})


def _folder(home: Home, llm_tag: str, dataset: str, recipe: str, seed: int | None) -> Path:
    if seed is None:
        return model_folder(home, llm_tag, dataset)
    return variant_folder(home, llm_tag, dataset, recipe, seed)


def _tracking(environment: Mapping[str, str], home: Home, llm_tag: str, dataset: str) -> Tracking:
    version = read_json(home.latents(llm_tag, dataset) / MANIFEST)["data_version"]
    return Tracking(environment, {"llm_tag": llm_tag, "dataset": dataset, "latents": version})
