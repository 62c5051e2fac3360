"""Whose R-JEPA can be given to another LLM. Quick: nothing here loads a model."""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from rjepa.configs import CONFIGS, config_names
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json
from rjepa.home import Home
from rjepa.jepa.config import JepaConfig, load_jepa_config
from rjepa.students.catalog import list_records

_NORMALIZER: Final = "normalizer.safetensors"
_MODEL: Final = "rjepa/model.safetensors"
_CONFIG: Final = "rjepa/config.json"
SOURCE_FILES: Final = (_NORMALIZER, _MODEL, _CONFIG)
"""Of an R-JEPA of an LLM's own, among its models: what is carried. (Their paths are those of `rjepa.jepa.stage`, which
loads torch.)"""


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


def trained_recipe(home: Home, llm_tag: str, dataset: str) -> str:
    """The run of configs/rjepa/ that an LLM's own R-JEPA came from.

    Raises:
        NotFoundError: it has none on this dataset.
        CorruptError: its config cannot be read.
        InvalidInputError: no run says what its config says: it was changed since, or went on from a release.
    """
    path = home.models(llm_tag, dataset) / _CONFIG
    try:
        trained = JepaConfig.model_validate(read_json(path))
    except ValidationError as error:
        raise CorruptError(f"{path} is not the config of an R-JEPA", cure="materialise rjepa_checkpoint") from error
    for name in config_names(CONFIGS / "rjepa"):
        if load_jepa_config(name).model_copy(update={"poolings": trained.poolings}) == trained:
            return name
    raise InvalidInputError(
        f"no run of configs/rjepa/ is the one that the R-JEPA of {llm_tag} on {dataset} came from",
        cure="name one: --recipe demo",
    )


def _is_trained(home: Home, llm_tag: str, dataset: str) -> bool:
    models: Path = home.models(llm_tag, dataset)
    return all((models / name).is_file() for name in SOURCE_FILES)
