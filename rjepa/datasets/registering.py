"""Register a file of problems as a dataset of its own: all or nothing, and never twice under one name."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import yaml

from rjepa.datasets.recipe import (
    DatasetRecipe,
    imported_file,
    load_recipe,
    own_folder,
    recipe_yaml,
    registry_folder,
)
from rjepa.errors import InvalidInputError
from rjepa.files import write_text
from rjepa.home import Home, check_tag
from rjepa.problems.importing import read_problems
from rjepa.schemas import Split


def import_dataset(home: Home, file: Path, name: str, split: Split | None = None) -> DatasetRecipe:
    """Copy a good file's problems, normalised, into the registry with their recipe, and return the recipe.

    The recipe is written last: a killed import leaves no dataset behind, and is simply run again. Importing the same
    problems under the same name again changes nothing.

    Raises:
        InvalidInputError: a bad name, a bad line, or a name that is taken by other problems.
        NotFoundError: there is no such file.
    """
    check_tag(name, "dataset name")
    if (own_folder() / f"{name}.yaml").exists():
        raise InvalidInputError(
            f"{name!r} is one of the datasets that come with R-JEPA", cure="choose another --name"
        )
    now = datetime.now(UTC).replace(microsecond=0)
    problems = read_problems(file, name, now, split)
    text = problems.to_json_lines()
    digest = hashlib.sha256(text.encode()).hexdigest()
    recipe_path = registry_folder(home) / f"{name}.yaml"
    if recipe_path.exists():
        known = load_recipe(home, name)
        if known.content_sha256 != digest:
            raise InvalidInputError(
                f"dataset {name!r} exists and holds other problems or other splits; a dataset never changes",
                cure=f"import under another --name, e.g. {name[:60]}-2",
            )
        if imported_file(home, name).is_file():
            return known
        write_text(imported_file(home, name), text)
        return known
    recipe = DatasetRecipe(
        name=name,
        source="imported",
        description=f"imported from {file.name}",
        created=now,
        content_sha256=digest,
        warnings=problems.warnings,
    )
    write_text(imported_file(home, name), text)
    write_text(recipe_path, yaml.safe_dump(recipe_yaml(recipe), sort_keys=False, allow_unicode=True))
    return recipe
