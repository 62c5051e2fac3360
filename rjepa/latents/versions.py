"""One dataset version of one student: a manifest over shards, and a table that names a row of them for each chain.

The folder of a version holds these two files and nothing else: a version of what is kept already costs a table. The
manifest is written last and names its table, so that a reader finds an old version or a new one. What shards hold is
`rjepa.latents.store`; what the rows of a table say is decided by who makes the version.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.files import fsync, read_json, sha256_file, storage_errors, write_json
from rjepa.latents.store import ShardReceipt
from rjepa.tables import arrow_schema

MANIFEST: Final = "manifest.json"


class VersionManifest(BaseModel):
    """What is the same for the whole version. `shards` are what the table's column `shard` counts.

    `data_version` hashes what the version holds (which chains, their labels, their bytes) and not how it lies on disk.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    llm_tag: str
    dataset: str
    fingerprint: str = Field(description="of the student that made it")
    width: int = Field(description="columns of a latent")
    data_version: str
    inputs: str = Field(description="hash of what it was made from: another hash says that it has to be made again")
    figures: dict[str, int | float | str] = Field(description="what the build reported")
    table: str = Field(description="file of the rows, beside the manifest")
    table_sha256: str
    shards: tuple[ShardReceipt, ...]
    shard_folder: str = Field(description="where they lie, under the folder of all shards of their kind and LLM")


AnyManifest = TypeVar("AnyManifest", bound=VersionManifest)


def version_files(folder: Path, shards: Path) -> list[Path]:
    """Every file that a version stands on: its own, and those of the shards that it names.

    Args:
        folder: of the version.
        shards: of all shards of its kind and LLM.

    Raises:
        NotFoundError: there is no manifest.
        CorruptError: it cannot be read.
    """
    manifest = read_json(folder / MANIFEST)
    try:
        names = [f"{shard['id']}.{suffix}" for shard in manifest["shards"] for suffix in shard["files"]]
        return [folder, *(shards / manifest["shard_folder"] / name for name in names)]
    except (KeyError, TypeError) as error:
        raise CorruptError(f"{folder / MANIFEST} is no manifest ({error})", cure="make the version again") from error


@dataclass(frozen=True)
class Version(Generic[AnyManifest]):
    """The files of one version. `what` and `cure` word its errors ("latents of v1.0.0 by tiny-a")."""

    folder: Path
    manifest_model: type[AnyManifest]
    row_model: type[BaseModel]
    what: str
    cure: str

    @property
    def is_made(self) -> bool:
        """Whether a build of it was ever finished."""
        return (self.folder / MANIFEST).exists()

    def manifest(self, fingerprint: str | None = None) -> AnyManifest:
        """The manifest, optionally only if `fingerprint`'s student made it.

        Raises:
            NotFoundError: nothing was finished here.
            CorruptError: it is not a manifest of this kind.
            InvalidInputError: another student made it.
        """
        path = self.folder / MANIFEST
        if not path.exists():
            raise NotFoundError(f"there are no {self.what} (no {path})", cure=self.cure)
        try:
            manifest = self.manifest_model.model_validate(read_json(path))
        except ValidationError as error:
            raise CorruptError(
                f"{path} is not a manifest that this version of R-JEPA reads ({error.error_count()} fields differ)",
                cure=self.cure,
            ) from error
        if fingerprint is not None and manifest.fingerprint != fingerprint:
            raise InvalidInputError(
                f"{self.what} were made by student {manifest.fingerprint[:12]}, this run expects {fingerprint[:12]}",
                cure=self.cure,
            )
        return manifest

    def find(self, inputs: str) -> AnyManifest | None:
        """The manifest, if it was made from these inputs and its table is whole. Shards are the caller's to verify."""
        try:
            manifest = self.manifest()
            if manifest.inputs == inputs:
                self.verify_table(manifest)
                return manifest
        except (NotFoundError, CorruptError):
            return None
        return None

    def table(self, manifest: AnyManifest) -> Path:
        """The file of the rows."""
        return self.folder / manifest.table

    def verify_table(self, manifest: AnyManifest) -> None:
        """Compare the table with its hash.

        Raises:
            CorruptError: it is missing or its bytes changed.
        """
        path = self.table(manifest)
        if not path.exists() or sha256_file(path) != manifest.table_sha256:
            raise CorruptError(f"the table of the {self.what} is missing or damaged: {path}", cure=self.cure)

    @contextlib.contextmanager
    def writing(self) -> Iterator["VersionWriter[AnyManifest]"]:
        """A table to be appended to; nothing of it is seen before `publish`.

        Raises:
            StorageError: the folder cannot be written or the disk is full.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".rows.", suffix=".tmp", delete=False) as file:
                path = Path(file.name)
            try:
                with pq.ParquetWriter(path, arrow_schema(self.row_model), compression="zstd") as table:
                    yield VersionWriter(self, path, table)
            finally:
                path.unlink(missing_ok=True)


class VersionWriter(Generic[AnyManifest]):
    """Takes the rows of a version part by part, and hashes what they hold."""

    def __init__(self, version: Version[AnyManifest], path: Path, table: pq.ParquetWriter) -> None:
        self._version, self._path, self._table = version, path, table
        self._content = hashlib.sha256()

    def append(self, rows: pa.Table, content: list[list[Any]]) -> None:
        """Add rows. `content` is what they say apart from where it lies, as JSON values: it makes the data version."""
        self._table.write_table(rows)
        for values in content:
            self._content.update(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def publish(self, common: dict[str, Any], where: dict[str, Any]) -> AnyManifest:
        """Name the table, then write the manifest, then remove whatever else is in the folder. Returns the manifest.

        Args:
            common: fields of the manifest that say what the version is. But for its names they enter its data version.
            where: the other fields: inputs, figures, shards and their folder.
        """
        self._table.close()
        named = {name: value for name, value in common.items() if name not in ("llm_tag", "dataset")}
        self._content.update(json.dumps(named, sort_keys=True, ensure_ascii=False).encode())
        table_sha256 = sha256_file(self._path)
        fsync(self._path)
        target = self._version.folder / f"rows-{table_sha256[:16]}.parquet"
        self._path.chmod(0o644)
        self._path.replace(target)
        manifest = self._version.manifest_model.model_validate(
            {
                **common,
                **where,
                "data_version": self._content.hexdigest(),
                "table": target.name,
                "table_sha256": table_sha256,
            }
        )
        write_json(self._version.folder / MANIFEST, manifest.model_dump(mode="json"))
        for path in self._version.folder.iterdir():
            if path.name not in (MANIFEST, target.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return manifest
