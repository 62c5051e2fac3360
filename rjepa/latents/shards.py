"""Latents of the validated chains of a dataset: built shard by shard, opened as one `LatentSet`.

Wrong chains are kept too, with the segment of their first error: they are negatives and never become targets. How
shards lie on disk is `rjepa.latents.store`; how text becomes latents is `rjepa.latents.extraction`.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from rjepa.chains import render_chain, step_segment
from rjepa.datasets.reading import load_chains, load_problems
from rjepa.errors import InvalidInputError
from rjepa.files import sha256_json
from rjepa.home import Home
from rjepa.latents.extraction import ChainLatents, extract_latents
from rjepa.latents.sets import LatentSet
from rjepa.latents.store import FORMAT, ShardStore, map_tensors
from rjepa.progress import Progress, silent
from rjepa.schemas import ChainOfThought, LatentSequence, Problem, Split
from rjepa.stages import StageReport
from rjepa.students.loading import Student
from rjepa.tables import read_columns

SHARD_CHAINS = 1000
"""Chains a shard: what a killed build may lose, and what is held in memory at once."""

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
    problems = {problem.problem_id: problem for problem in load_problems(home, dataset)}
    pairs, skipped = _usable(problems, load_chains(home, dataset), splits)
    if not pairs:
        raise InvalidInputError(
            f"dataset {dataset} has no judged chain with a step in {', '.join(splits)}",
            cure="give its problems worked solutions (steps), or choose another dataset",
        )
    store = _store(home, student.record.llm_tag, dataset)
    store.clean()
    receipts, reused, started, encoded = [], 0, time.monotonic(), 0
    for number, first in enumerate(range(0, len(pairs), shard_size)):
        part = pairs[first : first + shard_size]
        key = _key(student, part)
        receipt = store.finished(number, key)
        if receipt is None:
            receipt = _write_shard(store, student, number, key, part, _offset(progress, first, len(pairs)))
            encoded += receipt["counts"]["tokens"]
        else:
            reused += 1
        receipts.append(receipt)
        progress(first + len(part), len(pairs))
    seconds = time.monotonic() - started
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
            "tokens_per_second": round(encoded / seconds) if encoded else 0,
            "skipped_too_long": sum(receipt["counts"]["too_long"] for receipt in receipts),
            **{f"skipped_{reason}": skipped[reason] for reason in ("no_steps", "no_verdict")},
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
    # Columns, not records: a million chains as records would weigh more than all the rest of a training.
    columns = read_columns(store.paths(manifest, "parquet"), LatentRow, _COLUMNS)
    domains, prompts = _distinct(columns["domain"]), store.prompts(manifest)
    return LatentSet(
        latents=store.latents(manifest),
        offsets=np.concatenate([[0], np.cumsum(columns["segments"].to_numpy())]).astype(np.int64),
        domains=domains[1],
        domain_names=domains[0],
        first_error=columns["first_error_segment"].to_numpy().astype(np.int64),
        problem_ids=columns["problem_id"].to_pylist(),
        chain_ids=columns["cot_id"].to_pylist(),
        splits=_shared(columns["split"]),
        prompts=prompts,
        prompt_of=None if prompts is None else _prompt_of(store, manifest),
    )


def _distinct(column: pa.ChunkedArray) -> tuple[tuple[str, ...], np.ndarray]:
    """The sorted distinct texts of a column, and the int64 index of each row's."""
    names = tuple(sorted(column.unique().to_pylist()))
    codes = pc.index_in(column, pa.array(names, column.type)).to_numpy().astype(np.int64)
    return names, codes


def _shared(column: pa.ChunkedArray) -> list[str]:
    """A column of few distinct texts as a list that holds each of them once."""
    names, codes = _distinct(column)
    return [names[code] for code in codes]


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


def _usable(
    problems: dict[str, Problem], chains: list[ChainOfThought], splits: Sequence[Split]
) -> tuple[list[tuple[Problem, ChainOfThought]], Counter[str]]:
    pairs, skipped = [], Counter[str]()
    for chain in chains:
        problem = problems[chain.problem_id]
        if problem.split not in splits:
            continue
        if not chain.steps:
            skipped["no_steps"] += 1
        elif chain.is_valid is None:
            skipped["no_verdict"] += 1
        else:
            pairs.append((problem, chain))
    # Split after split, so that each is one run of rows, which need not be copied to be trained on.
    pairs.sort(key=lambda pair: splits.index(pair[0].split))
    return pairs, skipped


def _key(student: Student, pairs: list[tuple[Problem, ChainOfThought]]) -> str:
    inputs = [
        [c.cot_id, p.problem_id, p.statement, p.domain, p.subdomain, p.split, c.steps, c.final_answer, c.is_valid]
        + [c.first_error_step]
        for p, c in pairs
    ]
    return sha256_json([FORMAT, student.fingerprint, inputs])


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
    store: ShardStore[LatentRow],
    student: Student,
    number: int,
    key: str,
    pairs: list[tuple[Problem, ChainOfThought]],
    progress: Progress,
) -> dict[str, Any]:
    texts = [render_chain(chain.steps, chain.final_answer) for _, chain in pairs]
    extracted = extract_latents(student, [problem.statement for problem, _ in pairs], texts, progress=progress)
    kept = [(*pair, found) for pair, found in zip(pairs, extracted, strict=True) if found is not None]
    rows = [_row(student, problem, chain, found) for problem, chain, found in kept]
    # Chains of one problem share its sentences.
    prompts = {problem.problem_id: found.sentences for problem, _, found in kept}
    numbers = {problem_id: number for number, problem_id in enumerate(prompts)}
    tensors = {
        "latents": _join([found.latents for _, _, found in kept], student.width),
        "sentences": _join(list(prompts.values()), student.width),
        "sentence_counts": np.array([len(rows) for rows in prompts.values()], dtype=np.int64),
        "prompt_of": np.array([numbers[problem.problem_id] for problem, _, _ in kept], dtype=np.int64),
    }
    counts = {
        "tokens": sum(row.tokens for row in rows),
        "wrong": sum(row.first_error_segment >= 0 for row in rows),
        "too_long": len(pairs) - len(kept),
    }
    return store.write(number, key, tensors, rows, counts)


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


def _offset(progress: Progress, first: int, total: int) -> Progress:
    """Report a shard's progress as a part of the whole."""

    def report(done: int, of: int, note: str = "") -> None:
        progress(first + done, total, note)

    return report
