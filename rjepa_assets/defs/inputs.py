"""Hashes of what stages read: the inputs of their receipts. Small manifests stand for the folders that they list."""

from collections.abc import Iterable, Mapping

from rjepa.adapters.in_use import CARRIED_FOLDER, Origin, in_use
from rjepa.errors import NotFoundError
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.jepa.config import load_jepa_config
from rjepa.parts import (
    ADAPTER_FILES,
    ADAPTER_FOLDER,
    GUIDANCE_FILES,
    GUIDANCE_FOLDER,
    GUIDED_CALIBRATION,
    MODEL_FILES,
    MODEL_FOLDER,
    NORMALIZER,
    VERBALIZER_FILES,
    VERBALIZER_FOLDER,
)
from rjepa.stages import file_version
from rjepa.students.catalog import load_record
from rjepa.students.lora.recipe import load_lora_recipe, replay_dataset
from rjepa.students.resolving import resolve_student
from rjepa.verbalizer.config import load_decoder_config

_PARTS: Mapping[Origin, tuple[str, ...]] = {
    "native": ("normalizer.safetensors", "rjepa/model.safetensors"),
    "carried": tuple(
        f"{CARRIED_FOLDER}/{name}"
        for name in (
            NORMALIZER,
            *(f"{MODEL_FOLDER}/{name}" for name in MODEL_FILES),
            *(f"{ADAPTER_FOLDER}/{name}" for name in ADAPTER_FILES),
        )
    ),
}
"""Files of an R-JEPA among the models of a dataset|LLM, by where it comes from."""

_DECODER_FILES = (
    *(f"{VERBALIZER_FOLDER}/{name}" for name in VERBALIZER_FILES),
    *(f"{GUIDANCE_FOLDER}/{name}" for name in GUIDANCE_FILES),
    GUIDED_CALIBRATION,
)


def student_version(home: Home, llm_tag: str) -> str:
    """Fingerprint of a student as it is now: its record and its files may have been replaced. One whose files are not
    there yet (it has to be trained first) has the version of its record.

    Raises:
        NotFoundError: there is no student of this tag.
    """
    record = load_record(home, llm_tag)
    try:
        return resolve_student(home, record).fingerprint
    except NotFoundError:
        return sha256_json(record.model_dump(mode="json"))


def recipe_version(names: Iterable[str]) -> str:
    """What the runs of configs/rjepa/ say, with the trunks that they start from: the files may be edited."""
    configs = [load_jepa_config(name) for name in names]
    configs += [load_jepa_config(config.trunk) for config in configs if config.trunk is not None]
    return sha256_json([config.model_dump(mode="json") for config in configs])


def decoder_recipe_version(name: str) -> str:
    """What a run of configs/verbalizer/ says."""
    return sha256_json(load_decoder_config(name).model_dump(mode="json"))


def lora_recipe_version(name: str) -> str:
    """What a run of configs/lora/ says."""
    return sha256_json(load_lora_recipe(name).model_dump(mode="json"))


def lora_data_version(home: Home, dataset: str, recipe: str) -> str:
    """Of what a LoRA learns from: the dataset version, and the one that its recipe shows again."""
    replayed = replay_dataset(home, dataset, load_lora_recipe(recipe))
    names = [dataset, *([] if replayed is None else [replayed])]
    return sha256_json([file_version(home.dataset(name) / "manifest.json") for name in names])


def latents_version(home: Home, llm_tag: str, dataset: str) -> str:
    """Of the latents' manifest."""
    return file_version(home.latents(llm_tag, dataset) / "manifest.json")


def rollouts_version(home: Home, llm_tag: str, dataset: str) -> str:
    """Of the rollouts' manifest."""
    return file_version(home.rollouts(llm_tag, dataset) / "manifest.json")


def train_rollouts_version(home: Home, llm_tag: str, dataset: str) -> str:
    """Of the training rollouts' manifest, "none" where there are none."""
    return file_version(home.train_rollouts(llm_tag, dataset) / "manifest.json")


def models_version(home: Home, llm_tag: str, dataset: str, *names: str) -> str:
    """Of files among a dataset|LLM's models."""
    folder = home.models(llm_tag, dataset)
    return sha256_json([file_version(folder / name) for name in names])


def rjepa_version(home: Home, llm_tag: str, dataset: str) -> str:
    """Of the R-JEPA in use for a dataset|LLM: its own, or one that was carried to it."""
    return models_version(home, llm_tag, dataset, *_PARTS[in_use(home, llm_tag, dataset)])


def evaluations_version(home: Home, llm_tag: str, dataset: str) -> str:
    """Of an LLM's report on a dataset version and of what it judged; of all its reports where none is named."""
    reports = home.reports(llm_tag, "v0.0.0").parent
    names = [dataset] if dataset else sorted(path.parent.name for path in reports.glob("*/report.json"))
    files = [reports / name / file for name in names for file in ("report.json", "inputs.json")]
    return sha256_json([[path.parent.name, file_version(path)] for path in files])


def decoders_version(home: Home, llm_tag: str, dataset: str) -> str:
    """Of an LLM's decoders for a dataset version; for all where none is named."""
    models = home.models(llm_tag, "v0.0.0").parent
    names = [dataset] if dataset else sorted(path.name for path in models.glob("*") if path.is_dir())
    files = [models / name / file for name in names for file in _DECODER_FILES]
    return sha256_json([[path.parent.parent.name, file_version(path)] for path in files])
