"""Latents of the validated chains of a dataset version: what is kept of each, and all of them as one `LatentSet`.

Wrong chains are there too, with the segment of their first error: they are negatives and never become targets. How
latents are made is `rjepa.latents.building`; how shards and versions lie on disk are `store` and `versions`.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from rjepa.arrays import Int32, Int64
from rjepa.datasets.reading import stage_paths
from rjepa.datasets.stages import PROBLEMS, VALIDATED_CHAINS
from rjepa.files import sha256_file, sha256_json
from rjepa.home import Home
from rjepa.latents.joining import Runs, join_rows
from rjepa.latents.sets import LatentSet, Prompts
from rjepa.latents.store import KEY_LENGTH, KeptRow, ShardStore
from rjepa.latents.texts import Texts
from rjepa.latents.versions import Version, VersionManifest
from rjepa.schemas import LatentSequence, Split
from rjepa.stages import StageReport
from rjepa.students.catalog import Poolings, StudentRecord
from rjepa.tables import scan_columns

_FORMAT: Final = 4
"""Version of what a shard holds: it enters the name of the shards' folder, so that a change makes them anew."""

SPLITS: Final[tuple[Split, ...]] = ("train", "validation")
"""Whose chains have latents."""

Extent = Literal["whole", "share"]
"""Of latents: all chains of a dataset version, or those of a share of its training problems and all of validation's.
They lie apart, so that a share is never taken for the whole by who trains on it."""

_COLUMNS: Final = (
    "problem_id",
    "cot_id",
    "domain",
    "split",
    "segments",
    "first_error_segment",
    "prompt",
    "shard",
    "first_row",
    "first_sentence",
    "sentences",
)


class KeptChain(KeptRow):
    """A chain in a shard, whatever dataset it is from. Its key hashes its problem's statement and its own text."""

    tokens: int
    step_boundaries: list[int] = Field(description="first token of each segment, then the number of tokens")
    segments: int = Field(description="rows in `latents` and `types`, the prompt included; 0: longer than the context")
    first_row: int = Field(description="the first of them")
    first_sentence: int = Field(description="first row in `sentences` of its problem")
    sentences: int = Field(description="how many sentences its problem has")
    digest: str = Field(description="hash of its rows")


class LatentRow(LatentSequence):
    """One chain of a version: its metadata, its split, and where its rows lie."""

    split: Split
    segments: int = Field(description="rows of its latents, the prompt included")
    first_error_segment: int = Field(description="segment index of the first error, the prompt being 0; -1 for none")
    prompt: int = Field(description="number of its problem in the version, counted from 0 as they come")
    shard: int = Field(description="index of its shard in the manifest")
    first_row: int = Field(description="where its latents begin there")
    first_sentence: int = Field(description="where its problem's sentences begin there")
    sentences: int = Field(description="how many they are")


class LatentManifest(VersionManifest):
    """What all latents of a version have in common."""

    quantisation: str
    layer_idx: int
    poolings: Poolings
    share: float = Field(1.0, gt=0, le=1, description="part of the training problems whose chains are here")


def open_latents(
    home: Home,
    llm_tag: str,
    dataset: str,
    *,
    fingerprint: str | None = None,
    verify: bool = True,
    extent: Extent = "whole",
) -> LatentSet:
    """The latents of a dataset's chains under one student; mapped, unless they are few and lie in several shards.

    Args:
        extent: what is wanted; `extent_made` says what there is.

    Raises:
        NotFoundError: they are not made yet.
        CorruptError: the bytes of a file do not match their hash.
        InvalidInputError: another student than `fingerprint`'s made them.
    """
    version = latent_version(home, llm_tag, dataset, extent)
    manifest = version.manifest(fingerprint)
    store = latent_store(home, llm_tag, manifest.shard_folder)
    if verify:
        version.verify_table(manifest)
        for receipt in manifest.shards:
            store.verify(receipt)
    read = _Columns()
    # A few numbers a chain, read piece by piece: a million chains as records, or as columns of text, would weigh more
    # than all the rest of a training.
    for batch in scan_columns([version.table(manifest)], LatentRow, _COLUMNS):
        read.add(batch)
    empty = np.empty((0, manifest.width), dtype=np.float16)
    sentences = join_rows(store, manifest.shards, "sentences", read.sentence_runs, empty)
    types = join_rows(store, manifest.shards, "types", read.runs, np.empty(0, dtype=np.uint8))
    return LatentSet(
        latents=join_rows(store, manifest.shards, "latents", read.runs, empty),
        types=np.array(types),
        prompts=Prompts.of(sentences, read.sentence_counts()),
        **read.columns(),
    )


@dataclass(frozen=True)
class LatentRequest:
    """Which chains of a dataset version are to be read: those of these splits, of `share` of the training problems."""

    dataset: str
    splits: tuple[Split, ...] = SPLITS
    share: float = 1.0

    @property
    def extent(self) -> Extent:
        """Where what is asked for lies."""
        return "share" if self.share < 1 else "whole"

    def inputs(self, home: Home, record: StudentRecord, fingerprint: str) -> str:
        """A hash of all that these latents are made from."""
        paths = stage_paths(home, self.dataset, PROBLEMS) + stage_paths(home, self.dataset, VALIDATED_CHAINS)
        files = [sha256_file(path) for path in paths]
        shared = [self.share] if self.share < 1 else []
        return sha256_json([latent_folder(fingerprint), record.quantisation, list(self.splits), files, *shared])


def find_latents(home: Home, record: StudentRecord, fingerprint: str, request: LatentRequest) -> StageReport | None:
    """What a build of these latents would report, if nothing has changed since the last one and all of it is whole.
    Reads bytes, and neither texts nor the student. None: they have to be built.

    Raises:
        NotFoundError: the dataset or its chains are not made yet.
    """
    if request.share < 1:  # all latents are those of any share, too
        found = find_latents(home, record, fingerprint, replace(request, share=1.0))
        if found is not None:
            return found
    version = latent_version(home, record.llm_tag, request.dataset, request.extent)
    manifest = version.find(request.inputs(home, record, fingerprint))
    if manifest is None:
        return None
    store = latent_store(home, record.llm_tag, manifest.shard_folder)
    if not all(store.is_whole(receipt) for receipt in manifest.shards):
        return None
    count = int(manifest.figures["chains_found"]) + int(manifest.figures["chains_encoded"])
    nothing = {"chains_found": count, "chains_encoded": 0, "tokens_per_second": 0}
    return StageReport(manifest.data_version, {**manifest.figures, **nothing})


def extent_made(home: Home, llm_tag: str, dataset: str) -> Extent:
    """Which latents there are to fit an adapter on and to look at what was carried: a share's until the whole is made,
    which takes its place. "whole" where there are none.
    """
    return "share" if latent_version(home, llm_tag, dataset, "share").is_made else "whole"


def latents_share(home: Home, llm_tag: str, dataset: str) -> float:
    """The part of the training problems whose chains have latents (errors as `open_latents`)."""
    return latent_version(home, llm_tag, dataset, extent_made(home, llm_tag, dataset)).manifest().share


def latent_poolings(home: Home, llm_tag: str, dataset: str) -> Poolings:
    """What stands side by side in each of these latents, in order (errors as `open_latents`)."""
    return latent_version(home, llm_tag, dataset).manifest().poolings


def latent_fingerprint(home: Home, llm_tag: str, dataset: str) -> str:
    """The fingerprint of the student that made the latents that there are (errors as `open_latents`)."""
    return latent_version(home, llm_tag, dataset, extent_made(home, llm_tag, dataset)).manifest().fingerprint


def latent_version(home: Home, llm_tag: str, dataset: str, extent: Extent = "whole") -> Version[LatentManifest]:
    """The files of one version's latents."""
    if extent == "share":
        folder, what, asset = home.latent_share(llm_tag, dataset), "latents of a share of", "adapter"
    else:
        folder, what, asset = home.latents(llm_tag, dataset), "latents of", "latents"
    return Version(
        folder,
        LatentManifest,
        LatentRow,
        f"{what} {dataset} by {llm_tag}",
        f"materialise the asset {asset} for {dataset}|{llm_tag}",
    )


def latent_store(home: Home, llm_tag: str, shard_folder: str) -> ShardStore[KeptChain]:
    """The shards of one student's latents. `shard_folder` is of `latent_folder`, or a manifest's."""
    return ShardStore(
        home.shards("latents", llm_tag) / shard_folder,
        KeptChain,
        f"latents of {llm_tag}",
        f"materialise the asset latents of {llm_tag}",
    )


def latent_folder(fingerprint: str) -> str:
    """Name of the folder of a student's shards: all that shapes latents is in its fingerprint."""
    return sha256_json([_FORMAT, fingerprint])[:KEY_LENGTH]


def first_error_segment(is_valid: bool, first_error_step: int | None, segments: int) -> int:
    """Segment index of a chain's first error: -1 for a right chain; the last segment where no step is to blame.

    `segments` counts the prompt, which is segment 0.
    """
    if is_valid:
        return -1
    return segments - 1 if first_error_step is None else min(first_error_step + 1, segments - 1)


class _Columns:
    """What the table of a version says of its chains, taken piece by piece."""

    def __init__(self) -> None:
        self.runs, self.sentence_runs = Runs(), Runs()
        self._segments = [np.empty(0, dtype=np.int32)]
        self._errors, self._prompt_of = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        self._sentence_counts = [np.empty(0, dtype=np.int64)]
        self._domains, self._splits = _Codes(), _Codes()
        self._problems: list[pa.Array] = []
        self._chains: list[pa.Array] = []
        self._prompts = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        shard, prompt = batch["shard"].to_numpy(), batch["prompt"].to_numpy()
        self.runs.add(shard, batch["first_row"].to_numpy(), batch["segments"].to_numpy())
        # The first chain of each problem says where its sentences lie.
        new = np.flatnonzero(np.diff(prompt, prepend=self._prompts - 1) > 0)
        counts = batch["sentences"].to_numpy()[new]
        self.sentence_runs.add(shard[new], batch["first_sentence"].to_numpy()[new], counts)
        self._sentence_counts.append(counts)
        self._prompts += len(new)
        self._prompt_of.append(prompt.astype(np.int64))
        self._segments.append(batch["segments"].to_numpy().astype(np.int32))
        self._errors.append(batch["first_error_segment"].to_numpy().astype(np.int64))
        self._domains.add(batch["domain"])
        self._splits.add(batch["split"])
        self._problems.append(batch["problem_id"])
        self._chains.append(batch["cot_id"])

    def sentence_counts(self) -> Int64:
        """int64 [problems]."""
        return np.concatenate(self._sentence_counts)

    def columns(self) -> dict[str, Any]:
        """All of it under the names of `LatentSet`; what was taken is let go."""
        names, codes = self._domains.sorted()
        ids = Texts.of(pa.chunked_array(self._problems, pa.string()))
        chain_ids = Texts(pa.concat_arrays(self._chains) if self._chains else pa.array([], pa.string()))
        self._problems, self._chains = [], []
        # What was read and joined is free now, but Arrow would keep it for its own next use.
        pa.default_memory_pool().release_unused()
        return {
            "offsets": np.cumsum(np.concatenate([[0], *self._segments]), dtype=np.int64),
            "domains": codes,
            "domain_names": names,
            "first_error": np.concatenate(self._errors),
            "problem_ids": ids,
            "chain_ids": chain_ids,
            "splits": Texts(pa.array(self._splits.names, pa.string()), self._splits.codes(), distinct=True),
            "prompt_of": np.concatenate(self._prompt_of),
        }


class _Codes:
    """A column of few distinct texts, taken piece by piece."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes = [np.empty(0, dtype=np.int32)]

    def add(self, column: pa.Array) -> None:
        """Append rows."""
        self.names += sorted(set(column.unique().to_pylist()) - set(self.names))
        self._codes.append(pc.index_in(column, pa.array(self.names, column.type)).to_numpy().astype(np.int32))

    def codes(self) -> Int32:
        """int32 [rows], indices into `names`."""
        return np.concatenate(self._codes)

    def sorted(self) -> tuple[tuple[str, ...], Int64]:
        """The names in alphabetical order, and int64 [rows], indices into them."""
        names = sorted(self.names)
        places = np.array([names.index(name) for name in self.names], dtype=np.int64)
        return tuple(names), places[self.codes()] if names else np.empty(0, dtype=np.int64)
