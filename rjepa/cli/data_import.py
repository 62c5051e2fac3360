"""`rjepa data import`: a file of problems, or a published benchmark, becomes a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rjepa.cli.bars import progress_bar
from rjepa.cli.common import checked_split, open_home, pairs, print_json
from rjepa.errors import InvalidInputError

if TYPE_CHECKING:
    from rjepa.datasets.recipe import BenchmarkSource
    from rjepa.problems.lines import SplitChoice

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="FIELD=COLUMN, once a field: statement=question, answer=result.value (nested), ..."),
]


def import_file(
    name: Annotated[str, typer.Option("--name", help="The dataset's name: a-z, 0-9, '.', '_', '-'.")],
    file: Annotated[
        Path | None, typer.Argument(help="JSON lines, JSON, CSV, TSV or Parquet; left out: the benchmark's hub.")
    ] = None,
    columns: _Map = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Put all in this split, or each by the hash of its statement (by-hash: 80 % train). Left out: where "
            "the rows say, else test. With --benchmark: which of its splits the file is."
        ),
    ] = None,
    benchmark: Annotated[str | None, typer.Option(help="The rows are this benchmark's, e.g. gsm8k.")] = None,
    kind: Annotated[str | None, typer.Option("--format", help="jsonl, json, csv, tsv or parquet.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of problems that name none, e.g. CC-BY-4.0.")] = None,
    as_json: _Json = False,
) -> None:
    """Register a file of problems as a dataset. Either every row is good, or nothing is imported.

    Its problems are evaluated, all of them, unless they name a split or --split asks for one.

    Example: rjepa data import answers.csv --name homework --map statement=question --map answer=target
    """
    from rjepa.datasets.registering import Import, import_benchmark
    from rjepa.datasets.registering import import_file as register_file
    from rjepa.problems.columns import parse_map

    home = open_home()
    with progress_bar("importing") as progress:
        if benchmark is not None:
            for option, value in (("--map", columns), ("--format", kind), ("--licence", licence)):
                if value is not None:
                    raise InvalidInputError(
                        f"{option} does not go with --benchmark, whose schema is known", cure=f"leave {option} out"
                    )
            made = import_benchmark(home, _source(benchmark, file, split), name, progress)
        elif file is None:
            raise InvalidInputError("no file to import", cure="name a file, or a benchmark with --benchmark")
        else:
            how = Import(_split(split), parse_map(columns or []), _format(kind), licence)
            made = register_file(home, file, name, how, progress)
    if as_json:
        print_json({"dataset": name, "problems": made.problems, "splits": made.splits, "warnings": made.warnings})
        return
    typer.echo(f"imported {made.problems} problems as {name} ({pairs(made.splits)})")
    verb = "backfill" if made.splits["train"] else "eval"
    typer.echo(f"next: rjepa {verb} --llm tiny-a --dataset {name}")
    for warning in [*made.warnings, *_split_warnings(made.splits)]:
        typer.echo(f"warning: {warning}", err=True)


_FEW: Final = 30
"""Test problems below which a share says little: of 30 that are right by half, 18 % either way is within chance."""


def _split_warnings(splits: dict[str, int]) -> list[str]:
    if not splits["test"]:
        return ["no test problems: to evaluate on this file, import it with --split test"]
    if splits["test"] < _FEW:
        return [f"only {splits['test']} test problem(s): figures of fewer than {_FEW} say little"]
    return []


def _split(split: str | None) -> "SplitChoice | None":
    return "by-hash" if split == "by-hash" else checked_split(split)


def _source(benchmark: str, file: Path | None, split: str | None) -> "BenchmarkSource":
    from rjepa.datasets.recipe import BenchmarkSource
    from rjepa.problems.benchmarks import find_benchmark

    published = find_benchmark(benchmark).splits
    # A file that says nothing is a test: training on a benchmark's test by oversight cannot be undone.
    split = split or ("test" if file is not None else None)
    if file is not None and split == "test" and "test" not in published:
        split = next(name for name, ours in published.items() if ours == "test")
    if split is not None and split not in published:
        raise InvalidInputError(
            f"{benchmark} has no split {split!r}", cure=f"use --split with one of {', '.join(published)}"
        )
    if file is not None:
        return BenchmarkSource(name=benchmark, files={str(split): str(file)})
    return BenchmarkSource(name=benchmark, splits=[split] if split else [])


def _format(kind: str | None) -> Any:
    from rjepa.problems.files import FORMATS

    if kind is not None and kind not in FORMATS:
        raise InvalidInputError(f"{kind!r} is no format", cure=f"use --format with one of {', '.join(FORMATS)}")
    return kind
