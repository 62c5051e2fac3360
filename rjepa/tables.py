"""Records to Parquet and back, with an Arrow schema derived from the pydantic contract.

`dict` fields are stored as JSON text: Parquet has no open-ended map that keeps nested values.
"""

import json
import types
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from rjepa.errors import CorruptError, NotFoundError
from rjepa.files import atomic_path

Record = TypeVar("Record", bound=BaseModel)

_GROUP_ROWS = 32_768
"""Rows that are read to get at one of them; a file with fewer rows is one group."""

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


def write_records(path: Path, model: type[Record], records: Iterable[Record]) -> None:
    """Atomically write records of one contract as a Parquet file."""
    open_fields = _open_fields(model)
    rows = []
    for record in records:
        row = record.model_dump()
        for name in open_fields:
            row[name] = json.dumps(row[name], sort_keys=True, ensure_ascii=False)
        rows.append(row)
    table = pa.Table.from_pylist(rows, schema=arrow_schema(model))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=_GROUP_ROWS)


def read_records(path: Path, model: type[Record]) -> list[Record]:
    """Read records of one contract.

    Raises:
        NotFoundError: there is no such file.
        CorruptError: it is not Parquet, or its rows do not fit the contract.
    """
    if not path.exists():
        raise NotFoundError(f"{path} does not exist", cure="materialise the asset that writes it")
    open_fields = _open_fields(model)
    records = []
    try:
        for row in pq.read_table(path).to_pylist():
            for name in open_fields:
                row[name] = json.loads(row[name])
            records.append(model.model_validate(row))
    except (pa.ArrowException, OSError, ValidationError, json.JSONDecodeError) as error:
        raise CorruptError(
            f"{path} cannot be read as {model.__name__} ({error})",
            cure="delete it and materialise the asset that writes it",
        ) from error
    return records


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
        try:
            tables.append(pq.read_table(path, columns=list(names)).cast(schema))
        except FileNotFoundError:
            raise NotFoundError(f"{path} does not exist", cure="materialise the asset that writes it") from None
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptError(
                f"{path} cannot be read as {model.__name__} ({error})",
                cure="delete it and materialise the asset that writes it",
            ) from error
    return pa.concat_tables(tables)


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
