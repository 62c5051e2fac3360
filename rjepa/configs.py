"""Find and read the YAML files of `configs/`: one typed, frozen value per file."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rjepa.errors import InvalidInputError, NotFoundError

Config = TypeVar("Config", bound=BaseModel)

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
"""The repository's folder: the project is installed in place (`pip install -e .`), as its users edit these files."""


def load_config(path: Path, model: type[Config]) -> Config:
    """Read one YAML file as `model`.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is not YAML or does not fit; every wrong field is named.
    """
    if not path.exists():
        known = ", ".join(config_names(path.parent)) or "none"
        raise NotFoundError(f"{path} does not exist", cure=f"choose one of these: {known}")
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not valid YAML ({error})", cure="mend the line it names") from error
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise InvalidInputError(f"{path} does not fit {model.__name__}: {fields}", cure="mend these fields") from error


def config_names(folder: Path) -> list[str]:
    """Names of the YAML files in a folder, without their extension."""
    return sorted(path.stem for path in folder.glob("*.yaml"))
