"""Where the decoders of a student and dataset lie, and which of them belong to the R-JEPA that is in use now."""

from pathlib import Path

from rjepa.adapters.opening import files_in_use
from rjepa.errors import NotFoundError
from rjepa.home import Home, check_tag
from rjepa.jepa.checkpoint import MODEL_FILE
from rjepa.parts import PartSource, guidance_part, verbalizer_part
from rjepa.verbalizer.checkpoint import is_made_for
from rjepa.verbalizer.guiding import SETTINGS_FILE


def verbalizer_folder(home: Home, llm_tag: str, dataset: str) -> Path:
    """Where the decoder of a student and dataset lies: weights, training state, report, measurements."""
    return home.models(llm_tag, dataset) / "verbalizer"


def guidance_folder(home: Home, llm_tag: str, dataset: str) -> Path:
    """Where the guidance of a student and dataset lies: a decoder of its own, its settings, and what it knows."""
    return home.models(llm_tag, dataset) / "guidance"


def decoder_variant_folder(home: Home, llm_tag: str, dataset: str, recipe: str, seed: int) -> Path:
    """Where a decoder lies that nothing serves: `<recipe>-<seed>`, a control or another seed."""
    return home.models(llm_tag, dataset) / "decoders" / f"{check_tag(recipe, 'name of a training run')}-{seed}"


def current_world_model(home: Home, llm_tag: str, dataset: str) -> str:
    """Name of the R-JEPA in use (`rjepa.adapters.opening`).

    Raises:
        NotFoundError: there is none yet.
    """
    files = files_in_use(home, llm_tag, dataset)
    for path in (files.model / MODEL_FILE, files.normalizer):
        if not path.is_file():
            raise NotFoundError(f"{path} does not exist", cure="materialise rjepa_checkpoint, or adapter")
    return files.sha256()


def decoder_parts(home: Home, llm_tag: str, dataset: str) -> tuple[PartSource, ...]:
    """The parts that speak and guide, as far as they are there for the R-JEPA in use."""
    world_model = current_world_model(home, llm_tag, dataset)
    verbalizer, guidance = verbalizer_folder(home, llm_tag, dataset), guidance_folder(home, llm_tag, dataset)
    parts = []
    if is_made_for(verbalizer, world_model):
        parts.append(verbalizer_part(verbalizer))
    if is_made_for(guidance, world_model) and (guidance / SETTINGS_FILE).is_file():
        parts.append(guidance_part(guidance))
    return tuple(parts)
