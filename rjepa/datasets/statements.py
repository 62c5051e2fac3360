"""What is remembered of every statement, so that a new one is compared with a million old ones without reading them.

Each part of problems has one index file, named by the part's hash: keys of ids, statements and structures, and MinHash
bands over word 5-shingles. It is a cache: where it is missing, it is made from the part. Which matches count as
duplicates or leaks is decided in `novelty` and `leaks`.

Two statements are near-duplicates when they have the same numbers in the same order, answers that do not differ, and a
Jaccard similarity of shingles at or above the threshold. The numbers are kept because templated problems differ by
their numbers alone, and are different problems (docs/data.md has the figures).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt

from rjepa.arrays import Int64, UInt8, UInt32, UInt64
from rjepa.errors import CorruptError
from rjepa.files import atomic_path, sha256_file
from rjepa.home import Home
from rjepa.problems.splitting import normalise_statement
from rjepa.schemas import Problem, Split

SHINGLE: Final = 5
BANDS: Final = 16
ROWS: Final = 4
"""16 bands of 4 find a pair of similarity 0.8 with probability 0.9998, one of 0.5 with 0.64; matches are confirmed."""
FORMAT: Final = 2
"""Enters the file's name: other code that would make other fingerprints makes its own files."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(
    r"\d+(?:[.,]\d+)*|[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u208a\u208b]?[\u2080-\u2089]+"
    r"|[\u00bc-\u00be\u2150-\u215e]|[\u2460-\u2473]"
)
"""A numeral: plain, superscript, subscript, a fraction, circled."""
_CHUNK: Final = 4096
SPLITS: Final[tuple[Split, ...]] = get_args(Split)
"""The splits that a fingerprint's index means."""
_FILTER: Final = 1 << 18
_MIX = np.random.default_rng(20261121).integers(1, 1 << 63, ROWS + 1, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True)
class Fingerprints:
    """n statements. ids, statements, structures (0: none): uint64 [n]. splits: uint8 [n], index into train, validation,
    test. bands: uint32 [BANDS, n], each mixed with the statement's numbers.
    """

    ids: UInt64
    statements: UInt64
    structures: UInt64
    splits: UInt8
    bands: UInt32

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.ArrayLike) -> "Fingerprints":
        """The statements at these rows, in that order."""
        chosen = np.asarray(rows, dtype=np.int64)
        return Fingerprints(**{f.name: getattr(self, f.name)[..., chosen] for f in fields(self)})


def fingerprint(problems: Sequence[Problem]) -> Fingerprints:
    """Fingerprints of problems that have a split, in order."""
    rows = [(p.problem_id, p.statement, str(p.split), p.meta.get("structure") if p.meta else None) for p in problems]
    return _of_rows(rows)


def part_fingerprints(home: Home, path: Path, sha256: str | None = None) -> Fingerprints:
    """Fingerprints of one part of problems: read from its index, which is made where it is missing or damaged.

    `sha256` is the part's hash where the caller knows it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    index = home.statement_index(f"{sha256 or sha256_file(path)}-{FORMAT}")
    try:
        return Fingerprints(**load_file(index))
    except (FileNotFoundError, SafetensorError, TypeError):
        found = _of_rows(_stored_rows(path))
        keep_fingerprints(index, found)
        return found


def keep_fingerprints(index: Path, found: Fingerprints) -> None:
    """Write an index file atomically."""
    from safetensors.numpy import save

    with atomic_path(index) as temporary:
        temporary.write_bytes(save({f.name: np.ascontiguousarray(getattr(found, f.name)) for f in fields(found)}))


def matches(base: npt.NDArray[Any], new: npt.NDArray[Any]) -> tuple[Int64, Int64]:
    """Rows (base, new) of every pair of equal keys. One pass over `base`, which may be far longer than `new`."""
    wanted = np.zeros(_FILTER, dtype=bool)
    wanted[new & new.dtype.type(_FILTER - 1)] = True
    rows = np.flatnonzero(wanted[base & base.dtype.type(_FILTER - 1)])
    order = np.argsort(new, kind="stable")
    ordered = new[order]
    first = np.searchsorted(ordered, base[rows], "left")
    times = np.searchsorted(ordered, base[rows], "right") - first
    base_rows = np.repeat(rows, times)
    within = np.arange(len(base_rows)) - np.repeat(np.cumsum(times) - times, times)
    return base_rows, order[np.repeat(first, times) + within]


def near_candidates(base: Fingerprints, new: Fingerprints) -> list[tuple[int, int]]:
    """Distinct pairs (base row, new row) that share a band, sorted by new row. Of statements with themselves (`base is
    new`), each pair once, the earlier row first.
    """
    pairs: set[tuple[int, int]] = set()
    for base_band, new_band in zip(base.bands, new.bands, strict=True):
        base_rows, new_rows = matches(base_band, new_band)
        if base is new:
            earlier = base_rows < new_rows
            base_rows, new_rows = base_rows[earlier], new_rows[earlier]
        pairs.update(zip(base_rows.tolist(), new_rows.tolist(), strict=True))
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of two statements' word 5-shingles; 0 where their numbers differ."""
    if numbers(one) != numbers(other):
        return 0.0
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def shingles(statement: str) -> set[str]:
    """Every run of five tokens of the normalised statement; of a shorter statement, the whole."""
    tokens = _TOKEN.findall(normalise_statement(statement))
    return {" ".join(tokens[first : first + SHINGLE]) for first in range(max(1, len(tokens) - SHINGLE + 1))}


def numbers(statement: str) -> list[str]:
    """The numerals of a statement in order, without thousands separators."""
    return [found.replace(",", "") for found in _NUMBER.findall(normalise_statement(statement))]


def key(text: str) -> int:
    """64 bits of a text; 0 stands for none and is never given."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") or 1


def _of_rows(rows: Iterable[tuple[str, str, str, str | None]]) -> Fingerprints:
    from datasketch import MinHash

    ids, statements, structures, splits, bands = [], [], [], [], [np.empty((BANDS, 0), np.uint32)]
    chunk: list[str] = []

    def hash_chunk() -> None:
        if chunk:
            texts = [[shingle.encode() for shingle in shingles(statement)] for statement in chunk]
            hashes = MinHash.bulk(texts, num_perm=BANDS * ROWS, seed=1)
            numerals = np.array([key(" ".join(numbers(statement))) for statement in chunk], dtype=np.uint64)
            bands.append(_banded(np.stack([found.hashvalues for found in hashes]).astype(np.uint64), numerals))
            chunk.clear()

    for problem_id, statement, split, structure in rows:
        ids.append(key(problem_id))
        statements.append(key(normalise_statement(statement)))
        structures.append(0 if structure is None else key(structure))
        splits.append(SPLITS.index(split))
        chunk.append(statement)
        if len(chunk) == _CHUNK:
            hash_chunk()
    hash_chunk()
    return Fingerprints(
        np.array(ids, np.uint64),
        np.array(statements, np.uint64),
        np.array(structures, np.uint64),
        np.array(splits, np.uint8),
        np.concatenate(bands, axis=1),
    )


def _banded(hashes: UInt64, numerals: UInt64) -> UInt32:
    """uint64 [n, BANDS * ROWS] and the numbers' keys [n] to uint32 [BANDS, n]. Overflow wraps, as it is meant to."""
    grouped = hashes.reshape(len(hashes), BANDS, ROWS)
    mixed = (grouped * _MIX[:ROWS]).sum(axis=2, dtype=np.uint64) + (numerals * _MIX[ROWS])[:, None]
    mixed ^= mixed >> np.uint64(29)
    return np.ascontiguousarray(((mixed * _MIX[0]) >> np.uint64(32)).astype(np.uint32).T)


def _stored_rows(path: Path) -> Iterable[tuple[str, str, str, str | None]]:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_CHUNK, columns=["problem_id", "statement", "split", "meta"]):
                for row in batch.to_pylist():
                    yield row["problem_id"], row["statement"], row["split"], json.loads(row["meta"]).get("structure")
    except (pa.ArrowException, OSError, KeyError) as error:
        raise CorruptError(
            f"{path} cannot be read as problems ({error})", cure="materialise problems of its version again"
        ) from error
