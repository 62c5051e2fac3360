"""A benchmark's problems as they were when they were first read: a normalised file, and beside it where it came from.

The hub may be gone tomorrow, and every stage of a dataset reads its source anew: so rows are adapted once, kept, and
never fetched again. What a row becomes is decided in `rjepa.problems.benchmarks`.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from rjepa.datasets.recipe import BenchmarkSource, DatasetRecipe, imported_file
from rjepa.errors import CorruptError
from rjepa.files import atomic_path, read_json, sha256_file, sha256_json, write_json
from rjepa.home import Home
from rjepa.problems.benchmarks import Benchmark, adapt_row, find_benchmark
from rjepa.problems.benchmarks.hub import hub_rows
from rjepa.problems.files import Row, check_file, format_of, open_rows
from rjepa.problems.importing import Intake
from rjepa.problems.lines import WorkedProblem, normalised
from rjepa.progress import Progress

TOLERATED = 0.01
"""Share of a benchmark's rows that may not fit its own schema: published sets have a few broken rows."""


def open_snapshot(home: Home, recipe: DatasetRecipe, progress: Progress) -> tuple[Path, list[str]]:
    """The normalised file of a benchmark recipe (made now, if it is not there), and what its owner should know.

    Raises:
        NotFoundError: the rows are neither in the given files nor on the hub.
        InvalidInputError: more than 1 % of the rows are not in the published schema.
        CorruptError: the file that was kept has changed.
    """
    path, note = imported_file(home, recipe.name), _note(home, recipe)
    wanted = sha256_json(recipe.model_dump(mode="json", include={"benchmark", "created"}))
    if note.exists():
        kept = read_json(note)
        if kept["recipe"] == wanted:
            if not path.is_file() or sha256_file(path) != kept["sha256"]:
                raise CorruptError(
                    f"{path}, the problems of {recipe.name!r} as they were fetched, is"
                    f" {'changed' if path.is_file() else 'missing'}",
                    cure=f"delete {note}; the rows are then read from their source again",
                )
            return path, kept["warnings"]
    assert recipe.benchmark is not None
    intake = benchmark_intake(recipe.benchmark, recipe.created, progress)
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8") as out:
            out.writelines(normalised(pair) for pair in intake.pairs())
        intake.finish()
    warnings = intake.warnings()
    write_json(note, {"recipe": wanted, "sha256": sha256_file(path), "warnings": warnings, "rows": intake.taken})
    return path, warnings


def benchmark_intake(source: BenchmarkSource, created_at: datetime, progress: Progress) -> Intake:
    """Every row that a source names, as the intake of one run."""
    benchmark = find_benchmark(source.name)
    part: dict[str, Any] = {}  # where the row that is being taken in comes from

    def rows() -> Iterator[Row]:
        done = 0
        for split, origin, found in _parts(benchmark, source):
            for row in islice(found, source.limit):
                done += 1
                part.update(split=split, origin=origin | {"row": row.number})
                yield Row(done, row.values, row.fault)
            progress(done, done, f"{benchmark.title} {split}")

    def convert(row: Row) -> WorkedProblem:
        return adapt_row(benchmark, row.values or {}, benchmark.splits[part["split"]], part["origin"], created_at)

    where = ", ".join(source.files.values()) or source.hub_id or benchmark.hub_id
    return Intake(where, rows(), convert, unit="row", tolerated=TOLERATED, repeats=True)


def _parts(benchmark: Benchmark, source: BenchmarkSource) -> Iterator[tuple[str, dict[str, Any], Iterator[Row]]]:
    """(published split, origin, rows) of every file, or of every subset and split on the hub."""
    splits = source.splits or list(source.files or benchmark.splits)
    if source.files:
        for split in splits:
            path = Path(source.files[split])
            kind = format_of(path)
            check_file(path, kind)
            origin = {"file": path.name, "sha256": sha256_file(path), "split": split}
            if benchmark.subset_field:
                origin["subset"] = path.stem
            yield split, origin, open_rows(path, kind)
        return
    hub_id, revision = source.hub_id or benchmark.hub_id, source.revision or benchmark.revision
    for subset in source.subsets or benchmark.subsets:
        for split in splits:
            origin, found = hub_rows(hub_id, revision, subset, split)
            rows = (Row(number, values) for number, values in enumerate(found, start=1))
            yield split, origin | {"subset": subset, "split": split}, rows


def _note(home: Home, recipe: DatasetRecipe) -> Path:
    return imported_file(home, recipe.name).with_suffix(".source.json")
