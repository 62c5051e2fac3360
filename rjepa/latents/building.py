"""Make the latents of a dataset version: encode the chains that no shard holds yet, and name a row for each chain.

A chain is encoded once for all versions that have it. What is encoded becomes durable every thousand chains or twenty
seconds, so that a killed build loses no more. How chains are encoded is `rjepa.latents.encoding`.
"""

import shutil
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from rjepa.arrays import Int64
from rjepa.chains import render_chain, step_segment
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.latents.encoding import ChainText, Encoder, Pace
from rjepa.latents.plan import Part, plan_chains
from rjepa.latents.shards import (
    SPLITS,
    KeptChain,
    LatentManifest,
    LatentRequest,
    LatentRow,
    first_error_segment,
    latent_folder,
    latent_store,
    latent_version,
)
from rjepa.latents.store import ShardIndex, make_key, store_in_use
from rjepa.latents.versions import VersionWriter
from rjepa.locks import stage_lock
from rjepa.progress import Progress, silent
from rjepa.schemas import Split
from rjepa.stages import StageReport
from rjepa.students.loading import Student
from rjepa.tables import arrow_schema

_PART_CHAINS: Final = 10_000
"""Chains whose texts are in memory together."""

_PIECE_CHAINS: Final = 500
"""Chains that are encoded together. Enough to find chains of about one length among them."""


def build_latents(
    home: Home,
    student: Student,
    dataset: str,
    progress: Progress = silent,
    *,
    splits: Sequence[Split] = SPLITS,
    share: float = 1.0,
) -> StageReport:
    """Make the latents of every judged chain of these splits; those that were made for another version are not again.

    Chains without a step, without a verdict, or longer than the student's context are left out and counted.

    Args:
        share: part of the training problems whose chains are read. Below 1 what is made lies apart (`Extent`), until
            the whole takes its place.

    Raises:
        InvalidInputError: no chain is left, or a share is asked for of fewer than two problems.
        BusyError: another process makes the same latents.
    """
    llm_tag, request = student.record.llm_tag, LatentRequest(dataset, tuple(splits), share)
    with stage_lock(home, "latents", llm_tag, dataset):
        inputs = request.inputs(home, student.record, student.fingerprint)
        plan = plan_chains(home, dataset, splits, _PART_CHAINS, share)
        if not len(plan.chains):
            raise InvalidInputError(
                f"dataset {dataset} has no judged chain with a step in {', '.join(splits)}",
                cure="give its problems worked solutions (steps), or choose another dataset",
            )
        store = latent_store(home, llm_tag, latent_folder(student.fingerprint))
        version = latent_version(home, llm_tag, dataset, request.extent)
        pace = Pace(progress, len(plan.chains))
        with store_in_use(home, "latents", llm_tag, store), store.writing() as writer, version.writing() as table:
            index = ShardIndex(store)
            encoder = Encoder(student, index, writer, pace)
            rows = _Rows(student, table, index)
            found = 0
            for number in range(len(plan)):
                part = plan.part(number)
                texts = _texts(part)
                shards, places = index.find([text.key for text in texts])
                found += int((shards >= 0).sum())
                pace.found(int((shards >= 0).sum()))
                _encode_missing(encoder, part, texts, shards, places)
                rows.append(part, store.rows(index.receipts, shards, places), shards)
            pace.finished()
            figures: dict[str, int | float | str] = {
                **rows.counts,
                "width": student.width,
                "megabytes": round(rows.counts["segments"] * student.width * 2 / 1e6, 1),
                "shards": len(rows.shards),
                "chains_found": found,
                "chains_encoded": len(plan.chains) - found,
                "tokens_per_second": round(encoder.tokens / pace.seconds) if encoder.tokens else 0,
                "skipped_too_long": len(plan.chains) - rows.counts["chains"],
                **{f"skipped_{reason}": plan.skipped[reason] for reason in ("no_steps", "no_verdict")},
            }
            manifest = rows.publish(request, inputs, figures)
        if request.extent == "whole":
            shutil.rmtree(home.latent_share(llm_tag, dataset), ignore_errors=True)
    return StageReport(manifest.data_version, figures)


def _texts(part: Part) -> list[ChainText]:
    """The chains of a part as they are encoded."""
    statements = part.problems["statement"].to_pylist()
    steps, answers = part.chains["steps"].to_pylist(), part.chains["final_answer"].to_pylist()
    texts = []
    for owner, chain_steps, answer in zip(part.owner.tolist(), steps, answers, strict=True):
        text = render_chain(chain_steps, answer)
        texts.append(ChainText(statements[owner], text, make_key(statements[owner], text)))
    return texts


def _encode_missing(encoder: Encoder, part: Part, texts: list[ChainText], shards: Int64, places: Int64) -> None:
    """Encode the chains without a shard, make them durable, and write where they lie into `shards` and `places`.

    A piece of which nothing is known is encoded as it is, so that its latents are, to the bit, those of every other
    machine like this one; what is missing elsewhere is gathered.
    """
    missing = shards < 0
    gathered: list[int] = []
    for piece in part.pieces(_PIECE_CHAINS):
        if missing[piece].all():
            encoder.encode([texts[index] for index in piece.tolist()])
            continue
        gathered += piece[missing[piece]].tolist()
        while len(gathered) >= _PIECE_CHAINS:
            encoder.encode([texts[index] for index in gathered[:_PIECE_CHAINS]])
            gathered = gathered[_PIECE_CHAINS:]
    if gathered:
        encoder.encode([texts[index] for index in gathered])
    encoder.finish()
    for index in np.flatnonzero(missing).tolist():
        shards[index], places[index] = encoder.placed[texts[index].key]
    encoder.placed.clear()


class _Rows:
    """Writes the table of a version part by part, and counts. `counts` are of chains that have latents; `shards` are
    their numbers in the index, each with its number in the version.
    """

    def __init__(self, student: Student, table: VersionWriter[LatentManifest], index: ShardIndex[KeptChain]) -> None:
        self.counts = {"chains": 0, "segments": 0, "tokens": 0, "wrong_chains": 0}
        self._student, self._table, self._index = student, table, index
        self.shards: dict[int, int] = {}
        self._prompts, self._last_problem = 0, ""

    def append(self, part: Part, kept: pa.Table, shards: Int64) -> None:
        """Add the chains of a part, of which `kept` and `shards` say where they lie."""
        has_latents = kept["segments"].to_numpy() > 0
        kept, chains, shards = kept.filter(has_latents), part.chains.filter(has_latents), shards[has_latents]
        problems = part.problems.take(pa.array(part.owner[has_latents]))
        segments = kept["segments"].to_numpy()
        errors = self._first_errors(chains, segments)
        count = len(kept)
        record = self._student.record
        columns: dict[str, Any] = {
            "llm_tag": [record.llm_tag] * count,
            "layer_idx": np.full(count, record.layer_idx),
            "hidden_size": np.full(count, self._student.hidden_size),
            "poolings": [list(record.poolings)] * count,
            "quantisation": [record.quantisation] * count,
            "num_steps": segments - 1,
            "first_error_segment": errors,
            "prompt": self._numbered(problems["problem_id"].to_pylist()),
            "shard": [self.shards.setdefault(shard, len(self.shards)) for shard in shards.tolist()],
            **{name: problems[name] for name in ("problem_id", "domain", "subdomain", "split")},
            **{name: chains[name] for name in ("cot_id", "first_error_step")},
            **{
                name: kept[name]
                for name in ("step_boundaries", "tokens", "segments", "first_row", "first_sentence", "sentences")
            },
        }
        schema = arrow_schema(LatentRow)
        rows = pa.table([_column(columns[field.name], field.type) for field in schema], schema=schema)
        content = ("cot_id", "problem_id", "domain", "subdomain", "split", "first_error_step", "first_error_segment")
        values = [*(rows[name].to_pylist() for name in content), kept["digest"].to_pylist()]
        self._table.append(rows, [list(row) for row in zip(*values, strict=True)])
        self.counts["chains"] += count
        self.counts["segments"] += int(segments.sum())
        self.counts["tokens"] += int(kept["tokens"].to_numpy().sum())
        self.counts["wrong_chains"] += int((errors >= 0).sum())

    def publish(self, request: LatentRequest, inputs: str, figures: dict[str, int | float | str]) -> LatentManifest:
        """Write the manifest."""
        record = self._student.record
        common = {
            "llm_tag": record.llm_tag,
            "dataset": request.dataset,
            "fingerprint": self._student.fingerprint,
            "width": self._student.width,
            "quantisation": record.quantisation,
            "layer_idx": record.layer_idx,
            "poolings": list(record.poolings),
        }
        where = {
            "inputs": inputs,
            "figures": figures,
            "shards": [self._index.receipts[number] for number in self.shards],
            "shard_folder": latent_folder(self._student.fingerprint),
            "share": request.share,
        }
        return self._table.publish(common, where)

    def _numbered(self, problem_ids: list[str]) -> list[int]:
        """The number of each chain's problem; chains of a problem come one after the other."""
        numbers = []
        for problem_id in problem_ids:
            if problem_id != self._last_problem:
                self._prompts, self._last_problem = self._prompts + 1, problem_id
            numbers.append(self._prompts - 1)
        return numbers

    def _first_errors(self, chains: pa.Table, segments: Int64) -> Int64:
        """int64 [chains]: segment of each chain's first error, -1 for a right one."""
        wrong = np.flatnonzero(~chains["is_valid"].to_numpy().astype(bool))
        errors = np.full(len(chains), -1, dtype=np.int64)
        of_wrong = chains.select(["steps", "first_error_step"]).take(pa.array(wrong)).to_pylist()
        mode = self._student.record.segmentation
        for index, row in zip(wrong.tolist(), of_wrong, strict=True):
            segment = step_segment(row["steps"], row["first_error_step"], mode)
            errors[index] = first_error_segment(False, segment, int(segments[index]))
        return errors


def _column(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.ChunkedArray):
        return values.cast(kind)
    return pa.array(values, kind)
