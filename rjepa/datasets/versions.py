"""Dataset versions by name: `v1.2.0` is a version of the platform's own data, any other name a set of its own.

A version is cumulative: it has what its parent has, and more. The number says what a reader must expect:

- patch (v1.0.1): the same problems and chains; only their description changed.
- minor (v1.1.0): problems were added. Everything that was there is still there, in the same split.
- major (v2.0.0): problems were removed (a deletion request), perhaps others added.

This module writes recipes. What a recipe's version holds is made by the stages in `building`.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from rjepa.configs import load_config
from rjepa.datasets.leaks import NEAR, datasets_at_home
from rjepa.datasets.parts import MANIFEST
from rjepa.datasets.recipe import DatasetRecipe, dataset_names, load_recipe, recipe_yaml, registry_folder
from rjepa.datasets.removing import finish_removal
from rjepa.datasets.stages import PROBLEMS
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import read_json, write_text
from rjepa.home import Home, check_tag

_VERSION: Final = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def version_key(dataset: str) -> tuple[int, int, int] | None:
    """(1, 2, 0) for `v1.2.0`, to compare versions by; None for a set of its own."""
    found = _VERSION.fullmatch(dataset)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def next_version(home: Home, *, removes: bool) -> str:
    """A name above every version that has a recipe: the next minor one, or where problems are removed the next major.

    Raises:
        NotFoundError: there is no version yet.
    """
    known = [key for name in dataset_names(home) if (key := version_key(name)) is not None]
    if not known:
        raise NotFoundError("there is no dataset version", cure="rjepa data create v1.0.0")
    return _next(max(known), 0 if removes else 1)


def create_version(
    home: Home,
    name: str,
    *,
    parent: str,
    adds: Sequence[str] = (),
    removes: Sequence[str] = (),
    near: float | None = NEAR,
    description: str = "",
) -> DatasetRecipe:
    """Describe the version that grows from a released parent, write its recipe to the registry and return it.

    `adds` names datasets or YAML recipe files (which are registered first); `removes` are problem ids of the parent.
    The recipe names the parent's content, that of every added dataset, and every dataset in the home whose tests are
    to be kept out of training, so that it alone decides what the version holds. Asking again for the same changes
    nothing.

    Raises:
        InvalidInputError: the name is taken or does not fit what changes; a dataset cannot be added.
        NotFoundError: there is no such dataset, or the parent is not released.
    """
    check_tag(name, "dataset version")
    finish_removal(home, name)
    manifest = _released_parent(home, name, parent)
    recipes = [_addable(home, each) for each in adds]
    _check_number(name, parent, bool(recipes), bool(removes))
    inside = {parent, name, *manifest.get("lineage", []), *manifest["recipe"].get("adds", {})}
    inside |= {recipe.name for recipe in recipes}
    recipe = DatasetRecipe(
        name=name,
        version=name.removeprefix("v"),
        source="cumulative",
        description=description or _describe(parent, recipes, removes),
        created=datetime.now(UTC).replace(microsecond=0),
        parent=parent,
        parent_hash=manifest["data_hash"],
        adds={recipe.name: recipe.hash() for recipe in recipes},
        removes=sorted(set(removes)),
        keep_out=_tests_at_home(home, inside) if recipes else {},
        near_duplicates=near if recipes else None,
        validation_floor=min((recipe.validation_floor for recipe in recipes), default=_FLOOR),
        warnings=list(dict.fromkeys(warning for recipe in recipes for warning in recipe.warnings)),
    )
    if name in dataset_names(home):
        return _known(home, recipe)
    register_recipe(home, recipe)
    return recipe


def register_recipe(home: Home, recipe: DatasetRecipe) -> None:
    """Write a recipe to the registry, atomically: a killed command has registered it or has not."""
    text = yaml.safe_dump(recipe_yaml(recipe), sort_keys=False, allow_unicode=True)
    write_text(registry_folder(home) / f"{recipe.name}.yaml", text)


_FLOOR: Final[float] = DatasetRecipe.model_fields["validation_floor"].default


def _released_parent(home: Home, name: str, parent: str) -> dict[str, Any]:
    mine, theirs = version_key(name), version_key(parent)
    if mine is None or theirs is None:
        raise InvalidInputError(
            f"{name if mine is None else parent!r} is no version", cure="versions are called vX.Y.Z, e.g. v1.1.0"
        )
    if mine <= theirs:
        raise InvalidInputError(
            f"{name} is not above its parent {parent}", cure=f"take a higher number, e.g. {_next(theirs, 1)}"
        )
    load_recipe(home, parent)
    path = home.dataset(parent) / MANIFEST
    if not path.exists():
        raise NotFoundError(f"{parent} is not released yet", cure=f"run `rjepa data create {parent}` first")
    manifest: dict[str, Any] = read_json(path)
    return manifest


def _addable(home: Home, given: str) -> DatasetRecipe:
    path = Path(given)
    if path.suffix in (".yaml", ".yml"):
        recipe = load_config(path, DatasetRecipe)
        if recipe.name in dataset_names(home):
            if load_recipe(home, recipe.name).hash() != recipe.hash():
                raise InvalidInputError(
                    f"{path} describes {recipe.name!r}, and there is another dataset of that name",
                    cure="give the recipe another name",
                )
        else:
            check_tag(recipe.name, "dataset name")
            register_recipe(home, recipe)
    else:
        recipe = load_recipe(home, given)
    if recipe.source == "cumulative":
        raise InvalidInputError(
            f"{recipe.name} is a version that grew from {recipe.parent}; versions do not join",
            cure=f"add what it added: {', '.join(recipe.adds) or 'nothing'}",
        )
    return recipe


def _check_number(name: str, parent: str, adds: bool, removes: bool) -> None:
    old, new = version_key(parent), version_key(name)
    assert old is not None and new is not None
    needed = 0 if removes else 1 if adds else 2
    changed = next(place for place in range(3) if new[place] != old[place])
    if changed <= needed:  # a larger step than needed is its maker's choice
        return
    why = "problems are removed" if removes else "problems are added"
    raise InvalidInputError(
        f"{name} promises readers of {parent} less change than it brings: {why}",
        cure=f"call it {_next(old, needed)} or higher",
    )


def _next(version: tuple[int, int, int], place: int) -> str:
    numbers = [*version[:place], version[place] + 1, *[0] * (2 - place)]
    return "v" + ".".join(map(str, numbers))


def _describe(parent: str, recipes: Sequence[DatasetRecipe], removes: Sequence[str]) -> str:
    added = f" and {', '.join(recipe.name for recipe in recipes)}" if recipes else ""
    return f"{parent}{added}" + (f", without {len(set(removes))} removed problem(s)" if removes else "") + "."


def _tests_at_home(home: Home, inside: set[str]) -> dict[str, str]:
    """Released datasets with test problems that are no part of the new version, and the version of their problems."""
    found = {}
    for name in datasets_at_home(home):
        path = home.dataset(name) / MANIFEST
        if name not in inside and path.exists():
            manifest = read_json(path)
            if manifest["counts"]["by_split"].get("test"):
                found[name] = manifest["stages"][PROBLEMS.name]["data_version"]
    return found


def _known(home: Home, recipe: DatasetRecipe) -> DatasetRecipe:
    """The recipe that is registered under the name, if it is the same but for its date and what it says of itself.

    The datasets to keep out are those of the day it was made: one that came since is for the next version.
    """
    known = load_recipe(home, recipe.name)
    later = {"created": known.created, "keep_out": known.keep_out}
    if known.hash() == recipe.model_copy(update=later).hash():
        return known
    raise InvalidInputError(
        f"{recipe.name} exists and is another dataset ({known.description or known.source}); a version never changes",
        cure="take a higher number, or leave --from, --add and --remove out to go on with the one that exists",
    )
