"""Records to Parquet and back, with an Arrow schema derived from the pydantic contract.

`dict` fields are stored as JSON text: Parquet has no open-ended map that keeps nested values.
"""

import contextlib
import json
import types
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from rjepa.arrays import Int64
from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import atomic_path

Record = TypeVar("Record", bound=BaseModel)

_GROUP_ROWS = 32_768
"""Rows that are read to get at one of them; a file with fewer rows is one group."""

_SCANNED_ROWS = 4096
"""Rows of a file that are held at once where it is read piece by piece."""

_SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """The Arrow schema of a contract."""
    return pa.schema([pa.field(name, _arrow_type(field.annotation)) for name, field in model.model_fields.items()])


def to_table(model: type[Record], records: Iterable[Record]) -> pa.Table:
    """Records as Arrow, far smaller than the objects."""
    open_fields = _open_fields(model)
    rows = []
    for record in records:
        row = record.model_dump()
        for name in open_fields:
            row[name] = json.dumps(row[name], sort_keys=True, ensure_ascii=False)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=arrow_schema(model))


def to_records(model: type[Record], table: pa.Table) -> list[Record]:
    """The records of a table.

    Raises:
        ValidationError, JSONDecodeError: rows do not fit the contract.
    """
    open_fields = _open_fields(model)
    records = []
    for row in table.to_pylist():
        for name in open_fields:
            row[name] = json.loads(row[name])
        records.append(model.model_validate(row))
    return records


def write_records(path: Path, model: type[Record], records: Iterable[Record]) -> None:
    """Atomically write records of one contract as a Parquet file."""
    write_table(path, to_table(model, records))


def write_table(path: Path, table: pa.Table) -> None:
    """Atomically write a table as a Parquet file."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=_GROUP_ROWS)


def read_records(path: Path, model: type[Record]) -> list[Record]:
    """Read records of one contract.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: it is not Parquet, or its rows do not fit the contract.
    """
    with _read_errors(path, model):
        return to_records(model, pq.read_table(path))


def read_columns(paths: Sequence[Path], model: type[BaseModel], names: Sequence[str]) -> pa.Table:
    """Some columns of files of one contract, one after the other: for what is too long to be held as records.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: one is not Parquet, or lacks a column.
    """
    whole = arrow_schema(model)
    schema = pa.schema([whole.field(name) for name in names])
    tables = [schema.empty_table()]
    for path in paths:
        with _read_errors(path, model):
            tables.append(pq.read_table(path, columns=list(names)).cast(schema))
    return pa.concat_tables(tables)


def scan_columns(
    paths: Sequence[Path], model: type[BaseModel], names: Sequence[str], rows: int = _SCANNED_ROWS
) -> Iterator[pa.RecordBatch]:
    """The same columns, at most `rows` at a time and in order: for what is too long to be held at all."""
    for path in paths:
        with _read_errors(path, model), pq.ParquetFile(path) as file:
            yield from file.iter_batches(rows, columns=list(names))


def read_rows(paths: Sequence[Path], model: type[BaseModel], places: Int64) -> pa.Table:
    """The rows at `places` (int64, counted over all files, in any order) in that order. Only the groups of rows that
    hold one of them are read, and of those a few rows are held at a time.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: one is not Parquet, or has no such rows.
    """
    schema = arrow_schema(model)
    wanted = np.unique(places)
    found, start = [schema.empty_table()], 0
    for path in paths:
        with _read_errors(path, model), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                if np.searchsorted(wanted, start) < np.searchsorted(wanted, end):
                    found.append(_of_group(file, group, wanted - start).cast(schema))
                start = end
    table = pa.concat_tables(found)
    if len(table) != len(wanted):
        raise CorruptError(
            f"{paths[0]} and what belongs to it have {start} rows, row {wanted[-1]} was expected",
            cure="materialise the assets that write them",
        )
    return table.take(pa.array(np.searchsorted(wanted, places)))


def _of_group(file: pq.ParquetFile, group: int, wanted: Int64) -> pa.Table:
    parts, start = [], 0
    for batch in file.iter_batches(_SCANNED_ROWS, row_groups=[group]):
        first, last = np.searchsorted(wanted, [start, start + len(batch)])
        if first < last:
            parts.append(batch.take(pa.array(wanted[first:last] - start)))
        start += len(batch)
    return pa.Table.from_batches(parts)


@contextlib.contextmanager
def _read_errors(path: Path, model: type[BaseModel]) -> Iterator[None]:
    if not path.exists():
        raise NotFoundError(f"{path} does not exist", cure="materialise the asset that writes it")
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptError(
            f"{path} cannot be read as {model.__name__} ({error})",
            cure="delete it and materialise the asset that writes it",
        ) from error


def _open_fields(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if get_origin(field.annotation) is dict]


def _arrow_type(annotation: Any) -> pa.DataType:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _arrow_type(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _arrow_type(next(part for part in get_args(annotation) if part is not type(None)))
    if origin is Literal:
        return pa.string()
    if origin is list:
        return pa.list_(_arrow_type(get_args(annotation)[0]))
    if origin is dict:
        return pa.string()
    return _SCALARS[annotation]
