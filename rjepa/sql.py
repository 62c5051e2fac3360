"""Ask the home questions in SQL: a DuckDB in memory with views over the Parquet files. It reads, and does nothing else.

Views (SHOW TABLES lists them, DESCRIBE shows their columns):

- datasets: one row for each dataset that is made; problems and chains: of all of them, with a column `dataset`.
- "v1.0.0".problems, "v1.0.0".chains: the same of one dataset, whatever parts it has.
- latents: what is known of every chain's latents; rollouts: the sampled candidates; with `llm_tag` and `dataset`.
- reports: the leaderboard rows of every benchmark report.

Nothing is written: one SELECT is allowed, DuckDB may open the files of the views and no other, loads no extension,
spills nothing to disk, and its configuration is locked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from rjepa.datasets.leaks import datasets_at_home
from rjepa.datasets.parts import MANIFEST, part_paths
from rjepa.datasets.stages import PROBLEMS, VALIDATED_CHAINS
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import read_json
from rjepa.home import TAG_PATTERN, Home
from rjepa.schemas import Candidate, ChainOfThought, LatentSequence, Problem
from rjepa.tables import arrow_schema

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pydantic import BaseModel

_DATASETS: Final = {
    "dataset": "VARCHAR",
    "parent": "VARCHAR",
    "released": "BOOLEAN",
    "date": "VARCHAR",
    "problems": "BIGINT",
    "chains": "BIGINT",
    "valid_chains": "BIGINT",
    "validation_rate": "DOUBLE",
    "data_hash": "VARCHAR",
}
_REPORTS: Final = {
    "llm_tag": "VARCHAR",
    "dataset": "VARCHAR",
    "method": "VARCHAR",
    "label": "VARCHAR",
    "domain": "VARCHAR",
    "problems": "BIGINT",
    "accuracy": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "gap_closed": "DOUBLE",
    "within_auroc": "DOUBLE",
    "pooled_auroc": "DOUBLE",
    "tokens": "DOUBLE",
}
_DATASET_ONLY: Final = {"dataset": "NULL::VARCHAR"}
_STUDENT_AND_DATASET: Final = {"llm_tag": "NULL::VARCHAR", "dataset": "NULL::VARCHAR"}
_LATENT_COLUMNS: Final = _DATASET_ONLY | {
    "split": "NULL::VARCHAR",
    "segments": "NULL::BIGINT",
    "first_error_segment": "NULL::BIGINT",
}
"""Columns that files have besides those of the contract; for views over no file yet."""
_REPORT_FILE: Final = "report.json"


@dataclass(frozen=True)
class Answer:
    """Rows of one query, in order."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def ask(home: Home, query: str, *, limit: int | None = None) -> Answer:
    """Answer one SELECT over the views, at most `limit` rows of it.

    Raises:
        InvalidInputError: it is not one SELECT, or DuckDB refuses it; its message says why.
    """
    import duckdb

    with open_views(home) as connection:
        try:
            check_reads_only(query)
            result = connection.execute(query)
            columns = [column[0] for column in result.description or []]
            rows = result.fetchall() if limit is None else result.fetchmany(limit)
        except duckdb.Error as error:
            raise InvalidInputError(
                f"the query cannot be answered ({error})", cure="`rjepa sql 'show tables'` lists what there is to ask"
            ) from error
    return Answer(columns, rows)


def check_reads_only(query: str) -> None:
    """Refuse everything that is not one SELECT (SHOW, DESCRIBE, SUMMARIZE and VALUES count as such).

    Raises:
        InvalidInputError: it is something else, or several statements.
    """
    import duckdb

    kinds = [statement.type for statement in duckdb.extract_statements(query)]
    if kinds != [duckdb.StatementType.SELECT]:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise InvalidInputError(
            f"only one SELECT can be asked, found: {found}",
            cure='write one SELECT; to make a file of its rows: rjepa sql "..." --csv > rows.csv',
        )


def open_views(home: Home) -> "DuckDBPyConnection":
    """A connection with all views, locked. The caller closes it."""
    import duckdb

    connection = duckdb.connect(":memory:")
    add_views(connection, home)
    return connection


def add_views(connection: "DuckDBPyConnection", home: Home, only: str | None = None) -> None:
    """Make the views on a fresh in-memory connection, then lock it: their files may be read, and nothing else.

    `only` names the one dataset that is wanted: what is wrong with another one is then no matter.
    """
    files: list[Path] = []
    names = [name for name in datasets_at_home(home) if TAG_PATTERN.fullmatch(name) and only in (None, name)]
    per_dataset: dict[str, list[str]] = {"problems": [], "chains": []}
    for name in names:
        connection.execute(f"CREATE SCHEMA {_quoted(name)}")
        for view, stage, model in (
            ("problems", PROBLEMS, Problem),
            ("chains", VALIDATED_CHAINS, ChainOfThought),
        ):
            if (home.dataset(name) / stage.file).is_file():
                paths = part_paths(home, name, stage.name)
                files += paths
                _view(connection, f"{_quoted(name)}.{view}", f"SELECT * FROM {_parquet(paths)}", model)
                per_dataset[view].append(f"SELECT {_text(name)} AS dataset, * FROM {_quoted(name)}.{view}")
    _view(connection, "problems", " UNION ALL BY NAME ".join(per_dataset["problems"]), Problem, _DATASET_ONLY)
    _view(connection, "chains", " UNION ALL BY NAME ".join(per_dataset["chains"]), ChainOfThought, _DATASET_ONLY)
    for name, contract, extra, select in (
        ("latents", LatentSequence, _LATENT_COLUMNS, _select_latents),
        ("rollouts", Candidate, _STUDENT_AND_DATASET, _select_rollouts),
    ):
        selects = []
        for llm_tag, dataset, folder in _partition_folders(home, name, only):
            if (folder / MANIFEST).is_file():
                text, paths = select(home, llm_tag, dataset)
                files += paths
                selects.append(text)
        _view(connection, name, " UNION ALL BY NAME ".join(selects), contract, extra)
    _table(connection, "datasets", _DATASETS, [_dataset_row(home, name) for name in names])
    _table(connection, "reports", _REPORTS, list(_report_rows(home, only)))
    _lock(connection, files)


def _select_latents(home: Home, llm_tag: str, dataset: str) -> tuple[str, list[Path]]:
    """The query that gives what is known of the latents of one version, and the files it reads."""
    from rjepa.latents.shards import latent_version

    version = latent_version(home, llm_tag, dataset)
    table = version.table(version.manifest())
    columns = [*LatentSequence.model_fields, *(column for column in _LATENT_COLUMNS if column != "dataset")]
    return f"SELECT {_text(dataset)} AS dataset, {', '.join(columns)} FROM {_parquet([table])}", [table]


def _select_rollouts(home: Home, llm_tag: str, dataset: str) -> tuple[str, list[Path]]:
    """The query that gives the candidates of one version, and the files it reads: verdicts lie in the version's table,
    texts in the shards that it names.
    """
    from rjepa.latents.rollouts import CandidateRow, rollout_version, sample_store

    version = rollout_version(home, llm_tag, dataset, "rollouts")
    manifest = version.manifest()
    store = sample_store(home, llm_tag, manifest.shard_folder)
    table, shards = version.table(manifest), [store.path(receipt, "parquet") for receipt in manifest.shards]
    sides = {name: "version" if name in CandidateRow.model_fields else "shard" for name in Candidate.model_fields}
    columns = ", ".join(f"{side}.{name}" for name, side in sides.items())
    listed = ", ".join(_text(str(path)) for path in shards)
    return (
        f"SELECT {_text(llm_tag)} AS llm_tag, {_text(dataset)} AS dataset, {columns} "
        f"FROM {_parquet([table])} AS version "
        f"JOIN read_parquet([{listed}], filename = true, file_row_number = true) AS shard "
        "ON shard.file_row_number = version.place "
        f"AND shard.filename = list_extract([{listed}], version.shard + 1)"
    ), [table, *shards]


def _lock(connection: "DuckDBPyConnection", files: Sequence[Path]) -> None:
    listed = ", ".join(_text(str(path)) for path in files)
    connection.execute("SET temp_directory = ''")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET python_enable_replacements = false")
    connection.execute(f"SET allowed_paths = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _view(
    connection: "DuckDBPyConnection",
    name: str,
    select: str,
    model: "type[BaseModel]",
    extra: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """A view; where there is nothing to select from yet, an empty table of the same columns."""
    if select:
        connection.execute(f"CREATE VIEW {name} AS {select}")
        return
    columns = [*(f"{kind} AS {column}" for column, kind in extra.items()), "*"]
    empty = connection.from_arrow(arrow_schema(model).empty_table())
    table = empty.query("empty", f"SELECT {', '.join(columns)} FROM empty")
    assert table is not None  # a SELECT has a result
    table.create(name)


def _table(
    connection: "DuckDBPyConnection", name: str, columns: dict[str, str], rows: Sequence[dict[str, Any]]
) -> None:
    connection.execute(f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})")
    if rows:
        places = ", ".join("?" for _ in columns)
        values = [[row.get(column) for column in columns] for row in rows]
        connection.executemany(f"INSERT INTO {name} VALUES ({places})", values)


def _dataset_row(home: Home, name: str) -> dict[str, Any]:
    path = home.dataset(name) / MANIFEST
    if not path.exists():
        return {"dataset": name, "released": False}
    manifest = read_json(path)
    return {
        **{key: manifest[key] for key in ("dataset", "parent", "date", "validation_rate", "data_hash")},
        "released": True,
        "problems": manifest["counts"]["problems"],
        "chains": manifest["chains"]["total"],
        "valid_chains": manifest["chains"]["valid"],
    }


def _report_rows(home: Home, only: str | None) -> Iterator[dict[str, Any]]:
    for llm_tag, dataset, folder in _partition_folders(home, "reports", only):
        try:
            rows = read_json(folder / _REPORT_FILE)["leaderboard"]["rows"]
        except NotFoundError:
            continue
        except (KeyError, TypeError) as error:
            raise CorruptError(
                f"{folder / _REPORT_FILE} has no leaderboard",
                cure=f"materialise benchmark_report for {dataset}|{llm_tag}",
            ) from error
        for row in rows:
            yield {"llm_tag": llm_tag, "dataset": dataset, **row}


def _partition_folders(home: Home, kind: str, only: str | None) -> Iterator[tuple[str, str, Path]]:
    """(llm_tag, dataset, folder) of a kind of files that has a folder for each student and dataset."""
    for folder in sorted((home.root / kind).glob("*/*")):
        llm_tag, dataset = folder.parent.name, folder.name
        named = TAG_PATTERN.fullmatch(llm_tag) and TAG_PATTERN.fullmatch(dataset)
        if folder.is_dir() and named and only in (None, dataset):
            yield llm_tag, dataset, folder


def _parquet(paths: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(_text(str(path)) for path in paths)}], union_by_name = true)"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
