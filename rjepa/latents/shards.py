"""Latents of the validated chains of a dataset: built shard by shard, opened as one `LatentSet`.

Wrong chains are kept too, with the segment of their first error: they are negatives and never become targets. How
shards lie on disk is `rjepa.latents.store`; how text becomes latents is `rjepa.latents.extraction`.
"""

import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from rjepa.chains import render_chain, step_segment
from rjepa.errors import InvalidInputError
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.latents.extraction import ChainLatents, extract_latents
from rjepa.latents.plan import Pair, ShardInput, plan_shards
from rjepa.latents.sets import LatentSet
from rjepa.latents.store import ShardStore, map_tensors
from rjepa.latents.texts import Texts
from rjepa.progress import Progress, silent, time_left
from rjepa.schemas import ChainOfThought, LatentSequence, Problem, Split
from rjepa.stages import StageReport
from rjepa.step_types import chain_types
from rjepa.students.catalog import Poolings
from rjepa.students.loading import Student
from rjepa.tables import scan_columns

_FORMAT = 3
"""Version of what a shard holds: it enters every key, so that a change makes shards anew."""

SHARD_CHAINS = 10_000
"""Chains a shard: what a killed build may lose."""

_PIECE_CHAINS = 500
"""Chains that are encoded before their latents are written: what is held in memory. Enough to find chains of about one
length among them."""

_COLUMNS = ("problem_id", "cot_id", "domain", "split", "segments", "first_error_segment")


class LatentRow(LatentSequence):
    """One chain of a shard: its metadata, its split, and where its rows lie."""

    split: Split
    segments: int = Field(description="rows in the shard's tensor, the prompt included")
    first_error_segment: int = Field(description="segment index of the first error, the prompt being 0; -1 for none")


def build_latents(
    home: Home,
    student: Student,
    dataset: str,
    progress: Progress = silent,
    *,
    splits: Sequence[Split] = ("train", "validation"),
    shard_size: int = SHARD_CHAINS,
) -> StageReport:
    """Write the latents of every judged chain of these splits. Shards that are whole already are left as they are.

    Chains without a step, without a verdict, or longer than the student's context are left out and counted.

    Raises:
        InvalidInputError: no chain is left.
    """
    if shard_size < 1:
        raise ValueError(f"shard_size must be positive, got {shard_size}")
    plan = plan_shards(home, dataset, splits, shard_size)
    total = len(plan.chains)
    if not total:
        raise InvalidInputError(
            f"dataset {dataset} has no judged chain with a step in {', '.join(splits)}",
            cure="give its problems worked solutions (steps), or choose another dataset",
        )
    store = _store(home, student.record.llm_tag, dataset)
    store.clean()
    receipts, reused, encoded = [], 0, 0
    pace = _Pace(progress, total)
    for number in range(len(plan)):
        shard = plan.shard(number)
        key = _key(student, shard)
        receipt = store.finished(number, key)
        if receipt is None:
            receipt = _write_shard(store, student, number, key, shard, pace)
            encoded += receipt["counts"]["tokens"]
        else:
            reused += 1
            pace.found(len(shard))
        receipts.append(receipt)
    manifest = store.publish(_identity(student, dataset), receipts)
    return StageReport(
        manifest["data_version"],
        {
            "chains": sum(receipt["records"] for receipt in receipts),
            "segments": sum(receipt["rows"] for receipt in receipts),
            "tokens": sum(receipt["counts"]["tokens"] for receipt in receipts),
            "wrong_chains": sum(receipt["counts"]["wrong"] for receipt in receipts),
            "width": student.width,
            "megabytes": round(sum(receipt["rows"] for receipt in receipts) * student.width * 2 / 1e6, 1),
            "shards": len(receipts),
            "shards_reused": reused,
            "tokens_per_second": round(encoded / pace.seconds) if encoded else 0,
            "skipped_too_long": sum(receipt["counts"]["too_long"] for receipt in receipts),
            **{f"skipped_{reason}": plan.skipped[reason] for reason in ("no_steps", "no_verdict")},
        },
    )


def open_latents(
    home: Home, llm_tag: str, dataset: str, *, fingerprint: str | None = None, verify: bool = True
) -> LatentSet:
    """The latents of a dataset's chains under one student, memory-mapped where they lie in one shard.

    Raises:
        NotFoundError: they are not made yet.
        CorruptError: a shard's bytes do not match its hash.
        InvalidInputError: another student than `fingerprint`'s made them.
    """
    store = _store(home, llm_tag, dataset)
    manifest = store.manifest(fingerprint)
    if verify:
        store.verify(manifest)
    # A few numbers a chain, read piece by piece: a million chains as records, or as columns of text, would weigh more
    # than all the rest of a training.
    columns, prompts = _read_columns(store.paths(manifest, "parquet")), store.prompts(manifest)
    return LatentSet(
        latents=store.latents(manifest),
        types=store.types(manifest),
        prompts=prompts,
        prompt_of=None if prompts is None else _prompt_of(store, manifest),
        **columns,
    )


def latent_poolings(home: Home, llm_tag: str, dataset: str) -> Poolings:
    """What stands side by side in each of these latents, in order (errors as `open_latents`)."""
    return tuple(_store(home, llm_tag, dataset).manifest()["poolings"])


def latent_fingerprint(home: Home, llm_tag: str, dataset: str) -> str:
    """The fingerprint of the student that made these latents (errors as `open_latents`)."""
    return str(_store(home, llm_tag, dataset).manifest()["fingerprint"])


def _read_columns(paths: list[Path]) -> dict[str, Any]:
    """What the shards' tables say of each chain, under the names of `LatentSet`."""
    segments, errors, domains = [], [], _Codes()
    problems, chains, splits = [], [], _Codes()
    for batch in scan_columns(paths, LatentRow, _COLUMNS):
        segments.append(batch["segments"].to_numpy().astype(np.int32))
        errors.append(batch["first_error_segment"].to_numpy().astype(np.int32))
        domains.add(batch["domain"])
        splits.add(batch["split"])
        problems.append(batch["problem_id"])
        chains.append(batch["cot_id"])
    names, codes = domains.sorted()
    ids = Texts.of(pa.chunked_array(problems, pa.string()))
    chain_ids = Texts(pa.concat_arrays(chains) if chains else pa.array([], pa.string()))
    # What was read and joined is free now, but Arrow would keep it for its own next use.
    del problems, chains
    pa.default_memory_pool().release_unused()
    return {
        "offsets": np.cumsum(np.concatenate([[0], *segments]), dtype=np.int64),
        "domains": codes,
        "domain_names": names,
        "first_error": np.concatenate([np.empty(0, np.int64), *errors]).astype(np.int64, copy=False),
        "problem_ids": ids,
        "chain_ids": chain_ids,
        "splits": Texts(pa.array(splits.names, pa.string()), splits.codes(), distinct=True),
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

    def codes(self) -> npt.NDArray[np.int32]:
        """int32 [rows], indices into `names`."""
        return np.concatenate(self._codes)

    def sorted(self) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
        """The names in alphabetical order, and int64 [rows], indices into them."""
        names = sorted(self.names)
        places = np.array([names.index(name) for name in self.names], dtype=np.int64)
        return tuple(names), places[self.codes()] if names else np.empty(0, dtype=np.int64)


def first_error_segment(is_valid: bool, first_error_step: int | None, segments: int) -> int:
    """Segment index of a chain's first error: -1 for a right chain; the last segment where no step is to blame.

    `segments` counts the prompt, which is segment 0.
    """
    if is_valid:
        return -1
    return segments - 1 if first_error_step is None else min(first_error_step + 1, segments - 1)


def _store(home: Home, llm_tag: str, dataset: str) -> ShardStore[LatentRow]:
    return ShardStore(
        home.latents(llm_tag, dataset),
        LatentRow,
        f"latents of {dataset} by {llm_tag}",
        f"materialise the asset latents for {dataset}|{llm_tag}",
    )


def _key(student: Student, shard: ShardInput) -> str:
    """A hash of all that a shard is made from."""
    digest = sha256(sha256_json([_FORMAT, student.fingerprint]).encode())
    for piece in shard.pieces(_PIECE_CHAINS):
        inputs = [
            [c.cot_id, p.problem_id, p.statement, p.domain, p.subdomain, p.split, c.steps, c.final_answer, c.is_valid]
            + [c.first_error_step]
            for p, c in piece
        ]
        digest.update(sha256_json(inputs).encode())
    return digest.hexdigest()


def _identity(student: Student, dataset: str) -> dict[str, Any]:
    record = student.record
    return {
        "llm_tag": record.llm_tag,
        "dataset": dataset,
        "fingerprint": student.fingerprint,
        "quantisation": record.quantisation,
        "layer_idx": record.layer_idx,
        "poolings": list(record.poolings),
        "width": student.width,
    }


def _write_shard(
    store: ShardStore[LatentRow], student: Student, number: int, key: str, shard: ShardInput, pace: "_Pace"
) -> dict[str, Any]:
    """Encode and write one shard, a piece at a time."""
    counts = {"tokens": 0, "wrong": 0, "too_long": 0}
    prompts: dict[str, int] = {}
    with store.writing() as writer:
        for piece in shard.pieces(_PIECE_CHAINS):
            kept = _encode(student, piece, pace)
            rows = [_row(student, problem, chain, found) for problem, chain, found in kept]
            # Chains of one problem share its sentences.
            new = {p.problem_id: found.sentences for p, _, found in kept if p.problem_id not in prompts}
            prompts |= {problem_id: len(prompts) + place for place, problem_id in enumerate(new)}
            tensors = {
                "latents": _join([found.latents for _, _, found in kept], student.width),
                "types": chain_types(
                    (render_chain(chain.steps, chain.final_answer) for _, chain, _ in kept),
                    (len(found.latents) for _, _, found in kept),
                    student.record.segmentation,
                ),
                "sentences": _join(list(new.values()), student.width),
                "sentence_counts": np.array([len(rows) for rows in new.values()], dtype=np.int64),
                "prompt_of": np.array([prompts[problem.problem_id] for problem, _, _ in kept], dtype=np.int64),
            }
            writer.append(tensors, rows)
            counts["tokens"] += sum(row.tokens for row in rows)
            counts["wrong"] += sum(row.first_error_segment >= 0 for row in rows)
            counts["too_long"] += len(piece) - len(kept)
        receipt = writer.finish(number, key, counts)
    pace.written()
    return receipt


def _encode(student: Student, piece: list[Pair], pace: "_Pace") -> list[tuple[Problem, ChainOfThought, ChainLatents]]:
    """The chains of a piece that fit the student's context, each with its latents."""
    texts = [render_chain(chain.steps, chain.final_answer) for _, chain in piece]
    extracted = extract_latents(student, [problem.statement for problem, _ in piece], texts, progress=pace.working)
    pace.encoded(len(piece))
    return [(*pair, found) for pair, found in zip(piece, extracted, strict=True) if found is not None]


def _prompt_of(store: ShardStore[LatentRow], manifest: dict[str, Any]) -> np.ndarray:
    """int64 [chains]: shards number their prompts from 0, the joined set goes on counting."""
    shards = [map_tensors(path) for path in store.paths(manifest, "safetensors")]
    starts = np.cumsum([0, *(len(shard["sentence_counts"]) for shard in shards)])[:-1]
    parts = [shard["prompt_of"] + start for shard, start in zip(shards, starts, strict=True)]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def _join(parts: list[np.ndarray], width: int) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty((0, width), dtype=np.float16)


def _row(student: Student, problem: Problem, chain: ChainOfThought, found: ChainLatents) -> LatentRow:
    segments = len(found.latents)
    return LatentRow(
        problem_id=problem.problem_id,
        cot_id=chain.cot_id,
        llm_tag=student.record.llm_tag,
        layer_idx=student.record.layer_idx,
        hidden_size=student.hidden_size,
        poolings=list(student.record.poolings),
        num_steps=segments - 1,
        step_boundaries=found.boundaries.tolist(),
        tokens=found.tokens,
        domain=problem.domain,
        subdomain=problem.subdomain,
        quantisation=student.record.quantisation,
        first_error_step=chain.first_error_step,
        split=problem.split or "train",
        segments=segments,
        first_error_segment=first_error_segment(
            bool(chain.is_valid),
            step_segment(chain.steps, chain.first_error_step, student.record.segmentation),
            segments,
        ),
    )


class _Pace:
    """Reports the whole from its parts: chains done, tokens a second now, and the time left at the pace so far."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._started = time.monotonic()
        self._done = self._encoded = 0

    @property
    def seconds(self) -> float:
        """Since the build began."""
        return time.monotonic() - self._started

    def found(self, chains: int) -> None:
        """Chains of a shard that was whole already."""
        self._done += chains
        self._progress(self._done, self._total, "found")

    def encoded(self, chains: int) -> None:
        """A piece is encoded."""
        self._done += chains
        self._encoded += chains

    def written(self) -> None:
        """A shard is whole."""
        self._progress(self._done, self._total)

    def working(self, done: int, total: int, note: str = "") -> None:
        """Progress within a piece."""
        left = self._total - self._done - done
        seconds = self.seconds * left / max(self._encoded + done, 1)
        self._progress(self._done + done, self._total, f"{note}, {time_left(seconds)}")
