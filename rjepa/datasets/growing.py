"""Grow a version from its parent: take its parts over by reference, draw only what is added.

A problem that is removed (a deletion request) is really gone from the new version: the parts that held it are written
anew in the new version's folder without it. All other parts of the parent are neither copied nor changed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rjepa.datasets.manifest import totals
from rjepa.datasets.novelty import Known
from rjepa.datasets.parts import BASE, MANIFEST, Base, Part, part_paths, read_base, released_parts, write_base
from rjepa.datasets.recipe import DatasetRecipe, load_recipe
from rjepa.datasets.sources import source_pairs, source_warnings
from rjepa.datasets.stages import STAGES, Stage, stored_report
from rjepa.datasets.statements import part_fingerprints
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json, sha256_file
from rjepa.home import Home
from rjepa.progress import Progress
from rjepa.schemas import ChainOfThought, Problem
from rjepa.tables import read_records, write_records


@dataclass(frozen=True)
class Drawn:
    """A problem as its source gives it, with its worked solution and the recipe that drew it."""

    problem: Problem
    chain: ChainOfThought | None
    recipe: DatasetRecipe


def draw(home: Home, recipe: DatasetRecipe, progress: Progress) -> list[Drawn]:
    """Every problem that a recipe adds. Equal recipes draw equal problems.

    Raises:
        CorruptError: an added dataset's recipe or file is not the one that was added.
    """
    return [
        Drawn(problem, chain, each)
        for each in _drawing(home, recipe)
        for problem, chain in source_pairs(home, each, progress)
    ]


def drawn_warnings(home: Home, recipe: DatasetRecipe) -> list[str]:
    """What the sources of a recipe's own problems warn of, beyond what the recipe says."""
    return [warning for each in _drawing(home, recipe) for warning in source_warnings(home, each)]


def take_over(home: Home, recipe: DatasetRecipe) -> Base | None:
    """What a recipe's version has from its parent, worked out once and written to base.json; None without a parent.

    Raises:
        NotFoundError: the parent is not released.
        CorruptError: the parent is not the one that the version was to grow from, or a part of it is damaged.
        InvalidInputError: a problem to remove is not in the parent.
    """
    if recipe.source != "cumulative":
        (home.dataset(recipe.name) / BASE).unlink(missing_ok=True)
        return None
    base = read_base(home, recipe.name)
    if base is not None and base.identity == recipe.hash() and _own_parts_intact(home, recipe.name, base):
        return base
    manifest = parent_manifest(home, recipe)
    parts = {stage.name: released_parts(str(recipe.parent), manifest, stage.name) for stage in STAGES}
    for part in [part for listed in parts.values() for part in listed]:
        path = part.path(home)
        if not path.is_file() or path.stat().st_size != part.bytes:
            raise CorruptError(
                f"{path}, a part of {recipe.parent}, is {'damaged' if path.is_file() else 'missing'}",
                cure=f"materialise {part.dataset} again, then this",
            )
    removed: dict[str, Any] = {}
    if recipe.removes:
        parts, removed = _without(home, recipe, parts)
    base = Base(recipe.hash(), str(recipe.parent), str(recipe.parent_hash), parts, removed)
    write_base(home, recipe.name, base)
    return base


def known_statements(home: Home, recipe: DatasetRecipe, base: Base | None) -> list[Known]:
    """What new problems are compared with: the parent's parts, and the tests of the datasets to keep out.

    Raises:
        CorruptError: a dataset to keep out is not the one that the recipe names.
    """
    parts = base.parts["problems"] if base is not None else []
    found = [Known(part.path(home), part_fingerprints(home, part.path(home), part.sha256)) for part in parts]
    taken = {part.path for part in found}
    for name, version in recipe.keep_out.items():
        if stored_report(home, name, STAGES[0]).data_version != version:
            raise CorruptError(
                f"{recipe.name} is to keep out the tests of {name}, which are not the ones its recipe means any more",
                cure=f"give the changed dataset a name of its own, and materialise {name} as it was",
            )
        paths = [path for path in part_paths(home, name, "problems") if path not in taken]
        found += [Known(path, part_fingerprints(home, path), name) for path in paths]
    return found


def parent_manifest(home: Home, recipe: DatasetRecipe) -> dict[str, Any]:
    """The manifest of the version that a recipe grows from.

    Raises:
        NotFoundError: it is not released here.
        CorruptError: it has other content than the recipe names.
    """
    path = home.dataset(str(recipe.parent)) / MANIFEST
    if not path.exists():
        raise NotFoundError(
            f"{recipe.name} grows from {recipe.parent}, which is not released here",
            cure=f"run `rjepa data create {recipe.parent}` first",
        )
    manifest: dict[str, Any] = read_json(path)
    if manifest["data_hash"] != recipe.parent_hash:
        raise CorruptError(
            f"{recipe.name} grows from {recipe.parent} with content {str(recipe.parent_hash)[:12]}, found"
            f" {manifest['data_hash'][:12]}",
            cure=f"materialise {recipe.parent} as it was, or create another version from the one that is here",
        )
    return manifest


def removed_ids(home: Home, recipe: DatasetRecipe) -> set[str]:
    """Ids that were removed from this version or one before it: what was asked to be deleted does not come back."""
    if recipe.source != "cumulative":
        return set()
    return {*recipe.removes, *parent_manifest(home, recipe).get("removed_ids", [])}


def _drawing(home: Home, recipe: DatasetRecipe) -> list[DatasetRecipe]:
    """The recipes whose problems a version draws: its own, or those of what it adds."""
    return [recipe] if recipe.source != "cumulative" else [_added(home, recipe, name) for name in recipe.adds]


def _added(home: Home, recipe: DatasetRecipe, name: str) -> DatasetRecipe:
    added = load_recipe(home, name)
    if added.hash() != recipe.adds[name]:
        raise CorruptError(
            f"{recipe.name} adds {name} as recipe {recipe.adds[name][:12]}, found {added.hash()[:12]}",
            cure=f"undo the change to {name}, or add the changed one to a new version",
        )
    return added


def _own_parts_intact(home: Home, dataset: str, base: Base) -> bool:
    own = [part for listed in base.parts.values() for part in listed if part.dataset == dataset]
    return all(part.path(home).is_file() and sha256_file(part.path(home)) == part.sha256 for part in own)


def _without(
    home: Home, recipe: DatasetRecipe, parts: dict[str, list[Part]]
) -> tuple[dict[str, list[Part]], dict[str, Any]]:
    """The parts, those that hold a removed problem written anew without it, and the totals of what was removed."""
    removes = set(recipe.removes)
    kept: dict[str, list[Part]] = {}
    gone: dict[str, list[Any]] = {}
    for stage in STAGES:
        kept[stage.name], gone[stage.name] = [], []
        for number, part in enumerate(parts[stage.name]):
            if not _holds(part.path(home), removes):
                kept[stage.name].append(part)
                continue
            records = read_records(part.path(home), stage.model)
            gone[stage.name] += [record for record in records if _problem_id(record) in removes]
            rest = [record for record in records if _problem_id(record) not in removes]
            if rest:
                kept[stage.name].append(_rewrite(home, recipe, stage, number, rest))
    missing = sorted(removes - {problem.problem_id for problem in gone["problems"]})
    if missing:
        raise InvalidInputError(
            f"{len(missing)} problem(s) to remove are not in {recipe.parent}: {', '.join(missing[:5])}",
            cure="look ids up with `rjepa data show` or `rjepa sql`",
        )
    return kept, totals(gone["problems"], gone["validated_chains"])


def _rewrite(home: Home, recipe: DatasetRecipe, stage: Stage, number: int, rest: list[Any]) -> Part:
    file = f"{stage.name}.kept-{number:03d}.parquet"
    path: Path = home.dataset(recipe.name) / file
    write_records(path, stage.model, rest)
    return Part(recipe.name, file, sha256_file(path), path.stat().st_size, len(rest))


def _holds(path: Path, ids: set[str]) -> bool:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    column = pq.read_table(path, columns=["problem_id"])["problem_id"]
    return bool(pc.any(pc.is_in(column, value_set=_array(ids))).as_py())


def _array(ids: set[str]) -> Any:
    import pyarrow as pa

    return pa.array(sorted(ids), pa.string())


def _problem_id(record: Any) -> str:
    return str(record.problem_id)
