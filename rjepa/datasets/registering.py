"""Register a file of problems as a dataset of its own: all or nothing, and never twice under one name."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rjepa.datasets.recipe import (
    BenchmarkSource,
    DatasetRecipe,
    imported_file,
    load_recipe,
    own_folder,
    registry_folder,
)
from rjepa.datasets.removing import finish_removal
from rjepa.datasets.snapshots import benchmark_intake
from rjepa.datasets.versions import register_recipe
from rjepa.errors import InvalidInputError
from rjepa.files import atomic_path, sha256_file, write_text
from rjepa.home import Home, check_tag
from rjepa.problems.columns import ColumnMap
from rjepa.problems.files import Format
from rjepa.problems.importing import Intake, import_rows
from rjepa.problems.lines import SplitChoice, WorkedProblem, normalised
from rjepa.progress import Progress, silent

_PROGRESS_INTERVAL = 5000


@dataclass(frozen=True)
class Import:
    """How a file is to be read. Without a `split`, rows go where they say, else into `test`."""

    split: SplitChoice | None = None
    columns: ColumnMap = field(default_factory=ColumnMap)
    kind: Format | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Imported:
    """What an import made: the recipe, and how many problems of which split."""

    recipe: DatasetRecipe
    problems: int
    splits: dict[str, int]
    warnings: list[str]


def import_file(home: Home, file: Path, name: str, how: Import | None = None, progress: Progress = silent) -> Imported:
    """Copy a good file's problems, normalised, into the registry with their recipe.

    Rows pass one at a time: memory does not grow with the file. The recipe is written last: a killed import leaves no
    dataset behind, and is simply run again. Importing the same problems under the same name again changes nothing.

    Raises:
        InvalidInputError: a bad name, a bad row, or a name that is taken by other problems.
        NotFoundError: there is no such file.
    """
    how = how or Import()
    _check_name(home, name)
    now = _now()
    intake = import_rows(file, name, now, how.split, columns=how.columns, kind=how.kind, licence=how.licence)
    return _register(home, name, intake, now, f"imported from {file.name}", file, progress)


def import_benchmark(home: Home, source: BenchmarkSource, name: str, progress: Progress = silent) -> Imported:
    """Copy a benchmark's problems, from a file of the published schema or from the hub, as `import_file` does.

    Raises:
        InvalidInputError: a bad name, rows of another schema, or a name that is taken by other problems.
        NotFoundError: there is no such file, or nothing on the hub.
    """
    _check_name(home, name)
    now = _now()
    intake = benchmark_intake(source, now, silent)
    where = ", ".join(Path(file).name for file in source.files.values()) or "the hub"
    return _register(home, name, intake, now, f"{source.name} from {where}", None, progress)


def register_problems(
    home: Home,
    name: str,
    pairs: Sequence[WorkedProblem],
    *,
    created: datetime,
    description: str,
) -> DatasetRecipe:
    """Register problems that this program made itself. The same ones under the same name again change nothing.

    Raises:
        InvalidInputError: a bad name, or one that is taken by other problems.
        ValueError: there are none.
    """
    if not pairs:
        raise ValueError("no problems to register")
    _check_name(home, name)
    recipe_path, path = registry_folder(home) / f"{name}.yaml", imported_file(home, name)
    text = "".join(map(normalised, pairs))
    recipe = DatasetRecipe(
        name=name,
        source="imported",
        description=description,
        created=created,
        content_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    if recipe_path.exists() and load_recipe(home, name).hash() != recipe.hash():
        raise _taken(name)
    if not path.is_file() or sha256_file(path) != recipe.content_sha256:
        write_text(path, text)
    if not recipe_path.exists():
        register_recipe(home, recipe)
    return recipe


def _register(
    home: Home, name: str, intake: Intake, now: datetime, description: str, file: Path | None, progress: Progress
) -> Imported:
    recipe_path, path = registry_folder(home) / f"{name}.yaml", imported_file(home, name)
    known = load_recipe(home, name) if recipe_path.exists() else None
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8") as out:
            for pair in intake.pairs():
                out.write(normalised(pair))
                if intake.taken % _PROGRESS_INTERVAL == 0:
                    progress(intake.taken, intake.taken, "rows")
        intake.finish()
        digest = sha256_file(temporary)
        if known is not None and known.content_sha256 != digest:
            raise _taken(name)
    recipe = known or DatasetRecipe(
        name=name,
        source="imported",
        description=description,
        created=now,
        content_sha256=digest,
        warnings=intake.warnings(),
        origin={"file": file.name, "sha256": sha256_file(file)} if file is not None else {},
    )
    if known is None:
        register_recipe(home, recipe)
    splits = {split: intake.by_split[split] for split in ("train", "validation", "test")}
    return Imported(recipe, intake.taken, splits, recipe.warnings)


def _taken(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"dataset {name!r} exists and holds other problems or other splits; a dataset never changes",
        cure=f"import under another --name, e.g. {name[:60]}-2",
    )


def _check_name(home: Home, name: str) -> None:
    check_tag(name, "dataset name")
    finish_removal(home, name)
    if (own_folder() / f"{name}.yaml").exists():
        raise InvalidInputError(f"{name!r} is one of the datasets that come with R-JEPA", cure="choose another --name")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
