"""Rows of a Parquet file, a small batch at a time and only the columns that are wanted."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from rjepa.errors import InvalidInputError
from rjepa.problems.files.row import MAX_COLUMNS, MAX_LINE, Row

MAX_ROW_GROUP: Final = 1 << 30
"""Bytes of the wanted columns of one row group, unpacked: a few kilobytes of Parquet can unpack to anything."""

_BATCH = 512
_BATCH_BYTES = 8 << 20


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns.

    Raises:
        InvalidInputError: no Parquet file, or too many columns.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def parquet_rows(path: Path, wanted: Collection[str] | None) -> Iterator[Row]:
    """Rows with the wanted columns (None: all of them); `number` counts rows from 1.

    Raises:
        InvalidInputError: no Parquet file, damaged, or with row groups too large to read.
    """
    import pyarrow as pa

    with _opened(path) as file:
        columns = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
        rows, number = _batch_rows(path, file, columns), 0
        try:
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                if batch.nbytes > MAX_LINE and (longest := _longest(batch)) > MAX_LINE:
                    yield Row(number + 1, fault=f"a cell in this row or the next {rows} has {longest} bytes")
                    return
                kinds = {found.name: found.type for found in batch.schema if _is_changed(found.type)}
                for values in batch.to_pylist():
                    number += 1
                    values |= {name: _plain(values[name], kind) for name, kind in kinds.items()}
                    yield Row(number, {name: value for name, value in values.items() if value is not None})
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(
                f"{path} is damaged after row {number} ({str(error)[:200]}); nothing was imported",
                cure="write the file again, with text in UTF-8",
            ) from error


def _is_changed(kind: Any) -> bool:
    """Whether Arrow's Python value of this type is not what was written: numbers of 16 and 32 bits, and maps."""
    import pyarrow as pa

    if pa.types.is_float16(kind) or pa.types.is_float32(kind) or pa.types.is_map(kind):
        return True
    if pa.types.is_struct(kind):
        return any(_is_changed(kind.field(index).type) for index in range(kind.num_fields))
    return hasattr(kind, "value_type") and _is_changed(kind.value_type)


def _plain(value: Any, kind: Any) -> Any:
    """The value with numbers of 16 and 32 bits as the shortest decimal that they stand for, and maps as dicts."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return float(str((np.float16 if pa.types.is_float16(kind) else np.float32)(value)))
    if pa.types.is_map(kind):
        return {str(key): _plain(item, kind.item_type) for key, item in value}
    if pa.types.is_struct(kind):
        return {name: _plain(item, kind.field(name).type) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, kind.value_type) for item in value]
    return _plain(value, kind.value_type) if pa.types.is_dictionary(kind) else value


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(
            f"{path} is not a Parquet file ({str(error)[:200]}); nothing was imported",
            cure="check that it was copied whole; other formats are said with --format",
        ) from error
    if len(file.schema_arrow.names) > MAX_COLUMNS:
        raise InvalidInputError(
            f"{path} has {len(file.schema_arrow.names)} columns, at most {MAX_COLUMNS} are read",
            cure="write one problem a row, with a column for the statement and one for the answer",
        )
    return file


def _batch_rows(path: Path, file: Any, columns: list[str]) -> int:
    """Rows that are a few megabytes on average, in the row group where they are longest."""
    metadata, longest = file.metadata, 1.0
    for group in range(metadata.num_row_groups):
        described = metadata.row_group(group)
        chunks = [described.column(index) for index in range(described.num_columns)]
        unpacked = sum(
            chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns
        )
        if unpacked > MAX_ROW_GROUP:
            raise InvalidInputError(
                f"row group {group + 1} of {path} unpacks to {unpacked} bytes, at most {MAX_ROW_GROUP} are read",
                cure="write the file with smaller row groups, e.g. 100 000 rows each",
            )
        longest = max(longest, unpacked / max(described.num_rows, 1))
    return max(1, min(_BATCH, int(_BATCH_BYTES / longest)))


def _longest(batch: Any) -> int:
    """Bytes of the longest text of a batch."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = [0]
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            found.append(pc.max(pc.binary_length(column)).as_py() or 0)
    return max(found)
